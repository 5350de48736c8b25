"""What the clips would ask of the character's joints, and whether its limbs stay out of each other's way."""

from __future__ import annotations

from pathlib import Path

import mujoco
import numpy as np
import pytest

from isaacmm.character import CharacterModel
from isaacmm.gait import gaits
from isaacmm.gait.body import ASSET, Body
from isaacmm.gait.fit import Problem
from isaacmm.gait.laws import plan
from isaacmm.motion.clip import Motion

FOLDER = Path(__file__).resolve().parents[2] / "motions"


@pytest.fixture(scope="module")
def model() -> mujoco.MjModel:
    m = mujoco.MjModel.from_xml_path(str(ASSET))
    m.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_CONTACT | mujoco.mjtDisableBit.mjDSBL_LIMIT
    return m


def joint_torques(model: mujoco.MjModel, body: Body, manner: str, speed: float) -> np.ndarray:
    """Servo torques `[n, D]` (N m) over one cycle, damping of the joints included: inverse dynamics with the floor's
    force at the centre of pressure, handed from foot to foot linearly while both stand."""
    steady = plan(speed, body.leg_length, manner == "run")
    problem = Problem(body, steady)
    m = problem.motion(gaits.parameters(manner, speed))
    n, data, out = len(problem.phase), mujoco.MjData(model), []

    def qpos(i: int) -> np.ndarray:
        quat = np.zeros(4)
        mujoco.mju_mat2Quat(quat, np.ascontiguousarray(m["root_rot"][i % n]).ravel())
        ahead = np.array([steady.stride * (i // n), 0, 0])
        return np.concatenate([m["root_pos"][i % n] + ahead, quat, m["dofs"][i % n]])

    for i in range(n):
        before, after = np.zeros(model.nv), np.zeros(model.nv)
        mujoco.mj_differentiatePos(model, before, problem.dt, qpos(i - 1), qpos(i))
        mujoco.mj_differentiatePos(model, after, problem.dt, qpos(i), qpos(i + 1))
        data.qpos[:], data.qvel[:] = qpos(i), (before + after) / 2
        data.qacc[:] = (after - before) / problem.dt
        mujoco.mj_inverse(model, data)
        torque = data.qfrc_inverse.copy()
        down = m["contacts"][i]
        late = np.clip((problem.phase[i] % 0.5) / max(steady.stance - 0.5, 1e-6), 0, 1)
        share = np.array([late, 1 - late]) if problem.phase[i] < 0.5 else np.array([1 - late, late])
        share = share if down.all() else down.astype(float)
        for k, side in enumerate(("right", "left")):
            corner = body.sole_corners(m["pos"][i], m["rot"][i], side)
            corner = corner[corner[:, 2] < 0.004]
            if share[k] > 0 and len(corner):
                at = np.append(np.clip(m["pressure"][i], corner[:, :2].min(0), corner[:, :2].max(0)), 0.0)
                jacobian = np.zeros((3, model.nv))
                mujoco.mj_jac(model, data, jacobian, None, at, model.body(f"{side}_foot").id)
                torque -= jacobian.T @ (share[k] * m["force"][i])
        out.append(torque[6:])
    return np.array(out)


@pytest.mark.parametrize("manner,speed", [("walk", 0.8), ("walk", 1.8), ("run", 3.0), ("run", 4.0)])
def test_servos_are_strong_enough(
    model: mujoco.MjModel, humanoid: CharacterModel, manner: str, speed: float
) -> None:
    torque = joint_torques(model, Body.load(), manner, speed)
    assert (np.abs(torque).max(0) < 0.9 * humanoid.effort.numpy()).all()


def test_walking_asks_for_human_joint_moments(model: mujoco.MjModel) -> None:
    """Winter's figures for comfortable walking: ankle about 1.6, hip 0.8 to 2, knee 0.5 to 1.5 N m per kg, without
    the dampers that the servos have to overcome."""
    body = Body.load()
    undamped = mujoco.MjModel.from_xml_path(str(ASSET))
    undamped.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_CONTACT | mujoco.mjtDisableBit.mjDSBL_LIMIT
    undamped.dof_damping[:] = 0
    moment = np.abs(joint_torques(undamped, body, "walk", 1.2)).max(0) / body.masses.sum()
    assert 1.3 < moment[body.dof("right_ankle_y")] < 2.1
    assert 0.8 < moment[body.dof("right_hip_y")] < 2.5
    assert 0.4 < moment[body.dof("right_knee")] < 1.6


@pytest.mark.parametrize(
    "name",
    ["walk_0.6", "walk_1.8", "walk_1.4_left_0.50", "walk_1.0_left_1.00", "run_2.2", "run_4.0", "run_2.6_left_0.20",
     "run_start_2.6_left", "run_stop_2.6_left", "change_run_2.6_to_walk_1.6", "idle",
     "start_walk_1.6_left", "stop_walk_1.6_left", "turn_left_180", "side_left_0.3", "side_left_0.5", "back_0.7",
     "corner_1.0_left_90", "change_walk_0.6_to_walk_1.6"],
)  # fmt: skip
def test_limbs_do_not_meet(model: mujoco.MjModel, name: str) -> None:
    data = mujoco.MjData(model)
    motion = Motion.load(FOLDER / f"{name}.npz")
    owner, parent = model.geom_bodyid, model.body_parentid
    limbs = [g for g in range(model.ngeom) if model.body(owner[g]).name.startswith(("left", "right"))]
    pairs = [
        (a, b)
        for i, a in enumerate(limbs)
        for b in limbs[i + 1 :]
        if owner[a] != owner[b] and parent[owner[a]] != owner[b] and parent[owner[b]] != owner[a]
    ]
    root_pos, root_rot, dofs = motion.root_pos.numpy(), motion.root_rot.numpy(), motion.dof_pos().numpy()
    nearest = np.inf
    for i in range(0, min(motion.num_frames, 300), 4):
        data.qpos[:] = np.concatenate([root_pos[i], root_rot[i][[3, 0, 1, 2]], dofs[i]])
        mujoco.mj_kinematics(model, data)
        nearest = min(nearest, *(mujoco.mj_geomDistance(model, data, a, b, 0.05, None) for a, b in pairs))
    assert nearest > 0
