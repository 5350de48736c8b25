"""The parts a gait is made of: curves, laws, kinematics, inverse kinematics, rolling feet, floor forces."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
import torch

from isaacmm import rotation
from isaacmm.gait import curves
from isaacmm.gait.body import ASSET, Body, axis_rotation, euler_xyz
from isaacmm.gait.dynamics import GRAVITY, rotation_vector, wrench
from isaacmm.gait.foot import Roll, bump, foot_pose, quintic
from isaacmm.gait.laws import plan
from isaacmm.gait.leg import leg_angles
from isaacmm.gait.noise import Wander
from isaacmm.gait.synthesis import walk_path
from isaacmm.skeleton import Skeleton


@pytest.fixture(scope="module")
def body() -> Body:
    return Body.load()


@pytest.mark.parametrize("running", [False, True])
def test_fourier_series_pass_the_published_knots(running: bool) -> None:
    knots = curves.RUN_KNOTS if running else curves.WALK_KNOTS
    for name, series in curves.leg_curves(running).items():
        at = np.array(list(knots[name])) / 100
        off = np.rad2deg(curves.evaluate(series, at)) - np.array(list(knots[name].values()))
        assert np.abs(off).max() < 2.0, name
        assert np.sqrt((off**2).mean()) < 1.0, name


def test_mean_of_the_walking_curves() -> None:
    """Constant terms of a harmonic fit worked out elsewhere: hip 13.98, knee 22.35, ankle 0.67 degrees."""
    mean = {n: np.rad2deg(s[0].real) for n, s in curves.leg_curves(False).items()}
    assert mean == pytest.approx({"hip": 13.980, "knee": 22.349, "ankle": 0.674}, abs=0.15)


def test_gain_scales_only_the_oscillation() -> None:
    series = curves.leg_curves(False)["knee"]
    phase = np.linspace(0, 1, 200, endpoint=False)
    assert curves.evaluate(series, phase, 0.5).mean() == pytest.approx(curves.evaluate(series, phase).mean())
    assert np.ptp(curves.evaluate(series, phase, 0.5)) == pytest.approx(
        0.5 * np.ptp(curves.evaluate(series, phase))
    )


@pytest.mark.parametrize("speed", [0.6, 1.0, 1.4, 1.8])
def test_walking_law(speed: float) -> None:
    steady = plan(speed, 0.9)
    assert steady.walk_ratio == pytest.approx(curves_ratio(), rel=1e-6)
    assert 0.58 <= steady.stance <= 0.64
    assert steady.stride / steady.duration == pytest.approx(speed)
    # Froude: a leg four times as long walks twice as fast with strides four times as long
    giant = plan(2 * speed, 3.6)
    assert giant.stride == pytest.approx(4 * steady.stride)
    assert giant.stance == pytest.approx(steady.stance)


def curves_ratio() -> float:
    from isaacmm.gait.laws import WALK_RATIO

    assert 0.0058 <= WALK_RATIO <= 0.0066
    return WALK_RATIO


def test_running_law() -> None:
    for speed in (2.2, 3.0, 3.4):
        steady = plan(speed, 0.9, running=True)
        assert 150 <= steady.cadence <= 180
        assert 0.34 <= steady.stance <= 0.43


def test_kinematics_agree_with_the_skeleton(body: Body) -> None:
    skeleton = Skeleton.from_mjcf(ASSET)
    assert skeleton.names == body.names
    assert skeleton.dof_names == body.dof_names
    rng = np.random.default_rng(0)
    dofs = rng.uniform(-0.4, 0.4, size=(5, len(body.dof_names)))
    root_pos, rotvec = rng.normal(size=(5, 3)), rng.normal(size=(5, 3))
    q = rotation.from_rotvec(torch.as_tensor(rotvec))
    pos, rot = body.fk(root_pos, rotation.to_matrix(q).numpy(), dofs)
    other_pos, other_rot = skeleton.fk(
        torch.as_tensor(root_pos).float(),
        q.float(),
        skeleton.dofs_to_joint_rot(torch.as_tensor(dofs).float()),
    )
    np.testing.assert_allclose(pos, other_pos.numpy(), atol=2e-6)
    np.testing.assert_allclose(rot, rotation.to_matrix(other_rot).numpy(), atol=2e-6)


def test_euler_angles_round_trip() -> None:
    angles = np.random.default_rng(1).uniform(-1.3, 1.3, size=(50, 3))
    m = axis_rotation(0, angles[:, 0]) @ axis_rotation(1, angles[:, 1]) @ axis_rotation(2, angles[:, 2])
    np.testing.assert_allclose(euler_xyz(m), angles, atol=1e-12)


def test_leg_reaches_its_target(body: Body) -> None:
    rng = np.random.default_rng(2)
    n = 200
    root_pos = np.array([0, 0, 0.80]) + rng.normal(scale=0.02, size=(n, 3))
    tilt = rng.normal(scale=0.1, size=(n, 3))
    root_rot = axis_rotation(2, tilt[:, 2]) @ axis_rotation(0, tilt[:, 0]) @ axis_rotation(1, tilt[:, 1])
    ankle = np.array([0, -0.08, 0.1]) + rng.normal(scale=[0.10, 0.03, 0.03], size=(n, 3))
    foot = axis_rotation(2, rng.normal(scale=0.1, size=n)) @ axis_rotation(1, rng.normal(scale=0.4, size=n))
    hip = root_pos + root_rot @ body.offsets[body.body("right_thigh")]
    angles, reach = leg_angles(
        hip, root_rot, ankle, foot, root_rot[..., 1] + foot[..., 1], body.thigh_length, body.shin_length
    )
    assert reach.max() < 1
    assert (angles[:, 3] > 0).all()  # knees bend one way
    dofs = np.zeros((n, len(body.dof_names)))
    first = body.dof("right_hip_x")
    dofs[:, first : first + 7] = angles
    pos, rot = body.fk(root_pos, root_rot, dofs)
    np.testing.assert_allclose(pos[:, body.body("right_foot")], ankle, atol=1e-12)
    np.testing.assert_allclose(rot[:, body.body("right_foot")], foot, atol=1e-12)


def test_a_leg_out_of_reach_points_at_its_target(body: Body) -> None:
    eye, hip, ankle = np.eye(3), np.zeros(3), np.array([0.5, 0.0, -1.0])
    angles, reach = leg_angles(hip, eye, ankle, eye, eye[:, 1], body.thigh_length, body.shin_length)
    assert reach > 1
    assert np.isfinite(angles).all()
    assert angles[3] == pytest.approx(0, abs=1e-2)
    assert angles[1] == pytest.approx(-np.arctan2(0.5, 1.0), abs=1e-2)


ROLL = Roll(flat=0.12, heel_off=0.38, toe_off=0.61, strike=0.3, push=1.1, lift=1.2, rise=2.0)


def test_rolling_foot_turns_about_edges_that_rest(body: Body) -> None:
    phase = np.linspace(0, ROLL.toe_off, 200)
    offset, _, _ = ROLL.ankle(phase, body.sole)
    pitch, _, _ = ROLL.pitch(phase)
    heel, toe, _, down = body.sole
    for edge, used in ((heel, pitch < 0), (toe, pitch > 0)):
        x = offset[:, 0] + edge * np.cos(pitch) + down * np.sin(pitch)
        z = offset[:, 1] - edge * np.sin(pitch) + down * np.cos(pitch)
        assert np.abs(x[used] - edge).max() < 1e-12
        assert np.abs(z[used]).max() < 1e-12
    assert np.ptp(offset[(phase > 0.12) & (phase < 0.38)]) == pytest.approx(-down)  # flat: it rests


def test_derivatives_of_the_rolling_foot(body: Body) -> None:
    phase, h = np.linspace(0.01, 0.6, 60), 1e-5
    for function in (lambda f: ROLL.pitch(f), lambda f: ROLL.ankle(f, body.sole)):
        value = [function(phase + k * h)[0] for k in (-1, 0, 1)]
        np.testing.assert_allclose(function(phase)[1], (value[2] - value[0]) / (2 * h), atol=1e-5)
        np.testing.assert_allclose(
            function(phase)[2], (value[2] - 2 * value[1] + value[0]) / h**2, atol=1e-2, rtol=1e-4
        )


def test_foot_path_has_no_jumps_in_place_or_speed(body: Body) -> None:
    phase = np.linspace(0, 2.99, 30001)
    step = phase[1] - phase[0]
    holds = np.array([[0, 0, 0.1], [1.2, 0.3, 0.3], [2.3, 0.7, 0.5], [3.2, 1.3, 0.7]])
    detour = 0.05 * np.random.default_rng(3).normal(size=(1, 4, 5))
    ankle, foot, contact = foot_pose(phase, holds, ROLL, body.sole, detour)
    speed = np.diff(ankle, axis=0) / step
    assert np.abs(np.diff(ankle, axis=0)).max() < 20 * step
    assert np.abs(np.diff(speed, axis=0)).max() < 400 * step
    spin = rotation_vector(np.swapaxes(foot[:-1], -1, -2) @ foot[1:]) / step
    assert np.abs(np.diff(spin, axis=0)).max() < 1500 * step
    assert contact.mean() == pytest.approx(ROLL.toe_off, abs=0.02)


def test_quintic_and_bump_meet_their_ends() -> None:
    u, h = np.array([0.0, 1.0]), 1e-4
    ends = ((1.0, 2.0, 3.0), (-1.0, 0.5, 4.0))
    for i, side in enumerate(ends):
        at = u[i]
        f = [quintic(np.array(at + k * h), *ends) for k in (-1, 0, 1)]
        assert f[1] == pytest.approx(side[0])
        assert (f[2] - f[0]) / (2 * h) == pytest.approx(side[1], abs=1e-4)
        assert (f[2] - 2 * f[1] + f[0]) / h**2 == pytest.approx(side[2], abs=1e-3)
    weights = np.array([0.3, -0.2, 0.5])
    assert np.abs(bump(u, weights)).max() == 0
    assert np.abs(bump(u + np.array([h, -h]), weights)).max() < 1e-5


def test_floor_force_of_standing_and_of_falling(body: Body) -> None:
    n, dt = 9, 0.01
    dofs = np.full((n, len(body.dof_names)), 0.1)
    rot = np.broadcast_to(np.eye(3), (n, 3, 3))
    weight = body.masses.sum() * GRAVITY
    pos, r = body.fk(np.tile([1.0, 2.0, 0.9], (n, 1)), rot, dofs)
    floor = wrench(body, pos, r, dt)
    np.testing.assert_allclose(floor["force"], np.tile([0, 0, weight], (n - 2, 1)), atol=1e-6)
    np.testing.assert_allclose(floor["pressure"], floor["com"][:, :2], atol=1e-9)
    t = dt * np.arange(n)
    fall = np.stack([2 * t, 0 * t, 5 - GRAVITY * t**2 / 2], -1)
    pos, r = body.fk(fall, rot, dofs)
    assert np.abs(wrench(body, pos, r, dt)["force"]).max() < 1e-6


def test_floor_wrench_agrees_with_inverse_dynamics(body: Body) -> None:
    """MuJoCo's inverse dynamics gives the force and moment at the free root that a motion needs."""
    model = mujoco.MjModel.from_xml_path(str(ASSET))
    model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_CONTACT | mujoco.mjtDisableBit.mjDSBL_LIMIT
    model.dof_damping[:] = 0
    model.dof_armature[:] = 0
    data = mujoco.MjData(model)
    rng = np.random.default_rng(4)
    wave = rng.normal(scale=0.3, size=len(body.dof_names)), rng.uniform(0, 6, size=len(body.dof_names))
    dt = 1e-3

    def state(t: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        turn = axis_rotation(2, np.array(0.3 + t)) @ axis_rotation(0, np.array(0.2 * np.sin(3 * t)))
        return np.array([t, 0.2 * t**2, 0.9 + 0.1 * np.sin(4 * t)]), turn, wave[0] * np.sin(3 * t + wave[1])

    def qpos(t: float) -> np.ndarray:
        p, m, d = state(t)
        quat = np.zeros(4)
        mujoco.mju_mat2Quat(quat, m.flatten())
        return np.concatenate([p, quat, d])

    speeds = []
    for t in (-dt / 2, dt / 2):
        v = np.zeros(model.nv)
        mujoco.mj_differentiatePos(model, v, dt, qpos(t - dt / 2), qpos(t + dt / 2))
        speeds.append(v)
    data.qpos[:], data.qvel[:] = qpos(0.0), (speeds[0] + speeds[1]) / 2
    data.qacc[:] = (speeds[1] - speeds[0]) / dt
    mujoco.mj_inverse(model, data)
    force = data.qfrc_inverse[:3].copy()
    root, turn, _ = state(0.0)
    moment = turn @ data.qfrc_inverse[3:6]  # the free joint's rotations are about body axes
    poses = [state(k * dt) for k in (-1, 0, 1)]
    pos, rot = body.fk(*(np.stack([p[i] for p in poses]) for i in range(3)))
    floor = {k: v[0] for k, v in wrench(body, pos, rot, dt).items()}
    scale = GRAVITY / np.linalg.norm(model.opt.gravity)
    assert scale == pytest.approx(1.0, abs=1e-6)
    np.testing.assert_allclose(floor["force"], force, rtol=0.01, atol=2)
    about_root = floor["moment"] + np.cross(floor["com"] - root, floor["force"])
    np.testing.assert_allclose(about_root, moment, rtol=0.03, atol=1.0)


def test_wander_is_periodic_and_of_unit_size() -> None:
    wander = Wander(np.random.default_rng(5), 7.0, 1.0)
    x = np.linspace(0, 7, 1001)[:-1]
    np.testing.assert_allclose(wander(x), wander(x + 7), atol=1e-9)
    assert wander(x).mean() == pytest.approx(0, abs=1e-9)
    assert wander(x).std() == pytest.approx(1.0)


def test_path_has_the_curvature_it_was_asked_for() -> None:
    s = np.linspace(0, 20, 2001)
    point, heading = walk_path(s, 0.5)
    tangent = np.diff(point, axis=0) / np.diff(s)[:, None]
    np.testing.assert_allclose(np.linalg.norm(tangent, axis=-1), 1, atol=1e-5)
    np.testing.assert_allclose(np.arctan2(tangent[:, 1], tangent[:, 0]),
                               np.angle(np.exp(1j * (heading[1:] + heading[:-1]) / 2)), atol=1e-5)  # fmt: skip
    straight, _ = walk_path(s, 0.0)
    np.testing.assert_allclose(straight, np.stack([s, 0 * s], -1))
