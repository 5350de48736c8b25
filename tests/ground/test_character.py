"""CharacterModel: what it takes from the MJCF, and refusals."""

from __future__ import annotations

import mujoco
import pytest
import torch

from isaacmm import rotation
from isaacmm.character import CharacterModel
from isaacmm.errors import ConfigError


def test_drives_are_the_model_s(humanoid: CharacterModel) -> None:
    model = mujoco.MjModel.from_xml_path(str(humanoid.mjcf))
    by_joint = {model.joint(int(model.actuator_trnid[a, 0])).name: a for a in range(model.nu)}
    for d, name in enumerate(humanoid.skeleton.dof_names):
        actuator, address = by_joint[name], model.jnt_dofadr[model.joint(name).id]
        assert float(humanoid.kp[d]) == pytest.approx(model.actuator_gainprm[actuator, 0])
        assert float(humanoid.effort[d]) == pytest.approx(model.actuator_forcerange[actuator, 1])
        assert float(humanoid.kd[d]) == pytest.approx(model.dof_damping[address])
        assert float(humanoid.armature[d]) == pytest.approx(model.dof_armature[address])
    torch.testing.assert_close(humanoid.body_mass, torch.as_tensor(model.body_mass[1:]).float())
    assert 30 < float(humanoid.body_mass.sum()) < 90


def test_soles_are_the_lowest_points_of_the_feet(humanoid: CharacterModel) -> None:
    """In the zero pose the sole's corners are the lowest points of the whole character's shapes."""
    model = mujoco.MjModel.from_xml_path(str(humanoid.mjcf))
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    skeleton = humanoid.skeleton
    pos, rot = skeleton.fk(
        torch.as_tensor(data.qpos[:3]).float(),
        rotation.identity(),
        skeleton.dofs_to_joint_rot(torch.zeros(skeleton.num_dofs)),
    )
    soles = humanoid.sole_points(pos, rot)
    assert soles.shape == (len(humanoid.feet), humanoid.sole.shape[1], 3)
    lowest = min(
        data.geom_xpos[g, 2] - model.geom_rbound[g]
        for g in range(model.ngeom)
        if model.geom_bodyid[g] > 0 and model.geom_type[g] != mujoco.mjtGeom.mjGEOM_BOX
    )
    assert float(soles[..., 2].max() - soles[..., 2].min()) < 1e-5
    assert float(soles[..., 2].min()) <= lowest + 1e-6


def test_roles(humanoid: CharacterModel) -> None:
    names = humanoid.skeleton.names
    assert [names[i] for i in humanoid.foot_ids] == list(humanoid.feet)
    assert [names[i] for i in humanoid.key_ids] == list(humanoid.key_bodies)
    assert names[humanoid.head_id] == humanoid.head


def test_unknown_character_and_roles_are_refused(humanoid: CharacterModel) -> None:
    with pytest.raises(ConfigError, match="humanoid"):
        CharacterModel.load("humanoit")
    config = {
        "name": "x",
        "mjcf": str(humanoid.mjcf),
        "feet": ["right_foot"],
        "key_bodies": [],
        "head": "head",
    }
    with pytest.raises(ConfigError, match="left_foot"):
        CharacterModel.load({**config, "feet": ["left_foo"]})
    with pytest.raises(ConfigError, match="does not exist"):
        CharacterModel.load({**config, "mjcf": "nowhere.xml"})
    assert CharacterModel.load(config).feet == ("right_foot",)


def test_a_broken_model_is_named(tmp_path) -> None:
    file = tmp_path / "broken.xml"
    file.write_text("<mujoco><worldbody></mujoco>")
    with pytest.raises(ConfigError, match=r"broken\.xml"):
        CharacterModel.load({"mjcf": str(file), "feet": [], "key_bodies": [], "head": "head"})
