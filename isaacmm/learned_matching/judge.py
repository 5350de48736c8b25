"""How well the networks hold the database: figures beside what needs no learning."""

from __future__ import annotations

import torch
from torch import Tensor

from isaacmm.learned_matching.networks import LearnedMM
from isaacmm.learned_matching.queries import Queries
from isaacmm.learned_matching.rows import Rows
from isaacmm.learned_matching.soles import Soles
from isaacmm.motion.contacts import at_lowest

#: Those that run.
NETWORKS = ("decompressor", "stepper", "projector")


@torch.no_grad()
def judge(model: LearnedMM, rows: Rows, queries: Queries, seed: int = 0, count: int = 512) -> dict[str, float]:
    """Figures on ``count`` rows, windows and queries of the database.

    - ``pose_mm``: mean distance of the bodies from the decompressor's; baseline: as many principal components of the
      pose vector as there are features and latents.
    - ``step_x``: mean distance of features, stepped for a quarter of a second, from the clip's; ``step_pose_mm``: of
      the bodies; baseline: standing still. ``step_slide``: m/s along the floor, during that time, of the lowest point
      of feet that say they stand (in the clips next to nothing).
    - ``off_rows``: distance of projected features from the nearest row; baseline: of the query itself.
    - ``project_pose_mm``: mean distance of the bodies that the projector leads to from those of the row that a search
      finds; baseline: of the row whose pose is nearest to the query's, whatever path is asked for.
    """
    generator = torch.Generator().manual_seed(seed)
    return {
        **_poses(model, rows, generator, count),
        **_steps(model, rows, generator, count),
        **_projections(model, rows, queries, generator, count),
    }


def _poses(model: LearnedMM, rows: Rows, generator: torch.Generator, count: int) -> dict[str, float]:
    some = torch.randint(len(rows), (count,), generator=generator)
    x, y, bodies = rows.features[some], rows.poses[some], rows.bodies[some]
    made = model.decompress(x, model.compress(x, y, bodies))
    contact = rows.layout["contact"]
    right = ((made[:, contact] > 0) == (y[:, contact] > 0)).float().mean()
    return {
        "pose_mm": _gap(rows, made, bodies),
        "pose_mm_baseline": _gap(rows, principal(rows, y, model.features + model.latent, generator), bodies),
        "velocity_mps": float((made - y)[:, rows.layout["velocity"]].norm(dim=-1).mean()),
        "contact_wrong": 1.0 - float(right),
    }


def principal(rows: Rows, y: Tensor, components: int, generator: torch.Generator) -> Tensor:
    """Pose vectors ``y [n, W]`` from as many principal components, each part scaled by its spread."""
    some = rows.poses[torch.randint(len(rows), (4096,), generator=generator)]
    scale = torch.ones(rows.layout.size)
    for part in rows.layout.parts:
        scale[part.slice] = some[:, part.slice].std(0).mean().clamp(min=1e-3)
    mean = some.mean(0)
    _, _, basis = torch.linalg.svd((some - mean) / scale, full_matrices=False)
    basis = basis[:components]
    return mean + scale * (((y - mean) / scale) @ basis.T @ basis)


def _gap(rows: Rows, made: Tensor, bodies: Tensor) -> float:
    return _apart(rows.place(made), bodies)


def _apart(a: Tensor, b: Tensor) -> float:
    """Mean distance, mm, of bodies ``[n, 3 (B - 1)]``."""
    return 1000.0 * float((a - b).unflatten(-1, (-1, 3)).norm(dim=-1).mean())


def _steps(model: LearnedMM, rows: Rows, generator: torch.Generator, count: int) -> dict[str, float]:
    rate = rows.database.rate
    length = max(1, round(0.25 * rate))
    starts = rows.starts(length + 1)
    begin = starts[torch.randint(len(starts), (count,), generator=generator)]
    x = rows.features[begin]
    z = model.compress(x, rows.poses[begin], rows.bodies[begin])
    played = [model.decompress(x, z)]
    for _ in range(length):  # each step needs the one before
        x, z = model.step(x, z, 1.0 / rate)
        played.append(model.decompress(x, z))
    there, made = rows.features[begin + length], played[-1]
    return {
        "step_x": float((x - there).norm(dim=-1).mean()),
        "step_x_baseline": float((rows.features[begin] - there).norm(dim=-1).mean()),
        "step_pose_mm": _gap(rows, made, rows.bodies[begin + length]),
        "step_pose_mm_baseline": _apart(rows.bodies[begin], rows.bodies[begin + length]),
        "step_slide": _slide(rows, torch.stack(played, dim=1)),
    }


def _slide(rows: Rows, played: Tensor) -> float:
    """Mean speed, m/s, of standing feet along the floor in poses ``[b, n, W]`` that follow each other."""
    soles = Soles(rows.database.character, rows.layout, rows.database.rate)
    points = soles.points(played)
    speed = at_lowest(points, soles.speed(points, played)[..., :2].norm(dim=-1))
    stands = played[..., rows.layout["contact"]] > 0
    both = stands[:, 1:] & stands[:, :-1]
    return float(speed[both].sum() / both.sum().clamp(min=1))


def _projections(
    model: LearnedMM, rows: Rows, queries: Queries, generator: torch.Generator, count: int
) -> dict[str, float]:
    db = rows.database
    query = queries.commanded(count, generator)
    best, cost = queries.search(query)
    x, z = model.project(query)
    away = queries.search(x)[1]
    pose = slice(0, db.spec.pose_size)
    like = queries.rows[torch.cdist(query[:, pose], db.features[queries.rows][:, pose]).argmin(1)]
    return {
        "off_rows": float(away.clamp(min=0.0).sqrt().mean()),
        "off_rows_baseline": float(cost.clamp(min=0.0).sqrt().mean()),
        "project_pose_mm": _gap(rows, model.decompress(x, z), rows.bodies[best]),
        "project_pose_mm_baseline": _apart(rows.bodies[like], rows.bodies[best]),
    }
