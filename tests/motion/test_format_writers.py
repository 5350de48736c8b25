"""Files written for PHC, ASAP, ProtoMotions and MotionVQVAE: what is in them, and what they cannot hold.

That they are read back as they were, is held by ``test_format_matrix.py``.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from isaacmm import rotation
from isaacmm.errors import MotionError
from isaacmm.motion.__main__ import main
from isaacmm.motion.clip import Motion
from isaacmm.motion.io import registry, smpl_body
from isaacmm.skeleton import Skeleton

Make = Callable[..., Motion]


def same(a: Motion, b: Motion) -> None:
    at = [b.skeleton.names.index(name) for name in a.skeleton.names]
    (pos_a, rot_a), (pos_b, rot_b) = a.fk(), b.fk()
    assert float((pos_a - pos_b[:, at]).norm(dim=-1).max()) < 1e-5
    assert float(rotation.angle_between(rot_a, rot_b[:, at]).max()) < 1e-4
    assert a.fps == b.fps


@pytest.mark.parametrize("name", ["phc", "protomotions"])
def test_a_body_without_hands_gets_still_ones(sample_files: Any, tmp_path: Path, name: str) -> None:
    body = registry.read(sample_files("amass", tmp_path).path)
    assert body.skeleton.num_bodies == 22
    registry.write(body, tmp_path / "a.bin", format=name)
    back = registry.read(tmp_path / "a.bin", format=name)
    assert back.skeleton.num_bodies == 24
    same(body, back)
    hand = back.joint_rot[:, back.skeleton.names.index("L_Hand") - 1]
    torch.testing.assert_close(hand, rotation.identity(len(hand)), atol=1e-6, rtol=0)


def test_phc_numbers_agree_with_each_other(sample_files: Any, tmp_path: Path) -> None:
    sample = sample_files("phc", tmp_path)
    registry.write(sample.motion, tmp_path / "a.pkl", format="phc")
    ((name, clip),) = pickle.loads((tmp_path / "a.pkl").read_bytes()).items()
    theirs = registry.read(sample.path, **sample.options)  # a file of theirs, made without our writer
    assert name == sample.motion.name and clip["fps"] == 30.0
    rot = theirs.fk()[1][:, [smpl_body.NAMES.index(joint) for joint in smpl_body.MUJOCO_ORDER]]
    away = rotation.angle_between(torch.as_tensor(clip["pose_quat_global"]), rot.double())
    assert float(away.max()) < 1e-4
    del clip["pose_quat_global"]  # then poses are read instead
    (tmp_path / "b.pkl").write_bytes(pickle.dumps({"only": clip}))
    same(sample.motion, registry.read(tmp_path / "b.pkl"))


def test_a_robot_s_poses_turn_about_its_axes(sample_files: Any, tmp_path: Path) -> None:
    motion = sample_files("gmr", tmp_path).motion
    registry.write(motion, tmp_path / "a.pkl", format="phc")
    ((_, clip),) = pickle.loads((tmp_path / "a.pkl").read_bytes()).items()
    axes, dofs = motion.skeleton.dof_axes.numpy(), motion.dof_pos().numpy()
    np.testing.assert_allclose(clip["pose_aa"][:, 1:], dofs[..., None] * axes, atol=1e-5)
    root = Rotation.from_quat(motion.root_rot.numpy()).as_rotvec()
    np.testing.assert_allclose(clip["pose_aa"][:, 0], root, atol=1e-5)
    np.testing.assert_allclose(clip["dof"], dofs, atol=1e-6)


def test_protomotions_as_in_a_file_of_theirs(recorded_motions: Path, tmp_path: Path) -> None:
    path = recorded_motions / "protomotions_motion_g1" / "g1_crouch_to_run.motion"
    registry.write(registry.read(path), tmp_path / "a.motion")
    theirs, ours = (torch.load(file, weights_only=True) for file in (path, tmp_path / "a.motion"))
    assert set(theirs) == set(ours) and all(theirs[k].shape == ours[k].shape for k in theirs if k != "fps")
    assert all(theirs[k].dtype == ours[k].dtype for k in theirs if k != "fps")
    torch.testing.assert_close(ours["rigid_body_pos"], theirs["rigid_body_pos"], atol=1e-5, rtol=0)
    turned = rotation.angle_between(ours["rigid_body_rot"].double(), theirs["rigid_body_rot"].double())
    assert float(turned.max()) < 1e-5
    torch.testing.assert_close(ours["dof_pos"], theirs["dof_pos"], atol=1e-5, rtol=0)
    for key in ("dof_vel", "rigid_body_vel", "rigid_body_ang_vel"):  # their filters are others
        apart = (ours[key] - theirs[key]).abs()[2:-2]
        assert float(apart.median()) < 0.05 * float(theirs[key].abs().quantile(0.9)), key


def test_protomotions_knows_standing_feet(tmp_path: Path, make_motion: Make) -> None:
    stand = make_motion(frames=30, reach=0.0)
    stand.root_pos = torch.tensor([0.0, 0.0, 0.9]).repeat(30, 1)
    stand.root_rot = rotation.identity(30)
    registry.write(stand, tmp_path / "a.motion")
    content = torch.load(tmp_path / "a.motion", weights_only=True)
    touching = content["rigid_body_contacts"].float().mean(0)
    feet = [stand.skeleton.body(f"{side}_foot") for side in ("left", "right")]
    assert touching[feet].tolist() == [1.0, 1.0] and float(touching.sum()) == 2.0
    assert float(content["rigid_body_vel"].abs().max()) < 1e-4


def test_vqvae_columns(sample_files: Any, tmp_path: Path) -> None:
    motion = sample_files("gmr", tmp_path).motion
    registry.write(motion, tmp_path / "a.npy", format="vqvae")
    table = np.load(tmp_path / "a.npy", allow_pickle=False)
    assert table.shape == (motion.num_frames, 9 + 29)
    np.testing.assert_allclose(table[:, 0], np.arange(motion.num_frames) / 30.0)
    np.testing.assert_allclose(table[:, 4:8], motion.root_rot[:, [3, 0, 1, 2]], atol=1e-6)
    assert not table[:, -1].any()
    assert registry.sniff(tmp_path / "a.npy").name == "vqvae"


@pytest.mark.parametrize("name", ["phc", "protomotions", "vqvae"])
def test_neither_hinges_nor_smpl(tmp_path: Path, name: str) -> None:
    stick = Skeleton(("a", "b"), (-1, 0), torch.zeros(2, 3), rotation.identity(2))
    motion = Motion(stick, torch.zeros(3, 3), rotation.identity(3), rotation.identity(3, 1), 30.0)
    with pytest.raises(MotionError, match=r"[Rr]etarget"):
        registry.write(motion, tmp_path / "a.bin", format=name)
    assert not list(tmp_path.iterdir())


def test_the_command_takes_a_format_where_suffixes_are_shared(
    tmp_path: Path, make_motion: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    make_motion(frames=20).save(tmp_path / "one.npz")
    assert main(["convert", str(tmp_path / "one.npz"), str(tmp_path / "a.pkl"), "--to", "phc"]) == 0
    assert registry.sniff(tmp_path / "a.pkl").name == "phc"
    assert main(["convert", str(tmp_path / "one.npz"), "--out", str(tmp_path / "out"), "--to", "isaaclab"]) == 0
    assert registry.sniff(tmp_path / "out" / "one.npz").name == "isaaclab"
    assert main(["convert", str(tmp_path / "one.npz"), str(tmp_path / "b.pkl")]) == 0
    assert registry.sniff(tmp_path / "b.pkl").name == "mimickit"
    assert main(["convert", str(tmp_path / "one.npz"), str(tmp_path / "c.pkl"), "--to", "phk"]) == 2
    assert "phc" in capsys.readouterr().err
    assert main(["cut", str(tmp_path / "one.npz"), "--to", "1s", "--out", str(tmp_path / "c.npz")]) == 2
    assert "--to-time" in capsys.readouterr().err
    assert not list(tmp_path.glob("c.*"))
