"""Repair: doubled frames, NaN, floors that are too high, too low or sloping; loading a clip."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from isaacmm import rotation
from isaacmm.character import CharacterModel
from isaacmm.errors import MotionError
from isaacmm.motion import repair as repairs
from isaacmm.motion.clip import Motion
from isaacmm.motion.repair import (
    detect_doubled_frames,
    fill_nan_frames,
    ground,
    level,
    load_clip,
    nan_frames,
    repair,
    sole_height,
)

Make = Callable[..., Motion]


def repeated(motion: Motion, times: int, first: int = 0, last: int = 0) -> Motion:
    """Every frame ``times`` times, the frame rate as much higher; some frames cut off at the ends."""
    index = torch.arange(motion.num_frames).repeat_interleave(times)
    index = index[first : len(index) - last]
    signs = torch.where(torch.arange(len(index)) % 3 == 0, -1.0, 1.0)  # q and -q are the same pose
    return replace(
        motion,
        root_pos=motion.root_pos[index],
        root_rot=motion.root_rot[index] * signs[:, None],
        joint_rot=motion.joint_rot[index],
        contacts=None if motion.contacts is None else motion.contacts[index],
        fps=motion.fps * times,
    )


@pytest.mark.parametrize("times", [2, 3, 4])
@pytest.mark.parametrize("cut", [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_repeated_frames_are_found_and_dropped(make_motion: Make, times: int, cut: tuple[int, int]) -> None:
    motion = make_motion(frames=40)
    motion.contacts = torch.arange(80).reshape(40, 2) % 7 < 3
    doubled = repeated(motion, times, *cut)
    assert detect_doubled_frames(doubled) == times
    fixed, messages = repair(doubled)
    assert fixed.fps == pytest.approx(30.0)
    assert fixed.num_frames == 40
    torch.testing.assert_close(fixed.root_pos, motion.root_pos)
    assert torch.equal(fixed.contacts, motion.contacts)
    assert len(messages) == 1
    for word in (motion.name, "stored", f"{30 * times} fps", "40 of"):
        assert word in messages[0]
    assert detect_doubled_frames(fixed) == 1
    assert repair(fixed)[1] == []


def test_velocities_after_repair_are_the_true_ones(make_motion: Make) -> None:
    motion = make_motion(frames=60)
    fixed, _ = repair(repeated(motion, 2))
    speed = (fixed.root_pos[1:] - fixed.root_pos[:-1]).norm(dim=-1) * fixed.fps
    assert float(speed.min()) > 0.5 * float(speed.max()), "no more alternation between 0 and twice the speed"


def test_sound_clips_are_left_alone(make_motion: Make) -> None:
    motion = make_motion(frames=60)
    assert detect_doubled_frames(motion) == 1
    still = replace(
        motion,
        root_pos=motion.root_pos[:1].expand(60, 3),
        root_rot=motion.root_rot[:1].expand(60, 4),
        joint_rot=motion.joint_rot[:1].expand(60, 14, 4),
    )
    assert detect_doubled_frames(still) == 1, "standing still is not a fault"
    index = torch.cat((torch.arange(30), torch.full((20,), 29), torch.arange(30, 60)))  # a pause
    paused = replace(
        motion,
        root_pos=motion.root_pos[index],
        root_rot=motion.root_rot[index],
        joint_rot=motion.joint_rot[index],
    )
    assert detect_doubled_frames(paused) == 1
    fixed, messages = repair(paused)
    assert fixed.num_frames == 80 and not messages
    stutter = torch.arange(60)
    stutter[[10, 25, 40]] -= 1  # three dropped frames
    assert detect_doubled_frames(replace(motion, root_pos=motion.root_pos[stutter],
                                         root_rot=motion.root_rot[stutter],
                                         joint_rot=motion.joint_rot[stutter])) == 1  # fmt: skip
    assert detect_doubled_frames(motion.slice(0, 5)) == 1


def test_a_pause_in_a_doubled_clip_keeps_its_length(make_motion: Make) -> None:
    motion = make_motion(frames=40)
    index = torch.cat((torch.arange(20), torch.full((10,), 19), torch.arange(20, 40)))
    paused = replace(
        motion,
        root_pos=motion.root_pos[index],
        root_rot=motion.root_rot[index],
        joint_rot=motion.joint_rot[index],
    )
    fixed, _ = repair(repeated(paused, 2))
    assert fixed.num_frames == 50
    torch.testing.assert_close(fixed.root_pos, paused.root_pos)


def test_quaternions_get_unit_length_and_one_sign(make_motion: Make) -> None:
    motion = make_motion(frames=20)
    flips = torch.where(torch.arange(20) % 2 == 0, 1.004, -1.0)[:, None]
    fixed, _ = repair(replace(motion, root_rot=motion.root_rot * flips))
    torch.testing.assert_close(fixed.root_rot.norm(dim=-1), torch.ones(20))
    assert ((fixed.root_rot[1:] * fixed.root_rot[:-1]).sum(-1) > 0).all()
    assert float(rotation.angle_between(fixed.root_rot, motion.root_rot).max()) < 1e-3


# -------------------------------------------------------------------------------------- NaN
def test_nan_frames_are_listed(make_motion: Make) -> None:
    motion = make_motion(frames=30)
    motion.joint_rot[[4, 5, 6, 20], 3, 1] = float("nan")
    motion.root_pos[29, 2] = float("inf")
    assert nan_frames(motion) == [4, 5, 6, 20, 29]
    with pytest.raises(MotionError, match="4-6, 20, 29"):
        repair(motion)


def test_nan_frames_can_be_filled(make_motion: Make) -> None:
    motion = make_motion(frames=30)
    whole = replace(motion, root_pos=motion.root_pos.clone(), joint_rot=motion.joint_rot.clone())
    motion.joint_rot[[4, 5, 20]] = float("nan")
    motion.root_pos[[4, 29]] = float("nan")
    filled = fill_nan_frames(motion)
    assert not nan_frames(filled)
    assert float((filled.root_pos - whole.root_pos).norm(dim=-1).max()) < 0.05
    turned = rotation.angle_between(filled.joint_rot, whole.joint_rot)
    assert float(turned[:29].max()) < 0.1
    torch.testing.assert_close(filled.root_pos[29], whole.root_pos[28])  # at the end: held
    motion.root_pos[1:] = float("nan")
    with pytest.raises(MotionError, match="fewer than two"):
        fill_nan_frames(motion)


# ------------------------------------------------------------------------------------ floor
def standing(humanoid: CharacterModel, make_motion: Make, frames: int = 90, speed: float = 1.2) -> Motion:
    """Gliding along x in the zero pose with the soles exactly on the floor (what a stance is, all the time)."""
    motion = make_motion(frames=frames)
    motion.joint_rot = rotation.identity(frames, humanoid.skeleton.num_joints)
    motion.root_rot = rotation.identity(frames)
    motion.root_pos = torch.zeros(frames, 3)
    motion.root_pos[:, 0] = speed * torch.arange(frames) / motion.fps
    motion.root_pos[:, 2] -= sole_height(motion, humanoid)
    return motion


@pytest.mark.parametrize("offset", [-0.07, -0.02, 0.03, 0.5])
def test_soles_are_put_on_the_floor(humanoid: CharacterModel, make_motion: Make, offset: float) -> None:
    motion = standing(humanoid, make_motion)
    motion.root_pos[:, 2] += offset
    grounded, lift = ground(motion, humanoid)
    assert lift == pytest.approx(-offset, abs=1e-4)
    assert sole_height(grounded, humanoid).abs().max() < 1e-4
    torch.testing.assert_close(motion.root_pos[:, 2] + lift, grounded.root_pos[:, 2])


def test_a_clip_is_not_lowered_onto_its_head(humanoid: CharacterModel, make_motion: Make) -> None:
    """Standing 12 cm over the floor, but on its head for a moment: its proportions are off, not the floor."""
    motion = standing(humanoid, make_motion)
    motion.root_pos[:, 2] += 0.12
    down = motion.root_rot.clone()
    down[40:50] = rotation.from_axis_angle(
        torch.tensor([1.0, 0.0, 0.0]), torch.tensor(2.6)
    )  # nearly on the head
    motion.root_rot = down
    motion.root_pos[40:50, 2] += 0.03 - motion.fk()[0][40:50, :, 2].min()
    grounded, lift = ground(motion, humanoid)
    assert lift == pytest.approx(-0.03, abs=1e-4)
    assert float(grounded.fk()[0][..., 2].min()) > -1e-4


def test_small_offsets_and_jumps_are_left_alone(humanoid: CharacterModel, make_motion: Make) -> None:
    motion = standing(humanoid, make_motion)
    motion.root_pos[:, 2] += 0.004
    assert ground(motion, humanoid)[1] == 0.0
    motion.root_pos[30:60, 2] += 0.4  # a jump
    assert ground(motion, humanoid)[1] == 0.0
    motion.root_pos[45, 2] -= 1.0  # one bad frame
    assert abs(ground(motion, humanoid)[1]) < 0.01


@pytest.mark.parametrize("degrees", [-2.0, -0.5, 0.8, 1.2, 2.5])
@pytest.mark.parametrize("direction", [0.0, 0.7, 2.0])
def test_a_sloping_floor_is_levelled(
    humanoid: CharacterModel, make_motion: Make, degrees: float, direction: float
) -> None:
    motion = standing(humanoid, make_motion)
    turn = rotation.from_yaw(torch.tensor(direction))
    motion.root_pos = rotation.rotate(turn, motion.root_pos)
    motion.root_rot = turn.expand(90, 4).clone()
    way = motion.root_pos[:, :2].norm(dim=-1)
    motion.root_pos[:, 2] += math.tan(math.radians(degrees)) * way
    levelled, slope = level(motion, humanoid)
    assert math.degrees(slope) == pytest.approx(abs(degrees), abs=0.05)
    heights = sole_height(levelled, humanoid)
    assert float(heights.max() - heights.min()) < 0.006
    torch.testing.assert_close(levelled.root_pos[:, :2], motion.root_pos[:, :2])


def test_stairs_level_ground_and_standing_are_not_levelled(
    humanoid: CharacterModel, make_motion: Make
) -> None:
    motion = standing(humanoid, make_motion)
    assert level(motion, humanoid)[1] == 0.0
    steep = replace(motion, root_pos=motion.root_pos + motion.root_pos[:, :1] * torch.tensor([0.0, 0.0, 0.3]))
    assert level(steep, humanoid)[1] == 0.0
    place = standing(humanoid, make_motion, speed=0.1)
    place.root_pos[:, 2] += 0.02 * place.root_pos[:, 0]
    assert level(place, humanoid)[1] == 0.0


def test_ground_needs_the_character_s_bodies(humanoid: CharacterModel, make_motion: Make) -> None:
    motion = make_motion(frames=5)
    other = replace(motion, skeleton=replace(motion.skeleton, names=("hips", *motion.skeleton.names[1:])))
    with pytest.raises(MotionError, match="other names"):
        ground(other, humanoid)


# ---------------------------------------------------------------------------------- loading
@pytest.fixture
def faulty(tmp_path: Path, humanoid: CharacterModel, make_motion: Make) -> Path:
    """Doubled, sunk and sloping: the classic clip."""
    motion = standing(humanoid, make_motion)
    motion.root_pos[:, 2] += 0.02 * motion.root_pos[:, 0] - 0.08
    motion = repeated(motion, 2)
    motion.name = "classic"
    motion.save(tmp_path / "classic.npz")
    repairs._say_once.cache_clear()
    return tmp_path / "classic.npz"


def test_load_clip_repairs_and_says_so_once(
    faulty: Path, humanoid: CharacterModel, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        motion = load_clip(faulty, character=humanoid)
        load_clip(faulty, character=humanoid)
    assert motion.num_frames == 90 and motion.fps == 30.0
    assert sole_height(motion, humanoid).abs().max() < 0.006
    assert [sum(word in m for m in caplog.messages) for word in ("twice", "slopes", "soles were")] == [
        1,
        1,
        1,
    ]
    assert motion.skeleton is humanoid.skeleton


def test_load_clip_can_keep_the_file_as_it_is(faulty: Path, humanoid: CharacterModel) -> None:
    motion = load_clip(faulty, skeleton=humanoid.skeleton, character=humanoid, repair=False, ground=False)
    assert motion.num_frames == 180 and motion.fps == 60.0
    assert float(sole_height(motion, humanoid)[0]) == pytest.approx(-0.08, abs=1e-4)
    grounded = load_clip(faulty, character=humanoid, repair=False)
    assert grounded.num_frames == 180, "doubled frames kept, put on the floor"
    assert sole_height(grounded, humanoid).abs().max() < 0.006
    plain = load_clip(faulty)
    assert plain.num_frames == 90 and plain.skeleton is not humanoid.skeleton
