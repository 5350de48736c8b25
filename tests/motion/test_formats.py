"""The registry and the formats that need no recorded clips: ours, poselib, Isaac Lab."""

from __future__ import annotations

import io
import os
import pickle
from collections import OrderedDict
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
from isaacmm.motion.io import registry
from isaacmm.motion.repair import ground, level, repair

Make = Callable[..., Motion]
NPY_HEADER = b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (), }"


def same(a: Motion, b: Motion, metres: float = 2e-6, radians: float = 1e-5) -> None:
    (pos_a, rot_a), (pos_b, rot_b) = a.fk(), b.fk()
    assert float((pos_a - pos_b).norm(dim=-1).max()) < metres
    assert float(rotation.angle_between(rot_a, rot_b).max()) < radians
    assert a.fps == b.fps


# ------------------------------------------------------------------------------ registry
def test_content_counts_not_only_the_suffix(tmp_path: Path, make_motion: Make) -> None:
    motion = make_motion(frames=5)
    registry.write(motion, tmp_path / "a.npz")
    (tmp_path / "a.npz").rename(tmp_path / "a.bvh")
    assert registry.sniff(tmp_path / "a.bvh").name == "isaacmm"
    same(registry.read(tmp_path / "a.bvh"), motion)
    registry.write(motion, tmp_path / "b.txt", format="bvh")
    assert registry.sniff(tmp_path / "b.txt").name == "bvh"
    same(registry.read(tmp_path / "b.txt"), motion, 1e-5, 2e-5)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.xyz", b"what is this", ["isaacmm", "bvh", "poselib", "isaaclab"]),
        ("a.npz", b"PK\x03\x04 cut", ["damaged"]),
        ("a.npz", b"", ["empty"]),
        ("a.npy", NPY_HEADER + b" " * 60, ["damaged"]),
        ("a.bvh", b"\x00\x01\x02\x03", ["not a complete BVH"]),
    ],
)  # fmt: skip
def test_unknown_and_damaged_files(tmp_path: Path, name: str, content: bytes, words: list[str]) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(MotionError) as caught:
        registry.read(file)
    for word in [name, *words]:
        assert word in str(caught.value)


def test_missing_file_names_its_neighbours(tmp_path: Path, make_motion: Make) -> None:
    registry.write(make_motion(frames=3), tmp_path / "walk_slow.npz")
    with pytest.raises(MotionError, match=r"walk_slow\.npz"):
        registry.read(tmp_path / "walk_slo.npz")
    with pytest.raises(MotionError, match="folder"):
        registry.read(tmp_path)
    with pytest.raises(MotionError, match="no such motion file"):
        registry.read(tmp_path / "nowhere" / "a.bvh")


def test_formats_and_options_that_do_not_exist(tmp_path: Path, make_motion: Make) -> None:
    motion = make_motion(frames=3)
    registry.write(motion, tmp_path / "a.npz")
    with pytest.raises(MotionError, match="poselib"):
        registry.read(tmp_path / "a.npz", format="poslib")
    with pytest.raises(MotionError, match="option"):
        registry.read(tmp_path / "a.npz", scale=2)
    with pytest.raises(MotionError, match="interpolate"):
        registry.read(tmp_path / "a.npz", nan="interpolat")
    with pytest.raises(MotionError, match="isaacmm writes"):
        registry.write(motion, tmp_path / "a.fbx")
    with pytest.raises(MotionError, match="does not write"):
        registry.write(motion, tmp_path / "a.npy", format="humanml3d")


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, make_motion: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    motion = make_motion(frames=3)
    file = tmp_path / "a.npz"
    registry.write(motion, file)
    before = file.read_bytes()

    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(OSError, match="No space"):
        registry.write(make_motion(frames=9), file)
    assert file.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]


# ----------------------------------------------------------------------------------- ours
def test_our_format_keeps_everything(tmp_path: Path, make_motion: Make) -> None:
    motion = make_motion(frames=33, fps=29.97)
    motion.contacts = torch.rand(33, 2) < 0.5
    motion.tags = ("walk", "turn-left")
    motion.save(tmp_path / "a.npz")
    back = Motion.load(tmp_path / "a.npz")
    same(back, motion)
    assert (back.name, back.tags, back.fps) == (motion.name, motion.tags, motion.fps)
    assert torch.equal(back.contacts, motion.contacts)
    a, b = back.skeleton, motion.skeleton
    assert (a.names, a.parents, a.dof_names, a.dof_bodies) == (b.names, b.parents, b.dof_names, b.dof_bodies)
    for name in ("offsets", "rest_rotations", "dof_axes", "dof_limits"):
        torch.testing.assert_close(getattr(a, name), getattr(b, name))
    torch.testing.assert_close(back.dof_pos(), motion.dof_pos(), atol=1e-5, rtol=0)


def test_our_format_keeps_joints_that_hinges_cannot_express(tmp_path: Path, make_motion: Make) -> None:
    motion = make_motion(frames=6)
    motion.joint_rot = rotation.normalize(torch.randn(6, 14, 4, generator=torch.Generator().manual_seed(0)))
    motion.save(tmp_path / "a.npz")
    assert "joint_rot" in np.load(tmp_path / "a.npz").files
    same(Motion.load(tmp_path / "a.npz"), motion)


def test_our_format_is_small_and_free_of_pickles(tmp_path: Path, make_motion: Make) -> None:
    make_motion(frames=300).save(tmp_path / "a.npz")
    assert (tmp_path / "a.npz").stat().st_size < 300 * (28 + 7) * 4 * 1.2
    with np.load(tmp_path / "a.npz", allow_pickle=False) as data:
        assert all(data[key].dtype.kind != "O" for key in data.files)
    make_motion(frames=300).save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes(), "no time stamps in it"


def test_our_format_onto_a_character(tmp_path: Path, make_motion: Make, humanoid: CharacterModel) -> None:
    motion = make_motion(frames=8)
    motion.save(tmp_path / "a.npz")
    back = Motion.load(tmp_path / "a.npz", skeleton=humanoid.skeleton)
    assert back.skeleton is humanoid.skeleton
    same(back, motion)


def edit_npz(path: Path, **changes: Any) -> Path:
    with np.load(path) as data:
        arrays = {key: data[key] for key in data.files}
    for key, value in changes.items():
        if value is None:
            del arrays[key]
        else:
            arrays[key] = value
    np.savez(path, **arrays)
    return path


def test_our_format_damaged(tmp_path: Path, make_motion: Make, humanoid: CharacterModel) -> None:
    file = tmp_path / "a.npz"

    def refuse(*words: str, skeleton: Any = None, **changes: Any) -> None:
        make_motion(frames=8).save(file)
        edit_npz(file, **changes)
        with pytest.raises(MotionError) as caught:
            registry.read(file, skeleton=skeleton)
        for word in ("a.npz", *words):
            assert word in str(caught.value), str(caught.value)

    with np.load(file) if file.exists() else np.load(_saved(make_motion, file)) as data:
        names, pos = data["body_names"], data["root_pos"]
    refuse("root_rot", root_rot=None)
    refuse("version 9", version=9)
    refuse("shape", root_pos=pos[:5])
    broken = pos.copy()
    broken[[2, 3, 6], 0] = np.nan
    refuse("3 of 8 frames", "2-3, 6", root_pos=broken)
    renamed = names.copy()
    renamed[2] = "haed"
    refuse("'haed'", "'head'", skeleton=humanoid.skeleton, body_names=renamed)
    refuse("pickle", name=np.array([{"a": 1}], dtype=object))
    make_motion(frames=8).save(file)
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(MotionError, match="damaged"):
        registry.read(file)


def _saved(make_motion: Make, file: Path) -> Path:
    make_motion(frames=8).save(file)
    return file


# -------------------------------------------------------------------------------- poselib
def tensor(array: np.ndarray) -> dict[str, Any]:
    return {"arr": np.asarray(array), "context": {"dtype": str(array.dtype)}}


def poselib(motion: Motion, **changes: Any) -> OrderedDict[str, Any]:
    """The dictionary that poselib saves for a motion."""
    skeleton = motion.skeleton
    local = torch.cat((motion.root_rot[:, None], motion.joint_rot), dim=1)
    content: OrderedDict[str, Any] = OrderedDict(
        rotation=tensor(local.numpy()),
        root_translation=tensor(motion.root_pos.numpy()),
        global_velocity=tensor(np.zeros((motion.num_frames, 15, 3), dtype=np.float32)),
        skeleton_tree=OrderedDict(
            node_names=list(skeleton.names),
            parent_indices=tensor(np.array(skeleton.parents)),
            local_translation=tensor(skeleton.offsets.numpy()),
        ),
        is_local=True,
        fps=np.array(30, dtype=np.int32),
        __name__="SkeletonMotion",
    )
    content.update(changes)
    return content


def save_npy(path: Path, content: Any) -> Path:
    np.save(path, content, allow_pickle=True)
    return path


def test_poselib(tmp_path: Path, make_motion: Make, humanoid: CharacterModel) -> None:
    motion = make_motion(frames=12)
    file = save_npy(tmp_path / "clip.npy", poselib(motion))
    same(registry.read(file), motion)
    onto = registry.read(file, skeleton=humanoid.skeleton)
    assert onto.skeleton is humanoid.skeleton and onto.name == "clip"
    same(onto, motion)


def test_poselib_with_world_rotations_and_another_order(tmp_path: Path, make_motion: Make, humanoid) -> None:
    motion = make_motion(frames=5)
    order = [0, *range(14, 0, -1)]  # children before parents
    names = [motion.skeleton.names[i] for i in order]
    parents = [order.index(motion.skeleton.parents[i]) if i else -1 for i in order]
    content = poselib(motion, rotation=tensor(motion.fk()[1][:, order].numpy()), is_local=False, fps=30.0)
    content["skeleton_tree"] = OrderedDict(
        node_names=np.array(names),
        parent_indices=tensor(np.array(parents)),
        local_translation=tensor(motion.skeleton.offsets[order].numpy()),
    )
    file = save_npy(tmp_path / "clip.npy", content)
    same(registry.read(file, skeleton=humanoid.skeleton), motion)
    own = registry.read(file)
    back = [own.skeleton.names.index(name) for name in motion.skeleton.names]
    torch.testing.assert_close(own.fk()[0][:, back], motion.fk()[0], atol=1e-5, rtol=0)


class Malicious:
    """Unpickled carelessly, it runs a command."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)


def test_a_pickle_that_runs_a_command_is_refused_before_it_runs(tmp_path: Path, make_motion: Make) -> None:
    marker = tmp_path / "it-ran"
    hidden = poselib(make_motion(frames=3), extra=[{"deep": Malicious(marker)}])
    for i, content in enumerate((Malicious(marker), hidden)):
        file = save_npy(tmp_path / f"evil{i}.npy", content)
        with pytest.raises(MotionError, match=rf"(?s)evil{i}\.npy.*refused.*system"):
            registry.read(file)
        assert not marker.exists()
        np.load(file, allow_pickle=True)  # the file would have done it
        assert marker.exists()
        marker.unlink()


@pytest.mark.parametrize("name", ["eval", "getattr", "__import__", "exec", "bytearray"])
def test_builtins_are_refused(tmp_path: Path, name: str) -> None:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "|O", "fortran_order": False, "shape": ()})
    header = stream.getvalue()
    program = b"cbuiltins\n" + name.encode() + b"\n(S'1'\ntR."
    (tmp_path / "a.npy").write_bytes(header + program)
    with pytest.raises(MotionError, match=rf"refused.*{name}"):
        registry.read(tmp_path / "a.npy", format="poselib")


def test_a_pickle_cannot_lie_to_numpy(tmp_path: Path) -> None:
    """numpy's own constructors believe the type and the bytes a pickle gives them; ours look first."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|O", "fortran_order": False, "shape": ()})
    array = pickle.dumps(np.arange(4.0), protocol=2)
    for old, new in ((b"f8", b"O8"), (b"f8", b"V8"), (b"f8", b"M8"), (b"K\x04\x85", b"K\x7f\x85")):
        assert old in array
        (tmp_path / "a.npy").write_bytes(header.getvalue() + array.replace(old, new))
        with pytest.raises(MotionError, match=r"a\.npy"):
            registry.read(tmp_path / "a.npy")


def test_a_pickle_that_refers_to_itself_stays_small(tmp_path: Path) -> None:
    value: Any = []
    for _ in range(60):
        value = [value, value]  # 2^60 lists, written out
    loop: dict[str, Any] = {}
    loop["self"] = loop
    for content in ({"bomb": value}, loop):
        with pytest.raises(MotionError):
            registry.read(save_npy(tmp_path / "a.npy", content))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("suffix", [".bvh", ".npz", ".npy", "lab.npz"])
def test_damaged_bytes_give_a_clip_or_a_motion_error(tmp_path: Path, make_motion: Make, suffix: str) -> None:
    motion = make_motion(frames=5)
    file = tmp_path / f"a{suffix}"
    if suffix == ".npy":
        save_npy(file, poselib(motion))
    elif suffix == "lab.npz":
        np.savez(file, **isaaclab(motion))
    else:
        motion.save(file)
    whole = file.read_bytes()
    draw = np.random.default_rng(0)
    for _ in range(150):
        content = bytearray(whole)
        for at in draw.integers(0, min(len(whole), 4000), draw.integers(1, 6)):
            content[at] = draw.integers(256)
        if draw.random() < 0.3:
            content = content[: draw.integers(len(content))]
        file.write_bytes(bytes(content))
        try:
            registry.read(file)
        except MotionError as error:
            assert str(file) in str(error)


def test_poselib_refusals(tmp_path: Path, make_motion: Make, humanoid: CharacterModel) -> None:
    motion = make_motion(frames=6)

    def refuse(content: Any, *words: str, skeleton: Any = None) -> None:
        file = save_npy(tmp_path / "a.npy", content)
        with pytest.raises(MotionError) as caught:
            registry.read(file, skeleton=skeleton)
        for word in ("a.npy", *words):
            assert word in str(caught.value), str(caught.value)

    refuse({"some": "thing"}, "SkeletonMotion")
    refuse(poselib(motion, root_translation=tensor(np.zeros((4, 3)))), "belong together")
    refuse(poselib(motion, rotation=tensor(np.zeros((6, 15, 4), dtype=np.float32))), "unit length")
    missing = poselib(motion)
    del missing["root_translation"]
    refuse(missing, "root_translation")
    broken = motion.root_pos.numpy().copy()
    broken[4] = np.nan
    refuse(poselib(motion, root_translation=tensor(broken)), "1 of 6 frames", "infinity: 4.")
    other = poselib(motion)
    other["skeleton_tree"]["node_names"][14] = "left_fot"
    refuse(other, "'left_fot'", "'left_foot'", skeleton=humanoid.skeleton)
    file = save_npy(tmp_path / "b.npy", poselib(motion))
    file.write_bytes(file.read_bytes()[:-500])
    with pytest.raises(MotionError, match="damaged or cut short"):
        registry.read(file)
    np.save(tmp_path / "c.npy", np.zeros((10, 40)))
    with pytest.raises(MotionError, match="plain array"):
        registry.read(tmp_path / "c.npy")


def test_another_character_s_bones_are_mentioned(
    tmp_path: Path, make_motion: Make, humanoid: CharacterModel, caplog: pytest.LogCaptureFixture
) -> None:
    motion = make_motion(frames=4)
    content = poselib(motion)
    content["skeleton_tree"]["local_translation"]["arr"] = (motion.skeleton.offsets * 1.3).numpy()
    registry.read(save_npy(tmp_path / "tall.npy", content), skeleton=humanoid.skeleton)
    assert "tall.npy" in caplog.text and "cm" in caplog.text


def test_pickles_of_numpy_1_and_2(tmp_path: Path, make_motion: Make) -> None:
    """numpy 2 renamed the module that its constructor is pickled from; both names are known."""
    motion = make_motion(frames=3)
    array = np.empty((), dtype=object)
    array[()] = poselib(motion)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|O", "fortran_order": False, "shape": ()})
    program = pickle.dumps(array, protocol=2)
    for module in (b"numpy._core.multiarray", b"numpy.core.multiarray"):
        renamed = program.replace(b"numpy._core.multiarray", module).replace(b"numpy.core.multiarray", module)
        (tmp_path / "a.npy").write_bytes(header.getvalue() + renamed)
        same(registry.read(tmp_path / "a.npy"), motion)


def test_our_clips_need_no_repair(humanoid: CharacterModel) -> None:
    """The clips that come with isaacmm: sound, on the floor, on the default character."""
    files = sorted((Path(__file__).parents[2] / "motions").glob("*.npz"))
    assert files
    for file in files:
        motion = registry.read(file, skeleton=humanoid.skeleton)
        fixed, messages = repair(motion)
        assert not messages and fixed.num_frames == motion.num_frames, file.name
        assert level(fixed, humanoid)[1] == 0.0 and abs(ground(fixed, humanoid)[1]) < 0.01, file.name


# ------------------------------------------------------------------------------- Isaac Lab
def isaaclab(motion: Motion) -> dict[str, Any]:
    """The arrays of an Isaac Lab clip, in an order of names that is not ours."""
    skeleton = motion.skeleton
    pos, rot = motion.fk()
    bodies, dofs = list(range(14, -1, -1)), list(range(27, -1, -1))
    return {
        "fps": 30,
        "dof_names": np.array([skeleton.dof_names[i] for i in dofs]),
        "body_names": np.array([skeleton.names[i] for i in bodies]),
        "dof_positions": motion.dof_pos()[:, dofs].numpy(),
        "dof_velocities": np.zeros((motion.num_frames, 28), dtype=np.float32),
        "body_positions": pos[:, bodies].numpy(),
        "body_rotations": rotation.to_wxyz(rot[:, bodies]).numpy(),
    }


def test_isaaclab_maps_by_name(tmp_path: Path, make_motion: Make, humanoid: CharacterModel) -> None:
    motion = make_motion(frames=9)
    np.savez(tmp_path / "a.npz", **isaaclab(motion))
    assert registry.sniff(tmp_path / "a.npz").name == "isaaclab"
    for skeleton in (humanoid.skeleton, None):
        back = registry.read(tmp_path / "a.npz", skeleton=skeleton)
        same(back, motion, 1e-5, 1e-4)
        torch.testing.assert_close(back.dof_pos(), motion.dof_pos(), atol=1e-4, rtol=0)


def test_isaaclab_does_not_trust_hinge_positions_that_are_rotation_vectors(
    tmp_path: Path, make_motion: Make, caplog: pytest.LogCaptureFixture
) -> None:
    motion = make_motion(frames=9)
    data = isaaclab(motion)
    data["dof_positions"] = data["dof_positions"] * 0.7
    np.savez(tmp_path / "a.npz", **data)
    same(registry.read(tmp_path / "a.npz"), motion, 1e-5, 1e-4)
    assert not caplog.text


def test_isaaclab_with_few_bodies_uses_its_hinges(tmp_path: Path, make_motion: Make) -> None:
    motion = make_motion(frames=9)
    data = isaaclab(motion)
    keep = [i for i, name in enumerate(data["body_names"]) if name in ("pelvis", "head", "left_foot")]
    for key in ("body_positions", "body_rotations"):
        data[key] = data[key][:, keep]
    data["body_names"] = data["body_names"][keep]
    np.savez(tmp_path / "a.npz", **data)
    same(registry.read(tmp_path / "a.npz"), motion, 1e-5, 1e-4)


def test_isaaclab_refusals(tmp_path: Path, make_motion: Make, caplog: pytest.LogCaptureFixture) -> None:
    motion = make_motion(frames=9)
    file = tmp_path / "a.npz"

    def refuse(*words: str, **changes: Any) -> None:
        np.savez(file, **isaaclab(motion))
        edit_npz(file, **changes)
        with pytest.raises(MotionError) as caught:
            registry.read(file)
        for word in ("a.npz", *words):
            assert word in str(caught.value), str(caught.value)

    data = isaaclab(motion)
    names = data["dof_names"].copy()
    names[0] = "left_ancle_z"
    refuse("'left_ancle_z'", "left_ankle_z", dof_names=names)
    refuse("body_rotations", body_rotations=None)
    refuse("dof_positions", "(9, 27)", dof_positions=data["dof_positions"][:, 1:])
    bodies = data["body_names"].copy()
    bodies[-1] = "hips"
    refuse("'pelvis'", body_names=bodies)
    np.savez(file, **{**data, "body_positions": data["body_positions"] * 1.2})
    registry.read(file)
    assert "other proportions" in caplog.text
