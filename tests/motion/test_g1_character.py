"""The Unitree G1 as a character: its model against its published kinematics, its clips on it, people's clips on it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import mujoco
import numpy as np
import pytest
import torch

from isaacmm import paths, rotation
from isaacmm.character import CharacterModel
from isaacmm.cli.compose import compose
from isaacmm.errors import MotionError
from isaacmm.motion import findings, fixes
from isaacmm.motion.clip import Motion
from isaacmm.motion.io import g1_robot
from isaacmm.motion.retarget import detect, retarget
from isaacmm.motion.retarget.target import Folded, Target
from isaacmm.motion.sources import load_clips

#: kg, of the published description: left side and middle.
MASSES = {
    "pelvis": 3.813, "left_hip_pitch": 1.35, "left_hip_roll": 1.52, "left_hip_yaw": 1.702, "left_knee": 1.932,
    "left_ankle_pitch": 0.074, "left_ankle_roll": 0.608, "waist_yaw": 0.214, "waist_roll": 0.086, "torso": 7.818,
    "left_shoulder_pitch": 0.718, "left_shoulder_roll": 0.643, "left_shoulder_yaw": 0.734, "left_elbow": 0.6,
    "left_wrist_roll": 0.085445, "left_wrist_pitch": 0.48405, "left_wrist_yaw": 0.254576,
}  # fmt: skip


@pytest.fixture(scope="module")
def g1() -> CharacterModel:
    return CharacterModel.load("g1")


@pytest.fixture(scope="module")
def target(g1: CharacterModel) -> Target:
    return Target(g1, detect(g1.skeleton.names).bind(g1.skeleton.names))


def test_the_model_is_the_robot_whose_clips_are_read(g1: CharacterModel) -> None:
    ours, robot = g1.skeleton, g1_robot.skeleton()
    assert ours.names == robot.names and ours.parents == robot.parents
    assert ours.dof_names == robot.dof_names and ours.dof_bodies == robot.dof_bodies
    for field in ("offsets", "dof_axes", "dof_limits", "rest_rotations"):
        torch.testing.assert_close(getattr(ours, field), getattr(robot, field), atol=1e-6, rtol=0)
    torch.testing.assert_close(g1.sole, torch.tensor([g1_robot.SOLE] * 2), atol=1e-6, rtol=0)
    weighed = dict(zip(ours.names, g1.body_mass.tolist(), strict=True))
    for link, mass in MASSES.items():
        name = link if link == "pelvis" else f"{link}_link"
        assert weighed[name] == pytest.approx(mass, rel=1e-5), name
        assert weighed[name.replace("left", "right")] == pytest.approx(mass, rel=1e-5), name
    assert sum(weighed.values()) == pytest.approx(33.34, abs=0.01)


@pytest.mark.parametrize("clip", ["walk", "dance"])
def test_its_clips_stay_as_they_are(recorded_motions: Path, g1: CharacterModel, clip: str) -> None:
    """A csv on the character, against MuJoCo's kinematics of the character's own file."""
    file = recorded_motions / f"g1_csv_kimodo/output_{clip}.csv"
    motion = Motion.load(file, skeleton=g1.skeleton)
    qpos = np.loadtxt(file, delimiter=",")
    torch.testing.assert_close(motion.dof_pos(), torch.as_tensor(qpos[:, 7:]).float(), atol=1e-5, rtol=0)
    model = mujoco.MjModel.from_xml_path(str(g1.mjcf))
    data = mujoco.MjData(model)
    ids = [model.body(name).id for name in g1.skeleton.names]
    for row, pos in zip(qpos, motion.fk()[0].numpy(), strict=True):
        data.qpos[:] = row
        mujoco.mj_kinematics(model, data)
        assert np.abs(data.xpos[ids] - pos).max() < 5e-6


def test_a_protomotions_clip_lands_where_the_file_has_it(recorded_motions: Path, g1: CharacterModel) -> None:
    file = recorded_motions / "protomotions_motion_g1/g1_crouch_to_run.motion"
    stored = torch.load(file, weights_only=True)
    motion = Motion.load(file, skeleton=g1.skeleton)
    torch.testing.assert_close(motion.dof_pos(), stored["dof_pos"], atol=3e-4, rtol=0)
    there = stored["rigid_body_pos"][:, list(g1_robot.PROTOMOTIONS_BODIES)]
    off = (motion.fk()[0] - there).norm(dim=-1).amax(dim=0)
    legs = [i for i, name in enumerate(g1.skeleton.names) if any(p in name for p in ("hip", "knee", "ankle"))]
    assert float(off[legs].max()) < 1e-4
    assert float(off.max()) < 0.02, "its waist is another revision's: 19 mm between two of its links"


def test_hinges_of_links_in_between_are_found(g1: CharacterModel, target: Target) -> None:
    """Random poses within the limits: rotations of hips, shoulders, wrists come back from their three links' hinges."""
    low, high = g1.skeleton.dof_limits.double().unbind(-1)
    draw = torch.Generator().manual_seed(1)
    dof = low + (high - low) * torch.rand(64, g1.skeleton.num_dofs, generator=draw, dtype=torch.float64)
    zero, one = torch.zeros(64, 3, dtype=torch.float64), rotation.identity(64, dtype=torch.float64)
    _, rot = g1.skeleton.fk(zero, one, g1.skeleton.dofs_to_joint_rot(dof))
    _, flat = g1.skeleton.fk(zero, one, rotation.identity(64, g1.skeleton.num_joints, dtype=torch.float64))
    starts = ("hip", "shoulder")
    bodies = [body for role, body in target.roles.items() if not role.endswith(starts) and body > 0]
    joint_rot = rotation.identity(64, g1.skeleton.num_joints, dtype=torch.float64)
    for body in bodies:
        inner = g1.skeleton.parents[body]
        while inner not in (*bodies, 0):
            inner = g1.skeleton.parents[inner]
        between = rotation.multiply(rotation.inverse(flat[:, inner]), flat[:, body])
        above = rotation.multiply(rot[:, inner], between)
        joint_rot[:, body - 1] = rotation.multiply(rotation.inverse(above), rot[:, body])
    found = torch.cat([target.folded.angles(joint_rot[t : t + 1]) for t in range(64)])
    _, again = g1.skeleton.fk(zero, one, g1.skeleton.dofs_to_joint_rot(found))
    assert float(rotation.angle_between(again, rot)[:, bodies].max()) < 1e-6
    inside = ((found > low - 1e-6) & (found < high + 1e-6)).all(dim=1)
    assert float((found - dof)[inside].abs().median()) < 1e-6
    # a character whose joints are single bodies is folded into itself
    humanoid = CharacterModel.load("humanoid").skeleton
    same = Folded(humanoid, list(range(humanoid.num_bodies)))
    assert same.skeleton.dof_bodies == humanoid.dof_bodies and float(same.shift.abs().max()) < 1e-6
    torch.testing.assert_close(same.skeleton.dof_axes, humanoid.dof_axes)


@pytest.mark.parametrize("clip", ["walk_1.2", "run_2.6", "side_left_0.3", "turn_left_90"])
def test_people_walk_as_the_robot(g1: CharacterModel, humanoid: CharacterModel, clip: str) -> None:
    source = Motion.load(paths.resolve(f"motions/{clip}.npz"), skeleton=humanoid.skeleton).slice(0, 240)
    done = retarget(source, g1)
    figures = done.residuals
    assert figures.joint_map == "humanoid" and figures.scale == pytest.approx(0.75, abs=0.01)
    assert figures.slide["result"] < figures.slide["source"] + 0.01 and figures.deepest < 0.002
    off = {part: mean for part, (mean, _) in figures.direction.items()}
    assert max(off.values()) < 8.0 and sum(off.values()) / len(off) < 3.0, off
    low, high = g1.skeleton.dof_limits.unbind(-1)
    dof = done.motion.dof_pos()
    assert bool(((dof > low - 1e-3) & (dof < high + 1e-3)).all())
    # it walks where the person walks, in its own size
    way = source.root_pos[-1, :2] - source.root_pos[0, :2]
    own = done.motion.root_pos[-1, :2] - done.motion.root_pos[0, :2]
    assert float((own - figures.scale * way).norm()) < 0.05 * (1.0 + float(way.norm()))


def test_the_robot_walks_as_a_person(recorded_motions: Path, humanoid: CharacterModel) -> None:
    done = retarget(Motion.load(recorded_motions / "g1_csv_kimodo/output_walk.csv"), humanoid)
    assert done.residuals.joint_map == "g1"
    assert done.residuals.slide["result"] < 0.02 and done.residuals.deepest < 0.002
    assert max(mean for mean, _ in done.residuals.direction.values()) < 8.0


def test_faults_of_its_clips_are_put_right(g1: CharacterModel, humanoid: CharacterModel) -> None:
    sound = retarget(Motion.load(paths.resolve("motions/walk_1.0.npz"), skeleton=humanoid.skeleton), g1).motion
    assert not findings.find(sound, g1)
    t = torch.arange(sound.num_frames) / sound.fps
    faulty = replace(sound, root_pos=sound.root_pos + torch.stack((0.05 * (6 * t).sin(), 0 * t, 0 * t - 0.05), dim=1))
    assert {"floor", "sliding"} <= {f.code for f in findings.find(faulty, g1)}
    fixed, said = fixes.fix(faulty, g1)
    assert not findings.find(fixed, g1), said


def test_a_folder_of_both_kinds_loads_onto_it(recorded_motions: Path, g1: CharacterModel) -> None:
    clips = [str(recorded_motions / "g1_csv_kimodo/output_walk.csv"), {"file": "motions/walk_1.2.npz", "weight": 2.0}]
    motions, weights = load_clips({"clips": clips, "loop": True}, g1)
    assert weights == [1.0, 2.0] and [m.skeleton.names for m in motions] == [g1.skeleton.names] * 2
    assert all(m.contacts is not None and m.contacts.shape[1] == 2 for m in motions)


def test_falls_are_the_characters_own_unless_they_are_set() -> None:
    def falls(*words: str) -> dict:
        return dict(compose(["task=HumanoidAMP", *words])[0].task.env.termination)

    assert falls("character=g1") == {"pelvis_height": 0.4, "head_height": 0.45}
    assert falls() == {"pelvis_height": 0.5, "head_height": 0.9}
    by_hand = falls("character=g1", "task.env.termination.pelvis_height=0.3")
    assert by_hand == {"pelvis_height": 0.3, "head_height": 0.45}


def test_other_robots_are_refused_with_a_way_out() -> None:
    strange = replace(g1_robot.skeleton(), names=tuple(f"link_{i}" for i in range(30)))
    with pytest.raises(MotionError, match="copy cfg/retarget"):
        detect(strange.names)
