"""How well the networks hold the database: figures beside what needs no learning."""

from __future__ import annotations

import torch
from torch import Tensor

from isaacmm.learned_matching.networks import LearnedMM
from isaacmm.learned_matching.queries import Queries
from isaacmm.learned_matching.rows import Rows

#: Those that run.
NETWORKS = ("decompressor", "stepper", "projector")
#: A row this near to the search's, in the same clip, plays the same moment (s).
SAME_SECONDS = 0.1


@torch.no_grad()
def judge(model: LearnedMM, rows: Rows, queries: Queries, seed: int = 0, count: int = 512) -> dict[str, float]:
    """Figures on ``count`` rows, windows and queries of the database.

    - ``pose_mm``: mean distance of the bodies from the decompressor's; baseline: as many principal components of the
      pose vector as there are features and latents.
    - ``step_x``: mean distance of features, stepped for a quarter of a second, from the clip's; baseline: standing still.
    - ``query_excess``: by how much the row nearest to what the projector says is further from the query than the one
      that a search finds, per its distance; baseline: a row from anywhere near the query's pose, without its path.
    - ``off_rows``: distance of the projected features from the nearest row; baseline: of the query itself.
    - ``same_moment``: share of commanded queries for which both find the same moment.
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
    gap = (rows.place(made) - bodies).unflatten(-1, (-1, 3)).norm(dim=-1)
    return 1000.0 * float(gap.mean())


def _steps(model: LearnedMM, rows: Rows, generator: torch.Generator, count: int) -> dict[str, float]:
    rate = rows.database.rate
    length = max(1, round(0.25 * rate))
    starts = rows.starts(length + 1)
    begin = starts[torch.randint(len(starts), (count,), generator=generator)]
    x = rows.features[begin]
    z = model.compress(x, rows.poses[begin], rows.bodies[begin])
    for _ in range(length):
        x, z = model.step(x, z, 1.0 / rate)
    there = rows.features[begin + length]
    made = model.decompress(x, z)
    return {
        "step_x": float((x - there).norm(dim=-1).mean()),
        "step_x_baseline": float((rows.features[begin] - there).norm(dim=-1).mean()),
        "step_pose_mm": _gap(rows, made, rows.bodies[begin + length]),
        "step_pose_mm_baseline": 1000.0
        * float((rows.bodies[begin] - rows.bodies[begin + length]).unflatten(-1, (-1, 3)).norm(dim=-1).mean()),
    }


def _projections(
    model: LearnedMM, rows: Rows, queries: Queries, generator: torch.Generator, count: int
) -> dict[str, float]:
    db = rows.database
    query = queries.commanded(count, generator)
    best, _ = queries.search(query)
    x, z = model.project(query)
    nearest, away = queries.search(x)
    least = (query - rows.features[best]).norm(dim=-1)
    got = (query - rows.features[nearest]).norm(dim=-1)
    pose = query.clone()
    pose[:, db.spec.pose_size :] = db.trajectory[queries.rows[torch.randint(len(queries.rows), (count,))]]
    blind = (query - rows.features[queries.search(pose)[0]]).norm(dim=-1)
    same = (db.grid.clip[nearest] == db.grid.clip[best]) & ((nearest - best).abs() <= SAME_SECONDS * db.rate)
    made = model.decompress(x, z)
    return {
        "query_excess": float((got / least.clamp(min=1e-3)).mean() - 1.0),
        "query_excess_baseline": float((blind / least.clamp(min=1e-3)).mean() - 1.0),
        "off_rows": float(away.clamp(min=0).sqrt().mean()),
        "off_rows_baseline": float(least.mean()),
        "project_pose_mm": _gap(rows, made, rows.bodies[best]),
        "same_moment": float(same.float().mean()),
    }
