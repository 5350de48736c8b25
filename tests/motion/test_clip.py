"""Motion: slicing, resampling, mirroring, joining, checking."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from isaacmm import rotation
from isaacmm.errors import MotionError
from isaacmm.motion.clip import Motion

Make = Callable[..., Motion]


def test_slice_keeps_what_belongs_together(make_motion: Make) -> None:
    motion = make_motion(frames=30)
    motion.contacts = torch.arange(60).reshape(30, 2) % 3 == 0
    part = motion.slice(5, 12)
    assert part.num_frames == 7 and part.fps == motion.fps
    torch.testing.assert_close(part.root_pos, motion.root_pos[5:12])
    assert torch.equal(part.contacts, motion.contacts[5:12])
    assert part.duration == pytest.approx(6 / 30)


def test_resampling_hits_the_frames_both_rates_share(make_motion: Make) -> None:
    motion = make_motion(frames=31)
    double = motion.resample(60.0)
    assert (double.fps, double.num_frames) == (60.0, 61)
    assert double.duration == pytest.approx(motion.duration)
    torch.testing.assert_close(double.root_pos[::2], motion.root_pos)
    assert rotation.angle_between(double.joint_rot[::2], motion.joint_rot).max() < 1e-3
    half = motion.resample(15.0)
    assert half.num_frames == 16
    torch.testing.assert_close(half.root_pos, motion.root_pos[::2])


def test_resampling_interpolates_rotations_evenly(make_motion: Make) -> None:
    motion = make_motion(frames=11)
    motion.root_rot = rotation.from_yaw(torch.linspace(0, 1, 11))
    fine = motion.resample(300.0)
    torch.testing.assert_close(
        rotation.yaw(fine.root_rot), torch.linspace(0, 1, fine.num_frames), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("fps", [24.0, 29.97, 50.0, 61.0, 7.0])
def test_resampling_never_runs_past_the_end(make_motion: Make, fps: float) -> None:
    motion = make_motion(frames=37)
    other = motion.resample(fps)
    assert other.num_frames == math.floor(motion.duration * fps + 1e-6) + 1
    assert other.duration <= motion.duration + 1e-6
    assert torch.isfinite(other.joint_rot).all()
    with pytest.raises(MotionError):
        motion.resample(0)


def test_resampling_takes_contacts_of_the_nearest_frame(make_motion: Make) -> None:
    motion = make_motion(frames=10)
    motion.contacts = (torch.arange(10) >= 4)[:, None].expand(10, 2)
    contacts = motion.resample(90.0).contacts
    assert contacts is not None
    first = int(contacts[:, 0].nonzero()[0])
    assert first in (11, 12)  # frame 4 lies at 12, nearest from 10.5 on


def test_mirror_reflects_every_body(make_motion: Make, humanoid) -> None:
    motion = make_motion(frames=20)
    motion.contacts = torch.tensor([[True, False]]).expand(20, 2)
    motion.tags = ("turn-left",)
    mirrored = motion.mirror()
    order = list(humanoid.skeleton.mirror_bodies)
    flip = torch.tensor([1.0, -1.0, 1.0])
    torch.testing.assert_close(mirrored.fk()[0][:, order], motion.fk()[0] * flip, atol=2e-6, rtol=0)
    assert mirrored.contacts is not None and not mirrored.contacts[0, 0] and mirrored.contacts[0, 1]
    assert mirrored.tags == ("turn-right",)
    assert mirrored.name != motion.name


def test_mirror_agrees_with_the_mirrored_hinges_and_undoes_itself(make_motion: Make, humanoid) -> None:
    motion = make_motion(frames=20)
    order, signs = humanoid.skeleton.mirror_dofs
    torch.testing.assert_close(
        motion.mirror().dof_pos(), motion.dof_pos()[:, list(order)] * signs, atol=1e-5, rtol=0
    )
    twice = motion.mirror().mirror()
    torch.testing.assert_close(twice.root_pos, motion.root_pos)
    assert rotation.angle_between(twice.joint_rot, motion.joint_rot).max() < 1e-3


def test_concatenate(make_motion: Make) -> None:
    a, b = make_motion(frames=5), make_motion(frames=7, seed=1)
    joined = Motion.concatenate([a, b], name="both")
    assert joined.num_frames == 12 and joined.name == "both" and joined.contacts is None
    torch.testing.assert_close(joined.joint_rot[5:], b.joint_rot)
    with pytest.raises(MotionError, match="fps"):
        Motion.concatenate([a, make_motion(frames=5, fps=60.0)])


def test_hinge_angles_come_back(make_motion: Make, humanoid) -> None:
    motion = make_motion(frames=40)
    again = Motion.from_dofs(
        humanoid.skeleton, motion.root_pos, motion.root_rot, motion.dof_pos(), motion.fps, "again"
    )
    assert rotation.angle_between(again.joint_rot, motion.joint_rot).max() < 1e-3
    steps = (motion.dof_pos()[1:] - motion.dof_pos()[:-1]).abs().max()
    assert steps < 1.0, "no jump by a whole turn"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fps": 0.0}, "frame rate"),
        ({"fps": float("nan")}, "frame rate"),
        ({"root_rot": torch.zeros(10, 4)}, "frame 0"),
        ({"joint_rot": torch.zeros(10, 3, 4)}, "shapes"),
    ],
)
def test_impossible_clips_are_refused(make_motion: Make, change: dict, message: str) -> None:
    motion = make_motion(frames=10)
    assert motion.validate() is motion
    with pytest.raises(MotionError, match=message) as caught:
        replace(motion, **change).validate()
    assert motion.name in str(caught.value)


def test_nan_is_refused_with_its_frame(make_motion: Make) -> None:
    motion = make_motion(frames=10)
    motion.root_pos[7, 1] = float("nan")
    with pytest.raises(MotionError, match="frame 7"):
        motion.validate()
    with pytest.raises(MotionError, match="at least 2"):
        motion.slice(3, 4).validate()
