"""The default character: its facts, its drives, and how it stands."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
import torch

from isaacmm.character import CharacterModel
from isaacmm.sim import make_simulator
from isaacmm.sim.contract.reference import PlainMujoco, resting_states

MODEL = CharacterModel.load("humanoid")
ARM = ("{}_upper_arm", "{}_lower_arm", "{}_hand")
LEG = ("{}_thigh", "{}_shin", "{}_foot")
# the order of the ecosystem's clips
BODIES = ["pelvis", "torso", "head"] + [
    part.format(side)
    for limb, side in ((ARM, "right"), (ARM, "left"), (LEG, "right"), (LEG, "left"))
    for part in limb
]


def test_names_and_tree() -> None:
    skeleton = MODEL.skeleton
    assert list(skeleton.names) == BODIES
    parents = [skeleton.names[p] if p >= 0 else None for p in skeleton.parents]
    assert parents == [
        None, "pelvis", "torso",
        "torso", "right_upper_arm", "right_lower_arm", "torso", "left_upper_arm", "left_lower_arm",
        "pelvis", "right_thigh", "right_shin", "pelvis", "left_thigh", "left_shin",
    ]  # fmt: skip
    assert skeleton.num_dofs == 28
    assert skeleton.dof_names[:8] == (
        "abdomen_x", "abdomen_y", "abdomen_z", "neck_x", "neck_y", "neck_z", "right_shoulder_x", "right_shoulder_y"
    )  # fmt: skip


def test_sizes_and_masses() -> None:
    assert float(MODEL.body_mass.sum()) == pytest.approx(48.891, abs=1e-3)
    offsets = dict(zip(MODEL.skeleton.names, MODEL.skeleton.offsets, strict=True))
    assert offsets["left_shin"].tolist() == pytest.approx([0, 0, -0.421546])
    assert offsets["left_foot"].tolist() == pytest.approx([0, 0, -0.40987])
    assert offsets["right_upper_arm"].tolist() == pytest.approx([-0.02405, -0.18311, 0.2435])
    degrees = dict(zip(MODEL.skeleton.dof_names, torch.rad2deg(MODEL.skeleton.dof_limits), strict=True))
    assert degrees["right_hip_y"].tolist() == pytest.approx([-140, 60])
    assert degrees["left_knee"].tolist() == pytest.approx([0, 160])
    assert degrees["right_elbow"].tolist() == pytest.approx([-160, 0])


def test_left_is_the_mirror_image_of_right() -> None:
    order, signs = MODEL.skeleton.mirror_dofs
    limits = MODEL.skeleton.dof_limits
    mirrored = limits[list(order)] * signs[:, None]
    assert torch.allclose(mirrored.sort(dim=-1).values, limits)
    for values in (MODEL.kp, MODEL.kd, MODEL.effort, MODEL.armature):
        assert torch.equal(values[list(order)], values)
    assert torch.equal(MODEL.body_mass[list(MODEL.skeleton.mirror_bodies)], MODEL.body_mass)


def test_drives() -> None:
    """kd is a tenth of kp and lives in the joint; targets are never clipped."""
    m = mujoco.MjModel.from_xml_path(str(MODEL.mjcf))
    assert torch.allclose(MODEL.kd, MODEL.kp / 10)
    assert not m.actuator_ctrllimited.any()
    assert not m.actuator_biasprm[:, 2].any(), "damping belongs in the joint, not in the servo"
    assert [m.actuator(a).name for a in range(m.nu)] == list(MODEL.skeleton.dof_names)
    nominal = {"abdomen": 200, "neck": 50, "shoulder": 100, "elbow": 70, "hip": 200, "knee": 150, "ankle": 90}
    for name, effort in zip(MODEL.skeleton.dof_names, MODEL.effort.tolist(), strict=True):
        assert effort == 3 * next(v for k, v in nominal.items() if k in name)


def test_contacts_are_with_the_floor_only_unless_asked() -> None:
    def pairs(self_collision: bool) -> set[tuple[str, ...]]:
        world = PlainMujoco(MODEL, self_collision=self_collision)
        rng = np.random.default_rng(0)
        found = set()
        for _ in range(200):
            mujoco.mj_resetData(world.m, world.d)
            world.d.qpos[2] = 0.5
            world.d.qpos[7:] = rng.uniform(*world.m.jnt_range[1:].T)
            mujoco.mj_forward(world.m, world.d)
            for geoms in world.d.contact.geom:
                found.add(tuple(sorted(world.m.body(world.m.geom_bodyid[g]).name for g in geoms)))
        return found

    assert all("world" in pair for pair in pairs(False))
    touching = {pair for pair in pairs(True) if "world" not in pair}
    assert touching
    assert ("left_foot", "right_foot") not in touching
    parents = {
        (MODEL.skeleton.names[p], name)
        for name, p in zip(MODEL.skeleton.names, MODEL.skeleton.parents, strict=True)
        if p >= 0
    }
    assert not touching & {tuple(sorted(pair)) for pair in parents}


@pytest.mark.parametrize("self_collision", [False, True])
def test_zero_pose_touches_only_the_floor(self_collision: bool) -> None:
    world = PlainMujoco(MODEL, self_collision=self_collision)
    world.reset(resting_states(MODEL, 1), 0)
    assert world.self_overlap() == 0.0


def test_stands_by_itself_for_a_while() -> None:
    """Held in the zero pose it neither sinks nor jumps in the first second."""
    sim = make_simulator("mujoco", MODEL, {"num_envs": 1})
    start = resting_states(MODEL, 1)
    sim.reset(torch.arange(1), start)
    for _ in range(30):
        sim.step(start.dof_pos)
    state = sim.state()
    assert float(state.root_pos[0, 2]) == pytest.approx(float(start.root_pos[0, 2]), abs=0.02)
    assert float(state.dof_vel.abs().max()) < 0.5
