"""What the floor would have to do: ground reaction wrench of a motion from its momentum."""

from __future__ import annotations

import numpy as np

from isaacmm.gait.body import Body

GRAVITY = 9.81


def rotation_vector(m: np.ndarray) -> np.ndarray:
    """Axis times angle `[..., 3]` of rotation matrices close to the identity (angles below a radian)."""
    w = (
        np.stack([m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]], -1)
        / 2
    )
    n = np.linalg.norm(w, axis=-1, keepdims=True)
    return w * np.where(n > 1e-9, np.arcsin(np.clip(n, 0, 1)) / np.maximum(n, 1e-12), 1.0)


def wrench(
    body: Body, pos: np.ndarray, rot: np.ndarray, dt: float, periodic: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Force and moment the floor must apply, by central differences of the momentum.

    Args:
        pos, rot: bodies' poses `[..., T, B, 3]`, `[..., T, B, 3, 3]`. dt: s between samples.
        periodic: displacement (m, `[3]`) over the T samples when they are one cycle of a straight motion; the
            result then has T samples, otherwise T - 2 (the ends are dropped).

    Returns:
        `force` `[..., 3]` N; `moment` `[..., 3]` N m about the centre of mass; `com` `[..., 3]` m; `pressure`
        `[..., 2]` m, the centre of pressure; `lever` `[..., 2]` N m, that times the vertical force; `twist` `[...]`
        N m, the vertical moment about the centre of pressure.
    """
    points = body.mass_points(pos, rot)
    if periodic is not None:
        points = np.concatenate(
            [points[..., -1:, :, :] - periodic, points, points[..., :1, :, :] + periodic], -3
        )
        rot = np.concatenate([rot[..., -1:, :, :, :], rot, rot[..., :1, :, :, :]], -4)
    mass = body.masses[:, None]
    total = mass.sum()
    com = (points * mass).sum(-2) / total
    step = (points[..., 1:, :, :] - points[..., :-1, :, :]) / dt
    force = total * (com[..., 2:, :] - 2 * com[..., 1:-1, :] + com[..., :-2, :]) / dt**2
    force[..., 2] += total * GRAVITY
    # momentum at the half steps, then its difference
    middle = (points[..., 1:, :, :] + points[..., :-1, :, :]) / 2
    com_middle = (com[..., 1:, :] + com[..., :-1, :]) / 2
    com_step = (com[..., 1:, :] - com[..., :-1, :]) / dt
    angular = (mass * np.cross(middle - com_middle[..., None, :], step - com_step[..., None, :])).sum(-2)
    spin = rotation_vector(np.swapaxes(rot[..., :-1, :, :, :], -1, -2) @ rot[..., 1:, :, :, :]) / dt
    local = body.inertias @ spin[..., None]
    angular = angular + (rot[..., :-1, :, :, :] @ local)[..., 0].sum(-2)
    moment = (angular[..., 1:, :] - angular[..., :-1, :]) / dt
    centre = com[..., 1:-1, :]
    # the moment about a floor point p is moment + (com - p) x force, zero in x and y at the centre of pressure
    lever = np.stack(
        [
            centre[..., 0] * force[..., 2] - centre[..., 2] * force[..., 0] - moment[..., 1],
            centre[..., 1] * force[..., 2] - centre[..., 2] * force[..., 1] + moment[..., 0],
        ],
        -1,
    )
    pressure = lever / np.maximum(force[..., 2:], 1.0)
    arm = centre[..., :2] - pressure
    twist = moment[..., 2] + arm[..., 0] * force[..., 1] - arm[..., 1] * force[..., 0]
    return {
        "force": force,
        "moment": moment,
        "com": centre,
        "lever": lever,
        "pressure": pressure,
        "twist": twist,
    }
