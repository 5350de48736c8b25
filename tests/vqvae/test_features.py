"""Features: every motion comes back, wherever and whatever it is."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from isaacmm import rotation
from isaacmm.character import CharacterModel
from isaacmm.errors import ConfigError, MotionError
from isaacmm.motion.clip import Motion
from isaacmm.motion.io import g1_robot
from isaacmm.vqvae.features import POSES, MotionFeatures, Start


@pytest.mark.parametrize("pose", POSES)
def test_a_motion_comes_back(make_motion: Callable[..., Motion], pose: str) -> None:
    motion = make_motion(frames=90, reach=0.5)
    spec = MotionFeatures.make(motion.skeleton, 30.0, pose=pose)
    again = spec.motion(spec.extract(motion), Start.of(motion))
    torch.testing.assert_close(again.fk()[0], motion.fk()[0], rtol=0, atol=2e-4)
    assert float(rotation.angle_between(again.joint_rot, motion.joint_rot).max()) < 2e-3


def test_place_and_direction_do_not_matter(make_motion: Callable[..., Motion]) -> None:
    motion = make_motion(frames=40)
    turn = rotation.from_yaw(torch.tensor(2.0))
    moved = Motion(
        motion.skeleton,
        rotation.rotate(turn.expand(40, 4), motion.root_pos) + torch.tensor([3.0, -1.0, 0.0]),
        rotation.multiply(turn, motion.root_rot),
        motion.joint_rot,
        motion.fps,
    )
    spec = MotionFeatures.make(motion.skeleton, 30.0)
    torch.testing.assert_close(spec.extract(moved), spec.extract(motion), rtol=0, atol=1e-4)


def test_positions_by_kinematics_are_those_of_the_motion(make_motion: Callable[..., Motion]) -> None:
    motion = make_motion(frames=20)
    spec = MotionFeatures.make(motion.skeleton, 30.0)
    x = spec.extract(motion)
    here = spec.local_positions(x)
    torch.testing.assert_close(here[:, 1:].flatten(1), spec.part(x, "body_positions"), rtol=0, atol=1e-5)
    pos, _ = motion.fk()
    turn = rotation.inverse(rotation.heading(motion.root_rot))[:, None].expand(-1, pos.shape[1], -1)
    ground = motion.root_pos * torch.tensor([1.0, 1.0, 0.0])
    torch.testing.assert_close(here, rotation.rotate(turn, pos - ground[:, None]), rtol=0, atol=1e-5)


def test_slices_cover_everything_once(humanoid: CharacterModel) -> None:
    spec = MotionFeatures.make(humanoid.skeleton, 30.0)
    ends = [0, *(piece.stop for piece in spec.slices)]
    assert [piece.start for piece in spec.slices] == ends[:-1] and ends[-1] == spec.size


def test_expmap_is_preferred_where_it_is_asked_for(humanoid: CharacterModel) -> None:
    skeleton = humanoid.skeleton
    assert MotionFeatures.make(skeleton, 30.0).pose == "columns"
    assert MotionFeatures.make(skeleton, 30.0, prefer_expmap=True).pose == "expmap"
    assert MotionFeatures.make(g1_robot.skeleton(), 30.0).pose == "dofs"
    with pytest.raises(ConfigError, match="expmap"):
        MotionFeatures.make(skeleton, 30.0, pose="expmaps")


def test_only_a_robots_hinges_in_its_order() -> None:
    robot = g1_robot.skeleton()
    hinges = [3, 0, 20]
    spec = MotionFeatures.make(robot, 30.0, hinges=hinges)
    assert spec.part(torch.arange(float(spec.size)), "joints").shape == (3,)
    dofs = torch.zeros(5, robot.num_dofs)
    dofs[:, hinges] = torch.tensor([0.3, -0.2, 0.5])
    root = torch.tensor([0.0, 0.0, 0.8]).expand(5, 3)
    motion = Motion.from_dofs(robot, root, rotation.identity(5), dofs, 30.0)
    x = spec.extract(motion)
    torch.testing.assert_close(spec.part(x, "joints")[2], torch.tensor([0.3, -0.2, 0.5]))
    torch.testing.assert_close(spec.motion(x).dof_pos(), dofs, rtol=0, atol=1e-5)


def test_a_spec_survives_saving(humanoid: CharacterModel) -> None:
    spec = MotionFeatures.make(humanoid.skeleton, 25.0, prefer_expmap=True)
    again = MotionFeatures.from_dict(spec.to_dict())
    assert again.slices == spec.slices and again.fps == 25.0
    assert again.skeleton.names == spec.skeleton.names
    assert torch.equal(again.skeleton.dof_axes, spec.skeleton.dof_axes)


def test_other_rates_are_resampled_and_other_skeletons_refused(make_motion: Callable[..., Motion]) -> None:
    motion = make_motion(frames=121, fps=60.0)
    spec = MotionFeatures.make(motion.skeleton, 30.0)
    assert len(spec.extract(motion)) == 61
    robot = g1_robot.skeleton()
    other = Motion.from_dofs(robot, torch.zeros(3, 3), rotation.identity(3), torch.zeros(3, 29), 30.0, "g1")
    with pytest.raises(MotionError, match="Retarget"):
        spec.extract(other)


def test_a_turn_goes_round(humanoid: CharacterModel) -> None:
    yaw = torch.linspace(0.0, 4 * math.pi, 121)
    root = torch.stack((yaw.cos(), yaw.sin(), torch.ones(121)), dim=1)
    dofs = torch.zeros(121, humanoid.skeleton.num_dofs)
    motion = Motion.from_dofs(humanoid.skeleton, root, rotation.from_yaw(yaw), dofs, 30.0)
    spec = MotionFeatures.make(humanoid.skeleton, 30.0)
    again = spec.motion(spec.extract(motion), Start.of(motion))
    torch.testing.assert_close(again.root_pos, root, rtol=0, atol=1e-4)


def test_decoded_quaternions_do_not_flip(make_motion: Callable[..., Motion]) -> None:
    """A fault in circulation: the function that was to keep signs continuous did nothing."""
    motion = make_motion(frames=120, reach=0.9)
    spec = MotionFeatures.make(motion.skeleton, 30.0)
    again = spec.motion(spec.extract(motion))
    for q in (again.root_rot, again.joint_rot):
        assert bool(((q[1:] * q[:-1]).sum(-1) > 0.0).all())
