"""What the readers and writers of other programs' formats decide, convert and refuse."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from isaacmm import rotation
from isaacmm.character import CharacterModel
from isaacmm.errors import MotionError
from isaacmm.motion.clip import Motion
from isaacmm.motion.io import csv_robot, g1_robot, registry, safe_pickle
from isaacmm.skeleton import Skeleton

Make = Callable[..., Motion]


def same(a: Motion, b: Motion, metres: float = 1e-5, radians: float = 2e-5) -> None:
    order = [b.skeleton.names.index(name) for name in a.skeleton.names]
    (pos_a, rot_a), (pos_b, rot_b) = a.fk(), b.fk()
    assert float((pos_a - pos_b[:, order]).norm(dim=-1).max()) < metres
    assert float(rotation.angle_between(rot_a, rot_b[:, order]).max()) < radians


def refuse(path: Path, *words: str, **options: Any) -> None:
    with pytest.raises(MotionError) as caught:
        registry.read(path, **options)
    for word in (path.name, *words):
        assert word in str(caught.value), str(caught.value)


# --------------------------------------------------------------------------- robot csv
@pytest.mark.parametrize("clip", ["walk", "high5", "dance", "jumpjack", "wave"])
def test_the_order_of_a_quaternion_is_never_guessed_wrong(
    recorded_motions: Path, tmp_path: Path, clip: str
) -> None:
    """Both orders, all headings, those included at which both make the robot stand."""
    motion = registry.read(recorded_motions / f"g1_csv_kimodo/output_{clip}.csv")
    told = 0
    cases = [(heading, order) for heading in (0.0, 1.0, 2.0, 3.0, torch.pi) for order in ("xyzw", "wxyz")]
    for heading, order in cases:
        turn = rotation.from_yaw(torch.tensor(heading) - rotation.yaw(motion.root_rot))
        turned = Motion(
            motion.skeleton, motion.root_pos, rotation.multiply(turn, motion.root_rot), motion.joint_rot, 30.0
        )
        csv_robot.write(turned, tmp_path / "a.csv", quaternion=order)
        try:
            back = registry.read(tmp_path / "a.csv")
        except MotionError as error:
            assert "quaternion='xyzw'" in str(error) and "quaternion='wxyz'" in str(error)
            same(turned, registry.read(tmp_path / "a.csv", quaternion=order), radians=1e-4)
            continue
        told += 1
        same(turned, back, radians=1e-4)
    assert told >= len(cases) - 2


def test_csv_headers_counters_and_other_robots(
    sample_files: Any, tmp_path: Path, humanoid: CharacterModel
) -> None:
    sample = sample_files("robot_csv", tmp_path)
    table = np.loadtxt(sample.path, delimiter=",")
    names = [
        "root_x",
        "root_y",
        "root_z",
        "root_qx",
        "root_qy",
        "root_qz",
        "root_qw",
        *g1_robot.skeleton().dof_names,
    ]
    np.savetxt(tmp_path / "b.csv", table, delimiter=",", header=",".join(names), comments="")
    same(sample.motion, registry.read(tmp_path / "b.csv"))
    shuffled = [*range(7), *range(35, 6, -1)]
    header = ",".join(names[i] for i in shuffled)
    np.savetxt(tmp_path / "c.csv", table[:, shuffled], delimiter=",", header=header, comments="")
    same(sample.motion, registry.read(tmp_path / "c.csv"))
    counted = np.concatenate((np.arange(len(table))[:, None] / 50.0, table), axis=1)
    np.savetxt(tmp_path / "d.csv", counted, delimiter=",")
    assert registry.read(tmp_path / "d.csv", quaternion="xyzw").fps == 50.0
    fewer = np.delete(table, [7 + i for i in range(29) if i not in g1_robot.HINGES_23], axis=1)
    np.savetxt(tmp_path / "e.csv", fewer, delimiter=",")
    e = registry.read(tmp_path / "e.csv", quaternion="xyzw")
    assert e.skeleton.num_dofs == 29 and not float(e.dof_pos()[:, 27:].abs().max())
    np.savetxt(tmp_path / "f.csv", table[:, :35], delimiter=",")
    refuse(tmp_path / "f.csv", "28 hinge angles", "Skeleton.from_mjcf", quaternion="xyzw")
    assert (
        registry.read(tmp_path / "f.csv", skeleton=humanoid.skeleton, quaternion="xyzw").skeleton.num_dofs
        == 28
    )
    refuse(sample.path, "29 hinge angles", "28 hinges", skeleton=humanoid.skeleton, quaternion="xyzw")
    refuse(sample.path, "did you mean 'xyzw'", quaternion="xzyw")
    table[3, 3:7] *= 2
    np.savetxt(tmp_path / "g.csv", table, delimiter=",")
    refuse(tmp_path / "g.csv", "frame 3", "length 2.00", quaternion="xyzw")


def test_a_robot_of_the_user_s(sample_files: Any, tmp_path: Path) -> None:
    """Another file of the same robot: hinges in another order, a hand more; matched by name."""
    sample = sample_files("gmr", tmp_path)
    g1 = g1_robot.skeleton()
    last = g1.num_bodies
    theirs = Skeleton(
        (*g1.names, "extra"),
        (*g1.parents, 0),
        torch.cat((g1.offsets, torch.zeros(1, 3))),
        torch.cat((g1.rest_rotations, rotation.identity(1))),
        dof_names=(*g1.dof_names, "extra_joint"),
        dof_bodies=(*g1.dof_bodies, last),
        dof_axes=torch.cat((g1.dof_axes, torch.tensor([[0.0, 0.0, 1.0]]))),
        dof_limits=torch.cat((g1.dof_limits, torch.tensor([[-1.0, 1.0]]))),
    )
    back = registry.read(sample.path, skeleton=theirs)
    assert back.skeleton is theirs
    same(sample.motion, back)


# ---------------------------------------------------------------------------- MimicKit
def test_mimickit_arms(make_motion: Make, tmp_path: Path, humanoid: CharacterModel) -> None:
    """The file is for MimicKit's humanoid, arms out at zero; here they hang. Bodies are in the same places."""
    motion = make_motion(frames=20)
    motion.tags = ("loop",)
    motion.save(tmp_path / "a.pkl", format="mimickit")
    content = pickle.loads((tmp_path / "a.pkl").read_bytes())
    frames = np.array(content["frames"])
    assert (content["loop_mode"], content["fps"], frames.shape) == (1, 30.0, (20, 34))
    back = registry.read(tmp_path / "a.pkl", skeleton=humanoid.skeleton)
    assert back.tags == ("loop",)
    same(motion, back, 2e-6)
    theirs = registry.read(tmp_path / "a.pkl")
    pos = theirs.fk()[0]
    assert float((pos - motion.fk()[0]).norm(dim=-1).max()) < 2e-6
    left = theirs.skeleton.offsets[theirs.skeleton.names.index("left_lower_arm")]
    assert left.tolist() == pytest.approx([0.0, 0.274788, 0.0], abs=1e-6)
    # elbows: the same angle about z there as about y here (6 + torso, head, shoulder: 9 before the right one)
    elbow = motion.dof_pos()[:, motion.skeleton.dof("right_elbow")].numpy()
    np.testing.assert_allclose(frames[:, 15], -elbow, atol=1e-5)
    motion.save(tmp_path / "b.pkl", format="mimickit", arms="own", loop=False)
    same(motion, registry.read(tmp_path / "b.pkl", skeleton=humanoid.skeleton, arms="own"), 2e-6)
    refuse(tmp_path / "b.pkl", "34 columns", skeleton=g1_robot.skeleton())


def test_mimickit_smpl(sample_files: Any, tmp_path: Path) -> None:
    motion = registry.read(sample_files("amass", tmp_path).path)
    with pytest.raises(MotionError, match="L_Hand"):  # 22 joints where MimicKit's SMPL has 24
        registry.read(sample_files("amass", tmp_path).path, skeleton=_smpl24())
    phc = registry.read(sample_files("phc", tmp_path).path, clip="0-first")
    onto = Motion(_smpl24(), phc.root_pos, phc.root_rot, phc.joint_rot, 30.0)
    onto.save(tmp_path / "c.pkl", format="mimickit")
    assert motion.num_frames == phc.num_frames
    refuse(tmp_path / "c.pkl", "75 columns", skeleton=g1_robot.skeleton())


def _smpl24() -> Skeleton:
    from isaacmm.motion.io import smpl_body

    return smpl_body.skeleton()


# ------------------------------------------------------------------------------- AMASS
def test_amass_with_a_body_model(sample_files: Any, tmp_path: Path) -> None:
    """Bones of the subject, from a model of the user's: joints are a linear map of vertices."""
    draw = np.random.default_rng(0)
    joints, betas = draw.normal(size=(24, 3)), draw.normal(size=16)
    shapes = 0.1 * draw.normal(size=(24, 3, 10))
    np.savez(tmp_path / "model.npz", v_template=joints, shapedirs=shapes, J_regressor=np.eye(24))
    sample = sample_files("amass", tmp_path)
    data = dict(np.load(sample.path))
    np.savez(sample.path, **{**data, "betas": betas})
    back = registry.read(sample.path, body_model=tmp_path / "model.npz")
    shaped = joints + shapes @ betas[:10]
    bone = torch.as_tensor(shaped[4] - shaped[1])[[2, 0, 1]].float()  # the left shin, x forward, z up
    torch.testing.assert_close(back.skeleton.offsets[4], bone)
    torch.testing.assert_close(back.root_pos, torch.as_tensor(data["trans"] + shaped[0]).float())
    np.savez(tmp_path / "bad.npz", v_template=joints)
    with pytest.raises(MotionError, match="SMPL body model"):
        registry.read(sample.path, body_model=tmp_path / "bad.npz")
    refuse(sample.path, "no such body model", body_model=tmp_path / "none.npz")
    refuse(sample.path, "z, y", up="x")


def test_amass_that_stands_on_y(sample_files: Any, tmp_path: Path) -> None:
    sample = sample_files("amass", tmp_path)
    lying = registry.read(sample.path, up="y")
    pos = sample.motion.fk()[0][..., [2, 0, 1]]
    assert float((lying.fk()[0] - pos).norm(dim=-1).max()) < 1e-5


# ---------------------------------------------------------------------------- the rest
def test_a_pose_of_the_humanoid_goes_through_deepmimic(
    make_motion: Make, tmp_path: Path, humanoid: CharacterModel
) -> None:
    motion = make_motion(frames=20)
    motion.save(tmp_path / "a.txt")
    same(motion, registry.read(tmp_path / "a.txt", skeleton=humanoid.skeleton), 1e-5, 2e-5)


def test_deepmimic_frames_of_different_length(make_motion: Make, tmp_path: Path, caplog: Any) -> None:
    import json

    motion = make_motion(frames=60)
    motion.save(tmp_path / "a.json")
    content = json.loads((tmp_path / "a.json").read_text())
    rows = content["Frames"]
    rows[10][0] += rows[11][0]
    del rows[11]
    (tmp_path / "a.json").write_text(json.dumps(content))
    back = registry.read(tmp_path / "a.json", skeleton=motion.skeleton)
    assert (back.num_frames, back.fps) == (60, 30.0) and "resampled" in caplog.text
    keep = [i for i in range(60) if i != 11]
    assert float((back.fk()[0][keep] - motion.fk()[0][keep]).norm(dim=-1).max()) < 1e-4


def test_amc_without_its_skeleton(sample_files: Any, tmp_path: Path) -> None:
    sample = sample_files("amc", tmp_path)
    (tmp_path / "07.asf").rename(tmp_path / "other.asf")
    same(sample.motion, registry.read(sample.path))  # the only one beside it
    (tmp_path / "third.asf").write_text("")
    refuse(sample.path, "07.asf", "asf=")
    same(sample.motion, registry.read(sample.path, asf=tmp_path / "other.asf"))
    (tmp_path / "third.asf").unlink()
    text = sample.path.read_text().split("\n")
    sample.path.write_text("\n".join(text[:-3]))
    refuse(sample.path, "frame 24", "shin")


def test_amc_in_radians_and_another_order(sample_files: Any, tmp_path: Path) -> None:
    sample = sample_files("amc", tmp_path)
    lines = []
    for line in sample.path.read_text().replace(":DEGREES", ":RADIANS").split("\n"):
        words = line.split()
        if len(words) > 1 and words[0] != "#!OML:ASF":
            place = words[1:4] if words[0] == "root" else []
            angles = [f"{np.radians(float(word)):.9g}" for word in words[1 + len(place) :]]
            line = " ".join([words[0], *(angles + place if place else angles)])
        lines.append(line)
    sample.path.write_text("\n".join(lines))
    asf = (tmp_path / "07.asf").read_text()
    (tmp_path / "07.asf").write_text(asf.replace("TX TY TZ RX RY RZ", "RX RY RZ TX TY TZ"))
    same(sample.motion, registry.read(sample.path))


def test_vqvae_needs_times_and_a_robot(sample_files: Any, tmp_path: Path) -> None:
    sample = sample_files("vqvae", tmp_path)
    table = np.load(sample.path)
    np.save(tmp_path / "b.npy", np.delete(table, 20, axis=1))
    refuse(tmp_path / "b.npy", "28 hinge angles")
    table[:, 0] = 0.0
    np.save(tmp_path / "c.npy", table)
    refuse(tmp_path / "c.npy", "plain array", "MotionVQVAE")
    refuse(tmp_path / "c.npy", "first column", format="vqvae")


def test_normalised_features_are_noticed(sample_files: Any, tmp_path: Path) -> None:
    sample = sample_files("humanml3d", tmp_path)
    np.save(sample.path, np.random.default_rng(0).normal(size=(50, 263)))
    refuse(sample.path, "Std", "Mean")


def test_what_a_format_cannot_hold(sample_files: Any, tmp_path: Path, make_motion: Make) -> None:
    smpl = registry.read(sample_files("amass", tmp_path).path)
    for name, word in (("a.csv", "hinge angles"), ("a.txt", "retarget")):
        with pytest.raises(MotionError, match=word):
            registry.write(smpl, tmp_path / name)
    for form in ("gmr", "isaaclab"):
        with pytest.raises(MotionError, match="hinge angles"):
            registry.write(smpl, tmp_path / "a.bin", format=form)
    with pytest.raises(MotionError, match="Pelvis"):
        registry.write(make_motion(frames=3), tmp_path / "a.npz", format="amass")
    assert not list(tmp_path.glob("a.*"))


# ----------------------------------------------------------------------------- pickles
def test_pickles_of_every_protocol(sample_files: Any, tmp_path: Path) -> None:
    sample = sample_files("gmr", tmp_path)
    content = pickle.loads(sample.path.read_bytes())
    content["root_pos"] = torch.as_tensor(content["root_pos"])[:, [2, 0, 1]][
        :, [1, 2, 0]
    ]  # a tensor, strided
    content["fps"] = np.float64(30.0)
    for protocol in range(6):
        sample.path.write_bytes(pickle.dumps(content, protocol=protocol))
        same(sample.motion, registry.read(sample.path))


def test_an_unknown_pickle_is_described(tmp_path: Path) -> None:
    file = tmp_path / "a.pkl"
    file.write_bytes(pickle.dumps({"speed": 3.0, "mode": "walk"}))
    refuse(file, "speed, mode", "loop_mode")
    file.write_bytes(pickle.dumps([1, 2]))
    refuse(file, "a list")


def test_a_tensor_cannot_reach_outside_its_storage(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"fps": 30, "rigid_body_pos": torch.zeros(4, 33, 3)}, buffer)
    source = zipfile.ZipFile(buffer)
    name = next(n for n in source.namelist() if n.endswith("data.pkl"))
    program = source.read(name)
    assert b"K\x04K!K\x03\x87" in program
    for new in (b"K\x05K!K\x03\x87", b"K\xffK\xffK\xff\x87"):
        with zipfile.ZipFile(tmp_path / "a.motion", "w") as out:
            for entry in source.namelist():
                content = (
                    program.replace(b"K\x04K!K\x03\x87", new, 1) if entry == name else source.read(entry)
                )
                out.writestr(entry, content)
        refuse(tmp_path / "a.motion", "outside its storage")


def test_what_one_pickle_can_make_is_bounded(tmp_path: Path) -> None:
    """One array, a thousand times: small in the file, large in memory."""
    array = np.zeros(1 << 20, dtype=np.uint8)
    program = bytearray(pickle.dumps({"loop_mode": 0, "a": array}, protocol=4))
    body = pickle.dumps(array, protocol=4)
    assert len(body) > 1 << 20
    shared = np.zeros(1 << 20, dtype=np.uint8).tobytes()
    reduce = b"cnumpy.core.numeric\n_frombuffer\n(h\x00cnumpy\ndtype\n(X\x02\x00\x00\x00u1tRJ\x00\x00\x10\x00\x85tR"
    file = (
        b"\x80\x04"
        + b"B"
        + len(shared).to_bytes(4, "little")
        + shared
        + b"q\x00"
        + b"0]("
        + reduce * 3000
        + b"e."
    )
    del program
    (tmp_path / "a.pkl").write_bytes(file)
    with pytest.raises(MotionError, match="more data than"):
        safe_pickle.load(tmp_path / "a.pkl")
