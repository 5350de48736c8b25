"""The character as links with at most one hinge each. Needs MuJoCo, not Isaac Lab.

PhysX joins two bodies by one joint, so a body with three hinges becomes a chain: two links that weigh next to
nothing, turned by the first two hinges, then the body itself. Every simulator behind Isaac Lab gets the same chain;
its kinematics are those of the original, and a hundredth of a gram per helper is all that is added to it.

What they are made of is what MuJoCo compiled from the MJCF; :mod:`isaacmm.sim.isaaclab_usd` writes them down.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import mujoco
import numpy as np

from isaacmm.character import CharacterModel
from isaacmm.errors import ConfigError

#: What a helper link weighs (kg), and its moment of inertia (kg m^2); its hinge's armature is a million times more.
HELPER_MASS, HELPER_INERTIA = 1e-5, 1e-8
#: Joins a body's name and its hinge's in the name of a helper link.
HELPER = "__"
_SAME = np.array([1.0, 0.0, 0.0, 0.0])


@dataclass(frozen=True)
class Shape:
    """A collision shape of a link: ``kind`` of MuJoCo's geom, ``size`` as MuJoCo has it, pose in the link's frame."""

    name: str
    kind: str
    size: tuple[float, ...]
    pos: np.ndarray
    rot: np.ndarray
    geom: int


@dataclass(frozen=True)
class Hinge:
    """``axis`` in the frame of the link that it moves; ``limits`` rad or None."""

    name: str
    axis: np.ndarray
    limits: tuple[float, float] | None
    armature: float
    joint: int


@dataclass
class Link:
    """A rigid link. ``pos`` and ``rot`` (wxyz) in the parent's frame with all hinges at zero; ``parent`` -1: the root.

    ``inertia`` is diagonal in the frame ``inertia_rot`` (wxyz) at ``com``.
    """

    name: str
    parent: int
    pos: np.ndarray
    rot: np.ndarray
    mass: float
    com: np.ndarray
    inertia: np.ndarray
    inertia_rot: np.ndarray
    hinge: Hinge | None = None
    shapes: list[Shape] = field(default_factory=list)
    body: str | None = None


_KINDS = {
    int(mujoco.mjtGeom.mjGEOM_SPHERE): "sphere",
    int(mujoco.mjtGeom.mjGEOM_CAPSULE): "capsule",
    int(mujoco.mjtGeom.mjGEOM_CYLINDER): "cylinder",
    int(mujoco.mjtGeom.mjGEOM_BOX): "box",
}


def split(m: mujoco.MjModel, model: CharacterModel) -> list[Link]:
    """The links of a character, parents first.

    Args:
        m: its compiled MJCF.
        model: the character; its skeleton says which bodies and hinges belong to it.

    Raises:
        ConfigError: a hinge away from its body's origin, another kind of joint, or a shape that USD has no word for.
    """
    links: list[Link] = []
    of_body: dict[str, int] = {}
    for index, body in enumerate(model.skeleton.names):
        b = m.body(body).id
        parent = model.skeleton.parents[index]
        at = of_body[model.skeleton.names[parent]] if parent >= 0 else -1
        pos, rot = m.body_pos[b].copy(), m.body_quat[b].copy()
        if at < 0:
            pos, rot = np.zeros(3), _SAME.copy()  # where the root stands is the simulator's business
        hinges = _hinges(m, b, index == 0, model)
        for hinge in hinges[:-1]:
            links.append(
                Link(
                    f"{body}{HELPER}{hinge.name}", at, pos, rot, HELPER_MASS, np.zeros(3),
                    np.full(3, HELPER_INERTIA), _SAME.copy(), hinge,
                )
            )  # fmt: skip
            at, pos, rot = len(links) - 1, np.zeros(3), _SAME.copy()
        links.append(
            Link(
                body, at, pos, rot, float(m.body_mass[b]), m.body_ipos[b].copy(), m.body_inertia[b].copy(),
                m.body_iquat[b].copy(), hinges[-1] if hinges else None, _shapes(m, b, model), body,
            )
        )  # fmt: skip
        of_body[body] = len(links) - 1
    return links


def _hinges(m: mujoco.MjModel, b: int, root: bool, model: CharacterModel) -> list[Hinge]:
    found = []
    for j in range(int(m.body_jntadr[b]), int(m.body_jntadr[b]) + int(m.body_jntnum[b])):
        name = m.joint(j).name
        kind = int(m.jnt_type[j])
        if root and kind == int(mujoco.mjtJoint.mjJNT_FREE):
            continue
        if kind != int(mujoco.mjtJoint.mjJNT_HINGE):
            raise ConfigError(f"{model.mjcf}: joint '{name}' is no hinge; sim=isaaclab takes hinges and one free root")
        if np.abs(m.jnt_pos[j]).max() > 1e-9:
            raise ConfigError(f"{model.mjcf}: joint '{name}' is not at its body's origin; move the body's frame there")
        limits = (float(m.jnt_range[j, 0]), float(m.jnt_range[j, 1])) if m.jnt_limited[j] else None
        armature = float(m.dof_armature[int(m.jnt_dofadr[j])])
        found.append(Hinge(name, m.jnt_axis[j].copy(), limits, armature, j))
    return found


def _shapes(m: mujoco.MjModel, b: int, model: CharacterModel) -> list[Shape]:
    found = []
    for g in range(m.ngeom):
        if m.geom_bodyid[g] != b or not (m.geom_contype[g] or m.geom_conaffinity[g]):
            continue
        kind = _KINDS.get(int(m.geom_type[g]))
        name = m.geom(g).name or f"geom_{g}"
        if kind is None:
            raise ConfigError(
                f"{model.mjcf}: geom '{name}' is a {mujoco.mjtGeom(int(m.geom_type[g])).name}; sim=isaaclab takes "
                f"{', '.join(_KINDS.values())}"
            )
        size = tuple(float(s) for s in m.geom_size[g])
        found.append(Shape(name, kind, size, m.geom_pos[g].copy(), m.geom_quat[g].copy(), g))
    return found


def passing_pairs(m: mujoco.MjModel, model: CharacterModel) -> list[tuple[str, str]]:
    """Pairs of bodies that MuJoCo never lets touch: welded together, parent and child, ``<exclude>``."""
    ids = [m.body(name).id for name in model.skeleton.names]
    excluded = {tuple(sorted((int(s) >> 16, int(s) & 0xFFFF))) for s in m.exclude_signature}
    pairs = []
    for i, a in enumerate(ids):
        for j in range(i + 1, len(ids)):
            b = ids[j]
            weld_a, weld_b = int(m.body_weldid[a]), int(m.body_weldid[b])
            parent_a = int(m.body_weldid[m.body_parentid[weld_a]])
            parent_b = int(m.body_weldid[m.body_parentid[weld_b]])
            if weld_a in (weld_b, parent_b) or weld_b == parent_a or tuple(sorted((a, b))) in excluded:
                pairs.append((model.skeleton.names[i], model.skeleton.names[j]))
    return pairs
