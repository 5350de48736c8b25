"""Small files of every format, written here and not by isaacmm's writers, and the motion they hold."""

from __future__ import annotations

import json
import math
import pickle
import struct
import zlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from isaacmm import rotation
from isaacmm.motion.clip import Motion
from isaacmm.motion.io import asf_amc, deepmimic, g1_robot, loco_mujoco, smpl_body
from isaacmm.motion.io.axes import Y_UP_Z_FORWARD
from isaacmm.skeleton import Skeleton

FRAMES = 24

ASF = """# a figure of four bones
:version 1.10
:name test
:units
  mass 1.0
  length 0.45
  angle deg
:root
   order TX TY TZ RX RY RZ
   axis XYZ
   position 0 0 0
   orientation 0 0 0
:bonedata
  begin
     id 1
     name hip
     direction 0.6 -0.8 0
     length 2.5
     axis 0 0 0  XYZ
  end
  begin
     id 2
     name thigh
     direction 0.34202 -0.939693 0
     length 7.3
     axis 0 0 20  XYZ
    dof rx ry rz
    limits (-160.0 20.0)
           (-70.0 70.0)
           (-60.0 70.0)
  end
  begin
     id 3
     name shin
     direction 0.34202 -0.939693 0
     length 7.8
     axis 5 -10 20  ZYX
    dof rx
    limits (-10.0 170.0)
  end
  begin
     id 4
     name chest
     direction 0 1 0
     length 4
     axis 0 0 0  XYZ
    dof rz ry rx
  end
:hierarchy
  begin
    root hip chest
    hip thigh
    thigh shin
  end
"""


@dataclass
class Sample:
    """A file and what is in it."""

    path: Path
    motion: Motion
    options: dict[str, Any]


def smooth(frames: int, count: int, seed: int, size: float) -> np.ndarray:
    """Curves ``[T, n]`` of at most ``size``."""
    draw = np.random.default_rng(seed)
    time = np.arange(frames)[:, None] / 30.0
    return size * np.sin(2 * math.pi * (time * draw.uniform(0.3, 1.3, count) + draw.uniform(size=count)))


def moving_root(frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Position ``[T, 3]`` m and quaternion ``[T, 4]`` xyzw of a root that walks a curve."""
    time = np.arange(frames) / 30.0
    pos = np.stack((1.2 * time, 0.3 * np.sin(time), 0.9 + 0.03 * np.sin(6 * time)), axis=1)
    euler = np.stack((1.0 + 0.5 * time, 0.1 * np.sin(3 * time), 0.05 * np.cos(2 * time)), axis=1)
    return pos, Rotation.from_euler("ZYX", euler).as_quat()


def robot_motion(frames: int = FRAMES) -> Motion:
    """The G1 swinging all its hinges while its root walks."""
    skeleton = g1_robot.skeleton()
    low, high = skeleton.dof_limits.numpy().T
    dofs = 0.5 * (low + high) + 0.4 * (high - low) * smooth(frames, 29, 1, 1.0)
    pos, rot = moving_root(frames)
    tensors = (torch.as_tensor(x).float() for x in (pos, rot, dofs))
    return Motion.from_dofs(skeleton, *tensors, 30.0, "robot")


def smpl_motion(frames: int = FRAMES, joints: int = 22) -> tuple[Motion, np.ndarray, np.ndarray]:
    """SMPL moving every joint, its poses ``[T, joints, 3]`` and its translation ``[T, 3]`` as AMASS has them."""
    poses = smooth(frames, joints * 3, 2, 0.5).reshape(frames, joints, 3)
    pos, rot = moving_root(frames)
    stand = Rotation.from_quat(
        [0.5, 0.5, 0.5, 0.5]
    )  # SMPL's axes (x left, y up, z forward) to x forward, z up
    poses[:, 0] = (Rotation.from_quat(rot) * stand).as_rotvec()
    matrices = Rotation.from_rotvec(poses.reshape(-1, 3)).as_matrix().reshape(frames, joints, 3, 3)
    turn = stand.as_matrix()
    ours = turn @ matrices[:, 1:] @ turn.T
    joint_rot = Rotation.from_matrix(ours.reshape(-1, 3, 3)).as_quat().reshape(frames, joints - 1, 4)
    motion = Motion(
        smpl_body.skeleton(joints),
        torch.as_tensor(pos).float(),
        torch.as_tensor(rot).float(),
        torch.as_tensor(joint_rot).float(),
        30.0,
        "smpl",
    )
    return motion, poses, pos - np.array(smpl_body.PELVIS)


class Files:
    """``files(name, folder)`` writes a small file of a format; :attr:`names` are the formats."""

    def __init__(self, make_motion: Callable[..., Motion], frames: int = FRAMES) -> None:
        self.make_motion, self.frames = make_motion, frames

    @property
    def names(self) -> list[str]:
        """Formats (some twice, in another dialect after a slash)."""
        return [
            key.removeprefix("write_").replace("__", "/") for key in dir(self) if key.startswith("write_")
        ]

    def __call__(self, name: str, folder: Path) -> Sample:
        """Write the sample."""
        return getattr(self, "write_" + name.replace("/", "__"))(folder)

    # ------------------------------------------------------------------ formats
    def write_isaacmm(self, folder: Path) -> Sample:
        motion = self.make_motion(frames=self.frames)
        motion.save(folder / "clip.npz")
        return Sample(folder / "clip.npz", motion, {})

    def write_bvh(self, folder: Path) -> Sample:
        motion = self.make_motion(frames=self.frames)
        motion.save(folder / "clip.bvh")
        return Sample(folder / "clip.bvh", motion, {})

    def write_poselib(self, folder: Path) -> Sample:
        motion = self.make_motion(frames=self.frames)
        skeleton = motion.skeleton

        def tensor(array: Any) -> OrderedDict[str, Any]:
            return OrderedDict(arr=np.asarray(array), context=OrderedDict(dtype="float32"))

        content = OrderedDict(
            rotation=tensor(torch.cat((motion.root_rot[:, None], motion.joint_rot), dim=1)),
            root_translation=tensor(motion.root_pos),
            skeleton_tree=OrderedDict(
                node_names=list(skeleton.names),
                parent_indices=tensor(skeleton.parents),
                local_translation=tensor(skeleton.offsets),
            ),
            is_local=True,
            fps=30.0,
            __name__="SkeletonMotion",
        )
        np.save(folder / "clip.npy", content, allow_pickle=True)  # type: ignore[arg-type]
        return Sample(folder / "clip.npy", motion, {})

    def write_isaaclab(self, folder: Path) -> Sample:
        motion = self.make_motion(frames=self.frames)
        pos, rot = motion.fk()
        np.savez(
            folder / "clip.npz",
            fps=30,
            dof_names=np.array(motion.skeleton.dof_names),
            body_names=np.array(motion.skeleton.names),
            dof_positions=motion.dof_pos().numpy(),
            body_positions=pos.numpy(),
            body_rotations=rotation.to_wxyz(rot).numpy(),
        )
        return Sample(folder / "clip.npz", motion, {"skeleton": motion.skeleton})

    def write_amass(self, folder: Path) -> Sample:
        motion, poses, trans = smpl_motion(self.frames)
        flat = np.zeros((self.frames, 156))
        flat[:, :66] = poses.reshape(self.frames, 66)
        np.savez(
            folder / "clip.npz",
            poses=flat,
            trans=trans,
            betas=np.zeros(16),
            gender="male",
            mocap_framerate=30.0,
        )
        return Sample(folder / "clip.npz", motion, {})

    def write_amass__smplx(self, folder: Path) -> Sample:
        motion, poses, trans = smpl_motion(self.frames)
        np.savez(
            folder / "clip.npz",
            root_orient=poses[:, 0],
            pose_body=poses[:, 1:].reshape(self.frames, 63),
            trans=trans,
            mocap_frame_rate=30.0,
            surface_model_type="smplx",
        )
        return Sample(folder / "clip.npz", motion, {})

    def write_mimickit(self, folder: Path) -> Sample:
        motion = robot_motion(self.frames)
        root = Rotation.from_quat(motion.root_rot.numpy()).as_rotvec()
        frames = np.concatenate((motion.root_pos, root, motion.dof_pos()), axis=1).tolist()
        (folder / "clip.pkl").write_bytes(pickle.dumps({"loop_mode": 0, "fps": 30, "frames": frames}))
        return Sample(folder / "clip.pkl", motion, {})

    def write_gmr(self, folder: Path) -> Sample:
        motion = robot_motion(self.frames)
        content = {
            "fps": 30,
            "root_pos": motion.root_pos.double().numpy(),
            "root_rot": motion.root_rot.double().numpy(),
            "dof_pos": motion.dof_pos().double().numpy(),
            "local_body_pos": None,
            "link_body_list": None,
        }
        (folder / "clip.pkl").write_bytes(pickle.dumps(content))
        return Sample(folder / "clip.pkl", motion, {})

    def write_phc(self, folder: Path) -> Sample:
        motion, poses, trans = smpl_motion(self.frames, 24)
        order = [smpl_body.NAMES.index(name) for name in smpl_body.MUJOCO_ORDER]
        clip = {
            "pose_quat_global": motion.fk()[1][:, order].double().numpy(),
            "trans_orig": trans,
            "root_trans_offset": motion.root_pos,  # PHC leaves a tensor here
            "pose_aa": poses.reshape(self.frames, 72),
            "gender": "neutral",
            "beta": np.zeros(16),
            "fps": 30.0,
        }
        (folder / "clip.pkl").write_bytes(joblib_dump({"0-first": clip, "0-second": {**clip, "fps": 60}}))
        return Sample(folder / "clip.pkl", motion, {"clip": "0-first"})

    def write_phc__asap(self, folder: Path) -> Sample:
        motion = robot_motion(self.frames)
        clip = {
            "root_trans_offset": motion.root_pos.double().numpy(),
            "pose_aa": np.zeros((self.frames, 27, 3)),
            "dof": motion.dof_pos().numpy(),
            "root_rot": motion.root_rot.double().numpy(),
            "fps": 30,
        }
        (folder / "clip.pkl").write_bytes(zlib.compress(joblib_dump({"kick": clip})))
        return Sample(folder / "clip.pkl", motion, {})

    def write_protomotions(self, folder: Path) -> Sample:
        motion = robot_motion(self.frames)
        pos, rot = motion.fk()
        bodies = list(g1_robot.PROTOMOTIONS_BODIES)
        where, turned = torch.zeros(self.frames, 33, 3), torch.zeros(self.frames, 33, 4)
        turned[..., 3] = 1.0
        where[:, bodies], turned[:, bodies] = pos, rot
        content = {
            "fps": 30,
            "dof_pos": motion.dof_pos(),
            "rigid_body_pos": where,
            "rigid_body_rot": turned,
            "rigid_body_contacts": torch.zeros(self.frames, 33, dtype=torch.bool),
        }
        torch.save(content, folder / "clip.motion")
        return Sample(folder / "clip.motion", motion, {})

    def write_deepmimic(self, folder: Path) -> Sample:
        skeleton = deepmimic.character()
        pos, rot = moving_root(self.frames)
        wave = smooth(self.frames, 60, 3, 0.6)
        local, rows, column = [Rotation.from_quat(rot)], [[1 / 30.0] * self.frames], 0
        # x forward, y up, z right
        rows += list(np.stack((pos[:, 0], pos[:, 2], -pos[:, 1])))
        turn = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], dtype=float)
        rows += list(Rotation.from_matrix(turn @ local[0].as_matrix() @ turn.T).as_quat()[:, [3, 0, 1, 2]].T)
        for name in skeleton.names[1:]:
            if name.endswith("hand"):
                local.append(Rotation.identity(self.frames))
            elif name.endswith(("shin", "lower_arm")):
                rows.append(wave[:, column])
                local.append(Rotation.from_rotvec(wave[:, column, None] * np.array([0.0, -1.0, 0.0])))
                column += 1
            else:
                theirs = Rotation.from_rotvec(wave[:, column : column + 3])
                rows += list(theirs.as_quat()[:, [3, 0, 1, 2]].T)
                local.append(Rotation.from_matrix(turn.T @ theirs.as_matrix() @ turn))
                column += 3
        content = {"Loop": "wrap", "Frames": np.array(rows).T.tolist()}
        (folder / "clip.txt").write_text(json.dumps(content))
        quats = torch.as_tensor(np.stack([r.as_quat() for r in local], axis=1)).float()
        motion = Motion(skeleton, torch.as_tensor(pos).float(), quats[:, 0], quats[:, 1:], 30.0, "clip")
        return Sample(folder / "clip.txt", motion, {})

    def write_robot_csv(self, folder: Path) -> Sample:
        motion = robot_motion(self.frames)
        table = np.concatenate((motion.root_pos, motion.root_rot, motion.dof_pos()), axis=1)
        np.savetxt(folder / "clip.csv", table, delimiter=",", fmt="%.7f")
        return Sample(folder / "clip.csv", motion, {"quaternion": "xyzw"})

    def write_robot_csv__qpos(self, folder: Path) -> Sample:
        motion = robot_motion(self.frames)
        table = np.concatenate((motion.root_pos, rotation.to_wxyz(motion.root_rot), motion.dof_pos()), axis=1)
        np.savetxt(folder / "clip.csv", table, delimiter=",", fmt="%.7f")
        return Sample(folder / "clip.csv", motion, {"quaternion": "wxyz"})

    def write_loco_mujoco(self, folder: Path) -> Sample:
        arrays: dict[str, np.ndarray] = {"q_knee_angle_r_translation1": np.zeros(self.frames)}
        names = [f"pelvis_{key}" for key in ("tilt", "list", "rotation")]
        names += [joint for row in loco_mujoco._rows(True) for joint, _ in row[3]]
        wave = smooth(self.frames, len(names), 4, 0.4)
        for name, curve in zip(names, wave.T, strict=True):
            arrays[f"q_{name}"] = curve
        time = np.arange(self.frames) / 30.0
        arrays["q_pelvis_tx"], arrays["dq_pelvis_tx"] = 1.3 * time, np.full(self.frames, 1.3)
        arrays["q_pelvis_ty"], arrays["q_pelvis_tz"] = 0.02 * np.sin(time), 0.1 * time
        np.savez(folder / "clip.npz", **arrays)
        axes = {"pelvis_tilt": (0, 0, 1), "pelvis_list": (1, 0, 0), "pelvis_rotation": (0, 1, 0)}
        turn = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]], dtype=float)

        def total(joints: Any) -> np.ndarray:
            out = Rotation.identity(self.frames)
            for joint, axis in joints:
                unit = np.array(axis) / np.linalg.norm(axis)
                out = out * Rotation.from_rotvec(arrays[f"q_{joint}"][:, None] * unit)
            return Rotation.from_matrix(turn @ out.as_matrix() @ turn.T).as_quat()

        quats = np.stack([total(axes.items()), *(total(row[3]) for row in loco_mujoco._rows(True))], axis=1)
        pos = np.stack((arrays["q_pelvis_tx"], -arrays["q_pelvis_tz"], 0.95 + arrays["q_pelvis_ty"]), axis=1)
        turned = torch.as_tensor(quats).float()
        motion = Motion(
            loco_mujoco.character(), torch.as_tensor(pos).float(), turned[:, 0], turned[:, 1:], 30.0, "clip"
        )
        return Sample(folder / "clip.npz", motion, {})

    def write_humanml3d(self, folder: Path) -> Sample:
        motion, _, _ = smpl_motion(self.frames)
        np.save(folder / "clip.npy", humanml3d_features(motion))
        return Sample(folder / "clip.npy", motion, {})

    def write_vqvae(self, folder: Path) -> Sample:
        motion = robot_motion(self.frames)
        flag = np.zeros((self.frames, 1))
        flag[self.frames // 2 - 2 : self.frames // 2] = 1.0
        time = np.arange(self.frames)[:, None] / 30.0
        table = np.concatenate(
            (time, motion.root_pos, rotation.to_wxyz(motion.root_rot), motion.dof_pos(), flag), axis=1
        )
        np.save(folder / "clip.npy", table)
        return Sample(folder / "clip.npy", motion.slice(0, self.frames // 2), {"clip": "clip_0"})

    def write_amc(self, folder: Path) -> Sample:
        (folder / "07.asf").write_text(ASF)
        pos, rot = moving_root(self.frames)
        unit = 0.0254 / 0.45
        turn = np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]], dtype=float)  # ours to y up, z forward
        root = Rotation.from_matrix(turn @ Rotation.from_quat(rot).as_matrix() @ turn.T)
        place, angles = pos @ turn.T / unit, root.as_euler("xyz", degrees=True)
        wave = smooth(self.frames, 7, 5, 30.0)
        lines = ["#!OML:ASF test", ":FULLY-SPECIFIED", ":DEGREES"]
        for t in range(self.frames):
            lines += [str(t + 1), "root " + " ".join(f"{x:.9g}" for x in (*place[t], *angles[t]))]
            for name, part in (("thigh", slice(0, 3)), ("shin", slice(3, 4)), ("chest", slice(4, 7))):
                lines.append(f"{name} " + " ".join(f"{x:.9g}" for x in wave[t, part]))
        (folder / "07_01.amc").write_text("\n".join(lines) + "\n")
        thigh, shin = (
            Rotation.from_euler("xyz", [0, 0, 20], degrees=True),
            Rotation.from_euler("zyx", [5, -10, 20], degrees=True),
        )
        theirs = [
            Rotation.identity(self.frames),
            thigh * Rotation.from_euler("xyz", wave[:, :3], degrees=True) * thigh.inv(),
            shin * Rotation.from_euler("x", wave[:, 3:4], degrees=True) * shin.inv(),
            Rotation.from_euler("zyx", wave[:, 4:], degrees=True),
        ]
        quats = [Rotation.from_matrix(turn.T @ r.as_matrix() @ turn).as_quat() for r in theirs]
        bones = np.array([[0, 0, 0], [0, 0, 0], [1.5, -2, 0], [2.496746, -6.8597589, 0], [0, 0, 0]])
        skeleton = Skeleton(
            ("root", "hip", "thigh", "shin", "chest"),
            (-1, 0, 1, 2, 0),
            torch.as_tensor(bones @ turn * unit).float(),
            rotation.identity(5),
        )
        tensors = (torch.as_tensor(x).float() for x in (pos, rot, np.stack(quats, axis=1)))
        motion = Motion(skeleton, *tensors, 120.0, "07_01")
        assert asf_amc.skeleton_file(folder / "07_01.amc") == folder / "07.asf"
        return Sample(folder / "07_01.amc", motion, {})

    def write_mjpc(self, folder: Path) -> Sample:
        from isaacmm.motion.io import mjpc_xml

        names = [row[0] for row in mjpc_xml._TREE]
        parents = tuple(-1 if row[1] is None else names.index(row[1]) for row in mjpc_xml._TREE)
        bones = torch.tensor([row[2] for row in mjpc_xml._TREE])
        skeleton = Skeleton(tuple(names), parents, bones, rotation.identity(len(names)))
        pos, rot = moving_root(self.frames)
        wave = torch.as_tensor(
            smooth(self.frames, 3 * len(names) - 3, 6, 0.5).reshape(self.frames, -1, 3)
        ).float()
        motion = Motion(
            skeleton,
            torch.as_tensor(pos).float(),
            torch.as_tensor(rot).float(),
            rotation.from_rotvec(wave),
            30.0,
            "clip",
        )
        placed = motion.fk()[0][:, [names.index(name) for name in mjpc_xml.MARKERS]].reshape(self.frames, -1)
        keys = "".join(
            f'<key name="k{t}" mpos="{" ".join(f"{x:.7f}" for x in row)}"/>' for t, row in enumerate(placed)
        )
        (folder / "clip.xml").write_text(f"<mujoco><keyframe>{keys}</keyframe></mujoco>")
        return Sample(folder / "clip.xml", motion, {})


def humanml3d_features(motion: Motion) -> np.ndarray:
    """Features ``[T, 263]`` of 22 joints, rotations and velocities left at zero."""
    where = Y_UP_Z_FORWARD.vectors_back(motion.fk()[0][:, :22]).numpy()  # x left, y up, z forward
    across = where[:, 1] - where[:, 2] + where[:, 16] - where[:, 17]
    heading = np.unwrap(np.arctan2(-across[:, 2], across[:, 0]))
    back = Rotation.from_rotvec(-heading[:, None] * np.array([0.0, 1.0, 0.0]))
    table = np.zeros((len(where), 263))
    table[:-1, 0] = -np.diff(heading) / 2.0
    steps = np.diff(where[:, 0], axis=0)
    table[:-1, 1:3] = back[1:].apply(steps)[:, [0, 2]]
    table[:, 3] = where[:, 0, 1]
    ground = where[:, :1] * np.array([1.0, 0.0, 1.0])
    local = where - ground
    for joint in range(1, 22):
        table[:, 4 + 3 * (joint - 1) : 7 + 3 * (joint - 1)] = back.apply(local[:, joint])
    return table.astype(np.float32)


class NumpyArrayWrapper:
    """joblib's class of this name, as far as a file shows it."""

    def __init__(self, array: np.ndarray) -> None:
        self.subclass, self.shape, self.order = np.ndarray, array.shape, "C"
        self.dtype, self.allow_mmap, self.numpy_array_alignment_bytes = array.dtype, True, 16


NumpyArrayWrapper.__module__ = "joblib.numpy_pickle"


class _JoblibPickler(pickle._Pickler):
    """Writes arrays as joblib does: a wrapper in the pickle, the bytes right after it."""

    def __init__(self, file: Any) -> None:
        super().__init__(file, protocol=4)
        self.file = file

    def save(self, obj: Any, save_persistent_id: bool = True) -> Any:
        if type(obj) is not np.ndarray:
            return super().save(obj)
        super().save(NumpyArrayWrapper(obj))
        self.framer.commit_frame(force=True)
        padding = 16 - (self.file.tell() + 1) % 16
        self.file.write(struct.pack("B", padding) + b"\xff" * padding + np.ascontiguousarray(obj).tobytes())
        return None


def joblib_dump(content: Any) -> bytes:
    """The file that ``joblib.dump`` makes of ``content`` (without joblib, which the tests do not need)."""
    import io
    import sys
    import types

    module = types.ModuleType("joblib.numpy_pickle")
    module.NumpyArrayWrapper = NumpyArrayWrapper  # type: ignore[attr-defined]
    known = {name: sys.modules.get(name) for name in ("joblib", "joblib.numpy_pickle")}
    sys.modules.update({"joblib": types.ModuleType("joblib"), "joblib.numpy_pickle": module})
    try:
        file = io.BytesIO()
        _JoblibPickler(file).dump(content)
        return file.getvalue()
    finally:
        for name, before in known.items():
            if before is None:
                del sys.modules[name]
            else:
                sys.modules[name] = before


@pytest.fixture(scope="session")
def sample_files(make_motion: Callable[..., Motion]) -> Files:
    """Small files of every format: ``sample_files(name, folder)``; ``sample_files.names``."""
    return Files(make_motion)
