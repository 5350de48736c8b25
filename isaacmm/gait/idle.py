"""Standing: sway, weight shifts and breathing over feet that do not move."""

from __future__ import annotations

import numpy as np

from isaacmm.gait.body import Body, axis_rotation
from isaacmm.gait.leg import leg_angles
from isaacmm.gait.noise import Wander
from isaacmm.gait.synthesis import Take

#: m between the ankles, rad of toe-out, m the hips hang below a straight leg.
WIDTH, TOE_OUT, BEND = 0.19, np.deg2rad(7.0), 0.006


def stand(body: Body, seconds: float = 12.0, fps: float = 60.0, seed: int = 0) -> Take:
    """A clip of quiet standing; its last frame is its first one.

    Postural sway of 5 mm around 0.3 Hz, slow shifts of the weight of some 2 cm, breathing at 0.25 Hz, arms that hang
    and sway a little.
    """
    rng = np.random.default_rng(seed)
    frames = round(seconds * fps)
    t = np.arange(frames + 1) / fps
    wander = lambda shortest: Wander(rng, seconds, shortest)(t)  # noqa: E731
    breath = np.sin(2 * np.pi * round(0.25 * seconds) / seconds * t + 0.3 * wander(6.0))
    side = 0.013 * wander(6.0) + 0.002 * wander(2.5)
    forward = 0.005 * wander(4.0)
    deg = np.deg2rad(1.0)
    yaw, roll = 1.2 * deg * wander(5.0), 12 * deg * side / 0.1
    dofs = np.zeros((frames + 1, len(body.dof_names)))

    def put(name: str, angle: np.ndarray) -> None:
        dofs[:, body.dof(name)] = angle

    put("abdomen_x", -0.8 * roll)
    put("abdomen_y", (2.0 + 0.5 * breath + 0.5 * wander(4.0)) * deg)
    put("abdomen_z", -0.5 * yaw + 0.8 * deg * wander(4.0))
    put("neck_x", 0.6 * deg * wander(4.0))
    put("neck_y", (-1.0 - 0.4 * breath + 1.5 * wander(4.0)) * deg)
    put("neck_z", 2.5 * deg * wander(4.0))
    for name, sign in (("right", -1.0), ("left", 1.0)):
        put(f"{name}_shoulder_x", sign * (8 + 0.5 * breath + 0.4 * wander(3.0)) * deg)
        put(f"{name}_shoulder_y", (3 + 1.2 * wander(3.0)) * deg)
        put(f"{name}_shoulder_z", -sign * (8 + 0.8 * wander(4.0)) * deg)
        put(f"{name}_elbow", -(14 + 1.2 * wander(3.0)) * deg)
    root_rot = axis_rotation(2, yaw) @ axis_rotation(0, roll) @ axis_rotation(1, 0.4 * deg * wander(4.0))
    height = body.leg_length - BEND - 0.6 * side**2 / body.leg_length
    root_pos = np.stack([forward, side, height + 0 * t], -1)
    # the centre of mass belongs over the middle of the soles
    pos, rot = body.fk(root_pos, root_rot, dofs)
    centre = (body.mass_points(pos, rot) * body.masses[:, None]).sum(-2) / body.masses.sum()
    ankle_x = centre[:, 0].mean() - 0.8 * (body.sole[0] + body.sole[1]) / 2
    reach = np.zeros(1)
    for _ in range(4):
        reach = np.zeros(1)
        for name, sign in (("right", -1.0), ("left", 1.0)):
            ankle = np.broadcast_to([ankle_x, sign * WIDTH / 2, -body.sole[3]], (frames + 1, 3))
            foot = np.broadcast_to(axis_rotation(2, np.array(sign * TOE_OUT)), (frames + 1, 3, 3))
            hip = root_pos + root_rot @ body.offsets[body.body(f"{name}_thigh")]
            angles, used = leg_angles(
                hip,
                root_rot,
                ankle,
                foot,
                root_rot[..., :, 1] + foot[..., :, 1],
                body.thigh_length,
                body.shin_length,
            )
            first = body.dof(f"{name}_hip_x")
            dofs[:, first : first + 7] = angles
            reach = np.maximum(reach, used)
        excess = (reach.max() - 0.9985) * (body.thigh_length + body.shin_length)
        if excess <= 0:
            break
        root_pos[:, 2] -= 1.1 * excess
    return Take(root_pos, root_rot, dofs, np.ones((frames + 1, 2), bool), fps)
