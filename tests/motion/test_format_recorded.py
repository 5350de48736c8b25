"""The formats on recorded clips, joints against positions that are stored, or computed by other means."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from isaacmm import rotation
from isaacmm.character import CharacterModel
from isaacmm.motion.clip import Motion
from isaacmm.motion.io import g1_robot, humanml3d, mjpc_xml, registry, torch_file
from isaacmm.motion.repair import detect_doubled_frames
from isaacmm.skeleton import Skeleton

NO_CLIPS = (".md", "LICENSE", "ACKNOWLEDGEMENT", "README")


def test_every_recorded_file_loads(recorded_motions: Path) -> None:
    files = [
        p
        for p in sorted(recorded_motions.rglob("*"))
        if p.is_file() and not any(word in p.name for word in NO_CLIPS)
    ]
    bandai = [p for p in files if p.parent.name == "bvh_bandai_nc"]
    assert len(files) >= 65 and len(bandai) == 30
    files = [p for p in files if p not in bandai[3:]]  # all of them: test_recorded.py
    seen: dict[str, int] = {}
    for file in files:
        options: dict[str, Any] = {"scale": 0.05644} if file.name == "01_01.bvh" else {}
        motion = registry.read(file, **options)
        seen[registry.sniff(file).name] = seen.get(registry.sniff(file).name, 0) + 1
        assert motion.num_frames >= 2 and motion.skeleton.num_bodies >= 15, file
        if file.name in ("cmu_tpose.npy", "sfu_tpose.npy", "11.asf"):
            continue  # rest poses, two of them in inches
        height = motion.fk()[0][..., 2]
        assert -0.02 < float(height.min()) < 0.2 and 0.9 < float(height.max()) < 2.6, file
    assert seen == {
        **{"bvh": 4, "poselib": 9, "isaaclab": 3, "amass": 1, "deepmimic": 8, "robot_csv": 5},
        **{"loco_mujoco": 1, "protomotions": 1, "amc": 2, "mjpc": 5},
    }


def mjcf_of(skeleton: Skeleton) -> str:
    """An MJCF with the bodies and hinges of a skeleton, for MuJoCo's own kinematics."""
    wxyz = rotation.to_wxyz(skeleton.rest_rotations)
    numbers = lambda v: " ".join(f"{float(x):.9g}" for x in v)  # noqa: E731

    def body(i: int) -> str:
        joints = "".join(
            f'<joint name="{skeleton.dof_names[d]}" axis="{numbers(skeleton.dof_axes[d])}"/>'
            for d, b in enumerate(skeleton.dof_bodies)
            if b == i
        )
        joints = "<freejoint/>" if i == 0 else joints
        inside = "".join(body(c) for c, p in enumerate(skeleton.parents) if p == i)
        place = f'pos="{numbers(skeleton.offsets[i])}" quat="{numbers(wxyz[i])}"'
        return f'<body name="{skeleton.names[i]}" {place}>{joints}<geom size=".01"/>{inside}</body>'

    return f'<mujoco><compiler angle="radian"/><worldbody>{body(0)}</worldbody></mujoco>'


def mujoco_kinematics(skeleton: Skeleton, qpos: np.ndarray) -> np.ndarray:
    """Body positions ``[T, B, 3]`` of ``qpos [T, 7 + D]`` (root wxyz)."""
    model = mujoco.MjModel.from_xml_string(mjcf_of(skeleton))
    data = mujoco.MjData(model)
    ids = [model.body(name).id for name in skeleton.names]
    out = []
    for row in qpos:
        data.qpos[:] = row
        mujoco.mj_kinematics(model, data)
        out.append(data.xpos[ids].copy())
    return np.array(out)


@pytest.mark.parametrize("clip", ["walk", "high5", "dance", "jumpjack", "wave"])
def test_g1_csv_against_mujoco(recorded_motions: Path, clip: str) -> None:
    file = recorded_motions / f"g1_csv_kimodo/output_{clip}.csv"
    motion = registry.read(file)
    qpos = np.loadtxt(file, delimiter=",")  # these are in MuJoCo's own order
    where = torch.as_tensor(mujoco_kinematics(g1_robot.skeleton(), qpos)).float()
    assert float((motion.fk()[0] - where).norm(dim=-1).max()) < 5e-6
    soles = motion.fk()[0][:, [6, 12], 2].amin(dim=1)
    assert float(soles.max()) < 0.5 and float(soles.median()) < 0.08


def test_protomotions_against_what_it_stores(recorded_motions: Path) -> None:
    file = recorded_motions / "protomotions_motion_g1/g1_crouch_to_run.motion"
    data = torch.load(file, weights_only=True)
    ours = torch_file.load(file)
    for key, value in data.items():
        assert np.array_equal(ours[key], value.numpy() if hasattr(value, "numpy") else value), key
    motion = registry.read(file)
    bodies = list(g1_robot.PROTOMOTIONS_BODIES)
    pos, rot = motion.fk()
    assert float((pos - data["rigid_body_pos"][:, bodies]).norm(dim=-1).max()) < 1e-5
    assert float(rotation.angle_between(rot, data["rigid_body_rot"][:, bodies]).max()) < 1e-5
    # the hinge angles beside them are those that our robot needs for these rotations
    torch.testing.assert_close(motion.dof_pos(), data["dof_pos"], atol=3e-4, rtol=0)
    # and its legs are exactly the robot's that isaacmm knows (its waist is another revision's)
    built_in = Motion.from_dofs(g1_robot.skeleton(), motion.root_pos, motion.root_rot, data["dof_pos"], 30.0)
    error = (built_in.fk()[0] - data["rigid_body_pos"][:, bodies]).norm(dim=-1).amax(dim=0)
    assert float(error[:13].max()) < 1e-6 and float(error.max()) < 0.012


def chain(
    parents: tuple[int, ...], offsets: np.ndarray, root: np.ndarray, local: list[Rotation]
) -> np.ndarray:
    """Plain forward kinematics ``[T, B, 3]`` in the file's own axes."""
    world, where = [local[0]], [root]
    for i in range(1, len(parents)):
        where.append(where[parents[i]] + world[parents[i]].apply(offsets[i]))
        world.append(world[parents[i]] * local[i])
    return np.stack(where, axis=1)


def test_amass_against_plain_kinematics(recorded_motions: Path) -> None:
    from isaacmm.motion.io import smpl_body

    file = recorded_motions / "amass_like_npz/cmu_01_01_amassfmt.npz"
    data = np.load(file)
    motion = registry.read(file)
    assert motion.fps == 60.0 and motion.skeleton.num_bodies == 22
    poses = data["poses"][:, :66].reshape(-1, 22, 3).astype(np.float64)
    local = [Rotation.from_rotvec(poses[:, i]) for i in range(22)]
    root = data["trans"] + np.array(smpl_body.PELVIS)
    where = chain(smpl_body.PARENTS[:22], smpl_body.mean_offsets(), root, local)
    assert np.abs(motion.fk()[0].numpy() - where).max() < 1e-5


def test_deepmimic_against_plain_kinematics(recorded_motions: Path, humanoid: CharacterModel) -> None:
    from isaacmm.motion.io import deepmimic

    for file in sorted((recorded_motions / "deepmimic_json").glob("humanoid3d_*.txt")):
        rows = np.array(json.loads(file.read_text())["Frames"])
        motion = registry.read(file)
        local, column = [], 4
        for *_, width in deepmimic._BODIES:
            part = rows[:, column : column + width]
            if width == 4:
                local.append(Rotation.from_quat(part[:, [1, 2, 3, 0]]))
            else:
                angle = part[:, 0] if width else np.zeros(len(rows))
                local.append(Rotation.from_rotvec(angle[:, None] * np.array([0.0, 0.0, 1.0])))
            column += width
        assert column == rows.shape[1] == 44
        offsets = np.array([row[2] for row in deepmimic._BODIES])
        where = chain(deepmimic.character().parents, offsets, rows[:, 1:4], local)
        ours = np.stack((where[..., 0], -where[..., 2], where[..., 1]), axis=-1)
        assert np.abs(motion.fk()[0].numpy() - ours).max() < 2e-5, file.name
        onto = registry.read(file, skeleton=humanoid.skeleton)
        assert (
            float((onto.fk()[0] - registry.read(file).fk()[0][:, order_of(motion, onto)]).norm(dim=-1).max())
            < 2e-5
        )
    walk = registry.read(recorded_motions / "deepmimic_json/humanoid3d_walk.txt", skeleton=humanoid.skeleton)
    assert walk.tags == ("loop",) and detect_doubled_frames(walk) == 1
    knees = walk.dof_pos()[:, [walk.skeleton.dof("right_knee"), walk.skeleton.dof("left_knee")]]
    assert float(knees.min()) > -0.05 and 0.8 < float(knees.max()) < 1.6


def order_of(own: Motion, onto: Motion) -> list[int]:
    return [own.skeleton.names.index(name) for name in onto.skeleton.names]


def test_loco_mujoco_stands_on_its_feet(recorded_motions: Path) -> None:
    motion = registry.read(recorded_motions / "loco_mujoco_npz/02-constspeed_full_humanoid.npz")
    assert motion.fps == 500.0  # from positions and velocities: the file does not say
    speed = (motion.root_pos[-1] - motion.root_pos[0]).norm() / motion.duration
    assert float(speed) == pytest.approx(1.35, abs=0.03)
    names, pos = motion.skeleton.names, motion.fk()[0]
    for side in "rl":
        foot = pos[:, names.index(f"calcn_{side}")]
        stands = foot[:, 2] < foot[:, 2].min() + 0.01
        slide = (foot[1:] - foot[:-1]).norm(dim=-1)[stands[1:]] * motion.fps
        assert 0.2 < float(stands.float().mean()) < 0.6 and float(slide.mean()) < 0.25
    knee = rotation.angle_between(
        motion.fk()[1][:, names.index("femur_r")], motion.fk()[1][:, names.index("tibia_r")]
    )
    assert 50 < float(torch.rad2deg(knee).max()) < 70  # an adult's swing


def test_amc_stands_on_its_feet(recorded_motions: Path) -> None:
    motion = registry.read(recorded_motions / "bvh_cmu/11_01.amc")
    assert (motion.num_frames, motion.fps) == (597, 120.0)
    assert registry.read(recorded_motions / "bvh_cmu/11.asf").skeleton.names == motion.skeleton.names
    names, pos = motion.skeleton.names, motion.fk()[0]
    thigh = motion.skeleton.offsets[names.index("ltibia")].norm()
    assert float(thigh) == pytest.approx(7.33161 * 0.0254 / 0.45, abs=1e-5)
    for side in "lr":
        toes = pos[:, names.index(f"{side}toes")]
        speed = (toes[1:] - toes[:-1]).norm(dim=-1) * motion.fps
        assert float(speed.min()) < 0.02 and 0.03 < float(toes[:, 2].min()) < 0.06
    # left is left: walking, the left foot is on the left
    ahead = motion.root_pos[-1] - motion.root_pos[0]
    across = (pos[:, names.index("lfoot")] - pos[:, names.index("rfoot")]).mean(dim=0)
    assert float(torch.linalg.cross(ahead, across)[2]) > 0


def test_markers_keep_limbs(recorded_motions: Path) -> None:
    for file in sorted((recorded_motions / "mujoco_keyframes_cmu").glob("*.xml")):
        motion = registry.read(file)
        markers = torch.as_tensor(mjpc_xml._markers(file)).float()
        names, pos = motion.skeleton.names, motion.fk()[0]
        error = (pos[:, [names.index(m) for m in mjpc_xml.MARKERS]] - markers).norm(dim=-1)
        assert float(error.mean()) < 0.021 and float(error.max()) < 0.085, file.name
        for side in ("left", "right"):  # limbs are as long as the markers are apart
            bone = motion.skeleton.offsets[names.index(f"{side}_heel")].norm()
            at = [mjpc_xml.MARKERS.index(f"{side}_{joint}") for joint in ("knee", "heel")]
            assert float(((markers[:, at[0]] - markers[:, at[1]]).norm(dim=-1) - bone).abs().max()) < 1e-3


def test_humanml3d_turns_do_not_drift(sample_files: Any, tmp_path: Path) -> None:
    """Bones of the figure it comes from, not of a mean one."""
    sample = sample_files("humanml3d", tmp_path)
    back = registry.read(sample.path)
    torch.testing.assert_close(
        back.skeleton.offsets.norm(dim=-1), sample.motion.skeleton.offsets.norm(dim=-1), atol=1e-5, rtol=0
    )
    raw = humanml3d.joints(np.load(sample.path)).float()
    assert float((back.fk()[0] - raw).norm(dim=-1).max()) < 1e-5
