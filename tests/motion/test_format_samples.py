"""Every format: a file written by other means is read as the motion it was made from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from isaacmm import rotation
from isaacmm.motion.io import registry

FORMATS = (
    *("isaacmm", "bvh", "poselib", "isaaclab", "amass", "amass/smplx", "mimickit", "gmr", "phc", "phc/asap"),
    *(
        "protomotions",
        "deepmimic",
        "robot_csv",
        "robot_csv/qpos",
        "loco_mujoco",
        "humanml3d",
        "vqvae",
        "amc",
        "mjpc",
    ),
)
#: HumanML3D and markers hold positions: how bones twist is not in the file.
POSITIONS_ONLY = ("humanml3d", "mjpc")


def test_the_list_is_complete(sample_files: Any) -> None:
    assert set(sample_files.names) == set(FORMATS)
    assert {name.split("/")[0] for name in FORMATS} == set(registry.FORMATS)


@pytest.mark.parametrize("name", FORMATS)
def test_reads_what_was_written(sample_files: Any, tmp_path: Path, name: str) -> None:
    sample = sample_files(name, tmp_path)
    assert registry.sniff(sample.path).name == name.split("/")[0]
    back = registry.read(sample.path, **sample.options)
    truth = sample.motion
    assert back.fps == (20.0 if name == "humanml3d" else truth.fps)
    assert back.num_frames == truth.num_frames
    (pos_a, rot_a), (pos_b, rot_b) = truth.fk(), back.fk()
    order = [back.skeleton.names.index(body) for body in truth.skeleton.names]
    if name == "humanml3d":  # the path starts at the origin, facing forward
        turn = rotation.multiply(
            rotation.heading(rot_b[0, 0]), rotation.inverse(rotation.heading(rot_a[0, 0]))
        )
        moved = pos_a - pos_a[:1, :1] * torch.tensor([1.0, 1.0, 0.0])
        across = (moved[0, 1] - moved[0, 2] + moved[0, 16] - moved[0, 17])[:2]
        turn = rotation.from_yaw(torch.pi / 2 - torch.atan2(across[1], across[0]))
        pos_a = rotation.rotate(turn.expand(*moved.shape[:-1], 4), moved)
    error = (pos_a - pos_b[:, order]).norm(dim=-1)
    assert float(error.max()) < 2e-5, f"{1000 * float(error.max()):.3f} mm"
    if name not in POSITIONS_ONLY:
        assert float(rotation.angle_between(rot_a, rot_b[:, order]).max()) < 2e-5


@pytest.mark.parametrize("name", ["phc", "vqvae"])
def test_files_of_many_clips(sample_files: Any, tmp_path: Path, name: str, caplog: Any) -> None:
    from isaacmm.errors import MotionError

    path = sample_files(name, tmp_path).path
    clips = registry.read_all(path)
    names = [clip.name for clip in clips]
    assert names == {"phc": ["0-first", "0-second"], "vqvae": ["clip_0", "clip_1"]}[name]
    assert registry.read(path).name == names[0] and "2 clips" in caplog.text
    second = registry.read(path, clip=names[1])
    assert second.name == names[1] and second.num_frames == clips[1].num_frames and second.fps == clips[1].fps
    with pytest.raises(MotionError, match=rf"(?s)no clip 'third'.*{names[0]}, {names[1]}"):
        registry.read(path, clip="third")


def test_files_of_one_clip(sample_files: Any, tmp_path: Path) -> None:
    from isaacmm.errors import MotionError

    path = sample_files("gmr", tmp_path).path
    assert len(registry.read_all(path)) == 1
    with pytest.raises(MotionError, match="holds one clip"):
        registry.read(path, clip="a")
