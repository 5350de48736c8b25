"""The character as Isaac Lab gets it: links with one hinge each, and their USD. Needs no Isaac Lab."""

from __future__ import annotations

import re
from pathlib import Path

import mujoco
import numpy as np
import pytest
import torch

from isaacmm import rotation
from isaacmm.character import CharacterModel
from isaacmm.errors import ConfigError
from isaacmm.sim import SimConfig
from isaacmm.sim import isaaclab_asset as asset
from isaacmm.sim import isaaclab_usd as usd
from isaacmm.sim.contract.reference import flying_states
from isaacmm.sim.model import build_model

MODEL = CharacterModel.load("humanoid")
MJ = build_model(MODEL, SimConfig(contact_force=False))
LINKS = asset.split(MJ, MODEL)
POSE = flying_states(MODEL, 1, seed=5).dof_pos[0].double()


def _times(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    out = np.zeros(4)
    mujoco.mju_mulQuat(out, a, b)
    return out


def _turned(v: np.ndarray, q: np.ndarray) -> np.ndarray:
    out = np.zeros(3)
    mujoco.mju_rotVecQuat(out, v, q)
    return out


def _about(axis: np.ndarray, angle: float) -> np.ndarray:
    return np.concatenate(([np.cos(angle / 2)], np.sin(angle / 2) * axis))


def _wanted() -> tuple[torch.Tensor, torch.Tensor]:
    """Our own kinematics in float64, root at the origin."""
    root = torch.zeros(3, dtype=torch.float64)
    joints = MODEL.skeleton.dofs_to_joint_rot(POSE)
    return MODEL.skeleton.fk(root, rotation.identity(dtype=torch.float64), joints)


def _compare(pos: dict[str, np.ndarray], rot: dict[str, np.ndarray], tolerance: float) -> None:
    wanted_pos, wanted_rot = _wanted()
    for i, body in enumerate(MODEL.skeleton.names):
        assert np.allclose(pos[body], wanted_pos[i].numpy(), atol=tolerance), body
        got = rotation.from_wxyz(torch.tensor(rot[body]))
        assert float(rotation.angle_between(got, wanted_rot[i])) < 1e-6 + 10 * tolerance, body


def test_split_character_moves_as_the_original() -> None:
    angle = dict(zip(MODEL.skeleton.dof_names, POSE.tolist(), strict=True))
    pos, rot = {}, {}
    for link in LINKS:
        if link.parent < 0:
            pos[link.name], rot[link.name] = link.pos, link.rot
            continue
        parent = LINKS[link.parent].name
        pos[link.name] = pos[parent] + _turned(link.pos, rot[parent])
        rot[link.name] = _times(rot[parent], link.rot)
        if link.hinge:
            rot[link.name] = _times(rot[link.name], _about(link.hinge.axis, angle[link.hinge.name]))
    _compare(pos, rot, 1e-6)


def test_one_hinge_per_link_in_our_order() -> None:
    hinges = [link.hinge.name for link in LINKS if link.hinge]
    assert hinges == list(MODEL.skeleton.dof_names)
    assert [link.body for link in LINKS if link.body] == list(MODEL.skeleton.names)
    assert len([link for link in LINKS if link.body is None]) == 16  # eight joints of three hinges
    assert all(link.parent < i for i, link in enumerate(LINKS))


def test_helpers_weigh_nothing_and_bodies_what_they_did() -> None:
    assert sum(link.mass for link in LINKS) - float(MJ.body_mass.sum()) == pytest.approx(16 * asset.HELPER_MASS)
    assert 1e-5 * float(MJ.body_mass.sum()) > 16 * asset.HELPER_MASS
    for link in LINKS:
        if link.body:
            b = MJ.body(link.body).id
            assert link.mass == MJ.body_mass[b] and np.array_equal(link.inertia, MJ.body_inertia[b])
            assert np.array_equal(link.com, MJ.body_ipos[b]) and np.array_equal(link.inertia_rot, MJ.body_iquat[b])
        else:
            assert not link.shapes
    assert sum(len(link.shapes) for link in LINKS) == MJ.ngeom - 1  # all but the floor


def test_pairs_that_never_touch_are_mujocos() -> None:
    """Put any two bodies into each other: MuJoCo makes a contact exactly where we let one be."""
    touching = build_model(MODEL, SimConfig(self_collision=True, contact_force=False))
    passing = {frozenset(pair) for pair in asset.passing_pairs(touching, MODEL)}
    assert frozenset(("right_foot", "left_foot")) in passing  # <exclude>
    assert frozenset(("right_upper_arm", "right_hand")) in passing  # welded to its lower arm
    data, met = mujoco.MjData(touching), set()
    drawn = flying_states(MODEL, 400, seed=1)
    q = [int(touching.joint(name).qposadr[0]) for name in MODEL.skeleton.dof_names]
    for row in range(400):
        mujoco.mj_resetData(touching, data)
        data.qpos[2] = 5.0
        data.qpos[q] = 3.0 * drawn.dof_pos[row].numpy()  # far beyond its limits, all over itself
        mujoco.mj_fwdPosition(touching, data)
        for pair in touching.geom_bodyid[data.contact.geom]:
            met.add(frozenset(touching.body(int(b)).name for b in pair))
    assert len(met) > 40 and not met & passing


# ------------------------------------------------------------------------- USD


def _numbers(text: str) -> np.ndarray:
    return np.array([float(part) for part in text.split(",")])


def _field(block: str, name: str) -> str:
    found = re.search(rf"{re.escape(name)} = [(\[]?([^)\]\n]*)", block)
    assert found, (name, block)
    return found[1].strip().strip("<>").strip('"')


def _joints(text: str) -> dict[str, str]:
    return {
        match[2]: match[0] for match in re.finditer(r'def Physics(\w+)Joint "(\w+)".*?\n        \}\n', text, flags=re.S)
    }


def test_usd_moves_as_the_original() -> None:
    """The joints' frames as written, read back with nothing but their text."""
    text = usd.to_usda(MJ, MODEL, LINKS, False, False)
    angle = dict(zip(MODEL.skeleton.dof_names, POSE.tolist(), strict=True))
    pos, rot = {"pelvis": np.zeros(3)}, {"pelvis": np.array([1.0, 0, 0, 0])}
    joints = _joints(text)
    assert len(joints) == len(LINKS) - 1 == 30
    for name, block in joints.items():
        parent, child = (_field(block, f"rel physics:body{i}").rpartition("/")[2] for i in (0, 1))
        frame = _times(rot[parent], _numbers(_field(block, "quatf physics:localRot0")))
        if name in angle:
            assert _field(block, "token physics:axis") == "X"
            frame = _times(frame, _about(np.array([1.0, 0, 0]), angle[name]))
        back = _numbers(_field(block, "quatf physics:localRot1")) * [1, -1, -1, -1]
        assert not _numbers(_field(block, "point3f physics:localPos1")).any()
        pos[child] = pos[parent] + _turned(_numbers(_field(block, "point3f physics:localPos0")), rot[parent])
        rot[child] = _times(frame, back)
    _compare(pos, rot, 1e-6)


def test_usd_has_limits_in_degrees_and_drives_everywhere() -> None:
    joints = _joints(usd.to_usda(MJ, MODEL, LINKS, False, False))
    for d, name in enumerate(MODEL.skeleton.dof_names):
        block = joints[name]
        limits = [float(_field(block, f"float physics:{side}Limit")) for side in ("lower", "upper")]
        assert np.allclose(np.radians(limits), MODEL.skeleton.dof_limits[d].numpy(), atol=1e-5)
        # PhysX ignores gains that are set later where no drive was written
        assert "PhysicsDriveAPI:angular" in block and float(_field(block, "physics:stiffness")) > 0
        assert float(_field(block, "physxJoint:armature")) == pytest.approx(float(MODEL.armature[d]))


def test_usd_says_what_may_touch() -> None:
    off, on = (usd.to_usda(MJ, MODEL, LINKS, on, False) for on in (False, True))
    for text, flag in ((off, "0"), (on, "1")):
        assert _field(text, "physxArticulation:enabledSelfCollisions") == flag
        assert _field(text, "newton:selfCollisionEnabled") == flag
    assert "filteredPairs" not in off
    listed = re.findall(r"rel physics:filteredPairs = \[(.*?)\]", on)
    assert sum(line.count("</Robot/") for line in listed) == len(asset.passing_pairs(MJ, MODEL))


def test_usd_reports_contacts_only_when_asked() -> None:
    quiet, loud = (usd.to_usda(MJ, MODEL, LINKS, False, on) for on in (False, True))
    assert "PhysxContactReportAPI" not in quiet
    assert loud.count("PhysxContactReportAPI") == MODEL.skeleton.num_bodies  # and not the helpers


def test_ground_comes_from_nowhere_else() -> None:
    text = usd.ground_usda(MJ, LINKS)
    assert 'def Plane "plane"' in text and "PhysicsCollisionAPI" in text
    assert not re.search(r"https?:|omniverse:|@", text)


def test_axes_in_any_direction() -> None:
    for axis in ([1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, 0, -1], [0.6, -0.48, 0.64]):
        turned = _turned(np.array([1.0, 0, 0]), usd._turn_x_to(np.array(axis, dtype=float)))
        assert np.allclose(turned, axis, atol=1e-12)


# ------------------------------------------------------------------------- refusals

_MJCF = """<mujoco><worldbody><body name="root"><freejoint/><geom size=".1"/>
<body name="arm" pos="0 0 .2"><joint name="j" {joint} range="-1 1" limited="true"/><geom {geom}/></body></body>
</worldbody>
<actuator><position name="j" joint="j" kp="10" forcerange="-9 9"/></actuator></mujoco>"""


@pytest.mark.parametrize(
    ("joint", "geom", "says"),
    [
        ('type="hinge" pos="0 0 .05"', 'size=".1"', "not at its body's origin"),
        ('type="slide"', 'size=".1"', "'j' is no hinge"),
        ('type="hinge"', 'type="ellipsoid" size=".1 .1 .2"', "ELLIPSOID; sim=isaaclab takes sphere, capsule"),
    ],
)
def test_what_cannot_be_told_is_refused(joint: str, geom: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "odd.xml"
    file.write_text(_MJCF.format(joint=joint, geom=geom))
    m = mujoco.MjModel.from_xml_path(str(file))
    good = tmp_path / "good.xml"
    good.write_text(_MJCF.format(joint='type="hinge"', geom='size=".1"'))
    roles = {"feet": ["arm"], "key_bodies": ["arm"], "head": "arm"}
    model = CharacterModel.load({"name": "odd", "mjcf": str(good), **roles})
    with pytest.raises(ConfigError, match=says):
        asset.split(m, model)
    assert len(asset.split(mujoco.MjModel.from_xml_path(str(good)), model)) == 2
