"""Many people who do the same few things: clips for databases of any size, in which feet that stand do stand.

``search.py`` adds swings to every joint, which asks the most of a search; feet slide there. Here the ground is bent
and stretched (by a map that keeps angles; what did not move does not move afterwards either), legs are solved anew for
where the feet then are, everything goes faster or slower, and the upper body has a posture, an energy and slow
movements of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from isaacmm import rotation
from isaacmm.character import CharacterModel
from isaacmm.matching.controller.leg import FootPose, Legs
from isaacmm.motion.clip import Motion
from isaacmm.motion.library import MotionLibrary

#: Newton steps per leg.
STEPS = 8


def people(given: Sequence[Motion], character: CharacterModel, seconds: float, seed: int = 0) -> MotionLibrary:
    """The clips ``given`` (of the character), and others' ways to do them until there are ``seconds`` in all."""
    draw, legs, motions = torch.Generator().manual_seed(seed), Legs(character), list(given)
    total = sum(m.duration for m in motions)
    while total < seconds:
        turn, which = divmod(len(motions) - len(given), len(given))
        motions.append(person(given[which], character, legs, draw, turn % 2 == 0))
        total += motions[-1].duration
    return MotionLibrary(motions, character.skeleton)


def person(motion: Motion, character: CharacterModel, legs: Legs, draw: torch.Generator, mirrored: bool) -> Motion:
    """Somebody else's way to do the same."""

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand(1, generator=draw))

    motion = motion.mirror() if mirrored else motion
    skeleton, time = motion.skeleton, torch.arange(motion.num_frames) / motion.fps
    upper = _upper_body(character)
    pos, rot = motion.fk()
    feet = pos[:, character.foot_ids], rot[:, character.foot_ids]
    begin, heading = motion.root_pos[0, :2], rotation.yaw(motion.root_rot[:1])
    aside = float(_along(motion.root_pos[:, :2] - begin, -heading)[:, 1].abs().max())
    ground = begin, heading, uniform(-0.25, 0.25) / max(1.0, 2.0 * aside), uniform(0.85, 1.05)
    root_pos, turn = bent(motion.root_pos, *ground)
    root_pos[:, 2] -= uniform(0.0, 0.02)
    lean = rotation.from_rotvec(0.03 * torch.randn(1, 3, generator=draw))
    root_rot = rotation.multiply(rotation.multiply(turn, motion.root_rot), lean.expand(motion.num_frames, 4))
    goal, turns = bent(feet[0], *ground)
    goal_turn = rotation.to_matrix(rotation.multiply(turns, feet[1]))

    joints = motion.joint_rot.clone()
    mean = rotation.normalize(joints[:, upper].mean(0, keepdim=True)).expand(motion.num_frames, -1, -1)
    swing = rotation.to_rotvec(rotation.multiply(rotation.inverse(mean), joints[:, upper])) * uniform(0.7, 1.3)
    count = len(upper)
    swing = swing + 0.08 * torch.randn(1, count, 3, generator=draw)
    swing = swing + 0.03 * _slow(time, 3 * count, draw).view(-1, count, 3)
    joints[:, upper] = rotation.multiply(mean, rotation.from_rotvec(swing))

    dofs = replace(motion, joint_rot=joints, contacts=None).dof_pos()
    home = dofs[:, legs.dofs]
    matrix = rotation.to_matrix(root_rot)
    dofs[:, legs.dofs.flatten()] = legs.solve(
        root_pos, matrix, home, home, FootPose(goal, goal_turn), STEPS
    )[0].flatten(1)
    tempo = uniform(0.85, 1.2)
    return Motion.from_dofs(skeleton, root_pos, root_rot, dofs, motion.fps * tempo, motion.name)


def bent(pos: Tensor, begin: Tensor, heading: Tensor, curvature: float, size: float) -> tuple[Tensor, Tensor]:
    """Places ``pos [T, ..., 3]`` m on a ground whose straight lines along ``heading`` from ``begin`` become arcs, and
    the turns there ``[T, ..., 4]``. In complex numbers ``z -> (exp(i k z) - 1) / (i k)``, a conformal map."""
    flat = _along(pos[..., :2] - begin, -heading) * size
    along, left = flat.unbind(-1)
    angle = curvature * along
    if abs(curvature) > 1e-4:
        shrink = torch.exp(-curvature * left)
        flat = torch.stack((shrink * torch.sin(angle), 1.0 - shrink * torch.cos(angle)), dim=-1) / curvature
    where = torch.cat((_along(flat, heading) + begin, pos[..., 2:]), dim=-1)
    return where, rotation.from_yaw(angle)


def _along(flat: Tensor, yaw: Tensor) -> Tensor:
    cos, sin = torch.cos(yaw), torch.sin(yaw)
    x, y = flat.unbind(-1)
    return torch.stack((cos * x - sin * y, sin * x + cos * y), dim=-1)


def _slow(time: Tensor, count: int, draw: torch.Generator) -> Tensor:
    """``[T, count]`` sums of three sines below 0.5 Hz, of root mean square 1."""
    rate, phase = 0.05 + 0.45 * torch.rand(3, count, generator=draw), torch.rand(3, count, generator=draw)
    return torch.sin(2 * math.pi * (time[:, None, None] * rate + phase)).sum(dim=1) / math.sqrt(1.5)


def _upper_body(character: CharacterModel) -> list[int]:
    """Joints (bodies but the root, counted from 0) that lead to no foot."""
    parents, below = character.skeleton.parents, set()
    for foot in character.foot_ids:
        while foot > 0:
            below.add(foot)
            foot = parents[foot]
    return [body - 1 for body in range(1, len(parents)) if body not in below]
