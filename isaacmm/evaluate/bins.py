"""Bins: the same numbers for every kind of command, each beside the clips that do the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from isaacmm import rotation
from isaacmm.evaluate import frechet, metrics
from isaacmm.evaluate.rollout import Rollout
from isaacmm.evaluate.style import Judge
from isaacmm.evaluate.tracks import Tracks
from isaacmm.matching.database import Database

#: Slower than this (m/s) is standing, slower turning than this (rad/s) straight.
STANDING, STRAIGHT = 0.2, 0.15
#: Speeds (m/s) at which one bin of going forward ends and the next begins.
SPEEDS = (0.9, 1.4, 2.0, 2.7)
_FORWARD = ("walk to 0.9", "walk 0.9-1.4", "walk 1.4-2.0", "run 2.0-2.7", "run from 2.7")
_TURNS = ("right", "straight", "left")
NAMES = ("stand", "pivot right", "pivot left", "side", "back", *(f"{v}, {w}" for v in _FORWARD for w in _TURNS))

#: Name -> (unit, digits in the table, definition); all frame by frame.
COLUMNS: dict[str, tuple[str, int, str]] = {
    "share": ("%", 0, "Share of all frames"),
    "velocity_error": ("m/s", 3, "Mean |velocity of the root in its heading frame - the command spring's|"),
    "heading_error": ("deg", 1, "Mean angle between where the root faces and the spring's facing"),
    "style_reward": ("", 2, "Mean style reward; of clips: the moments that answer the same commands"),
    "frechet": ("", 2, "Frechet distance of matching pose features to the clips; of clips: of their halves"),
    "falls": ("1/min", 1, "Falls per minute of such commands"),
    "contact_slide": ("m/s", 3, "Mean horizontal speed of sole points lower than 2 cm above the ground"),
    "mann_slide": ("cm/frame", 3, "Mean of d (2 - 2^(h/H)) over sole points lower than H = 2.5 cm; d: way in a frame"),
    "penetration": ("mm", 1, "Mean depth of the lowest sole point below the floor"),
    "jerk": ("m/s^3", 0, "Mean |third derivative of position| of hands and feet"),
}
#: Heads of the printed tables: following the command and looking like the clips, then what feet and limbs do.
_TABLES = (
    {
        "share": "share %", "velocity_error": "velocity m/s", "heading_error": "heading deg", "style_reward": "style",
        "frechet": "Frechet", "falls": "falls/min",
    },
    {
        "contact_slide": "slide m/s", "mann_slide": "slide cm/frame", "penetration": "penetration mm",
        "jerk": "jerk m/s^3",
    },
)  # fmt: skip


def of_command(velocity: Tensor, turn: Tensor) -> Tensor:
    """Number of the bin ``[...]`` in :data:`NAMES`; ``velocity [..., 2]`` m/s (forward, left), ``turn [...]`` rad/s."""
    forward, left = (part.contiguous() for part in velocity.unbind(-1))
    side = (turn > -STRAIGHT).long() + (turn >= STRAIGHT).long()
    ahead = 5 + 3 * torch.bucketize(forward, torch.tensor(SPEEDS, device=forward.device), right=True) + side
    going = torch.where(left.abs() > forward.abs(), 3, torch.where(forward < 0, 4, ahead))
    still = torch.where(turn.abs() < STRAIGHT, 0, torch.where(turn < 0, 1, 2))
    return torch.where(velocity.norm(dim=-1) < STANDING, still, going)


@dataclass(eq=False)
class Frames:
    """Frames of many characters in one row, with what is measured of each.

    Attributes:
        bins: ``[n]`` int64.
        values: name -> ``[n]``; NaN where a frame has no such number.
        poses: ``[n, P]`` matching features.
        half: ``[n]`` bool: every other second.
    """

    bins: Tensor
    values: dict[str, Tensor]
    poses: Tensor
    half: Tensor

    @classmethod
    def of(cls, tracks: Tracks, database: Database, extra: dict[str, Tensor] | None = None) -> Frames:
        """Frames 1 to T-2 of ``tracks`` that lie within an episode; ``extra`` name -> ``[T, N]``."""
        assert tracks.velocity is not None and tracks.facing is not None and tracks.turn_rate is not None
        yaw = rotation.yaw(tracks.body_rot[1:-1, :, 0])
        velocity = metrics.local_velocity(tracks)
        points = tracks.sole_points()
        above = metrics.above_ground(points)[1:-1]
        low = above < metrics.SLIDE_HEIGHT
        moved = (points[2:] - points[:-2])[..., :2].norm(dim=-1) * (0.5 * tracks.fps)
        slide = (moved * low).flatten(2).sum(-1) / low.flatten(2).sum(-1)  # NaN in flight
        touch = above < metrics.MANN_HEIGHT
        way = moved * (100.0 / tracks.fps) * metrics.mann_weight(above.clamp(min=0.0))
        mann = (way * touch).flatten(2).sum(-1) / touch.flatten(2).sum(-1)
        goal = tracks.velocity if tracks.goal_velocity is None else tracks.goal_velocity
        values = {
            "velocity_error": (velocity - tracks.velocity[1:-1]).norm(dim=-1),
            "heading_error": torch.rad2deg(rotation.wrap_angle(tracks.facing[1:-1] - yaw).abs()),
            "contact_slide": slide,
            "mann_slide": mann,
            "penetration": 1000.0 * metrics.depth(points[1:-1]),
            "jerk": _jerk(tracks),
        }
        values |= {name: value[1:-1] for name, value in (extra or {}).items()}
        whole = tracks.unbroken(2)
        half = (torch.arange(len(yaw)) // round(tracks.fps) % 2 == 0)[:, None].expand(yaw.shape)
        return cls(
            of_command(goal, tracks.turn_rate)[1:-1][whole],
            {name: value[whole] for name, value in values.items()},
            frechet.poses(tracks, database)[whole],
            half[whole],
        )

    @classmethod
    def together(cls, parts: Sequence[Frames]) -> Frames:
        """All frames of ``parts``."""
        return cls(
            torch.cat([p.bins for p in parts]),
            {name: torch.cat([p.values[name] for p in parts]) for name in parts[0].values},
            torch.cat([p.poses for p in parts]),
            torch.cat([p.half for p in parts]),
        )

    def where(self, index: int | None) -> Frames:
        """The frames of one bin; None: all."""
        mask = torch.ones_like(self.half) if index is None else self.bins == index
        values = {name: value[mask] for name, value in self.values.items()}
        return Frames(self.bins[mask], values, self.poses[mask], self.half[mask])

    def means(self) -> dict[str, float]:
        """Mean of every number over the frames that have it."""
        return {name: float(v[v.isfinite()].double().mean()) for name, v in self.values.items()}  # NaN of none

    def floor(self) -> float:
        """Frechet distance of one half to the other: what is left of it where nothing differs."""
        return frechet.distance(self.poses[self.half], self.poses[~self.half])


def _jerk(tracks: Tracks) -> Tensor:
    """``[T - 2, N]`` m/s^3 of frames 1 to T-2, mean over hands and feet; NaN where an episode ends in between."""
    jerks = metrics.key_jerks(tracks).mean(-1)
    found = torch.full(tracks.body_pos[1:-1, :, 0, 0].shape, math.nan, dtype=jerks.dtype)
    if len(jerks):
        found[:-1] = torch.where(tracks.unbroken(3), jerks, math.nan)
    return found.float()


@dataclass(eq=False)
class Bins:
    """Rows of the table: name of the bin -> (policy's numbers, clips' numbers); ``all`` is every frame."""

    rows: dict[str, tuple[dict[str, float], dict[str, float]]]

    def table(self) -> str:
        """Policy and clips side by side."""
        tables = []
        for heads in _TABLES:
            names = [name for name in heads if any(name in policy for policy, _ in self.rows.values())]
            lines = ["  " + f"{'policy | clips':<22}" + "".join(f"{heads[name]:^17}" for name in names)]
            for row, (policy, clips) in self.rows.items():
                line = f"  {row:<22}"
                for name in names:
                    ours, theirs = (metrics.cell(side.get(name), COLUMNS[name][1]) for side in (policy, clips))
                    line += f"{ours:>7} |{theirs:>6}  "
                lines.append(line)
            tables.append("\n".join(line.rstrip() for line in lines))
        return "\n\n".join(tables)

    def to_json(self) -> dict[str, Any]:
        """Plain data; missing numbers are null."""

        def plain(row: dict[str, float]) -> dict[str, float | None]:
            return {name: round(v, 5) if math.isfinite(v) else None for name, v in row.items()}

        return {
            "rows": {name: {"policy": plain(p), "clips": plain(c)} for name, (p, c) in self.rows.items()},
            "definitions": {name: {"unit": unit, "definition": text} for name, (unit, _, text) in COLUMNS.items()},
        }


def measure(
    rollout: Rollout, clips: Sequence[Tracks], database: Database, judge: Judge | None, demos: tuple[Tensor, Tensor]
) -> Bins:
    """Bins of the commands of ``rollout``.

    Args:
        rollout: with the commands of HumanoidMM.
        clips: tracks of the clips, commanded what they do.
        database: scale of the pose features.
        judge: for style rewards.
        demos: places ``[n]`` in the flattened rollout and logits ``[n]`` of the clip moments that answer there.
    """
    tracks = Tracks.of_rollout(rollout)
    fallen = rollout.done.float()
    fallen[-1] = 0.0  # the clock has run out
    extra = {"falls": fallen * rollout.fps * 60.0}
    if judge is not None:
        extra["style_reward"] = judge.reward(rollout.reward["style_logit"])
    policy = Frames.of(tracks, database, {k: v for k, v in extra.items() if k != "falls"})
    reference = Frames.together([Frames.of(track, database) for track in clips])
    # an episode's last frame has no neighbour, so falls are counted over all frames
    bins = of_command(rollout.command["goal_velocity"], rollout.command["turn_rate"]).flatten()
    falls, places = extra["falls"].flatten(), demos[0]
    rows = {}
    for index in (*range(len(NAMES)), None):
        mine = policy.where(index)
        if len(mine.bins) < round(rollout.fps):
            continue
        theirs = reference.where(index)
        here = torch.ones_like(bins, dtype=torch.bool) if index is None else bins == index
        ours = {"share": 100.0 * len(mine.bins) / len(policy.bins)} | mine.means()
        ours |= {"frechet": frechet.distance(mine.poses, theirs.poses), "falls": float(falls[here].mean())}
        clip = {"share": 100.0 * len(theirs.bins) / len(reference.bins)}
        if len(theirs.bins):
            clip |= theirs.means() | {"frechet": theirs.floor()}
        if judge is not None and bool(here[places].any()):
            clip["style_reward"] = float(judge.reward(demos[1][here[places]]).mean())
        rows["all" if index is None else NAMES[index]] = (ours, clip)
    return Bins(rows)
