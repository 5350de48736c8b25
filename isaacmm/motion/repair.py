"""What is wrong with clips in circulation, and putting it right.

The clips that most AMP set-ups train on hold every frame twice (30 Hz data labelled 60), so their
joint velocities alternate between zero and twice the truth, and several of them were grounded by
the ankle, so that the soles sink into the floor. Both are found and repaired when a clip is
loaded, and both are said.
"""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from isaacmm import rotation
from isaacmm.errors import MotionError

if TYPE_CHECKING:
    from isaacmm.character import CharacterModel
    from isaacmm.motion.clip import Motion
    from isaacmm.skeleton import Skeleton

log = logging.getLogger(__name__)

#: Two frames are the same if nothing moves more than this (m or quaternion component) ...
_STILL = 1e-6
#: ... or than this share of the clip's median step.
_STILL_SHARE = 1e-3
#: Share of the steps that must follow the pattern before a clip counts as doubled.
_REGULAR = 0.9
#: The lowest sole point carries the character while it is slower than this (m/s) ...
_STANCE_SPEED = 0.3
#: ... or in this share of the frames, whatever its speed (clips whose feet slide).
_STANCE_SHARE = 0.3
#: A floor offset smaller than this is left alone (m).
_LIFT_TOLERANCE = 0.005
#: A floor is levelled under clips that travel at least this far (m) ...
_LEVEL_TRAVEL = 1.5
#: ... if it slopes by this much (rad): 0.3 to 3 degrees.
_LEVEL_SLOPES = (0.005, 0.052)


def frame_steps(motion: Motion) -> Tensor:
    """How much the pose changes into each next frame, ``[T-1]``: the largest of the root's way (m) and
    the change of any quaternion component."""
    turns = torch.cat((motion.root_rot[:, None], motion.joint_rot), dim=1).double()
    same_side = torch.sign((turns[1:] * turns[:-1]).sum(-1, keepdim=True))  # q and -q are one rotation
    turned = (turns[1:] - same_side * turns[:-1]).abs().flatten(1).amax(dim=1)
    return torch.maximum(turned, (motion.root_pos[1:] - motion.root_pos[:-1]).abs().amax(dim=1).double())


def _moves(motion: Motion) -> Tensor:
    """``[T-1]`` bool: the pose really changes into the next frame."""
    steps = frame_steps(motion)
    real = steps[steps > _STILL]
    if not len(real):
        return steps > _STILL
    return steps > max(_STILL, _STILL_SHARE * float(real.median()))


def detect_doubled_frames(motion: Motion) -> int:
    """How many times every frame is stored: 1 for a sound clip, 2 for the classic doubled ones.

    A clip is called doubled only if the pose changes at every second step and at no other (with a
    tenth of exceptions), so that standing still, or one dropped frame, does not count.
    """
    if motion.num_frames < 8:
        return 1
    moving = _moves(motion).nonzero().flatten()
    if len(moving) < 4:
        return 1
    gaps = moving[1:] - moving[:-1]
    factor = int(gaps.median())
    if factor < 2:
        return 1
    # Standing still for a while inside a doubled clip makes gaps of a multiple of the factor.
    regular = (gaps == factor).double().mean()
    multiples = (gaps % factor == 0).double().mean()
    return factor if float(multiples) >= _REGULAR and float(regular) >= 0.5 else 1


def drop_repeated_frames(motion: Motion, factor: int) -> Motion:
    """Every ``factor`` equal frames become one, and the frame rate is divided by ``factor``."""
    starts = torch.cat((torch.tensor([0]), _moves(motion).nonzero().flatten() + 1))
    lengths = torch.diff(starts, append=torch.tensor([motion.num_frames]))
    # A run of 2 is one frame, of 4 a true pause of one; the last run may have been cut in half.
    copies = ((lengths.double() / factor) + 0.5 - 1e-9).floor().clamp(min=1).long()
    keep = torch.repeat_interleave(starts, copies)
    return replace(
        motion,
        root_pos=motion.root_pos[keep],
        root_rot=motion.root_rot[keep],
        joint_rot=motion.joint_rot[keep],
        contacts=None if motion.contacts is None else motion.contacts[keep],
        fps=motion.fps / factor,
    )


def repair(motion: Motion) -> tuple[Motion, list[str]]:
    """Put right what can be put right without guessing.

    Repeated frames are dropped and the true frame rate is restored; quaternions are brought to unit
    length and one sign. A clip with NaN frames is refused, by frame.

    Returns:
        The clip, and one sentence for every repair that changes what the clip says (an empty list for
        a sound clip).

    Raises:
        MotionError: NaN or infinite values; the message lists the frames.
    """
    name = motion.name or "clip"
    refuse_nan(motion)
    messages = []
    factor = detect_doubled_frames(motion)
    if factor > 1:
        before, fps = motion.num_frames, motion.fps
        motion = drop_repeated_frames(motion, factor)
        times = {2: "twice", 3: "three times"}.get(factor, f"{factor} times")
        messages.append(
            f"{name}: every frame is stored {times}: the file says {fps:g} fps, it moves at {motion.fps:g}. "
            f"Kept {motion.num_frames} of {before} frames; left alone, velocities would alternate between "
            f"0 and {factor} times the truth."
        )
    motion = replace(
        motion,
        root_rot=rotation.make_continuous(rotation.normalize(motion.root_rot)),
        joint_rot=rotation.make_continuous(rotation.normalize(motion.joint_rot)),
    )
    return motion, messages


# --------------------------------------------------------------------------- NaN
def nan_frames(motion: Motion) -> list[int]:
    """Indices of frames that hold a NaN or an infinity."""
    flat = torch.cat((motion.root_pos, motion.root_rot, motion.joint_rot.flatten(1)), dim=1)
    return (~torch.isfinite(flat).all(dim=1)).nonzero().flatten().tolist()


def refuse_nan(motion: Motion) -> None:
    """Raise a :class:`MotionError` that lists the frames with NaN or infinity, if there are any."""
    from isaacmm.motion.io.files import frame_list

    broken = nan_frames(motion)
    if broken:
        raise MotionError(
            f"{motion.name or 'clip'}: {len(broken)} of {motion.num_frames} frames hold NaN or infinity: "
            f"{frame_list(broken)}. Cut them out, export the clip again, or load it with nan='interpolate'."
        )


def fill_nan_frames(motion: Motion) -> Motion:
    """Broken frames filled in from their sound neighbours: positions linearly, rotations by slerp.

    Raises:
        MotionError: fewer than two sound frames.
    """
    broken = nan_frames(motion)
    if not broken:
        return motion
    good = torch.tensor(sorted(set(range(motion.num_frames)) - set(broken)))
    if len(good) < 2:
        raise MotionError(
            f"{motion.name or 'clip'}: fewer than two frames are free of NaN; export the clip again."
        )
    times = torch.arange(motion.num_frames)
    after = torch.searchsorted(good, times).clamp(1, len(good) - 1)
    low, high = good[after - 1], good[after]
    t = ((times - low) / (high - low)).clamp(0.0, 1.0).to(motion.root_pos)
    return replace(
        motion,
        root_pos=torch.lerp(motion.root_pos[low], motion.root_pos[high], t[:, None]),
        root_rot=rotation.slerp(motion.root_rot[low], motion.root_rot[high], t),
        joint_rot=rotation.slerp(
            motion.joint_rot[low], motion.joint_rot[high], t[:, None].expand(-1, motion.joint_rot.shape[1])
        ),
    )


# ------------------------------------------------------------------------- floor
def sole_height(motion: Motion, character: CharacterModel) -> Tensor:
    """Height of the lowest sole point in every frame, ``[T]`` m; negative below the floor."""
    body_pos, body_rot = motion.fk()
    return character.sole_points(body_pos, body_rot)[..., 2].flatten(1).amin(dim=1)


def floor_slope(motion: Motion, character: CharacterModel) -> tuple[Tensor, Tensor]:
    """Gradient ``[2]`` (m per m, along x and y) of the plane under the soles, and what remains ``[T]`` m.

    The plane hugs the lowest sole points from below: asymmetric least squares (Newey and Powell 1987),
    in which a point over the plane weighs a tenth of one under it, and less the higher it is, so that
    swing and flight do not count. Across the direction of travel, where there is nothing to measure,
    the plane stays level.
    """
    body_pos, body_rot = motion.fk()
    points = character.sole_points(body_pos, body_rot).flatten(1, 2).double()
    lowest = points[torch.arange(motion.num_frames), points[..., 2].argmin(dim=1)]
    ground_xy = lowest[:, :2] - lowest[:, :2].mean(dim=0)
    design = torch.cat((ground_xy, torch.ones_like(ground_xy[:, :1])), dim=1)
    ridge = torch.diag(torch.tensor([0.05, 0.05, 0.0], dtype=torch.float64)) * motion.num_frames * 0.1
    weight = torch.ones(motion.num_frames, dtype=torch.float64)
    plane = torch.zeros(3, dtype=torch.float64)
    for _ in range(20):
        weighted = design * weight[:, None]
        plane = torch.linalg.solve(weighted.T @ design + ridge, weighted.T @ lowest[:, 2])
        over = (lowest[:, 2] - design @ plane).clamp(min=0.0)
        weight = torch.where(over > 0.0, 0.1 / (1.0 + (over / 0.02) ** 2), 1.0)
    return plane[:2], lowest[:, 2] - design @ plane


def level(motion: Motion, character: CharacterModel) -> tuple[Motion, float]:
    """Take out a floor that slopes by a degree or two under a clip that travels.

    Capture volumes that are not calibrated level make a walk climb: the classic AMP walk gains 7 cm
    over 4 m. Heights are sheared along the ground, poses stay as they are. Slopes that are steeper
    than 3 degrees or do not explain the height of the soles (stairs, jumps on a box) are left alone.

    Returns:
        The clip and the slope taken out (rad, 0 where nothing was done).
    """
    travel = (motion.root_pos[:, :2].amax(dim=0) - motion.root_pos[:, :2].amin(dim=0)).norm()
    if float(travel) < _LEVEL_TRAVEL or not torch.isfinite(motion.root_pos).all():
        return motion, 0.0
    gradient, rest = floor_slope(motion, character)
    slope = float(torch.atan(gradient.norm()))
    before = sole_height(motion, character).double()
    # how far apart the lowest third of the frames lies, before and after
    spread_before = float(torch.quantile(before, 0.35) - torch.quantile(before, 0.02))
    spread_after = float(torch.quantile(rest, 0.35) - torch.quantile(rest, 0.02))
    if not _LEVEL_SLOPES[0] < slope < _LEVEL_SLOPES[1] or spread_after > 0.75 * spread_before:
        return motion, 0.0
    away = motion.root_pos[:, :2] - motion.root_pos[:, :2].mean(dim=0)
    lowered = motion.root_pos.clone()
    lowered[:, 2] -= away @ gradient.to(away)
    return replace(motion, root_pos=lowered), slope


def ground(motion: Motion, character: CharacterModel) -> tuple[Motion, float]:
    """Lift or lower the whole clip so that its soles touch the floor.

    The height is constant over the clip, so jumps stay jumps. The floor is where the lowest sole point
    is, in the median, while it hardly moves: a rigid sole dips a little under it when a heel or toe
    rolls. (Putting the lowest frames on the floor instead makes the character hover by a centimetre
    or two in all others, a height that no simulated walk can reach and every discriminator sees.) A clip
    is not lowered so far that another body goes under the floor: hands in a cartwheel, a back in a roll.

    Returns:
        The clip and by how much it was lifted (m, negative = lowered, 0 within half a centimetre).
    """
    if motion.skeleton.names != character.skeleton.names:
        raise MotionError(
            f"{motion.name or 'clip'}: cannot be put on the floor with the soles of {character.name!r}, "
            "whose bodies have other names; load the clip onto that character first."
        )
    body_pos, body_rot = motion.fk()
    points = character.sole_points(body_pos, body_rot).flatten(1, 2).double()
    height, lowest = points[..., 2].min(dim=1)
    if motion.num_frames > 2:
        velocity = torch.gradient(points, spacing=1.0 / motion.fps, dim=0)[0]
        speed = velocity[torch.arange(len(lowest)), lowest].norm(dim=-1)
        still = speed <= max(_STANCE_SPEED, float(torch.quantile(speed, _STANCE_SHARE)))
        height = height[still]
    lift = -float(height.median())
    others = [i for i in range(len(motion.skeleton.names)) if i not in character.foot_ids]
    lift = max(lift, -max(0.0, float(body_pos[:, others, 2].min())))
    if abs(lift) < _LIFT_TOLERANCE:
        return motion, 0.0
    return replace(motion, root_pos=motion.root_pos + motion.root_pos.new_tensor([0.0, 0.0, lift])), lift


# ------------------------------------------------------------------------ loading
@lru_cache(maxsize=256)
def _say_once(message: str) -> None:
    """One line in the log, however often the same clip is loaded."""
    log.warning(message)


def load_clip(
    path: str | Path,
    skeleton: Skeleton | None = None,
    character: CharacterModel | None = None,
    *,
    repair: bool = True,
    ground: bool | None = None,
    nan: str = "error",
    **options: Any,
) -> Motion:
    """Read a clip ready for use: repaired, on the floor, and what was done is logged (once per clip).

    With a character, foot contacts are found where the file has none.

    Args:
        path: the clip, any format of :mod:`isaacmm.motion.io.registry`.
        skeleton: character skeleton to map the clip onto; None: ``character``'s, else the file's.
        character: whose soles find the floor; None: no grounding.
        repair: False keeps repeated frames as the file has them (for experiments).
        ground: level the floor and put the soles on it; None: if ``character`` is given.
        nan: ``"error"`` refuses frames with NaN, ``"interpolate"`` fills them from their neighbours.
        options: the format's own.

    Raises:
        MotionError: see :func:`isaacmm.motion.io.registry.read`.
    """
    from isaacmm.motion.contacts import with_contacts
    from isaacmm.motion.io import registry

    if skeleton is None and character is not None:
        skeleton = character.skeleton
    motion = registry.read(path, skeleton=skeleton, nan=nan, **options)
    on_floor = ground is None or ground
    fix, put_down = globals()["repair"], globals()["ground"]  # the functions behind the argument names
    if repair:
        motion, messages = fix(motion)
        for message in messages:
            _say_once(message)
    if character is not None and on_floor:
        motion, slope = level(motion, character)
        if slope:
            _say_once(
                f"{motion.name or path}: the floor under its soles slopes by "
                f"{math.degrees(slope):.1f} degrees; heights were levelled."
            )
        motion, lift = put_down(motion, character)
        if lift:
            where = "under" if lift > 0 else "above"
            _say_once(
                f"{motion.name or path}: its soles were {100 * abs(lift):.1f} cm {where} the floor; "
                f"the clip was {'lifted' if lift > 0 else 'lowered'}."
            )
    return motion if character is None else with_contacts(motion, character)
