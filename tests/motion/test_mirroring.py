"""Mirroring: every joint where a mirror shows it, whatever names and frames the skeleton has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from isaacmm import rotation
from isaacmm.errors import MotionError
from isaacmm.motion.clip import Motion
from isaacmm.motion.contacts import side_of
from isaacmm.motion.io import registry
from isaacmm.skeleton import Skeleton, _mirror_index

Make = Callable[..., Motion]


def away(motion: Motion) -> float:
    """Largest distance (m) between the mirrored clip's joints and the mirror image of the clip's."""
    order = list(motion.skeleton.mirror_bodies)
    image = motion.fk()[0][:, order] * torch.tensor([1.0, -1.0, 1.0])
    return float((motion.mirror().fk()[0] - image).norm(dim=-1).max())


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("LeftArm", "RightArm"), ("mixamorig:LeftArm", "mixamorig:RightArm"), ("lfemur", "rfemur"), ("l_leg", "r_leg"),
        ("upper_leg_l", "upper_leg_r"), ("Arm.L", "Arm.R"), ("LHipJoint", "RHipJoint"), ("arm_left", "arm_right"),
    ],
)  # fmt: skip
def test_names_of_both_sides(left: str, right: str) -> None:
    names = ("hips", left, "lower_lip", right, "lowerback", "rear")
    assert [_mirror_index(name, names) for name in names] == [0, 3, 2, 1, 4, 5]
    assert (side_of(left), side_of(right), side_of("lowerback"), side_of("rear")) == ("left", "right", "", "")


def other_frames(motion: Motion, seed: int = 0) -> Motion:
    """The same motion of the same joints, every body's frame turned by some angle of its own."""
    skeleton = motion.skeleton
    draw = torch.Generator().manual_seed(seed)
    turn = rotation.normalize(torch.randn(skeleton.num_bodies, 4, generator=draw))
    above = turn[[max(parent, 0) for parent in skeleton.parents]]
    bare = Skeleton(
        skeleton.names,
        skeleton.parents,
        rotation.rotate_inverse(above, skeleton.offsets),
        rotation.multiply(rotation.multiply(rotation.inverse(above), skeleton.rest_rotations), turn),
    )
    joints = rotation.multiply(rotation.multiply(rotation.inverse(turn[1:]), motion.joint_rot), turn[1:])
    return replace(motion, skeleton=bare, root_rot=rotation.multiply(motion.root_rot, turn[0]), joint_rot=joints)


@pytest.mark.parametrize("seed", [None, 1, 2, 3])
def test_frames_of_any_kind(make_motion: Make, seed: int | None) -> None:
    plain = make_motion(frames=30)
    motion = plain if seed is None else other_frames(plain, seed)
    torch.testing.assert_close(motion.fk()[0], plain.fk()[0], atol=1e-5, rtol=0)
    assert away(motion) < 1e-5
    twice = motion.mirror().mirror()
    torch.testing.assert_close(twice.fk()[0], motion.fk()[0], atol=1e-4, rtol=0)
    steps = rotation.angle_between(motion.mirror().joint_rot[1:], motion.mirror().joint_rot[:-1])
    assert float(steps.max()) < 0.5, "what moves smoothly does so in the mirror"


def test_recorded_skeletons(recorded_motions: Path) -> None:
    """Among them one whose zero pose has all bones in a line, and one with bones of slightly different lengths."""
    for name, most in (
        ("bvh_bandai_nc/dataset-1_run_normal_001.bvh", 0.001),
        ("bvh_cmu/11_01.amc", 0.03),
        ("amass_like_npz/cmu_01_01_amassfmt.npz", 0.001),
        ("loco_mujoco_npz/02-constspeed_full_humanoid.npz", 0.001),
        ("protomotions_motion_g1/g1_crouch_to_run.motion", 0.001),
    ):
        motion = registry.read(recorded_motions / name).slice(0, 20)
        assert sum(a != b for a, b in enumerate(motion.skeleton.mirror_bodies)) >= 16, name
        assert away(motion) < most, name


def test_sides_that_nobody_can_tell(make_motion: Make) -> None:
    motion = make_motion(frames=5)
    names = tuple(f"bone_{i}" for i in range(motion.skeleton.num_bodies))
    nameless = replace(motion, skeleton=replace(motion.skeleton, names=names))
    with pytest.raises(MotionError, match="no two joints are called left and right"):
        nameless.mirror()
