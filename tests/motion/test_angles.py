"""Hinge angles that stay on the side of their limits: the cheapest sequence of triples."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path

import torch

from isaacmm import rotation
from isaacmm.character import CharacterModel
from isaacmm.motion import angles
from isaacmm.motion.clip import Motion


def test_the_path_found_is_the_cheapest_of_all() -> None:
    draw = torch.Generator().manual_seed(0)
    states = torch.rand(9, 5, 2, generator=draw)
    steps = torch.rand(8, 5, 2, 2, generator=draw)
    found = angles._cheapest(states, steps)
    for joint in range(5):
        def cost(path: tuple[int, ...], joint: int = joint) -> float:
            there = sum(float(states[t, joint, s]) for t, s in enumerate(path))
            return there + sum(float(steps[t, joint, a, b]) for t, (a, b) in enumerate(itertools.pairwise(path)))

        best = min(itertools.product((0, 1), repeat=9), key=cost)
        assert tuple(found[:, joint].tolist()) == best


def test_ordinary_clips_keep_their_curves(humanoid: CharacterModel, make_motion: Callable[..., Motion]) -> None:
    motion = make_motion(frames=90)
    torch.testing.assert_close(motion.dof_pos(), angles.nearest_curves(humanoid.skeleton, motion.joint_rot))


def test_a_leg_over_the_pole_comes_back_within_its_limits(humanoid: CharacterModel) -> None:
    """A hip tucks beyond 90 degrees past the pole of its hinges, quickly, and comes back: the same pose before and
    after has the same angles."""
    skeleton = humanoid.skeleton
    dof = torch.zeros(40, skeleton.num_dofs)
    tuck = -1.75 * torch.exp(-((torch.arange(40) - 18.0) / 6.0) ** 2)
    dof[:, skeleton.dof("right_hip_y")] = tuck
    dof[:, skeleton.dof("right_hip_x")] = -0.35
    dof[18:, skeleton.dof("right_hip_z")] = 0.5
    motion = Motion(skeleton, torch.zeros(40, 3), rotation.identity(40), skeleton.dofs_to_joint_rot(dof), 16.0)
    found = motion.dof_pos()
    low, high = skeleton.dof_limits.unbind(-1)
    over = torch.maximum(low - found, found - high).clamp(min=0.0)
    assert float(over.mean()) < 0.01
    assert float((found[-5:] - dof[-5:]).abs().max()) < 0.02
    again = skeleton.dofs_to_joint_rot(found)
    assert float(rotation.angle_between(again, motion.joint_rot).max()) < 1e-3


def test_the_recorded_backflip(recorded_motions: Path, humanoid: CharacterModel) -> None:
    """29 frames at 16 fps: nothing doubled, and its flight falls as fast as gravity has it at that rate."""
    from isaacmm.motion.findings import _centres

    motion = Motion.load(recorded_motions / "poselib_npy_cmu/amp_humanoid_backflip.npy", humanoid.skeleton)
    low, high = humanoid.skeleton.dof_limits.unbind(-1)

    def beyond(dof: torch.Tensor) -> float:
        return math.degrees(float(torch.maximum(low - dof, dof - high).clamp(min=0.0).mean()))

    assert beyond(angles.nearest_curves(humanoid.skeleton, motion.joint_rot)) > 10.0
    assert beyond(motion.dof_pos()) < 0.5
    pos, rot = motion.fk()
    mass = humanoid.body_mass
    centres = pos + rotation.rotate(rot, _centres(humanoid.mjcf, humanoid.skeleton.names).float())
    height = (centres[11:19, :, 2] * mass).sum(-1) / mass.sum()
    t = torch.arange(8.0)
    curve = torch.linalg.lstsq(torch.stack((t * t, t, t * 0 + 1), dim=1), height[:, None]).solution[:, 0]
    assert abs(math.sqrt(9.81 / (-2 * float(curve[0]))) - 16.0) < 2.0
