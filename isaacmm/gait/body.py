"""A light numpy view of the character: tree, masses, forward kinematics and momentum in float64.

The fit of a gait evaluates tens of thousands of poses at once and needs masses and inertias besides the
kinematics, therefore this small twin of `isaacmm.skeleton` without torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np

ASSET = Path(__file__).resolve().parent.parent / "assets" / "humanoid.xml"


def axis_rotation(axis: int, angle: np.ndarray) -> np.ndarray:
    """Rotation matrices `[..., 3, 3]` about coordinate axis 0, 1 or 2 by `angle` (rad)."""
    c, s = np.cos(angle), np.sin(angle)
    m = np.zeros(np.shape(angle) + (3, 3))
    i, j = (axis + 1) % 3, (axis + 2) % 3
    m[..., axis, axis] = 1
    m[..., i, i], m[..., j, j] = c, c
    m[..., i, j], m[..., j, i] = -s, s
    return m


def euler_xyz(m: np.ndarray) -> np.ndarray:
    """Angles `[..., 3]` of R = Rx Ry Rz, the order of the humanoid's three-hinge joints."""
    y = np.arcsin(np.clip(m[..., 0, 2], -1, 1))
    x = np.arctan2(-m[..., 1, 2], m[..., 2, 2])
    z = np.arctan2(-m[..., 0, 1], m[..., 0, 0])
    return np.stack([x, y, z], -1)


@dataclass(frozen=True)
class Body:
    """Kinematic tree and inertias, bodies and dofs in MJCF depth-first order."""

    names: tuple[str, ...]
    parents: tuple[int, ...]
    offsets: np.ndarray  # [B,3] m, in the parent's frame
    dof_names: tuple[str, ...]
    dof_bodies: tuple[int, ...]
    dof_axes: np.ndarray  # [D,3]
    dof_limits: np.ndarray  # [D,2] rad
    masses: np.ndarray  # [B] kg
    mass_centres: np.ndarray  # [B,3] m, in the body's frame
    inertias: np.ndarray  # [B,3,3] kg m^2 about the centre of mass, in the body's frame
    sole: np.ndarray  # [4] m: x of the heel edge and of the toe edge, half width, z; in the foot's frame

    @classmethod
    def load(cls, path: Path | str = ASSET) -> Body:
        """Read the tree, the hinges and the masses of an MJCF character with one free root."""
        model = mujoco.MjModel.from_xml_path(str(path))
        return cls.from_model(model)

    @classmethod
    def from_model(cls, model: mujoco.MjModel) -> Body:
        """The same from a compiled model; body 0 is the world."""
        hinges = [j for j in range(model.njnt) if model.jnt_type[j] == mujoco.mjtJoint.mjJNT_HINGE]
        inertias = []
        for b in range(1, model.nbody):
            flat = np.zeros(9)
            mujoco.mju_quat2Mat(flat, model.body_iquat[b])
            r = flat.reshape(3, 3)
            inertias.append(r @ np.diag(model.body_inertia[b]) @ r.T)
        foot = model.body("right_foot").id
        geom = next(
            g
            for g in range(model.ngeom)
            if model.geom_bodyid[g] == foot and model.geom_type[g] == mujoco.mjtGeom.mjGEOM_BOX
        )
        centre, half = model.geom_pos[geom], model.geom_size[geom]
        return cls(
            names=tuple(model.body(b).name for b in range(1, model.nbody)),
            parents=tuple(int(p) - 1 for p in model.body_parentid[1:]),
            offsets=model.body_pos[1:].copy(),
            dof_names=tuple(model.joint(j).name for j in hinges),
            dof_bodies=tuple(int(model.jnt_bodyid[j]) - 1 for j in hinges),
            dof_axes=model.jnt_axis[hinges].copy(),
            dof_limits=model.jnt_range[hinges].copy(),
            masses=model.body_mass[1:].copy(),
            mass_centres=model.body_ipos[1:].copy(),
            inertias=np.array(inertias),
            sole=np.array([centre[0] - half[0], centre[0] + half[0], half[1], centre[2] - half[2]]),
        )

    def dof(self, name: str) -> int:
        """Index of a hinge."""
        return self.dof_names.index(name)

    def body(self, name: str) -> int:
        """Index of a body."""
        return self.names.index(name)

    @property
    def thigh_length(self) -> float:
        """Hip to knee (m)."""
        return float(-self.offsets[self.body("right_shin"), 2])

    @property
    def shin_length(self) -> float:
        """Knee to ankle (m)."""
        return float(-self.offsets[self.body("right_foot"), 2])

    @property
    def leg_length(self) -> float:
        """Hip to sole in the zero pose (m)."""
        return self.thigh_length + self.shin_length - float(self.sole[3])

    def fk(
        self, root_pos: np.ndarray, root_rot: np.ndarray, dofs: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Positions `[..., B, 3]` and rotation matrices `[..., B, 3, 3]` of all bodies in the world.

        Args:
            root_pos: `[..., 3]`; root_rot: `[..., 3, 3]`; dofs: `[..., D]` rad.
        """
        lead = dofs.shape[:-1]
        pos = np.empty(lead + (len(self.names), 3))
        rot = np.empty(lead + (len(self.names), 3, 3))
        pos[..., 0, :], rot[..., 0, :, :] = root_pos, root_rot
        for b in range(1, len(self.names)):
            p = self.parents[b]
            pos[..., b, :] = pos[..., p, :] + rot[..., p, :, :] @ self.offsets[b]
            r = rot[..., p, :, :]
            for d in (d for d, moved in enumerate(self.dof_bodies) if moved == b):
                r = r @ axis_rotation(int(np.argmax(np.abs(self.dof_axes[d]))), dofs[..., d])
            rot[..., b, :, :] = r
        return pos, rot

    def mass_points(self, pos: np.ndarray, rot: np.ndarray) -> np.ndarray:
        """World positions `[..., B, 3]` of the bodies' centres of mass."""
        return pos + (rot @ self.mass_centres[..., None])[..., 0]

    def sole_corners(self, pos: np.ndarray, rot: np.ndarray, side: str) -> np.ndarray:
        """World positions `[..., 4, 3]` of a foot's sole corners: heel right, heel left, toe right, toe left."""
        heel, toe, half, z = self.sole
        corners = np.array([[heel, -half, z], [heel, half, z], [toe, -half, z], [toe, half, z]])
        b = self.body(f"{side}_foot")
        return pos[..., b, None, :] + corners @ np.swapaxes(rot[..., b, :, :], -1, -2)
