"""Shift a planned pelvis path so that the floor can carry the motion.

A planned start, stop or turn on the spot is kinematics: nothing says that the body would not fall over. What the floor
has to do follows from the momentum of all bodies (`dynamics.wrench`); here the pelvis path is moved sideways and
along, as little and as smoothly as possible, until the centre of pressure lies under the soles. The weight shift
before the first step and the sway over each standing foot come about in this way; nobody draws them.

For the linear inverted pendulum a shift d(t) of the body moves the centre of pressure by d - (h / g) d'' (Kajita et
al. 2003; the same correction of recorded motion is Yamane & Nakamura's dynamics filter, 2003). The problem, a least
squares one with one-sided residuals at the edges of the support, is solved by Newton steps on the active edges; then
the true wrench is evaluated again, a few times.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import spsolve
from scipy.spatial import ConvexHull

from isaacmm.gait.dynamics import GRAVITY

#: m: residual of the centre of pressure, and m/s^3 of the shift's jerk, that weigh alike; m of the shift itself
PRESSURE, JERK, SHIFT = 0.002, 12.0, 1.0
EDGES = 8


def support_edges(corners: np.ndarray, touching: np.ndarray, margin: float) -> tuple[np.ndarray, np.ndarray]:
    """Half planes n.p <= b whose intersection is the support polygon, drawn in by `margin` (m).

    Args:
        corners: `[T, 8, 2]` sole corners of both feet. touching: `[T, 8]`.

    Returns:
        `[T, EDGES, 2]` unit normals and `[T, EDGES]` offsets; unused rows (also in flight) allow everything. A single
        edge or point as support has its own half planes, not drawn in.
    """
    normals, offsets = np.zeros((len(corners), EDGES, 2)), np.full((len(corners), EDGES), np.inf)
    for t, (xy, down) in enumerate(zip(corners, touching, strict=True)):
        points = xy[down]
        if len(points) < 2:
            continue
        if len(points) == 2 or np.linalg.matrix_rank(points[1:] - points[0], tol=1e-6) < 2:
            along = points - points.mean(0)
            axis = along[np.argmax(np.linalg.norm(along, axis=-1))]
            axis = axis / np.linalg.norm(axis)
            side = np.array([-axis[1], axis[0]])
            planes = np.array([axis, -axis, side, -side])
            most = (planes @ points.T).max(1)
            n = len(planes)
        else:
            hull = ConvexHull(points)
            equations = np.unique(hull.equations.round(9), axis=0)[:EDGES]
            planes, n = equations[:, :2], len(equations)
            most = -equations[:, 2] - margin
        normals[t, :n], offsets[t, :n] = planes, most
    return normals, offsets


class Balancer:
    """Corrections of the pelvis path of one clip.

    All of it is linear in the lever, load times pressure: with F the vertical force over the weight, a shift d of the
    body changes it by F d - (h / g) d''. So nothing blows up where the feet carry little or nothing.

    Args:
        fps: 1/s. height: of the centre of mass, m. normals, offsets: see `support_edges`.
        fixed: `[T]` bool, where nothing may be shifted.
    """

    def __init__(
        self, fps: float, height: float, normals: np.ndarray, offsets: np.ndarray, fixed: np.ndarray
    ) -> None:
        n = len(fixed)
        used = np.isfinite(offsets[1:-1])
        self.normals, self.offsets = normals[1:-1] * used[..., None], np.where(used, offsets[1:-1], 0.0)
        self.stiffness = height / GRAVITY * fps**2
        third = sparse.diags_array([-1.0, 3.0, -3.0, 1.0], offsets=[0, 1, 2, 3], shape=(n - 3, n)) * fps**3 / JERK
        pins = sparse.diags_array(np.where(fixed, 1e5, 1 / SHIFT))
        self.smooth = sparse.kron(third.T @ third + pins.T @ pins, sparse.eye_array(2), format="csc")

    def beyond(self, pressure: np.ndarray, load: np.ndarray) -> np.ndarray:
        """How far (m, times the load) the `pressure` `[T - 2, 2]` lies outside each edge, `[T - 2, EDGES]`."""
        lever = load[:, None] * pressure
        return np.maximum(np.einsum("tei,ti->te", self.normals, lever) - load[:, None] * self.offsets, 0)

    def correct(self, pressure: np.ndarray, load: np.ndarray, shift: np.ndarray, rounds: int = 12) -> np.ndarray:
        """New total shift `[T, 2]`.

        Args:
            pressure: `[T - 2, 2]` m, centre of pressure of the motion with `shift` `[T, 2]`. load: `[T - 2]` vertical
                force over the weight.
        """
        n, k = len(shift), self.stiffness
        one = sparse.diags_array(
            [np.full(n - 2, -k), load + 2 * k, np.full(n - 2, -k)], offsets=[0, 1, 2], shape=(n - 2, n)
        )
        pendulum = sparse.kron(one, sparse.eye_array(2), format="csr")
        edge = load[:, None] * self.offsets
        base = (load[:, None] * pressure).ravel() - pendulum @ shift.ravel()
        new, active = shift.ravel(), None
        for _ in range(rounds):
            lever = (base + pendulum @ new).reshape(-1, 2)
            now = np.einsum("tei,ti->te", self.normals, lever) > edge + 1e-9
            if active is not None and (now == active).all():
                break
            active = now
            w = active / PRESSURE**2
            blocks = np.einsum("te,tei,tej->tij", w, self.normals, self.normals)
            # n.(base + A s) = F b on the active edges
            free = edge - np.einsum("tei,ti->te", self.normals, base.reshape(-1, 2))
            right = np.einsum("te,tei->ti", w * free, self.normals).ravel()
            weight = sparse.bsr_array((blocks, np.arange(n - 2), np.arange(n - 1)))
            normal = self.smooth + pendulum.T @ weight @ pendulum
            new = 0.3 * new + 0.7 * spsolve(sparse.csc_array(normal), pendulum.T @ right)
        return new.reshape(-1, 2)
