"""Putting right what :mod:`isaacmm.motion.findings` finds, one fault after the other, and saying what was done."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from isaacmm import rotation
from isaacmm.motion import findings, repair
from isaacmm.motion.clip import Motion
from isaacmm.motion.contacts import contacts, feet_of, mean_slide, penetration
from isaacmm.motion.io.files import frame_list
from isaacmm.motion.retarget.geometry import gaussian
from isaacmm.motion.skating import drift, skating_speed

if TYPE_CHECKING:
    from isaacmm.character import CharacterModel


def fix(motion: Motion, character: CharacterModel | None = None) -> tuple[Motion, list[str]]:
    """A clip with its faults put right; a sound clip comes back as it was.

    Order matters: values before time, time before space, space before feet.

    Args:
        motion: NaN allowed.
        character: if the clip is on its skeleton, floor, limits and feet are put right too.

    Returns:
        The clip and one sentence per repair.
    """
    said: list[str] = []
    broken = repair.nan_frames(motion)
    if broken:
        motion = repair.fill_nan_frames(motion)
        said.append(f"filled {len(broken)} frames with NaN from their neighbours: {frame_list(broken)}")
    words = {"flips": "gave quaternions one sign over time", "units": "gave quaternions unit length"}
    said += [f"{words[fault.code]} ({len(fault.frames)} frames)" for fault in findings.quaternions(motion)]
    motion, repeated = repair.repair(motion)
    said += repeated
    for find, mend, text in (
        (findings.stutters, between, "frames that repeated the one before, drawn between their neighbours"),
        (findings.teleports, join_jumps, "jumps of the whole body, taken out"),
        (findings.spikes, between, "frames that stuck out, drawn between their neighbours"),
    ):
        frames = find(motion)
        if frames:
            motion = mend(motion, frames)
            said.append(f"{len(frames)} {text}: {frame_list(frames)}")
    trembling, size = findings.tremble(motion)
    if trembling:
        motion = smoothed(motion)
        said.append(f"{trembling} joints trembled by up to {1000 * size:.0f} mm: smoothed over three frames or so")
    if character is None or motion.skeleton.names != character.skeleton.names:
        return motion, said
    motion, slope = repair.level(motion, character)
    if slope:
        said.append(f"levelled a floor that sloped by {math.degrees(slope):.1f} degrees")
    motion, lift = repair.ground(motion, character)
    if lift:
        said.append(f"{'lifted' if lift > 0 else 'lowered'} by {100 * abs(lift):.1f} cm onto the floor")
    motion, carried = stop_skating(motion, character)
    said += carried
    motion, limited = within_limits(motion, character)
    said += limited
    motion, planted = plant_feet(motion, character)
    return motion, said + planted


def between(motion: Motion, frames: Sequence[int]) -> Motion:
    """``frames`` drawn anew between the frames around them: positions linearly, rotations by slerp."""
    marked = motion.root_pos.clone()
    marked[list(frames)] = float("nan")
    filled = repair.fill_nan_frames(replace(motion, root_pos=marked))
    return replace(filled, contacts=motion.contacts)


def join_jumps(motion: Motion, frames: Sequence[int]) -> Motion:
    """The way from each of ``frames`` on moved and turned so that it goes on from the frame before.

    The step across a jump becomes the step before it, so that the speed goes on too.
    """
    pos, rot = motion.root_pos.clone(), motion.root_rot.clone()
    for f in frames:
        last = max(f - 2, 0)
        turn = rotation.multiply(rotation.heading(rot[f - 1]), rotation.inverse(rotation.heading(rot[f])))
        jump = rotation.angle_between(rot[f - 1], rot[f]) > findings.TELEPORT_TURN[0]
        turn = torch.where(jump, turn, rotation.identity().to(turn))
        goal = pos[f - 1] + (pos[f - 1] - pos[last])
        start = pos[f].clone()
        pos[f:] = rotation.rotate(turn, pos[f:] - start) + goal
        rot[f:] = rotation.multiply(turn, rot[f:])
    return replace(motion, root_pos=pos, root_rot=rotation.make_continuous(rot))


def smoothed(motion: Motion, sigma: float = 1.2) -> Motion:
    """Path and rotations averaged over neighbouring frames (Gaussian, ``sigma`` in frames), until nothing trembles."""
    for _ in range(6):
        turns = rotation.make_continuous(torch.cat((motion.root_rot[:, None], motion.joint_rot), dim=1).double())
        turns = rotation.normalize(gaussian(turns, sigma)).to(motion.root_rot)
        root_pos = gaussian(motion.root_pos.double(), sigma).to(motion.root_pos)
        motion = replace(motion, root_pos=root_pos, root_rot=turns[:, 0], joint_rot=turns[:, 1:])
        if not findings.tremble(motion)[0]:
            break
    return motion


def stop_skating(motion: Motion, character: CharacterModel) -> tuple[Motion, list[str]]:
    """A clip whose way over the ground does not fit its steps is moved as its feet say.

    What carrying soles do over the ground (:func:`isaacmm.motion.skating.drift`) is taken out of the root's way.
    """
    feet = feet_of(character)
    points = feet.points(*motion.fk())
    skates = skating_speed(points, contacts(motion, character), motion.fps)
    if not skates:
        return motion, []
    root_pos = motion.root_pos.clone()
    root_pos[1:, :2] -= (drift(points, motion.fps)[0].cumsum(dim=0) / motion.fps).to(root_pos)
    moved = float((root_pos - motion.root_pos)[-1].norm())
    text = (
        f"the feet that carry moved at {100 * skates:.0f} cm/s: the way was made to fit them (its end moves by "
        f"{moved:.2f} m)"
    )
    return replace(motion, root_pos=root_pos, contacts=None), [text]


def within_limits(motion: Motion, character: CharacterModel) -> tuple[Motion, list[str]]:
    """Hinges brought back within their limits; arms keep elbows and hands where they were as well as they can."""
    over, name = findings.beyond_limits(motion, character)
    if float(over.max()) <= findings.BEYOND:
        return motion, []
    from isaacmm.motion.retarget.transfer import limit_on_character

    share = 100 * float((over.amax(dim=1) > findings.BEYOND).float().mean())
    text = f"kept joints within their limits in {share:.0f}% of the frames (most: {name})"
    return limit_on_character(motion, character), [text]


def plant_feet(motion: Motion, character: CharacterModel) -> tuple[Motion, list[str]]:
    """Standing feet rolled on the floor instead of sliding over it or sinking into it; legs follow by IK."""
    touching = contacts(motion, character)
    feet = feet_of(character)
    points = feet.points(*motion.fk())
    slide, deep = mean_slide(points, touching, motion.fps), float(penetration(points).max())
    if slide <= findings.SLIDE and deep <= findings.SINK:
        return motion, []
    from isaacmm.motion.retarget.transfer import plant_on_character

    fixed = plant_on_character(motion, character, touching)
    after = feet.points(*fixed.fk())
    now, depth = mean_slide(after, touching, motion.fps), float(penetration(after).max())
    text = (
        f"planted the feet: standing ones slide at {100 * now:.1f} instead of {100 * slide:.1f} cm/s, the deepest sole "
        f"point is {1000 * depth:.0f} instead of {1000 * deep:.0f} mm under the floor"
    )
    return replace(fixed, contacts=touching), [text]
