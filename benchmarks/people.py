"""Many people who do the same few things: clips for databases of any size, in which feet that stand do stand.

``search.py`` adds swings to every joint, which asks the most of a search; feet slide there. Here the ground is bent
and stretched (by a map that keeps angles; what did not move does not move afterwards either), legs are solved anew for
where the feet then are, everything goes faster or slower, and the upper body has a posture, an energy and slow
movements of its own.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from search import Another, swings
from torch import Tensor

from isaacmm import rotation
from isaacmm.character import CharacterModel
from isaacmm.matching.controller.leg import FootPose, Legs
from isaacmm.matching.controller.root import turned
from isaacmm.motion.clip import Motion

#: Newton steps per leg.
STEPS = 8


def people(character: CharacterModel) -> Another:
    """Somebody else's way to do the same, for ``search.database``."""
    return partial(_person, character, Legs(character))


def _person(character: CharacterModel, legs: Legs, motion: Motion, draw: torch.Generator, mirrored: bool) -> Motion:

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand(1, generator=draw))

    motion = motion.mirror() if mirrored else motion
    skeleton, time = motion.skeleton, torch.arange(motion.num_frames) / motion.fps
    upper = _upper_body(character)
    pos, rot = motion.fk()
    feet = pos[:, character.foot_ids], rot[:, character.foot_ids]
    begin, heading = motion.root_pos[0, :2], rotation.yaw(motion.root_rot[:1])
    aside = float(turned(motion.root_pos[:, :2] - begin, -heading)[:, 1].abs().max())
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
    swing = swing + 0.03 * swings(time, 3 * count, draw, 0.05, 0.5, sines=3).view(-1, count, 3)
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
    flat = turned(pos[..., :2] - begin, -heading) * size
    along, left = flat.unbind(-1)
    angle = curvature * along
    if abs(curvature) > 1e-4:
        shrink = torch.exp(-curvature * left)
        flat = torch.stack((shrink * torch.sin(angle), 1.0 - shrink * torch.cos(angle)), dim=-1) / curvature
    where = torch.cat((turned(flat, heading) + begin, pos[..., 2:]), dim=-1)
    return where, rotation.from_yaw(angle)


def _upper_body(character: CharacterModel) -> list[int]:
    """Joints (bodies but the root, counted from 0) that lead to no foot."""
    parents, below = character.skeleton.parents, set()
    for foot in character.foot_ids:
        while foot > 0:
            below.add(foot)
            foot = parents[foot]
    return [body - 1 for body in range(1, len(parents)) if body not in below]
