"""The character and the floor as the text of USD files. Needs MuJoCo, not Isaac Lab.

Everything is there that MuJoCo compiled from the MJCF: masses, inertias, shapes, limits, armatures, friction, and
MuJoCo's contact parameters for solvers that understand them. Angles are USD's degrees, quaternions ``wxyz``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import mujoco
import numpy as np

from isaacmm.character import CharacterModel
from isaacmm.sim.isaaclab_asset import Link, Shape, passing_pairs

#: Fast enough never to be reached (deg/s): PhysX would clamp otherwise.
_NO_LIMIT = 1e6
_X, _SAME = np.array([1.0, 0.0, 0.0]), np.array([1.0, 0.0, 0.0, 0.0])


def _header(prim: str) -> str:
    return (
        f'#usda 1.0\n(\n    defaultPrim = "{prim}"\n    kilogramsPerUnit = 1\n    metersPerUnit = 1\n'
        f'    upAxis = "Z"\n)\n\ndef Xform "{prim}"\n{{'
    )


def to_usda(
    m: mujoco.MjModel, model: CharacterModel, links: Sequence[Link], self_collision: bool, report_contacts: bool
) -> str:
    """The character as the text of a USD file, standing at the origin.

    Args:
        m: the compiled MJCF that ``links`` came from.
        model: the character.
        links: from :func:`split`.
        self_collision: let its bodies touch each other (but for :func:`passing_pairs`).
        report_contacts: let a contact sensor see every body.
    """
    pos, rot = _world_poses(links)
    passing: dict[str, list[str]] = {}
    if self_collision:
        for a, b in passing_pairs(m, model):
            passing.setdefault(a, []).append(b)
    text = [
        _header("Robot"),
    ]
    for i, link in enumerate(links):
        text += _link_text(m, link, pos[i], rot[i], i == 0, self_collision, report_contacts, passing.get(link.name, []))
    text.append('    def Scope "joints"\n    {')
    for link in links[1:]:
        text += _joint_text(m, link, links[link.parent].name)
    text.append("    }\n")
    text += _materials(m, links)
    text.append("}\n")
    return "\n".join(text)


def ground_usda(m: mujoco.MjModel, links: Sequence[Link]) -> str:
    """The endless floor at height zero, as the text of a USD file; nothing of it comes from a network."""
    floor = next((g for g in range(m.ngeom) if m.geom_bodyid[g] == 0), links[0].shapes[0].geom)
    return "\n".join(
        [
            _header("Ground"),
            '    def Plane "plane" (\n        prepend apiSchemas = ["PhysicsCollisionAPI", "PhysxCollisionAPI", '
            '"MaterialBindingAPI"]\n    )\n    {',
            '        uniform token axis = "Z"',
            "        double length = 0",
            "        double width = 0",
            "        rel material:binding:physics = </Ground/floor>",
            *_contact_lines(m, floor, "        "),
            "    }\n",
            *_material_text("floor", m.geom_friction[floor], "    "),
            "}\n",
        ]
    )


def _world_poses(links: Sequence[Link]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    pos: list[np.ndarray] = []
    rot: list[np.ndarray] = []
    for link in links:
        if link.parent < 0:
            pos.append(link.pos)
            rot.append(link.rot)
            continue
        turned, product = np.zeros(3), np.zeros(4)
        mujoco.mju_rotVecQuat(turned, link.pos, rot[link.parent])
        mujoco.mju_mulQuat(product, rot[link.parent], link.rot)
        pos.append(pos[link.parent] + turned)
        rot.append(product)
    return pos, rot


def _link_text(
    m: mujoco.MjModel, link: Link, pos: np.ndarray, rot: np.ndarray, root: bool, self_collision: bool,
    report_contacts: bool, passing: Iterable[str],
) -> list[str]:  # fmt: skip
    schemas = ["PhysicsRigidBodyAPI", "PhysicsMassAPI", "PhysxRigidBodyAPI"]
    schemas += ["PhysicsArticulationRootAPI", "PhysxArticulationAPI", "NewtonArticulationRootAPI"] if root else []
    schemas += ["PhysxContactReportAPI"] if report_contacts and link.body else []
    passing = list(passing)
    schemas += ["PhysicsFilteredPairsAPI"] if passing else []
    pad = " " * 8
    text = [
        f'    def Xform "{link.name}" (\n        prepend apiSchemas = {_words(schemas)}\n    )\n    {{',
        f"{pad}float physics:mass = {_n(link.mass)}",
        f"{pad}point3f physics:centerOfMass = {_v(link.com)}",
        f"{pad}float3 physics:diagonalInertia = {_v(link.inertia)}",
        f"{pad}quatf physics:principalAxes = {_v(link.inertia_rot)}",
        # PhysX slows bodies down by itself unless told not to, and clamps their speed
        f"{pad}float physxRigidBody:linearDamping = 0",
        f"{pad}float physxRigidBody:angularDamping = 0",
        f"{pad}float physxRigidBody:maxLinearVelocity = 10000",
        f"{pad}float physxRigidBody:maxAngularVelocity = {_n(_NO_LIMIT)}",
        f"{pad}float physxRigidBody:sleepThreshold = 0",
        f"{pad}bool physxRigidBody:enableGyroscopicForces = 1",
    ]
    if root:
        text += [
            f"{pad}bool physxArticulation:enabledSelfCollisions = {int(self_collision)}",
            f"{pad}bool newton:selfCollisionEnabled = {int(self_collision)}",
            f"{pad}int physxArticulation:solverPositionIterationCount = 16",
            f"{pad}int physxArticulation:solverVelocityIterationCount = 2",
            f"{pad}float physxArticulation:sleepThreshold = 0",
        ]
    if report_contacts and link.body:
        text.append(f"{pad}float physxContactReport:threshold = 0")
    if passing:
        text.append(f"{pad}rel physics:filteredPairs = [{', '.join(f'</Robot/{name}>' for name in passing)}]")
    text += [
        f"{pad}quatd xformOp:orient = {_v(rot)}",
        f"{pad}double3 xformOp:translate = {_v(pos)}",
        f'{pad}uniform token[] xformOpOrder = ["xformOp:translate", "xformOp:orient"]',
    ]
    for shape in link.shapes:
        text += _shape_text(m, shape)
    text.append("    }\n")
    return text


def _shape_text(m: mujoco.MjModel, shape: Shape) -> list[str]:
    prim = {"sphere": "Sphere", "capsule": "Capsule", "cylinder": "Cylinder", "box": "Cube"}[shape.kind]
    pad = " " * 12
    text = [
        f'        def {prim} "{_identifier(shape.name)}_shape" (\n            prepend apiSchemas = '
        '["PhysicsCollisionAPI", "PhysxCollisionAPI", "MaterialBindingAPI"]\n        )\n        {',
    ]
    if shape.kind == "box":
        text.append(f"{pad}double size = 2")
        text.append(f"{pad}double3 xformOp:scale = {_v(shape.size)}")
    else:
        text.append(f"{pad}double radius = {_n(shape.size[0])}")
        if shape.kind != "sphere":
            text.append(f"{pad}double height = {_n(2 * shape.size[1])}")
            text.append(f'{pad}uniform token axis = "Z"')
    ops = ["xformOp:translate", "xformOp:orient"] + (["xformOp:scale"] if shape.kind == "box" else [])
    text += [
        f"{pad}rel material:binding:physics = </Robot/materials/{_identifier(shape.name)}>",
        *_contact_lines(m, shape.geom, pad),
        f"{pad}quatd xformOp:orient = {_v(shape.rot)}",
        f"{pad}double3 xformOp:translate = {_v(shape.pos)}",
        f"{pad}uniform token[] xformOpOrder = {_words(ops)}",
        "        }",
    ]
    return text


def _contact_lines(m: mujoco.MjModel, geom: int, pad: str) -> list[str]:
    """MuJoCo's own contact parameters, and none of PhysX's distance at which contacts begin to push."""
    return [
        f"{pad}int mjc:condim = {int(m.geom_condim[geom])}",
        f"{pad}double mjc:gap = {_n(float(m.geom_gap[geom]))}",
        f"{pad}double mjc:margin = {_n(float(m.geom_margin[geom]))}",
        f"{pad}int mjc:priority = {int(m.geom_priority[geom])}",
        f"{pad}double[] mjc:solimp = {_list(m.geom_solimp[geom])}",
        f"{pad}double mjc:solmix = {_n(float(m.geom_solmix[geom]))}",
        f"{pad}double[] mjc:solref = {_list(m.geom_solref[geom])}",
        f"{pad}float newton:contactGap = {_n(float(m.geom_gap[geom]))}",
        f"{pad}float newton:contactMargin = {_n(float(m.geom_margin[geom]))}",
        f"{pad}float physxCollision:contactOffset = 0.02",
        f"{pad}float physxCollision:restOffset = 0",
    ]


def _joint_text(m: mujoco.MjModel, link: Link, parent: str) -> list[str]:
    hinge = link.hinge
    kind = "PhysicsRevoluteJoint" if hinge else "PhysicsFixedJoint"
    name = hinge.name if hinge else f"{link.name}_fixed"
    schemas = ["PhysicsDriveAPI:angular", "PhysxJointAPI"] if hinge else []
    pad = " " * 12
    header = f'        def {kind} "{_identifier(name)}"'
    if schemas:
        header += f" (\n            prepend apiSchemas = {_words(schemas)}\n        )"
    turn = _turn_x_to(hinge.axis) if hinge else _SAME
    product = np.zeros(4)
    mujoco.mju_mulQuat(product, link.rot, turn)
    text = [
        header,
        "        {",
        f"{pad}rel physics:body0 = </Robot/{parent}>",
        f"{pad}rel physics:body1 = </Robot/{link.name}>",
        f"{pad}point3f physics:localPos0 = {_v(link.pos)}",
        f"{pad}point3f physics:localPos1 = (0, 0, 0)",
        f"{pad}quatf physics:localRot0 = {_v(product)}",
        f"{pad}quatf physics:localRot1 = {_v(turn)}",
    ]
    if hinge:
        j = hinge.joint
        low, high = hinge.limits or (-math.inf, math.inf)
        text += [
            f'{pad}uniform token physics:axis = "X"',
            f"{pad}float physics:lowerLimit = {_n(math.degrees(low))}",
            f"{pad}float physics:upperLimit = {_n(math.degrees(high))}",
            # a drive has to be there for gains to act on; the simulator sets them
            f'{pad}uniform token drive:angular:physics:type = "force"',
            f"{pad}float drive:angular:physics:stiffness = 1",
            f"{pad}float drive:angular:physics:damping = 0",
            f"{pad}float physxJoint:armature = {_n(hinge.armature)}",
            f"{pad}float physxJoint:maxJointVelocity = {_n(_NO_LIMIT)}",
            f"{pad}float physxJoint:jointFriction = 0",
            f"{pad}double mjc:armature = {_n(hinge.armature)}",
            f"{pad}double[] mjc:solreflimit = {_list(m.jnt_solref[j])}",
            f"{pad}double[] mjc:solimplimit = {_list(m.jnt_solimp[j])}",
            f"{pad}double mjc:margin = {_n(float(m.jnt_margin[j]))}",
        ]
    text.append("        }\n")
    return text


def _materials(m: mujoco.MjModel, links: Sequence[Link]) -> list[str]:
    text = ['    def Scope "materials"\n    {']
    for link in links:
        for shape in link.shapes:
            text += _material_text(_identifier(shape.name), m.geom_friction[shape.geom], "        ")
    return [*text, "    }"]


def _material_text(name: str, friction: np.ndarray, pad: str) -> list[str]:
    return [
        f'{pad}def Material "{name}" (\n{pad}    prepend apiSchemas = ["PhysicsMaterialAPI", "PhysxMaterialAPI", '
        f'"NewtonMaterialAPI"]\n{pad})\n{pad}{{',
        f"{pad}    float physics:staticFriction = {_n(float(friction[0]))}",
        f"{pad}    float physics:dynamicFriction = {_n(float(friction[0]))}",
        f"{pad}    float physics:restitution = 0",
        f"{pad}    float newton:torsionalFriction = {_n(float(friction[1]))}",
        f"{pad}    float newton:rollingFriction = {_n(float(friction[2]))}",
        # MuJoCo takes the larger of two frictions
        f'{pad}    uniform token physxMaterial:frictionCombineMode = "max"',
        f"{pad}}}",
    ]


def _turn_x_to(axis: np.ndarray) -> np.ndarray:
    """Shortest rotation (wxyz) that takes x to the unit vector ``axis``."""
    axis = np.asarray(axis, dtype=float) / np.linalg.norm(axis)
    if float(_X @ axis) < -1 + 1e-12:
        return np.array([0.0, 0.0, 0.0, 1.0])
    q = np.concatenate(([1.0 + float(_X @ axis)], np.cross(_X, axis)))
    return q / np.linalg.norm(q)


def _identifier(name: str) -> str:
    """``name`` as USD wants one."""
    clean = "".join(c if c.isalnum() or c == "_" else "_" for c in name)
    return clean if clean[:1].isalpha() or clean[:1] == "_" else f"_{clean}"


def _words(words: Iterable[str]) -> str:
    return "[" + ", ".join(f'"{word}"' for word in words) + "]"


def _n(value: float) -> str:
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return repr(float(value))


def _v(values: Iterable[Any]) -> str:
    return "(" + ", ".join(_n(float(v)) for v in values) + ")"


def _list(values: Iterable[Any]) -> str:
    return "[" + ", ".join(_n(float(v)) for v in values) + "]"
