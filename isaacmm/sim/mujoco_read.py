"""From MuJoCo's float64 arrays to the float32 link states of a :class:`MotionState`.

This runs on one thread after every step of all the others, so it decides how far more cores help.
Every operation works on whole rows or whole columns of all worlds at once, because numpy spends about
ten nanoseconds on each run of memory however short it is, and a vector is only three numbers long;
and every view is made once, because making one costs as much as copying a few hundred numbers. Numpy and
not torch: torch's thread pool, on a machine whose cores are busy, has been seen to take a hundred
milliseconds for what takes one without it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from isaacmm.state import MotionState

Copy = tuple[np.ndarray, np.ndarray]  # destination, source


class LinkReader:
    """Fills a state's tensors in place.

    Args:
        state: contiguous float32 CPU tensors, rewritten by :meth:`read`.
        mj: the batch's live arrays ``xpos``, ``xquat``, ``cvel``, ``subtree_com``, ``qpos``, ``qvel``,
            first axis the worlds.
        bodies: the character's bodies in them, the root first.
        qpos, qvel: the character's hinges in them.
    """

    def __init__(
        self, state: MotionState, mj: Mapping[str, np.ndarray], bodies: slice, qpos: slice, qvel: slice
    ) -> None:
        n, b = state.body_pos.shape[:2]

        def rows(name: str) -> np.ndarray:
            """One row per world, without the bodies before the root (the world itself)."""
            return mj[name][:, bodies].reshape(n, -1)

        pos, rot = state.body_pos.numpy(), state.body_rot.numpy()
        quat, cvel = np.zeros((n * b, 4), np.float32), np.zeros((n * b, 6), np.float32)
        self._casts: list[Copy] = [
            (pos.reshape(n, -1), rows("xpos")),
            (quat.reshape(n, -1), rows("xquat")),
            (cvel.reshape(n, -1), rows("cvel")),
            (state.dof_pos.numpy(), mj["qpos"][:, qpos]),
            (state.dof_vel.numpy(), mj["qvel"][:, qvel]),
        ]
        # wxyz to xyzw: all numbers move up by one place, then every w comes from where it was
        self._casts.append((rot.reshape(-1)[:-1], quat.reshape(-1)[1:]))
        self._casts.append((rot.reshape(-1, 4)[:, 3], quat[:, 0]))
        # cvel holds velocities (angular, linear) at the character's centre of mass c, and
        # v(origin) = v(c) + w x (origin - c). The difference is taken in float64.
        root = bodies.start
        lever = np.zeros((3, n, b), np.float32)
        self._levers = [
            (mj["xpos"][:, bodies, i], mj["subtree_com"][:, root, i, None], lever[i]) for i in range(3)
        ]
        self._product = np.zeros(n * b, np.float32)
        ang_vel, vel = state.body_ang_vel.numpy().reshape(-1, 3), state.body_vel.numpy().reshape(-1, 3)
        self._columns: list[tuple[np.ndarray, ...]] = []
        for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
            wj, wk, lj, lk = cvel[:, j], cvel[:, k], lever[j].reshape(-1), lever[k].reshape(-1)
            self._columns.append((ang_vel[:, i], cvel[:, i], vel[:, i], cvel[:, 3 + i], wj, lk, wk, lj))

    def read(self) -> None:
        """Bring the state up to date with the arrays."""
        for destination, source in self._casts:
            destination[...] = source
        for pos, com, lever in self._levers:
            np.subtract(pos, com, out=lever, casting="same_kind")
        product = self._product
        for ang_vel, w, vel, v, wj, lk, wk, lj in self._columns:
            ang_vel[...] = w
            np.multiply(wj, lk, out=product)
            np.add(product, v, out=vel)
            np.multiply(wk, lj, out=product)
            np.subtract(vel, product, out=vel)
