"""When a foot stands on the ground: low enough, slow enough, for long enough.

Works on a character (its soles are known) and on any skeleton whose foot and toe joints can be told
by their names; there the joints themselves are the points of the foot, and "low" is measured from the
height at which each of them comes to rest.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from isaacmm import rotation
from isaacmm.errors import MotionError, nearest
from isaacmm.skeleton import Skeleton

if TYPE_CHECKING:
    from isaacmm.character import CharacterModel
    from isaacmm.motion.clip import Motion

#: A point of the foot carries if it is slower than this (m/s; 0.15 at the toe in Motion Matching's usual
#: reference code, more here because heels and soles roll and 30 Hz data smear the touch-down) ...
SPEED = 0.35
#: ... and not higher than this above where it comes to rest (m).
HEIGHT = 0.035
#: Shorter touches and gaps are noise (s).
SHORTEST = 0.1


@dataclass(frozen=True)
class Feet:
    """Points of the feet: ``bodies [F][C]`` and where they are in them, ``offsets [F, C, 3]`` m.

    Feet with fewer points repeat their last one. ``sole``: the points are the sole itself, so that they
    rest at height 0; otherwise they are joints somewhere above it.
    """

    names: tuple[str, ...]
    bodies: tuple[tuple[int, ...], ...]
    offsets: Tensor
    sole: bool

    def points(self, body_pos: Tensor, body_rot: Tensor) -> Tensor:
        """World positions ``[T, F, C, 3]`` m."""
        ids = torch.tensor(self.bodies)
        return body_pos[:, ids] + rotation.rotate(body_rot[:, ids], self.offsets.to(body_pos))

    def points_of(self, body_pos: Tensor, body_matrix: Tensor) -> Tensor:
        """The same of rotation matrices ``[..., B, 3, 3]`` and positions ``[..., B, 3]``: ``[..., F, C, 3]``."""
        ids = torch.tensor(self.bodies, device=body_pos.device)
        turned = body_matrix[..., ids, :, :] @ self.offsets.to(body_pos).unsqueeze(-1)
        return body_pos[..., ids, :] + turned.squeeze(-1)


def feet_of(who: CharacterModel | Skeleton, names: Sequence[str] | None = None) -> Feet:
    """The feet of a character (its soles), or of a skeleton by the names of its joints.

    Args:
        who: a character, or any skeleton.
        names: ankle joints, one per foot; None: every joint called foot or ankle, right before left.

    Raises:
        MotionError: no joint's name says that it is a foot.
    """
    if not isinstance(who, Skeleton):
        bodies = tuple((foot,) * who.sole.shape[1] for foot in who.foot_ids)
        return Feet(tuple(who.feet), bodies, who.sole, True)
    if names is None:
        names = _ankles(who)
    if not names:
        some = ", ".join(who.names[:6])
        raise MotionError(
            f"no joint of this skeleton ({some}, ...) is called foot or ankle; name the feet (feet=...); "
            f"{nearest('foot', who.names)}"
        )
    groups, places = [], []
    for name in names:
        ankle = who.body(name)
        found = [(ankle, (0.0, 0.0, 0.0))]
        for child in _below(who, ankle):
            if "thumb" not in who.names[child].lower():
                found.append((child, (0.0, 0.0, 0.0)))
                if who.names[child] in who.end_sites:
                    found.append((child, who.end_sites[who.names[child]]))
        if len(found) == 1 and name in who.end_sites:
            found.append((ankle, who.end_sites[name]))
        groups.append([body for body, _ in found])
        places.append([place for _, place in found])
    most = max(len(g) for g in groups)
    for group, place in zip(groups, places, strict=True):
        group.extend(group[-1:] * (most - len(group)))
        place.extend(place[-1:] * (most - len(place)))
    return Feet(tuple(names), tuple(map(tuple, groups)), torch.tensor(places), False)


_PARTS = "hip|femur|tibia|foot|toe|knee|ankle|leg|clavicle|humerus|radius|wrist|hand|finger|thumb|shoulder|elbow|arm"


def side_of(name: str) -> str:
    """``left``, ``right``, or ``""`` for a name without: LeftFoot, foot_l, L_Ankle, mixamorig:LeftFoot, lfemur."""
    bare = name.rsplit(":", 1)[-1]
    for side in ("left", "right"):
        if side in bare.lower():
            return side
    for letter, side in (("l", "left"), ("r", "right")):
        if re.search(rf"(^{letter}[_. ])|([_. ]{letter}$)|([_. ]{letter}[_. ])", bare, re.IGNORECASE):
            return side
        if re.match(rf"{letter.upper()}[A-Z]|{letter}({_PARTS})", bare):
            return side
    return ""


def _ankles(skeleton: Skeleton) -> list[str]:
    """Joints called foot or ankle; of a foot below an ankle (SMPL calls its toes so) only the upper one."""
    called = [i for i, n in enumerate(skeleton.names) if re.search(r"foot|ankle", n, re.IGNORECASE)]
    top = [i for i in called if skeleton.parents[i] not in called]
    top.sort(key=lambda i: {"right": 0, "left": 1}.get(side_of(skeleton.names[i]), 2))
    return [skeleton.names[i] for i in top]


def _below(skeleton: Skeleton, body: int) -> list[int]:
    found = [body]
    for i, parent in enumerate(skeleton.parents):
        if parent in found and i not in found:
            found.append(i)
    return found[1:]


def speeds(points: Tensor, fps: float) -> Tensor:
    """Speed ``[T, ...]`` m/s of points ``[T, ..., 3]``: central differences, one-sided at the ends."""
    if len(points) < 2:
        return torch.zeros_like(points[..., 0])
    return torch.gradient(points, spacing=1.0 / fps, dim=0)[0].norm(dim=-1)


def rest_heights(points: Tensor, fps: float, speed: float = SPEED) -> Tensor:
    """Height ``[F, C]`` m at which each point ``[T, F, C, 3]`` comes to rest.

    The lower quarter of its heights while it is slow (or in the slowest fifth of the frames, whatever their
    speed): low, but not the one frame in which a joint dips.
    """
    fast = speeds(points, fps)
    bound = torch.quantile(fast.double(), 0.2, dim=0).to(fast).clamp(min=speed)
    z = points[..., 2].masked_fill(fast > bound, float("nan"))
    # joints of a foot that only ever hover (a dragged toe) are no floor: the lowest decile counts for all
    return torch.nanquantile(z.double(), 0.15, dim=0).to(points)


def contacts(
    motion: Motion,
    who: CharacterModel | Skeleton | Feet | None = None,
    *,
    speed: float = SPEED,
    height: float = HEIGHT,
    shortest: float = SHORTEST,
) -> Tensor:
    """Which foot is on the ground, ``[T, F]`` bool: a point of it is low and slow.

    Args:
        motion: the clip, z up.
        who: whose feet: a character (its soles on the floor z = 0), a skeleton, or feet; None: the clip's skeleton.
        speed: m/s below which a point of the foot counts as standing.
        height: m above rest up to which it counts as low.
        shortest: s; touches and gaps shorter than half of this are taken out by a median filter.
    """
    feet = who if isinstance(who, Feet) else feet_of(motion.skeleton if who is None else who)
    points = feet.points(*motion.fk())
    rest = torch.zeros_like(points[0, ..., 2]) if feet.sole else rest_heights(points, motion.fps, speed)
    low = points[..., 2] < rest + height
    touching = (low & (speeds(points, motion.fps) < speed)).any(dim=-1)
    return median_filter(touching, round(shortest * motion.fps))


def median_filter(flags: Tensor, width: int) -> Tensor:
    """Majority of ``width`` frames (made odd) around each frame of ``flags [T, ...]`` bool; ends are held."""
    half = width // 2
    if half < 1 or len(flags) < 2:
        return flags
    padded = torch.cat((flags[:1].expand(half, *flags.shape[1:]), flags, flags[-1:].expand(half, *flags.shape[1:])))
    total = torch.cat((torch.zeros_like(padded[:1], dtype=torch.long), padded.long().cumsum(0)))
    return total[2 * half + 1 :] - total[: len(flags)] > half


def with_contacts(motion: Motion, who: CharacterModel | Skeleton | None = None) -> Motion:
    """The clip with its contacts, found where the file brought none; a skeleton without feet is left as it is."""
    if motion.contacts is not None or motion.num_frames < 2:
        return motion
    try:
        return replace(motion, contacts=contacts(motion, who))
    except MotionError:
        return motion


def at_lowest(points: Tensor, values: Tensor) -> Tensor:
    """Of ``values [..., T - 1, F, C]``, of steps between frames, those of each foot's lowest point ``[..., T - 1, F]``:
    lowest in the middle of the step. ``points [..., T, F, C, 3]`` m."""
    lowest = (points[..., 1:, :, :, 2] + points[..., :-1, :, :, 2]).argmin(dim=-1, keepdim=True)
    return values.gather(-1, lowest)[..., 0]


def slide_speed(points: Tensor, touching: Tensor, fps: float) -> Tensor:
    """How fast the lowest point of each standing foot moves along the ground, ``[T, F]`` m/s; 0 where none stands.

    The velocity is that of one material point from frame to frame (the one that is lowest in the middle), so
    that rolling from heel to toe is no slide.

    Args:
        points: ``[T, F, C, 3]`` m.
        touching: ``[T, F]`` bool; a step counts if the foot stands at both ends of it.
        fps: frames per second.
    """
    slide = torch.zeros(points.shape[:2], dtype=points.dtype)
    if len(points) < 2:
        return slide
    step = at_lowest(points, (points[1:, ..., :2] - points[:-1, ..., :2]).norm(dim=-1))
    slide[1:] = step * fps * (touching[1:] & touching[:-1])
    return slide


def mean_slide(points: Tensor, touching: Tensor, fps: float) -> float:
    """Mean of :func:`slide_speed` over the steps of standing feet, m/s (0 if none stands)."""
    steps = touching[1:] & touching[:-1]
    if not bool(steps.any()):
        return 0.0
    return float(slide_speed(points, touching, fps)[1:][steps].mean())


def penetration(points: Tensor, rest: Tensor | float = 0.0) -> Tensor:
    """How deep the lowest point of each foot is under where it rests, ``[T, F]`` m."""
    return (rest - points[..., 2]).amax(dim=-1).clamp(min=0.0)
