"""BVH as written: round trips, what a file looks like, smooth curves, root motion."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from isaacmm import rotation
from isaacmm.character import CharacterModel
from isaacmm.errors import MotionError
from isaacmm.motion.clip import Motion
from isaacmm.motion.io import registry
from isaacmm.motion.io.bvh import root_track
from isaacmm.motion.io.bvh_text import parse
from isaacmm.skeleton import Skeleton
from tests.motion.made_bvh import build


def difference(a: Motion, b: Motion) -> tuple[float, float]:
    """Largest distance (m) and angle (rad) between the bodies of two motions."""
    (pos_a, rot_a), (pos_b, rot_b) = a.fk(), b.fk()
    return float((pos_a - pos_b).norm(dim=-1).max()), float(rotation.angle_between(rot_a, rot_b).max())


@pytest.mark.parametrize("order", ["ZXY", "ZYX", "YXZ", "XYZ"])
@pytest.mark.parametrize("root_motion", [False, True])
def test_round_trip(
    tmp_path: Path, make_motion: Callable, humanoid: CharacterModel, order: str, root_motion: bool
) -> None:
    motion = make_motion(frames=90, reach=0.95)
    file = tmp_path / "clip.bvh"
    registry.write(motion, file, order=order, root_motion=root_motion)
    back = registry.read(file, skeleton=humanoid.skeleton)
    metres, radians = difference(motion, back)
    assert metres < 1e-5 and radians < 2e-5  # 0.01 mm, 0.001 degrees
    assert back.fps == motion.fps and back.num_frames == motion.num_frames
    own = registry.read(file)
    assert own.skeleton.names == humanoid.skeleton.names
    np.testing.assert_allclose(own.fk()[0], motion.fk()[0], atol=1e-5)
    torch.testing.assert_close(back.dof_pos(), motion.dof_pos(), atol=1e-4, rtol=0)


@pytest.mark.parametrize("fps", [16.0, 24.0, 29.97, 30.0, 60.0, 120.0, 500.0])
def test_frame_rate_survives(tmp_path: Path, make_motion: Callable, fps: float) -> None:
    registry.write(make_motion(frames=4, fps=fps), tmp_path / "a.bvh")
    assert registry.read(tmp_path / "a.bvh").fps == pytest.approx(fps, rel=1e-5)


def test_what_a_file_looks_like(tmp_path: Path, make_motion: Callable) -> None:
    """Hips with six channels at the origin, joints with three, end sites on leaves, 30 fps as DCC tools write it."""
    registry.write(make_motion(frames=3), tmp_path / "a.bvh")
    content = (tmp_path / "a.bvh").read_text()
    lines = [line.strip() for line in content.splitlines()]
    assert lines[0] == "HIERARCHY" and lines[1] == "ROOT pelvis"
    assert lines[3] == "OFFSET 0.000000 0.000000 0.000000"
    assert lines[4] == "CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation"
    assert content.count("JOINT") == 14 and content.count("End Site") == 5
    assert content.count("CHANNELS 3 Zrotation Xrotation Yrotation") == 14
    assert "Frames: 3\nFrame Time: 0.03333333\n" in content
    text = parse(tmp_path / "a.bvh")
    head = text.offsets[text.names.index("head")]
    assert head[1] > 20 and abs(head[0]) < 1e-6, "y is up, in centimetres"
    assert text.offsets[text.names.index("left_thigh")][0] > 5, "left is +x, so it faces +z"
    assert text.end_sites["left_foot"][2] > 5, "toes point forwards"


def test_root_motion_track(tmp_path: Path, make_motion: Callable) -> None:
    motion = make_motion(frames=90)
    registry.write(motion, tmp_path / "a.bvh", root_motion=True)
    text = parse(tmp_path / "a.bvh")
    assert text.names[:2] == ["Root", "pelvis"]
    root, hips = text.values[:, :6], text.values[:, 6:12]
    ours = motion.root_pos.numpy() * 100
    np.testing.assert_allclose(root[:, [2, 0]], ours[:, :2], atol=1e-4)  # the path on the ground
    np.testing.assert_allclose(root[:, [1, 3, 4]], 0.0, atol=1e-6)  # no height, no tilt (ZXY: only Y turns)
    np.testing.assert_allclose(hips[:, 1], ours[:, 2], atol=1e-4)
    np.testing.assert_allclose(hips[:, [0, 2]], 0.0, atol=1e-6)
    heading = np.unwrap(rotation.yaw(motion.root_rot).numpy())
    assert np.abs(np.radians(root[:, 5]) - heading).max() < 0.15  # x axis and twist differ by the tilt only
    assert np.abs(np.diff(root[:, 5])).max() < 5


def test_root_track_through_a_somersault(make_motion: Callable) -> None:
    motion = make_motion(frames=61)
    pitch = torch.linspace(0, 2 * torch.pi, 61)
    motion.root_rot = rotation.from_axis_angle(torch.tensor([0.0, 1.0, 0.0]), pitch)
    _, turn = root_track(motion)
    assert float(rotation.angle_between(turn[1:], turn[:-1]).max()) < 0.05


def test_curves_are_smooth(tmp_path: Path, make_motion: Callable) -> None:
    motion = make_motion(frames=300, fps=60)
    spin = rotation.from_yaw(torch.linspace(0, 20, 300))
    motion.root_rot = rotation.multiply(spin, motion.root_rot)
    registry.write(motion, tmp_path / "a.bvh")
    text = parse(tmp_path / "a.bvh")
    columns = [c for channels in text.channels for c in channels]
    angles = text.values[:, [c.endswith("rotation") for c in columns]]
    fastest = float(rotation.angular_velocity(motion.joint_rot, 1 / 60).norm(dim=-1).max()) / 60
    assert np.abs(np.diff(angles, axis=0)).max() < 6 * np.degrees(max(fastest, 20 / 300 + 0.1))
    assert angles[-1, 2] > 360, "a spin goes on past a whole turn"


def turned_skeleton() -> Skeleton:
    """Frames that are turned at rest, bodies not in depth-first order, a name with a space."""
    draw = torch.Generator().manual_seed(4)
    return Skeleton(
        names=("hips", "leg l", "leg r", "foot_l", "foot_r"),
        parents=(-1, 0, 0, 1, 2),
        offsets=torch.randn(5, 3, generator=draw) * 0.2,
        rest_rotations=rotation.normalize(torch.randn(5, 4, generator=draw)),
        end_sites={"foot_l": (0.1, 0.02, 0.0)},
    )


def test_frames_turned_at_rest(tmp_path: Path) -> None:
    skeleton = turned_skeleton()
    draw = torch.Generator().manual_seed(5)
    motion = Motion(
        skeleton,
        torch.randn(12, 3, generator=draw),
        rotation.normalize(torch.randn(12, 4, generator=draw)),
        rotation.normalize(torch.randn(12, 4, 4, generator=draw)),
        fps=25.0,
    )
    registry.write(motion, tmp_path / "a.bvh")
    own = registry.read(tmp_path / "a.bvh")
    assert own.skeleton.names == ("hips", "leg_l", "foot_l", "leg_r", "foot_r")
    order = [own.skeleton.names.index("_".join(name.split())) for name in skeleton.names]
    np.testing.assert_allclose(own.fk()[0][:, order], motion.fk()[0], atol=1e-5)
    (tmp_path / "a.bvh").write_text((tmp_path / "a.bvh").read_text().replace("leg_", "leg "))
    back = registry.read(tmp_path / "a.bvh", skeleton=skeleton)
    metres, radians = difference(motion, back)
    assert metres < 1e-5 and radians < 2e-5


def test_reading_onto_a_character_with_other_joints(tmp_path: Path, humanoid: CharacterModel) -> None:
    file = tmp_path / "bad.bvh"
    file.write_text(build()[0])
    with pytest.raises(MotionError, match="pelvis"):
        registry.read(file, skeleton=humanoid.skeleton)


def test_reading_onto_a_character_with_another_tree(
    tmp_path: Path, make_motion: Callable, humanoid: CharacterModel
) -> None:
    file = tmp_path / "a.bvh"
    registry.write(make_motion(frames=4), file)
    text = (
        file.read_text()
        .replace("right_shin", "?")
        .replace("right_thigh", "right_shin")
        .replace("?", "right_thigh")
    )
    file.write_text(text)
    with pytest.raises(MotionError, match="hangs on"):
        registry.read(file, skeleton=humanoid.skeleton)


def test_writer_refuses(tmp_path: Path, make_motion: Callable) -> None:
    motion = make_motion(frames=5)
    with pytest.raises(MotionError, match="XXY"):
        registry.write(motion, tmp_path / "a.bvh", order="XXY")
    motion.joint_rot[3, 2, 1] = float("nan")
    with pytest.raises(MotionError, match="frame 3"):
        registry.write(motion, tmp_path / "a.bvh")
    assert not list(tmp_path.iterdir()), "nothing half-written is left"
