"""Metrics: what a person means by "good", as numbers.

Every metric is one function of :class:`Tracks`, so that the same arithmetic runs over what a policy
did and over the reference clips. Clips are never perfect (feet of captured motion slide, generated
ones float): only the two columns side by side say anything. The first line of each docstring is the
definition that tables and files show.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from isaacmm import rotation
from isaacmm.character import CharacterModel
from isaacmm.evaluate.rollout import Rollout
from isaacmm.evaluate.tracks import Tracks
from isaacmm.motion.clip import Motion

#: Contact slide: a sole point lower than this above the floor stands (m).
SLIDE_HEIGHT = 0.02
#: MANN's foot slide: height at which the weight has gone to zero (m).
MANN_HEIGHT = 0.025
#: GMD's skating ratio: a foot lower than this (m) that moves faster than this (m/s) skates.
SKATE_HEIGHT, SKATE_SPEED = 0.05, 0.5
#: Floating begins above this (m).
FLOAT_HEIGHT = 0.005


def speed(tracks: Tracks) -> float:
    """Mean velocity of the root along the commanded direction."""
    along, _ = _along(tracks)
    return _mean(along, tracks.unbroken(2))


def commanded_speed(tracks: Tracks) -> float:
    """Mean commanded speed; for clips their own mean speed."""
    return float(tracks.speed.mean())


def speed_error(tracks: Tracks) -> float:
    """Mean |velocity along the commanded direction - commanded speed|, frame by frame.

    A walk's root speeds up and slows down within a step by some 0.1 m/s, clips included.
    """
    along, wanted = _along(tracks)
    return _mean((along - wanted).abs(), tracks.unbroken(2))


def speed_error_1s(tracks: Tracks) -> float:
    """Mean |average over 1 s of (velocity along the commanded direction - commanded speed)|."""
    along, wanted = _along(tracks)
    window = round(tracks.fps)
    miss = (along - wanted).double()
    if len(miss) < window + 1:
        return math.nan
    total = torch.cat((torch.zeros_like(miss[:1]), miss.cumsum(0)))
    average = (total[window:] - total[:-window]) / window
    # the velocities of a window reach one frame beyond it on either side
    return _mean(average.abs(), tracks.unbroken(window + 1)[: len(average)])


def velocity_error(tracks: Tracks) -> float:
    """Mean |velocity of the root in its heading frame - commanded velocity (the spring's)|, frame by frame."""
    assert tracks.velocity is not None
    return _mean((local_velocity(tracks) - tracks.velocity[1:-1]).norm(dim=-1), tracks.unbroken(2))


def velocity_error_1s(tracks: Tracks) -> float:
    """Mean |average over 1 s of (velocity in the heading frame - commanded velocity)|."""
    assert tracks.velocity is not None
    window, miss = round(tracks.fps), (local_velocity(tracks) - tracks.velocity[1:-1]).double()
    if len(miss) < window:
        return math.nan
    average = miss.unfold(0, window, 1).mean(dim=-1)
    return _mean(average.norm(dim=-1), tracks.unbroken(window + 1)[: len(average)])


def heading_error(tracks: Tracks) -> float:
    """Mean angle between where the root faces and the commanded facing (or, without one, direction)."""
    yaw = rotation.yaw(tracks.body_rot[:, :, 0])
    wanted = torch.atan2(tracks.direction[..., 1], tracks.direction[..., 0])
    if tracks.facing is not None:
        wanted = tracks.facing
    return math.degrees(float(rotation.wrap_angle(yaw - wanted).abs().mean()))


def contact_slide(tracks: Tracks) -> float:
    """Mean horizontal speed of sole points lower than 2 cm above the ground.

    The ground is the 5th percentile of the lowest sole point's height, so that clips which float or
    sink a little are judged by their sliding alone.
    """
    points = tracks.sole_points()
    low = above_ground(points) < SLIDE_HEIGHT
    moved = (points[1:] - points[:-1])[..., :2].norm(dim=-1) * tracks.fps
    return _mean(moved, (low[1:] & low[:-1]) & tracks.unbroken(1)[:, :, None, None])


def mann_slide(tracks: Tracks) -> float:
    """Mean of d (2 - 2^(h/H)) over sole points lower than H = 2.5 cm; d: way along the ground per frame.

    Zhang et al. 2018 (MANN); heights above the ground as in :func:`contact_slide`. Per frame of the
    control rate (30 Hz by default).
    """
    points = tracks.sole_points()
    height = above_ground(points)[1:].clamp(min=0.0)
    moved = (points[1:] - points[:-1])[..., :2].norm(dim=-1) * 100.0
    return _mean(moved * mann_weight(height), (height < MANN_HEIGHT) & tracks.unbroken(1)[:, :, None, None])


def skating(tracks: Tracks) -> float:
    """Share of frames in which a foot below 5 cm moves faster than 0.5 m/s, also over a quarter second.

    Karunratanakul et al. 2023 (GMD), whose five frames at 20 Hz are a quarter second; a foot's place is the
    middle of its sole.
    """
    points = tracks.sole_points().mean(dim=-2)
    span = max(1, round(0.25 * tracks.fps))
    if len(points) <= span:
        return math.nan
    height = above_ground(points[..., None, :])[..., 0]
    low = (height[1:] < SKATE_HEIGHT) & (height[:-1] < SKATE_HEIGHT)
    at_once = (points[1:] - points[:-1])[..., :2].norm(dim=-1) * tracks.fps > SKATE_SPEED
    lately = (points[span:] - points[:-span])[..., :2].norm(dim=-1) * (tracks.fps / span) > SKATE_SPEED
    skates = (low[span - 1 :] & at_once[span - 1 :] & lately).any(dim=-1)
    return 100.0 * _mean(skates.float(), tracks.unbroken(span))


def penetration(tracks: Tracks) -> float:
    """Mean depth of the lowest sole point below the floor, max(0, -z)."""
    return 1000.0 * float(depth(tracks.sole_points()).mean())


def floating(tracks: Tracks) -> float:
    """Mean height of the lowest sole point above 5 mm, max(0, z - 5 mm). Runs have flight phases."""
    lowest = tracks.sole_points()[..., 2].flatten(2).amin(-1)
    return 1000.0 * float((lowest - FLOAT_HEIGHT).clamp(min=0.0).mean())


def jerk(tracks: Tracks) -> float:
    """Mean |third derivative of position| of hands and feet (the key bodies), third differences."""
    jerks = key_jerks(tracks)
    return _mean(jerks, tracks.unbroken(3)[:, :, None]) if len(jerks) else math.nan


@dataclass(frozen=True)
class Metric:
    """A row of the table.

    ``function`` is None where it is no function of motion alone; ``commanded`` ones need a commanded velocity.
    """

    name: str
    label: str
    unit: str
    digits: int
    function: Callable[[Tracks], float] | None = None
    text: str = ""
    commanded: bool = False

    @property
    def definition(self) -> str:
        """What exactly is measured, one line."""
        if self.function is None:
            return self.text
        return (self.function.__doc__ or "").strip().splitlines()[0].rstrip(".")


METRICS: tuple[Metric, ...] = (
    Metric("survival", "survival", "s", 2, text="Mean time to the first fall, fresh episodes, one per world"),
    Metric("full_episodes", "never fell", "%", 1, text="Share of worlds that did not fall"),
    Metric("speed", "speed", "m/s", 2, speed),
    Metric("commanded_speed", "commanded speed", "m/s", 2, commanded_speed),
    Metric("speed_error", "speed error", "m/s", 3, speed_error),
    Metric("speed_error_1s", "speed error, 1 s mean", "m/s", 3, speed_error_1s),
    Metric("velocity_error", "velocity error", "m/s", 3, velocity_error, commanded=True),
    Metric("velocity_error_1s", "velocity err., 1 s mean", "m/s", 3, velocity_error_1s, commanded=True),
    Metric("heading_error", "heading error", "deg", 1, heading_error),
    Metric("contact_slide", "foot slide in contact", "m/s", 3, contact_slide),
    Metric("mann_slide", "foot slide, MANN", "cm/frame", 3, mann_slide),
    Metric("skating", "skating ratio, GMD", "%", 1, skating),
    Metric("penetration", "penetration", "mm", 1, penetration),
    Metric("floating", "floating", "mm", 1, floating),
    Metric("jerk", "jerk", "m/s^3", 0, jerk),
    Metric("style_reward", "style reward", "", 2, text="Mean style reward by the checkpoint's discriminator"),
    Metric("judged_real", "taken for a clip", "%", 1, text="Share that the discriminator takes for clips"),
    Metric("frechet", "Frechet distance", "", 2, text="Of matching pose features, to the clips; clips: of halves"),
    Metric("leak", "leak probe", "%", 1, text="Held-out accuracy of telling clips from agent by the condition alone"),
)  # fmt: skip

Values = dict[str, float]


def of_tracks(tracks: Tracks) -> Values:
    """Every metric that is a function of motion."""
    return {
        metric.name: metric.function(tracks)
        for metric in METRICS
        if metric.function is not None and (tracks.velocity is not None or not metric.commanded)
    }


def of_rollout(rollout: Rollout) -> Values:
    """What a policy did: all recorded frames, and survival of the first episodes."""
    stood = rollout.survival >= rollout.seconds - 0.5 / rollout.fps
    values = {
        "survival": float(rollout.survival.mean()),
        "full_episodes": 100.0 * float(stood.float().mean()),
    }
    return values | of_tracks(Tracks.of_rollout(rollout))


def of_clips(
    motions: Sequence[Motion], weights: Sequence[float], character: CharacterModel, fps: float, ground: bool = False
) -> Values:
    """The same of reference clips, each at ``fps``, averaged with their weights in training."""
    return average([Tracks.of_motion(motion, character, fps, ground) for motion in motions], weights)


def average(clips: Sequence[Tracks], weights: Sequence[float]) -> Values:
    """Numbers of clips, averaged with ``weights``."""
    rows = [of_tracks(tracks) for tracks in clips]
    return {name: _weighted([row[name] for row in rows], weights) for name in rows[0]}


def _weighted(values: Sequence[float], weights: Sequence[float]) -> float:
    pairs = [(v, w) for v, w in zip(values, weights, strict=True) if math.isfinite(v)]
    total = sum(w for _, w in pairs)
    return sum(v * w for v, w in pairs) / total if total > 0 else math.nan


def _mean(values: Tensor, where: Tensor) -> float:
    """Mean of ``values`` where ``where`` (broadcast to it) holds; NaN where nowhere."""
    chosen = values[where.expand_as(values)]
    return float(chosen.double().mean()) if chosen.numel() else math.nan


def local_velocity(tracks: Tracks) -> Tensor:
    """Velocity of the root in its heading frame, ``[T - 2, N, 2]`` m/s of frames 1 to T-2."""
    velocity = tracks.root_velocity()
    return rotation.rotate_inverse(rotation.heading(tracks.body_rot[1:-1, :, 0]), velocity)[..., :2]


def mann_weight(height: Tensor) -> Tensor:
    """What a sole point counts at ``height`` m from 0 to :data:`MANN_HEIGHT` above the ground, 1 to 0 (MANN)."""
    return 2.0 - torch.exp2(height / MANN_HEIGHT)


def depth(points: Tensor) -> Tensor:
    """``[T, N]`` m below the floor of the lowest of sole points ``[T, N, F, C, 3]``; 0 above it."""
    return (-points[..., 2].flatten(2).amin(-1)).clamp(min=0.0)


def key_jerks(tracks: Tracks) -> Tensor:
    """``[T - 3, N, K]`` m/s^3 of hands and feet, third differences; none of less than four frames."""
    keys = tracks.body_pos[:, :, tracks.character.key_ids].double()
    return torch.diff(keys, n=3, dim=0).norm(dim=-1) * tracks.fps**3


def cell(value: float | None, digits: int) -> str:
    """A number for a table; ``-`` where there is none."""
    return "-" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def _along(tracks: Tracks) -> tuple[Tensor, Tensor]:
    """Velocity along the command and the commanded speed, ``[T - 2, N]`` m/s of frames 1 to T-2."""
    along = (tracks.root_velocity()[..., :2] * tracks.direction[1:-1]).sum(-1)
    return along, tracks.speed[1:-1]


def above_ground(points: Tensor) -> Tensor:
    """Heights ``[T, N, F, C]`` of sole points above the 5th percentile of the lowest one."""
    lowest = points[..., 2].flatten(2).amin(-1).flatten()
    rank = max(1, round(0.05 * len(lowest)))
    return points[..., 2] - lowest.kthvalue(rank).values


def definitions(values: Mapping[str, float]) -> dict[str, dict[str, str]]:
    """Unit and definition of every metric in ``values``, for files."""
    known = {metric.name: metric for metric in METRICS}
    return {name: {"unit": known[name].unit, "definition": known[name].definition} for name in values}
