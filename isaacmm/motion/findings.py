"""What can be wrong with a clip, found and put in words; :mod:`isaacmm.motion.fixes` puts it right."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from isaacmm import rotation
from isaacmm.motion import repair
from isaacmm.motion.angles import dof_curves
from isaacmm.motion.cadence import mislabelled
from isaacmm.motion.clip import Motion
from isaacmm.motion.contacts import SPEED, contacts, feet_of, mean_slide, penetration, speeds
from isaacmm.motion.io.files import frame_list
from isaacmm.motion.retarget.feet import segments
from isaacmm.motion.skating import skating_speed

if TYPE_CHECKING:
    from isaacmm.character import CharacterModel

GRAVITY = 9.81
#: A root that moves faster than this in one step, and much faster than around it, was moved by a hand (m/s) ...
TELEPORT_SPEED = 8.0
#: ... or turned by one (rad in one step, and rad/s).
TELEPORT_TURN = (math.radians(50.0), 25.0)
#: A frame sticks out if a joint is this far from the middle of its neighbours (m), and many times farther than usual.
SPIKE = 0.035
#: What feet may do before it is said: slide (m/s), sink (m), hinges beyond their limits (rad).
SLIDE, SINK, BEYOND = 0.15, 0.01, math.radians(2.0)
#: Ballistic flight says a rate that differs by more than this factor.
RATE = 1.35
#: Joints tremble if most of them bend one way and the other in turn (share of the frames), by so much (m).
TREMBLE = (0.65, 0.005)
#: Frames that repeat the one before because a recording paused: at most so long (s).
PAUSE = 0.5


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        code: short name: nan, repeated, stutter, rate, flips, units, teleport, spike, jitter, slope, floor, sinking,
            sliding, limits.
        text: what, where, how much.
        frames: which, if it is about frames.
        fixable: whether ``--fix`` can put it right without guessing.
    """

    code: str
    text: str
    frames: tuple[int, ...] = ()
    fixable: bool = True


def find(motion: Motion, character: CharacterModel | None = None) -> list[Finding]:
    """Everything that is wrong with a clip, worst kinds first.

    Args:
        motion: as the file has it; NaN allowed.
        character: if the clip is on its skeleton, floor, soles and limits are looked at as well.
    """
    found: list[Finding] = []
    broken = repair.nan_frames(motion)
    if broken:
        found.append(Finding("nan", f"NaN in {len(broken)} frames: {frame_list(broken)}", tuple(broken)))
        if motion.num_frames - len(broken) < 2:
            return found
        motion = repair.fill_nan_frames(motion)
    factor = repair.detect_doubled_frames(motion)
    if factor > 1:
        rate = motion.fps / factor
        found.append(Finding("repeated", f"every frame is stored {factor} times: really {rate:g} fps"))
        motion = repair.drop_repeated_frames(motion, factor)
    found += quaternions(motion)
    motion = repair.repair(motion)[0]
    for code, frames, text in (
        ("stutter", stutters(motion), "frames that repeat the one before while everything moves"),
        ("teleport", teleports(motion), "jumps of the whole body"),
        ("spike", spikes(motion), "single frames that stick out"),
    ):
        if frames:
            found.append(Finding(code, f"{len(frames)} {text}: {frame_list(frames)}", tuple(frames)))
    trembling, size = tremble(motion)
    if trembling:
        found.append(Finding(
            "jitter", f"{trembling} of {motion.skeleton.num_bodies} joints tremble from frame to frame, by up to "
            f"{1000 * size:.0f} mm",
        ))  # fmt: skip
    if character is not None and motion.skeleton.names == character.skeleton.names:
        found += _on_character(motion, character)
    return found


def quaternions(motion: Motion) -> list[Finding]:
    """Signs that change from frame to frame, lengths that are not one."""
    q = torch.cat((motion.root_rot[:, None], motion.joint_rot), dim=1)
    found = []
    flips = ((q[1:] * q[:-1]).sum(-1) < 0).any(dim=1).nonzero().flatten()
    if len(flips):
        frames = tuple((flips + 1).tolist())
        found.append(Finding("flips", f"quaternions change their sign in {len(frames)} steps", frames))
    off = ((q.norm(dim=-1) - 1).abs() > 1e-3).any(dim=1).nonzero().flatten()
    if len(off):
        found.append(Finding("units", f"quaternions are not of unit length in {len(off)} frames", tuple(off.tolist())))
    return found


def stutters(motion: Motion) -> list[int]:
    """Frames that are equal to the one before, in the middle of movement.

    Single ones, and several on end if what they missed is made up for in one step: a recording that paused. Who stands
    still and goes on does not jump.
    """
    steps = repair.frame_steps(motion)
    if len(steps) < 4:
        return []
    usual = float(steps.median())
    if usual <= 1e-4:
        return []
    found: list[int] = []
    for first, last in segments(steps <= max(1e-7, 1e-3 * usual)):
        count = last - first + 1
        if count > 1:
            around = torch.cat((steps[max(0, first - 6) : first], steps[last + 2 : last + 8]))
            if first == 0 or last + 1 >= len(steps) or count > PAUSE * motion.fps:
                continue
            if float(steps[last + 1]) < 0.5 * (count + 1) * float(around.median()):
                continue
        found += range(first + 1, last + 2)
    return found


def teleports(motion: Motion) -> list[int]:
    """Frames into which the root jumps, or turns, as no body can (not those that end a pause of the recording)."""
    if motion.num_frames < 4:
        return []
    step = (motion.root_pos[1:] - motion.root_pos[:-1]).norm(dim=-1).double()
    turn = rotation.angle_between(motion.root_rot[1:], motion.root_rot[:-1]).double()
    jumped = (step * motion.fps > TELEPORT_SPEED) & (step > 4 * _around(step) + 0.02)
    turned = (turn > TELEPORT_TURN[0]) & (turn * motion.fps > TELEPORT_TURN[1]) & (turn > 4 * _around(turn))
    paused = set(stutters(motion))
    return [f for f in ((jumped | turned).nonzero().flatten() + 1).tolist() if f - 1 not in paused]


def _around(values: Tensor, half: int = 4) -> Tensor:
    """Median of the values around each one ``[T]``."""
    padded = torch.nn.functional.pad(values[None], (half, half), mode="replicate" if len(values) > 1 else "constant")[0]
    return padded.unfold(0, 2 * half + 1, 1).median(dim=-1).values


def spikes(motion: Motion) -> list[int]:
    """Single frames in which a joint is out of line and back in the next (jerk outliers).

    The path bends one way before, the other way in and again the first way after such a frame; a foot that
    strikes the ground bends it once, however hard.
    """
    if motion.num_frames < 7:
        return []
    pos = motion.fk()[0].double()
    pos = torch.cat((pos[:, :1], pos[:, 1:] - pos[:, :1]), dim=1)
    bend = pos[2:] - 2 * pos[1:-1] + pos[:-2]
    before, at, after = bend[:-2], bend[1:-1], bend[2:]
    away = (2 * at - before - after).norm(dim=-1) / 6
    size = at.square().sum(-1)
    returns = ((before * at).sum(-1) < -0.25 * size) & ((after * at).sum(-1) < -0.25 * size)
    # wide enough that what sticks out, which reaches two frames to either side, is not usual itself
    usual = torch.stack([_around(away[:, b], 8) for b in range(away.shape[1])], dim=1)
    hit = (returns & (away > SPIKE) & (away > 6 * usual)).any(dim=1)
    gone = {*teleports(motion), *stutters(motion)}
    return [f for f in (hit.nonzero().flatten() + 2).tolist() if not gone & {f, f + 1}]


def tremble(motion: Motion) -> tuple[int, float]:
    """How many joints tremble, and by how much the worst does (m, a typical frame's way from its neighbours' middle).

    Noise bends a path one way and the other in turn: second differences of neighbouring frames point against each
    other. Medians and counts, so that single frames that stick out do not matter. A third of the joints have to.
    """
    if motion.num_frames < 16:
        return 0, 0.0
    pos = motion.fk()[0].double()
    bend = pos[2:] - 2 * pos[1:-1] + pos[:-2]
    against = ((bend[1:] * bend[:-1]).sum(-1) < 0).double().mean(dim=0)
    size = 0.5 * bend.norm(dim=-1).median(dim=0).values
    hit = (against > TREMBLE[0]) & (size > TREMBLE[1])
    return (int(hit.sum()), float(size[hit].max())) if 3 * int(hit.sum()) >= len(hit) else (0, 0.0)


@lru_cache(maxsize=8)
def _centres(mjcf: Path, names: tuple[str, ...]) -> Tensor:
    """Centre of mass of every body in its own frame ``[B, 3]`` m."""
    import mujoco

    model = mujoco.MjModel.from_xml_path(str(mjcf))
    return torch.as_tensor(model.body_ipos[[model.body(name).id for name in names]])


def flight_rate(motion: Motion, character: CharacterModel) -> float | None:
    """Frames per second that ballistic flight speaks for, or None where nothing flies for long enough.

    Off the ground, the centre of mass falls with gravity and nothing else: a parabola fitted to its height says
    how long a frame lasts. Asked are stretches of at least five frames in which soles and all bodies are clear of
    the floor, that are long enough to fall by 2 cm, and that a parabola fits to 1 cm and a seventh of the fall.

    Args:
        motion: on the floor (:func:`isaacmm.motion.repair.ground`).
        character: whose body it is.
    """
    body_pos, body_rot = (x.double() for x in motion.fk())
    points = feet_of(character).points(body_pos, body_rot)
    soles = points[..., 2].flatten(1).amin(dim=1)
    resting = (speeds(points, motion.fps) < SPEED).flatten(1).any(dim=1)
    others = [b for b in range(len(character.skeleton.names)) if b not in character.foot_ids]
    mass = character.body_mass.double()
    centres = body_pos + rotation.rotate(body_rot, _centres(character.mjcf, character.skeleton.names).double())
    height = (centres[..., 2] * mass).sum(-1) / mass.sum()
    flying = (soles > 0.03) & (body_pos[:, others, 2].amin(dim=1) > 0.25)
    rates, weights = [], []
    for first, last in segments(flying):
        n = last - first + 1
        if n < 5 or float(soles[first : last + 1].max()) < 0.06:
            continue
        if float(resting[first : last + 1].double().mean()) > 0.3:  # stands, on something or over a floor too low
            continue
        t = torch.arange(n, dtype=torch.float64) - 0.5 * (n - 1)
        design = torch.stack((t**2, t, torch.ones_like(t)), dim=1)
        curve = torch.linalg.lstsq(design, height[first : last + 1, None]).solution[:, 0]
        rest = (design @ curve - height[first : last + 1]).abs().max()
        fall = -float(curve[0]) * (0.5 * n) ** 2
        if fall > 0.02 and float(rest) < 0.01 + 0.15 * fall:
            rates.append(math.sqrt(GRAVITY / (-2.0 * float(curve[0]))))
            weights.append(n**2)
    if not rates:
        return None
    return sum(r * w for r, w in zip(rates, weights, strict=True)) / sum(weights)


def _on_character(motion: Motion, character: CharacterModel) -> list[Finding]:
    found = []
    grounded = repair.ground(repair.level(motion, character)[0], character)[0]
    rate = flight_rate(grounded, character)
    if rate is not None and not 1 / RATE < rate / motion.fps < RATE:
        found.append(Finding(
            "rate", f"says {motion.fps:g} fps, but its flights fall as at {rate:.0f} fps", fixable=False
        ))  # fmt: skip
    elif (taken := mislabelled(grounded, character)) is not None:
        found.append(Finding(
            "rate", f"says {motion.fps:g} fps, but then its steps of {taken.length:.2f} m come {taken.rate:.0f} a "
            f"minute, which nobody's do: more like {taken.fps:.0f} fps", fixable=False,
        ))  # fmt: skip
    motion, slope = repair.level(motion, character)
    if slope:
        found.append(Finding("slope", f"the floor slopes by {math.degrees(slope):.1f} degrees"))
    motion, lift = repair.ground(motion, character)
    if lift:
        found.append(Finding("floor", f"{100 * abs(lift):.1f} cm too {'low' if lift > 0 else 'high'}"))
    points = feet_of(character).points(*motion.fk())
    touching = contacts(motion, character)
    deep = penetration(points).amax(dim=1)
    sunk = (deep > SINK).nonzero().flatten()
    if len(sunk):
        found.append(Finding(
            "sinking", f"soles go {100 * float(deep.max()):.1f} cm under the floor, over {100 * SINK:g} cm in "
            f"{100 * len(sunk) / len(deep):.0f}% of the frames", tuple(sunk.tolist()),
        ))  # fmt: skip
    slide = mean_slide(points, touching, motion.fps)
    skates = skating_speed(points, touching, motion.fps)
    if skates:
        found.append(Finding("sliding", f"the feet that carry move over the floor at {100 * skates:.0f} cm/s"))
    elif slide > SLIDE:
        found.append(Finding("sliding", f"standing feet slide at {100 * slide:.0f} cm/s on average"))
    over, name = beyond_limits(motion, character)
    if float(over.max()) > BEYOND:
        frames = (over.amax(dim=1) > BEYOND).nonzero().flatten().tolist()
        found.append(Finding(
            "limits", f"beyond joint limits in {100 * len(frames) / len(over):.0f}% of the frames, most {name} by "
            f"{math.degrees(float(over.max())):.1f} degrees", tuple(frames),
        ))  # fmt: skip
    return found


def beyond_limits(motion: Motion, character: CharacterModel) -> tuple[Tensor, str]:
    """By how much each hinge is outside its limits ``[T, D]`` rad, and the name of the worst."""
    skeleton = character.skeleton
    dof = dof_curves(skeleton, motion.joint_rot, motion.fps)
    low, high = skeleton.dof_limits.unbind(-1)
    over = torch.maximum(low - dof, dof - high).clamp(min=0.0)
    return over, skeleton.dof_names[int(over.amax(dim=0).argmax())]


def summary(found: Sequence[Finding]) -> str:
    """One line."""
    return ", ".join(f.code for f in found) if found else "nothing wrong"
