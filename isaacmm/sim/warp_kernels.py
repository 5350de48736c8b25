# mypy: ignore-errors
# Annotations in this file are Warp's: they are compiled, not checked. Hence no `from __future__ import annotations`.
"""The few kernels of our own around MuJoCo Warp's: targets in, links out, resets, and the guard against NaN.

One thread per world, and nothing is added up by several threads at once, so results do not depend on their order.
Everything lives inside captured graphs; none of these is launched by itself in a rollout.
"""

import warp as wp

from isaacmm.sim import arguments

#: MuJoCo's own limit: beyond it a number is as good as NaN.
ABSURD = wp.constant(1.0e10)
LOST_SPEED = wp.constant(arguments.LOST_SPEED)


@wp.kernel(enable_backward=False)
def take_targets(
    targets: wp.array2d[float],
    servo: wp.array[int],
    ctrl: wp.array2d[float],
    lost: wp.array[bool],
):
    """PD targets into the servos' controls; a world with a target that is no number is lost."""
    world, dof = wp.tid()
    target = targets[world, dof]
    if wp.abs(target) < ABSURD:
        ctrl[world, servo[dof]] = target
    else:
        ctrl[world, servo[dof]] = 0.0
        lost[world] = True


@wp.kernel(enable_backward=False)
def guard(
    qpos0: wp.array2d[float],
    watch: int,
    qpos: wp.array2d[float],
    qvel: wp.array2d[float],
    warmstart: wp.array2d[float],
    overflow: wp.array[int],
    lost: wp.array[bool],
    overflowed: wp.array[int],
):
    """A world that is no longer finite goes back to the default pose, as in MuJoCo; overflows are collected."""
    world = wp.tid()
    bad = bool(False)  # noqa: UP018 - a variable, which a literal is not to Warp
    for i in range(qpos.shape[1]):
        if not (wp.abs(qpos[world, i]) < ABSURD):
            bad = True
    for i in range(qvel.shape[1]):
        speed = wp.abs(qvel[world, i])
        if not (speed < ABSURD):
            bad = True
        if not (speed < LOST_SPEED):
            lost[world] = True
        if not (wp.abs(warmstart[world, i]) < ABSURD):
            bad = True
    if bad:
        lost[world] = True
        for i in range(qpos.shape[1]):
            qpos[world, i] = qpos0[world % qpos0.shape[0], i]
        for i in range(qvel.shape[1]):
            qvel[world, i] = 0.0
            warmstart[world, i] = 0.0
    bits = overflow[world] & watch
    if bits != 0:
        wp.atomic_or(overflowed, 0, bits)
    overflow[world] = 0


@wp.kernel(enable_backward=False)
def read_links(
    parent: wp.array[int],
    body: wp.array[int],
    first_dof: wp.array[int],
    joint: wp.array[int],
    root_v: int,
    dof_v: int,
    xpos: wp.array2d[wp.vec3],
    xquat: wp.array2d[wp.quat],
    xanchor: wp.array2d[wp.vec3],
    xaxis: wp.array2d[wp.vec3],
    qvel: wp.array2d[float],
    rot: wp.array2d[wp.vec4],
    vel: wp.array2d[wp.vec3],
    ang_vel: wp.array2d[wp.vec3],
):
    """Rotations xyzw and velocities of link frames in world axes, from the root outwards.

    A link moves with its parent, and each of its own hinges turns it about the hinge's anchor.
    """
    world = wp.tid()
    for b in range(body.shape[0]):
        q = xquat[world, body[b]]  # MuJoCo's order: w first
        rot[world, b] = wp.vec4(q[1], q[2], q[3], q[0])
        if b == 0:
            v = wp.vec3(qvel[world, root_v], qvel[world, root_v + 1], qvel[world, root_v + 2])
            w = wp.vec3(qvel[world, root_v + 3], qvel[world, root_v + 4], qvel[world, root_v + 5])
            vel[world, b] = v
            # a free joint turns in its own frame and moves in the world's
            ang_vel[world, b] = wp.quat_rotate(wp.quat(q[1], q[2], q[3], q[0]), w)
        else:
            p = parent[b]
            at = xpos[world, body[b]]
            w = ang_vel[world, p]
            v = vel[world, p] + wp.cross(w, at - xpos[world, body[p]])
            for d in range(first_dof[b], first_dof[b + 1]):
                turn = xaxis[world, joint[d]] * qvel[world, dof_v + d]
                w += turn
                v += wp.cross(turn, at - xanchor[world, joint[d]])
            vel[world, b] = v
            ang_vel[world, b] = w


@wp.kernel(enable_backward=False)
def read_contacts(sensordata: wp.array2d[float], first: int, force: wp.array2d[wp.vec3]):
    """Contact forces on the bodies. The sensors measure what a body does to others: the opposite."""
    world, b = wp.tid()
    at = first + 3 * b
    force[world, b] = wp.vec3(-sensordata[world, at], -sensordata[world, at + 1], -sensordata[world, at + 2])


@wp.kernel(enable_backward=False)
def reset_worlds(
    row: wp.array[int],
    root_pos: wp.array[wp.vec3],
    root_rot: wp.array[wp.vec4],
    root_vel: wp.array[wp.vec3],
    root_ang_vel: wp.array[wp.vec3],
    dof_pos: wp.array2d[float],
    dof_vel: wp.array2d[float],
    root_q: int,
    root_v: int,
    dof_q: int,
    dof_v: int,
    servo: wp.array[int],
    qpos0: wp.array2d[float],
    qpos: wp.array2d[float],
    qvel: wp.array2d[float],
    ctrl: wp.array2d[float],
    warmstart: wp.array2d[float],
    xfrc: wp.array2d[wp.spatial_vector],
    time: wp.array[float],
    lost: wp.array[bool],
    force: wp.array2d[wp.vec3],
):
    """World ``w`` takes row ``row[w]`` of the states, or stays as it is where that is negative.

    A state that is not finite is not taken: the world gets the default pose and counts as lost.
    """
    world = wp.tid()
    r = row[world]
    if r < 0:
        return
    time[world] = 0.0
    for i in range(xfrc.shape[1]):
        xfrc[world, i] = wp.spatial_vector()
    for i in range(force.shape[1]):
        force[world, i] = wp.vec3()
    for i in range(qpos.shape[1]):
        qpos[world, i] = qpos0[world % qpos0.shape[0], i]
    for i in range(qvel.shape[1]):
        qvel[world, i] = 0.0
        warmstart[world, i] = 0.0

    q = root_rot[r]
    turn = wp.normalize(wp.quat(q[0], q[1], q[2], q[3]))
    local = wp.quat_rotate_inv(turn, root_ang_vel[r])
    good = bool(wp.abs(wp.length(q) - 1.0) < 0.1)
    for i in range(3):
        if not (wp.abs(root_pos[r][i]) < ABSURD and wp.abs(root_vel[r][i]) < ABSURD and wp.abs(local[i]) < ABSURD):
            good = False
    for d in range(servo.shape[0]):
        if not (wp.abs(dof_pos[r, d]) < ABSURD and wp.abs(dof_vel[r, d]) < ABSURD):
            good = False
    lost[world] = not good
    for d in range(servo.shape[0]):
        ctrl[world, servo[d]] = 0.0
    if good:
        for i in range(3):
            qpos[world, root_q + i] = root_pos[r][i]
            qvel[world, root_v + i] = root_vel[r][i]
            qvel[world, root_v + 3 + i] = local[i]
            qpos[world, root_q + 4 + i] = turn[i]
        qpos[world, root_q + 3] = turn[3]
        for d in range(servo.shape[0]):
            qpos[world, dof_q + d] = dof_pos[r, d]
            qvel[world, dof_v + d] = dof_vel[r, d]
            ctrl[world, servo[d]] = dof_pos[r, d]
