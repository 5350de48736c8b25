"""A MuJoCo model posed for a picture: geoms, colours and their boxes on the screen.

Only kinematics run here (`mj_kinematics`); nothing is simulated.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import mujoco
import numpy as np

from isaacmm.errors import IsaacmmError
from isaacmm.render.camera import Camera

Array = np.ndarray
_CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=np.float64)


class Actor:
    """One character of a scene.

    Args:
        model: Model with one free joint at its root; scalar hinges elsewhere.
        dof_names: Order of the dof values given to `pose`; default: the model's own order.
        tint: Optional RGB (0..1) drawn instead of the model's colours.
        alpha: Below 1 the character is drawn as a ghost (transparent, stronger at its rim, no shadow).
    """

    def __init__(self, model: mujoco.MjModel, dof_names: Sequence[str] | None = None, *,
                 tint: Sequence[float] | None = None, alpha: float = 1.0) -> None:
        self.model, self.data, self.alpha = model, mujoco.MjData(model), float(alpha)
        free = np.flatnonzero(model.jnt_type == int(mujoco.mjtJoint.mjJNT_FREE))
        if len(free) == 0:
            raise IsaacmmError("cannot draw this character: its MJCF has no free joint at the root; "
                               "add <freejoint/> to the root body")
        self._root = int(model.jnt_qposadr[free[0]])
        if dof_names is None:
            hinges = np.flatnonzero(model.jnt_type >= int(mujoco.mjtJoint.mjJNT_SLIDE))
            self._dofs = model.jnt_qposadr[hinges]
        else:
            ids = [mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_JOINT, name) for name in dof_names]
            if -1 in ids:
                missing = [n for n, i in zip(dof_names, ids, strict=True) if i < 0]
                raise IsaacmmError(f"the MJCF has no joint named {missing[0]!r} "
                                   f"({len(missing)} of {len(ids)} dof names are unknown)")
            self._dofs = model.jnt_qposadr[np.asarray(ids, dtype=int)]
        self._choose_geoms()
        rgb = model.geom_rgba[:, :3].astype(np.float32).copy()
        material = model.geom_matid
        own = np.all(np.isclose(model.geom_rgba, 0.5, atol=1e-3) | np.isclose(model.geom_rgba, 1.0), axis=1)
        for g in np.flatnonzero((material >= 0) & own):
            rgb[g] = model.mat_rgba[material[g], :3]
        if tint is not None:
            rgb[:] = np.asarray(tint, dtype=np.float32)
        self.colors = rgb**2  # linear light; the picture is encoded with a square root
        self.glow = np.zeros(model.ngeom, dtype=np.float32)  # 0..1, highlight (foot contact)
        self.glow_color = np.array([1.0, 0.30, 0.06], dtype=np.float32)

    @classmethod
    def from_mjcf(cls, path: str | Path, dof_names: Sequence[str] | None = None, **options: object) -> Actor:
        """Loads an MJCF file (errors name the file)."""
        try:
            model = mujoco.MjModel.from_xml_path(str(path))
        except ValueError as error:
            raise IsaacmmError(f"{path}: MuJoCo cannot load this character: {error}") from error
        return cls(model, dof_names, **options)  # type: ignore[arg-type]

    @property
    def num_dofs(self) -> int:
        return len(self._dofs)

    def _choose_geoms(self) -> None:
        """Moving, visible geoms; groups 0-2 (what MuJoCo shows) unless the model has only others."""
        model = self.model
        moving = model.body_weldid[model.geom_bodyid] != 0
        alpha = np.where(model.geom_matid >= 0, model.mat_rgba[model.geom_matid, 3] if model.nmat else 1.0,
                         model.geom_rgba[:, 3])
        seen = moving & (alpha > 0)
        if not seen.any():
            raise IsaacmmError("cannot draw this character: its MJCF has no visible moving geom")
        low = seen & (model.geom_group < 3)
        group = np.zeros(6, dtype=np.uint8)
        if low.any():
            group[:3], seen = 1, low
        else:
            group[:] = 1
        self.group, self.geoms = group, np.flatnonzero(seen)

    def body_geoms(self, names: Sequence[str]) -> Array:
        """Ids of the geoms of the named bodies (unknown names are skipped: a picture is not worth an error)."""
        ids = [mujoco.mj_name2id(self.model, mujoco.mjtObj.mjOBJ_BODY, name) for name in names]
        return np.flatnonzero(np.isin(self.model.geom_bodyid, [i for i in ids if i >= 0]))

    def pose(self, root_pos: Array, root_rot: Array, dof_pos: Array) -> None:
        """Puts the character into a pose: root [3] m, xyzw [4], dofs [D] rad in the order of `dof_names`."""
        qpos, a = self.data.qpos, self._root
        qpos[a : a + 3] = root_pos
        qpos[a + 3] = root_rot[3]
        qpos[a + 4 : a + 7] = root_rot[:3]
        qpos[self._dofs] = dof_pos
        mujoco.mj_kinematics(self.model, self.data)

    def corners(self) -> Array:
        """Corners [G,8,3] of the oriented boxes around the visible geoms, world, m."""
        box = self.model.geom_aabb[self.geoms]
        local = box[:, None, :3] + _CORNERS * box[:, None, 3:]
        rot = self.data.geom_xmat[self.geoms].reshape(-1, 3, 3)
        return np.einsum("gij,gcj->gci", rot, local) + self.data.geom_xpos[self.geoms][:, None]

    def screen_boxes(self, camera: Camera, margin: float = 1.0) -> Array:
        """Pixel rectangles [G,4] (x0, y0, x1, y1; half open, clipped) that hold the geoms' images."""
        xy, depth = camera.project(self.corners())
        low = np.floor(xy.min(1) - margin)
        high = np.ceil(xy.max(1) + margin)
        near = depth.min(1) < 0.05  # reaches behind the eye: anywhere
        low[near], high[near] = 0, (camera.width, camera.height)
        size = (camera.width, camera.height)
        return np.concatenate([np.clip(low, 0, size), np.clip(high, 0, size)], axis=1).astype(int)

    def cast(self, origin: Array, directions: Array, normals: bool = True) -> tuple[Array, Array, Array | None]:
        """Casts rays [n,3] from one point.

        Returns:
            geom id [n] int32 (-1: miss), parameter along the ray [n] (-1: miss), normals [n,3] or None.
        """
        n = len(directions)
        vec = np.ascontiguousarray(directions, dtype=np.float64).reshape(-1)
        ids = np.empty(n, dtype=np.int32)
        dist = np.empty(n)
        normal = np.empty(3 * n) if normals else None
        if n:
            mujoco.mj_multiRay(self.model, self.data, np.ascontiguousarray(origin, dtype=np.float64), vec,
                               self.group, False, -1, ids, dist, normal, n, 1e6)
        return ids, dist, None if normal is None else normal.reshape(n, 3)
