"""Networks against the search they replace: the same commands, side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from isaacmm import rotation, steering
from isaacmm.export.graph import session
from isaacmm.learned_matching.controller import LearnedController
from isaacmm.learned_matching.graphs import PRECISIONS, build
from isaacmm.learned_matching.networks import LearnedMM
from isaacmm.learned_matching.rows import Rows
from isaacmm.matching.controller import Controller, Recording
from isaacmm.matching.twin import Twins
from isaacmm.motion.contacts import slide_speed
from isaacmm.steering import Command, Source

#: Scripts that are followed for a minute each.
SCRIPTS = ("straight", "circle", "figure_eight", "slalom", "square", "stop_and_go", "walk_run", "side_and_back")
#: A row this near to the search's, in the same clip, plays the same moment (s).
SAME_SECONDS = 0.1
#: Rows of the database at which memory is compared.
LARGE = 400_000


class Together:
    """Several sources of commands, one per character."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self.sources = list(sources)

    def reset(self, ids: Tensor, root_pos: Tensor, root_yaw: Tensor) -> None:
        """See :class:`~isaacmm.steering.source.Source`; all begin at once."""
        for i, source in enumerate(self.sources):
            source.reset(torch.zeros(1, dtype=torch.int64), root_pos[i : i + 1], root_yaw[i : i + 1])

    def command(self, time: Tensor | float, root_pos: Tensor, root_yaw: Tensor) -> Command:
        """See :class:`~isaacmm.steering.source.Source`."""
        now = torch.as_tensor(time).expand(len(root_yaw))
        own = [slice(i, i + 1) for i in range(len(self.sources))]
        parts = [s.command(now[i], root_pos[i], root_yaw[i]) for i, s in zip(own, self.sources, strict=True)]
        return Command(*(torch.cat(values) for values in zip(*parts, strict=True)))


def play(controller: Controller, scripts: Sequence[str], seconds: float) -> Recording:
    """A recording of one script per character."""
    return Recording(controller, controller.play(Together([steering.named(s) for s in scripts]), seconds))


@dataclass(frozen=True)
class Steered:
    """How a controller followed its commands, ``[N]`` each.

    Attributes:
        velocity: m/s, mean distance of the velocity (averaged over half a second) from the commanded one.
        facing: deg, mean.
        place: m, mean distance of the point that a perfect follower of the command springs would be at, counted anew
            every ten seconds (errors of place add up for ever).
        slide: m/s, mean speed along the floor of the lowest point of feet that stand.
        stands: share of the time that a foot stands; where it is much less, ``slide`` says nothing.
        jumps: transitions per second.
    """

    velocity: Tensor
    facing: Tensor
    place: Tensor
    slide: Tensor
    stands: Tensor
    jumps: Tensor


def steered(recording: Recording) -> Steered:
    """Figures of a recording."""
    pos, yaw = recording["track_pos"], recording["track_yaw"]
    wanted, fps = recording.commanded_velocity(), recording.fps
    every = round(10.0 * fps)
    gaps = []
    for begin in range(0, len(pos) - 1, every):  # a few pieces of ten seconds
        part = slice(begin, begin + every)
        ideal = pos[begin] + torch.cumsum(wanted[part], dim=0) / fps
        gaps.append((ideal - pos[part]).norm(dim=-1))
    stands = recording.controller.table.contact[recording["row"]]
    sole = recording["sole"]
    slide = slide_speed(sole.flatten(1, 2), stands.flatten(1, 2), fps).reshape(stands.shape)
    both = stands.clone()
    both[1:] &= stands[:-1]
    both[0] = False
    return Steered(
        (recording.velocity() - wanted).norm(dim=-1).mean(0),
        torch.rad2deg(rotation.wrap_angle(recording["facing"] - yaw).abs()).mean(0),
        torch.cat(gaps).mean(0),
        (slide * both).sum((0, 2)) / both.sum((0, 2)).clamp(min=1),
        stands.float().mean((0, 2)),
        recording["jumped"].float().mean(0) * fps,
    )


# ------------------------------------------------------------------------------------------------ transitions
class ListeningTwins(Twins):
    """Twins that note what they were asked and what they chose."""

    notes: list[tuple[Tensor, Tensor, Tensor, Tensor]]

    @classmethod
    def beside(cls, twins: Twins) -> ListeningTwins:
        """With the settings of ``twins``."""
        made = cls(twins.database, twins.search, len(twins.row), twins.stride, twins.every, twins.stay_bias)
        made.near, made.jump = twins.near, twins.jump
        for name, value in twins.state_dict().items():
            getattr(made, name).copy_(value)
        made.notes = []
        return made

    def _search(self, ids: Tensor, condition: Tensor, ended: Tensor, style: Tensor | None) -> None:
        here = self.row[ids].clone()
        super()._search(ids, condition, ended, style)
        keep = ~ended
        self.notes.append((here[keep], condition[keep], self.row[ids][keep].clone(), self.jumped[ids][keep].clone()))


@torch.no_grad()
def choices(
    model: LearnedMM, rows: Rows, notes: Sequence[tuple[Tensor, ...]], stay_bias: float, near: float
) -> dict[str, float]:
    """Whether the projector picks what the search picked, on the questions that came up while steering.

    - ``asked``: how many; ``jumped``: share at which the search went elsewhere;
    - ``decision_same``: share at which both stayed or both went;
    - ``pose_mm``: where the search went, mean distance of the bodies that the projector leads to from those that the
      search went to; ``pose_left_mm``: of the bodies that were left;
    - ``same_moment``: share of those whose nearest row by features and latents is the search's, within a tenth of a
      second; ``excess``: by how much that row is further from the query than the search's, of its distance.
    """
    here, condition, chosen, jumped = (torch.cat(parts) for parts in zip(*notes, strict=True))
    db, x_here = rows.database, rows.features[here]
    query = torch.cat((x_here[:, : db.spec.pose_size], condition), dim=1)
    x, z = model.project(query)
    cost, staying = ((query - x) ** 2).sum(-1), ((query - x_here) ** 2).sum(-1)
    goes = ~((((x - x_here) ** 2).sum(-1) <= near) | (staying <= cost + stay_bias))
    told = {
        "asked": float(len(here)),
        "jumped": float(jumped.float().mean()),
        "jumped_networks": float(goes.float().mean()),
        "decision_same": float((goes == jumped).float().mean()),
    }
    ids = jumped.nonzero().flatten()
    if not len(ids):
        return told
    query, x, z, chosen, here = query[ids], x[ids], z[ids], chosen[ids], here[ids]

    def apart(a: Tensor, b: Tensor) -> float:
        return 1000.0 * float((a - b).unflatten(-1, (-1, 3)).norm(dim=-1).mean())

    bodies = rows.place(model.decompress(x, z))
    latents = torch.cat([model.compress(*(t[part] for t in (rows.features, rows.poses, rows.bodies)))
                         for part in torch.arange(len(rows)).split(8192)])  # fmt: skip
    valid = db.valid.nonzero().flatten()
    scale = model.latent_scale
    table = torch.cat((rows.features, (latents - model.latent_mean) / scale), dim=1)[valid]
    asked = torch.cat((x, (z - model.latent_mean) / scale), dim=1)
    found = valid[torch.cat([torch.cdist(part, table).argmin(1) for part in asked.split(256)])]
    same = (db.grid.clip[found] == db.grid.clip[chosen]) & ((found - chosen).abs() <= SAME_SECONDS * db.rate)
    got, least = ((query - rows.features[r]).norm(dim=-1) for r in (found, chosen))
    return {
        **told,
        "pose_mm": apart(bodies, rows.bodies[chosen]),
        "pose_left_mm": apart(rows.bodies[here], rows.bodies[chosen]),
        "same_moment": float(same.float().mean()),
        "excess": float((got - least).mean() / least.mean()),
    }


# ----------------------------------------------------------------------------------------------- memory and time
def memory(model: LearnedMM, rows: Rows) -> dict[str, float]:
    """MB: of the database as it is and at :data:`LARGE` rows, and of the networks' files."""
    told = {"database": rows.memory() / 1e6, f"database_of_{LARGE}": rows.memory() / len(rows) * LARGE / 1e6}
    for precision in PRECISIONS:
        graphs = build(model, rows.database.rate, precision)
        told[f"networks_{precision}"] = sum(len(g.SerializeToString()) for g in graphs.values()) / 1e6
    return told


def times(model: LearnedMM, rows: Rows, controller: Controller, count: int = 400) -> dict[str, float]:
    """Milliseconds of processor time on one core, one character: each network in onnxruntime, and a search."""
    state = torch.zeros(1, model.features + model.latent).numpy()
    feeds = {"decompressor": {"state": state}, "stepper": {"state": state},
             "projector": {"query": state[:, : model.features].copy()}}  # fmt: skip
    told = {}
    for name, graph in build(model, rows.database.rate).items():
        running = session(graph.SerializeToString())
        told[name] = _milliseconds(lambda r=running, f=feeds[name]: r.run(None, f), count)  # type: ignore[misc]
    queries = rows.features[torch.linspace(0, len(rows) - 1, count).long()].clone()
    queries[:, rows.database.spec.pose_size :] = queries.roll(1, 0)[:, rows.database.spec.pose_size :]
    at = iter(range(10**9))
    told["search"] = _milliseconds(lambda: controller.twins.search(queries[next(at) % count][None]), count)
    return told


def per_frame(spent: dict[str, float], rate: float, fps: float, search_seconds: float) -> float:
    """Milliseconds per frame: a decompressor each, the stepper at its rate, a projector every ``search_seconds``."""
    share = 1.0 / (search_seconds * fps)
    return spent["decompressor"] + spent["stepper"] * min(1.0, rate / fps) + share * spent["projector"]


def _milliseconds(call: Callable[[], object], count: int) -> float:
    for _ in range(10):
        call()
    begun = time.process_time()
    for _ in range(count):
        call()
    return 1000.0 * (time.process_time() - begun) / count


def listen(controller: Controller) -> ListeningTwins:
    """Have a controller's twins note their choices."""
    assert not isinstance(controller, LearnedController)
    controller.twins = twins = ListeningTwins.beside(controller.twins)
    return twins
