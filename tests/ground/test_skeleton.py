"""Skeleton: kinematics against MuJoCo's, hinges against rotations, mirror, reading MJCF."""

from __future__ import annotations

import math
from pathlib import Path

import mujoco
import numpy as np
import pytest
import torch

from isaacmm import rotation
from isaacmm.character import CharacterModel
from isaacmm.errors import MotionError
from isaacmm.motion.angles import nearest_curves
from isaacmm.skeleton import Skeleton

# Bodies turned at rest, hinges in every number, order, handedness and direction: what the humanoid does not have.
AWKWARD = """
<mujoco>
  <compiler angle="radian" autolimits="true"/>
  <worldbody>
    <body name="base" pos="0 0 1" quat=".5 .5 .5 .5">
      <freejoint/> <geom size=".1"/>
      <body name="left_arm" pos=".1 .2 .3" quat=".8 .6 0 0">
        <joint name="left_a" axis="0 0 1"/> <joint name="left_b" axis="0 1 0"/> <joint name="left_c" axis="1 0 0"/>
        <geom size=".05"/>
        <body name="left_elbow" pos="0 0 .3" quat="0 .6 0 .8">
          <joint name="left_e" axis=".6 0 .8" range="-1 2"/> <geom size=".05"/>
          <body name="left_wrist" pos=".2 0 0">
            <joint name="left_w1" axis="0 1 0"/> <joint name="left_w2" axis="0 0 -1"/> <geom size=".05"/>
            <body name="welded" pos="0 .1 0" euler="0 .5 0"> <geom size=".02"/> </body>
          </body>
        </body>
      </body>
      <body name="right_arm" pos=".1 -.2 .3">
        <joint name="right_a" axis="0 1 0"/> <joint name="right_b" axis="1 0 0"/> <joint name="right_c" axis="0 0 1"/>
        <geom size=".05"/>
      </body>
    </body>
  </worldbody>
</mujoco>
"""


@pytest.fixture(scope="module")
def awkward() -> tuple[Skeleton, mujoco.MjModel]:
    model = mujoco.MjModel.from_xml_string(AWKWARD)
    return Skeleton.from_mujoco(model), model


def mujoco_bodies(model: mujoco.MjModel, qpos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions and xyzw rotations of all bodies but the world, by MuJoCo."""
    data = mujoco.MjData(model)
    data.qpos[:] = qpos
    mujoco.mj_kinematics(model, data)
    return data.xpos[1:].copy(), data.xquat[1:, [1, 2, 3, 0]].copy()


def random_angles(skeleton: Skeleton, n: int, seed: int, middle: float = 1.4) -> torch.Tensor:
    """Hinge angles within limits; those in the middle of three or two hinges within ``middle``."""
    draw = torch.Generator().manual_seed(seed)
    low, high = skeleton.dof_limits.double().unbind(1)
    low, high = low.clone(), high.clone()
    for d, body in enumerate(skeleton.dof_bodies):
        chain = [k for k, b in enumerate(skeleton.dof_bodies) if b == body]
        if len(chain) > 1 and chain.index(d) == 1:
            low[d], high[d] = low[d].clamp(min=-middle), high[d].clamp(max=middle)
    return low + (high - low) * torch.rand(n, skeleton.num_dofs, generator=draw, dtype=torch.float64)


def check_against_mujoco(skeleton: Skeleton, model: mujoco.MjModel, seed: int) -> None:
    n = 20
    draw = torch.Generator().manual_seed(seed)
    root_pos = torch.randn(n, 3, generator=draw, dtype=torch.float64)
    root_rot = rotation.normalize(torch.randn(n, 4, generator=draw, dtype=torch.float64))
    dof = random_angles(skeleton, n, seed)
    pos, rot = skeleton.fk(root_pos, root_rot, skeleton.dofs_to_joint_rot(dof))
    for i in range(n):
        qpos = np.concatenate((root_pos[i], rotation.to_wxyz(root_rot[i]), dof[i]))
        expected_pos, expected_rot = mujoco_bodies(model, qpos)
        np.testing.assert_allclose(pos[i], expected_pos, atol=1e-6)
        error = rotation.angle_between(rot[i], torch.as_tensor(expected_rot))
        assert error.max() < 1e-6


@pytest.mark.parametrize("seed", [0, 1])
def test_kinematics_are_those_of_mujoco(humanoid: CharacterModel, awkward: tuple, seed: int) -> None:
    check_against_mujoco(humanoid.skeleton, mujoco.MjModel.from_xml_path(str(humanoid.mjcf)), seed)
    check_against_mujoco(*awkward, seed)


def test_kinematics_take_any_batch_shape(humanoid: CharacterModel) -> None:
    skeleton = humanoid.skeleton
    dof = random_angles(skeleton, 6, 3)
    joint = skeleton.dofs_to_joint_rot(dof)
    root_pos, root_rot = torch.zeros(6, 3, dtype=torch.float64), rotation.identity(6, dtype=torch.float64)
    flat, _ = skeleton.fk(root_pos, root_rot, joint)
    deep, _ = skeleton.fk(root_pos.reshape(2, 3, 3), root_rot.reshape(2, 3, 4), joint.reshape(2, 3, -1, 4))
    torch.testing.assert_close(deep.reshape(6, -1, 3), flat)
    one, _ = skeleton.fk(root_pos[0], root_rot[0], joint[0])
    torch.testing.assert_close(one, flat[0])


# ------------------------------------------------------------------ hinges <-> joints
@pytest.mark.parametrize("seed", range(4))
def test_hinge_angles_come_back_exactly(humanoid: CharacterModel, awkward: tuple, seed: int) -> None:
    for skeleton in (humanoid.skeleton, awkward[0]):
        dof = random_angles(skeleton, 64, seed)
        back = skeleton.joint_rot_to_dofs(skeleton.dofs_to_joint_rot(dof))
        error = (back - dof).abs()  # as exact as the axes, which are float32
        assert error.max() < 2e-7, skeleton.dof_names[int(error.amax(dim=0).argmax())]


def test_of_two_descriptions_the_one_within_limits_comes_back(humanoid: CharacterModel) -> None:
    """Arms and thighs swing past 90 degrees about the middle hinge: legal there, and nowhere else."""
    skeleton = humanoid.skeleton
    low, high = skeleton.dof_limits.double().unbind(1)
    draw = torch.Generator().manual_seed(0)
    dof = low + (high - low) * torch.rand(5000, skeleton.num_dofs, generator=draw, dtype=torch.float64)
    back = skeleton.joint_rot_to_dofs(skeleton.dofs_to_joint_rot(dof))
    wrong = (back - dof).abs() > 1e-3
    assert wrong.double().mean() < 1e-3, "only at the lock itself"
    arm = torch.zeros(skeleton.num_dofs, dtype=torch.float64)
    arm[skeleton.dof("left_shoulder_y")] = math.radians(-150)
    torch.testing.assert_close(
        skeleton.joint_rot_to_dofs(skeleton.dofs_to_joint_rot(arm)), arm, atol=1e-6, rtol=0
    )


def test_hinge_curves_do_not_jump(humanoid: CharacterModel, awkward: tuple) -> None:
    """Through the lock, out of the limits and through whole turns: the curves come back as curves."""
    time = torch.linspace(0, 4, 400, dtype=torch.float64)
    for skeleton in (humanoid.skeleton, awkward[0]):
        dof = torch.zeros(400, skeleton.num_dofs, dtype=torch.float64)
        for body, chain in skeleton._chains.items():
            if len(chain) == 3:
                phase = 0.3 * body
                waves = (
                    0.4 * torch.sin(time + phase),
                    2.3 * torch.sin(2 * time),
                    0.5 * torch.cos(time + phase),
                )
                dof[:, chain] = torch.stack(waves, dim=1)
            elif len(chain) == 1:
                dof[:, chain[0]] = 3 * time  # round and round
        back = nearest_curves(skeleton, skeleton.dofs_to_joint_rot(dof))
        error = rotation.angle_between(skeleton.dofs_to_joint_rot(back), skeleton.dofs_to_joint_rot(dof))
        assert error.max() < 1e-5
        assert (back[1:] - back[:-1]).abs().max() < 0.1
        torch.testing.assert_close(back - back[:1], dof - dof[:1], atol=1e-4, rtol=0)


@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize("off", [0.0, 1e-9, 1e-7, 1e-5, 1e-3])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_at_the_gimbal_lock_the_rotation_survives(
    humanoid: CharacterModel, awkward: tuple, side: int, off: float, dtype: torch.dtype
) -> None:
    """With the middle angle at +-90 degrees the angles are not unique, but they must make the same rotation."""
    for skeleton in (humanoid.skeleton, awkward[0]):
        dof = random_angles(skeleton, 64, 11)
        for d, body in enumerate(skeleton.dof_bodies):
            chain = [k for k, b in enumerate(skeleton.dof_bodies) if b == body]
            if len(chain) == 3 and chain.index(d) == 1:
                dof[:, d] = side * (math.pi / 2 - off)
        joint = skeleton.dofs_to_joint_rot(dof.to(dtype))
        back = skeleton.dofs_to_joint_rot(skeleton.joint_rot_to_dofs(joint))
        tolerance = 4e-6 if dtype is torch.float64 else 8e-6
        assert rotation.angle_between(joint, back).max() < tolerance


def test_one_hinge_takes_its_share_of_a_foreign_rotation(humanoid: CharacterModel) -> None:
    """A knee that also turned sideways keeps its bend."""
    skeleton = humanoid.skeleton
    knee = skeleton.dof("right_knee")
    axis = skeleton.dof_axes[knee].double()
    joint = rotation.identity(1, skeleton.num_joints, dtype=torch.float64)
    sideways = torch.linalg.cross(axis, torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64))
    bend = rotation.from_axis_angle(axis, torch.tensor(-1.2, dtype=torch.float64))
    lean = rotation.from_axis_angle(sideways, torch.tensor(0.05, dtype=torch.float64))
    joint[0, skeleton.dof_bodies[knee] - 1] = rotation.multiply(lean, bend)
    assert float(skeleton.joint_rot_to_dofs(joint)[0, knee]) == pytest.approx(-1.2, abs=1e-6)


def test_limits_are_the_file_s(humanoid: CharacterModel, awkward: tuple) -> None:
    for skeleton, model in ((humanoid.skeleton, mujoco.MjModel.from_xml_path(str(humanoid.mjcf))), awkward):
        for name, limit in zip(skeleton.dof_names, skeleton.dof_limits, strict=True):
            joint = model.joint(name)
            expected = model.jnt_range[joint.id] if model.jnt_limited[joint.id] else (-math.pi, math.pi)
            np.testing.assert_allclose(limit, expected, atol=1e-6)
        assert (skeleton.dof_limits[:, 0] < skeleton.dof_limits[:, 1]).all()


def test_a_joint_without_hinges_stays_put(awkward: tuple) -> None:
    skeleton, _ = awkward
    joint = skeleton.dofs_to_joint_rot(torch.ones(skeleton.num_dofs))
    torch.testing.assert_close(joint[skeleton.body("welded") - 1], rotation.identity())


# ----------------------------------------------------------------------------- mirror
def test_mirrored_hinges_reflect_the_bodies(humanoid: CharacterModel) -> None:
    skeleton = humanoid.skeleton
    order, signs = skeleton.mirror_dofs
    dof = random_angles(skeleton, 16, 5)
    at = torch.zeros(16, 3, dtype=torch.float64), rotation.identity(16, dtype=torch.float64)
    pos, _ = skeleton.fk(*at, skeleton.dofs_to_joint_rot(dof))
    mirrored, _ = skeleton.fk(*at, skeleton.dofs_to_joint_rot(dof[:, list(order)] * signs))
    flip = torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(mirrored[:, list(skeleton.mirror_bodies)], pos * flip, atol=1e-6, rtol=0)


def test_mirror_is_its_own_inverse_and_pairs_left_with_right(humanoid: CharacterModel) -> None:
    skeleton = humanoid.skeleton
    bodies = skeleton.mirror_bodies
    assert [bodies[i] for i in bodies] == list(range(skeleton.num_bodies))
    for i, j in enumerate(bodies):
        swapped = skeleton.names[i].replace("left", "?").replace("right", "left").replace("?", "right")
        assert skeleton.names[j] == swapped
    order, signs = skeleton.mirror_dofs
    assert [order[i] for i in order] == list(range(skeleton.num_dofs))
    assert set(signs.tolist()) == {1.0, -1.0}


# ------------------------------------------------------------------------------ facts
def test_the_humanoid(humanoid: CharacterModel) -> None:
    skeleton = humanoid.skeleton
    assert (skeleton.num_bodies, skeleton.num_joints, skeleton.num_dofs) == (15, 14, 28)
    assert skeleton.names[0] == "pelvis"
    assert all(parent < i for i, parent in enumerate(skeleton.parents))
    torch.testing.assert_close(skeleton.dof_axes.norm(dim=-1), torch.ones(28))


def test_unknown_names_get_the_nearest(humanoid: CharacterModel) -> None:
    with pytest.raises(MotionError, match="left_foot"):
        humanoid.skeleton.body("left_fot")
    with pytest.raises(MotionError, match="right_knee"):
        humanoid.skeleton.dof("rigth_knee")


def test_parents_must_come_first() -> None:
    with pytest.raises(MotionError, match="precede"):
        Skeleton(("a", "b", "c"), (-1, 2, 0), torch.zeros(3, 3), rotation.identity(3))
    with pytest.raises(MotionError, match="root"):
        Skeleton(("a",), (0,), torch.zeros(1, 3), rotation.identity(1))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('<joint type="slide" axis="0 0 1"/>', "hinge"),
        ('<joint type="ball"/>', "hinge"),
        ('<joint axis="0 0 1" pos=".1 0 0"/>', "origin"),
    ],
)
def test_models_it_cannot_describe(tmp_path: Path, body: str, message: str) -> None:
    file = tmp_path / "odd.xml"
    file.write_text(
        f'<mujoco><worldbody><body><freejoint/><geom size=".1"/><body name="x">{body}<geom size=".1"/></body>'
        "</body></worldbody></mujoco>"
    )
    with pytest.raises(MotionError, match=message):
        Skeleton.from_mjcf(file)


def test_a_model_needs_a_free_root(tmp_path: Path) -> None:
    file = tmp_path / "fixed.xml"
    file.write_text('<mujoco><worldbody><body><joint/><geom size=".1"/></body></worldbody></mujoco>')
    with pytest.raises(MotionError, match="freejoint"):
        Skeleton.from_mjcf(file)


def test_hinges_that_are_not_perpendicular_are_refused(awkward: tuple) -> None:
    model = mujoco.MjModel.from_xml_string(
        AWKWARD.replace('name="left_b" axis="0 1 0"', 'name="left_b" axis="0 1 1"')
    )
    skeleton = Skeleton.from_mujoco(model)
    with pytest.raises(MotionError, match="left_arm"):
        skeleton.joint_rot_to_dofs(rotation.identity(skeleton.num_joints))
