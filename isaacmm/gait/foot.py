"""Where a foot is: rolling exactly over its heel edge, sole and toe edge, and swinging in between.

A stance is a *foothold* (x, y, yaw of the point under the ankle while the foot is flat).  While the foot touches
the floor its whole pose follows from the foothold and one number, the pitch: toe-up it turns about the heel edge,
toe-down about the toe edge, so nothing can slip.  The swing leaves and meets these rolling motions with equal
position, velocity and acceleration.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isaacmm.gait.body import axis_rotation


def quintic(u: np.ndarray, start: tuple, end: tuple) -> np.ndarray:
    """Quintic on u in [0, 1] through (value, du, du^2) at both ends; broadcasting over any shapes."""
    p0, v0, a0 = start
    p1, v1, a1 = end
    c3 = 10 * (p1 - p0) - 6 * v0 - 4 * v1 - 1.5 * a0 + 0.5 * a1
    c4 = -15 * (p1 - p0) + 8 * v0 + 7 * v1 + 1.5 * a0 - a1
    c5 = 6 * (p1 - p0) - 3 * v0 - 3 * v1 - 0.5 * a0 + 0.5 * a1
    return p0 + u * (v0 + u * (0.5 * a0 + u * (c3 + u * (c4 + u * c5))))


def bump(u: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Smooth detour `[...]`: zero with its slope at u = 0, with two derivatives at u = 1; `weights` `[..., n]`.

    The curvature at the start is left free: a leg accelerates quickly once the toe has left the floor.
    """
    base = 29 * u**2 * (1 - u) ** 3
    x, total = 2 * u - 1, 0.0
    for n in range(weights.shape[-1]):
        total = total + weights[..., n] * np.cos(n * np.arccos(np.clip(x, -1, 1)))
    return base * total


@dataclass(frozen=True)
class Roll:
    """Pitch of the foot in contact as a function of the phase since heel strike (cycles, rad, toe-down positive).

    Fields may be arrays that broadcast against the phase.
    """

    flat: float | np.ndarray  # phase at which the foot is flat
    heel_off: float | np.ndarray
    toe_off: float | np.ndarray
    strike: float | np.ndarray  # toe-up pitch at heel strike, >= 0
    push: float | np.ndarray  # pitch at toe-off
    lift: float | np.ndarray  # 3 - lift is the speed of the pitch at toe-off, in pushes per push phase
    rise: float | np.ndarray  # how early within the push the heel rises

    def pitch(self, phase: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pitch, first and second derivative with respect to the phase, for phases within the contact."""
        t = np.clip(1 - phase / self.flat, 0, None)
        a = -self.strike * t**3
        da = 3 * self.strike * t**2 / self.flat
        dda = -6 * self.strike * t / np.square(self.flat)
        w = self.toe_off - self.heel_off
        s = np.clip((phase - self.heel_off) / w, 0, None)
        # s^3 (1 + lift (1 - s) + rise (1 - s)^2): starts with zero speed and acceleration
        c3, c4, c5 = 1 + self.lift + self.rise, -self.lift - 2 * self.rise, self.rise
        b = self.push * s**3 * (c3 + s * (c4 + s * c5))
        db = self.push * s**2 * (3 * c3 + s * (4 * c4 + s * 5 * c5)) / w
        ddb = self.push * s * (6 * c3 + s * (12 * c4 + s * 20 * c5)) / w**2
        return a + b, da + db, dda + ddb

    def ankle(self, phase: np.ndarray, sole: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Ankle relative to the foothold (`[..., 2]`: along the foot, up) with two derivatives."""
        p, dp, ddp = self.pitch(phase)
        cx = np.where(p > 0, sole[1], sole[0])
        cz = sole[3]
        c, s = np.cos(p), np.sin(p)
        rx, rz = cx * c + cz * s, -cx * s + cz * c  # the edge, seen from the ankle
        pos = np.stack([cx - rx, -rz], -1)
        vel = np.stack([-rz * dp, rx * dp], -1)
        acc = np.stack([-rz * ddp + rx * dp**2, rx * ddp + rz * dp**2], -1)
        return pos, vel, acc


def place(hold: np.ndarray, local: np.ndarray, origin: bool) -> np.ndarray:
    """World `[..., 3]` of (along, up) in a foothold's frame; a direction without its origin."""
    c, s = np.cos(hold[..., 2]), np.sin(hold[..., 2])
    out = np.stack([c * local[..., 0], s * local[..., 0], local[..., 1]], -1)
    if origin:
        out[..., :2] += hold[..., :2]
    return out


#: (value, first, second derivative) of the ankle in the foothold's frame, and the same of the pitch
Edge = tuple[tuple[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]


def edge_states(roll: Roll, phase: np.ndarray, sole: np.ndarray) -> Edge:
    """Motion of ankle and pitch where a swing leaves or meets the rolling foot."""
    return roll.ankle(phase, sole), roll.pitch(phase)


def swing_pose(
    u: np.ndarray,
    span: np.ndarray,
    here: np.ndarray,
    there: np.ndarray,
    off: Edge,
    on: Edge,
    detour: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ankle `[..., T, 3]`, yaw and pitch `[..., T]` at the share `u` of a swing between two footholds.

    Args:
        u: `[..., T]` in [0, 1]. span: duration in the unit of the edges' derivatives.
        here, there: footholds `[..., T, 3]`. off, on: `edge_states` of lifting and landing.
        detour: `[..., 1 or T, 4, n]` bump weights: along (m), sideways (m), up (m), pitch (rad).
    """
    scale = np.asarray(span)[..., None]
    start = (
        place(here, off[0][0], True),
        place(here, off[0][1], False) * scale,
        place(here, off[0][2], False) * scale**2,
    )
    end = (
        place(there, on[0][0], True),
        place(there, on[0][1], False) * scale,
        place(there, on[0][2], False) * scale**2,
    )
    swing = quintic(u[..., None], start, end)
    ease = u**3 * (10 - 15 * u + 6 * u**2)
    turn = there[..., 2] - here[..., 2]
    yaw = here[..., 2] + turn * ease
    # Between footholds on a curve the foot follows the arc; its chord would cut across the other leg. The quintic bends
    # already, by its speeds and accelerations along the two headings (its value in the middle); the rest is added.
    chord = there[..., :2] - here[..., :2]
    ahead = [(state[0][1][..., 0] * span, state[0][2][..., 0] * span**2) for state in (off, on)]
    bends = 5 / 32 * (ahead[0][0] + ahead[1][0]) + 1 / 64 * (ahead[0][1] - ahead[1][1])
    length = np.linalg.norm(chord, axis=-1)
    bow = length / 2 * np.tan(turn / 4) - bends * np.sin(turn / 2)
    outward = np.stack([chord[..., 1], -chord[..., 0]], -1) / np.maximum(length, 1e-6)[..., None]
    swing[..., :2] += (4 * ease * (1 - ease) * bow)[..., None] * outward
    c, s = np.cos(yaw), np.sin(yaw)
    along, side, up, tip = (bump(u, detour[..., i, :]) for i in range(4))
    swing = swing + np.stack([c * along - s * side, s * along + c * side, up], -1)
    (p0, v0, a0), (p1, v1, a1) = off[1], on[1]
    pitch = quintic(u, (p0, v0 * span, a0 * span**2), (p1, v1 * span, a1 * span**2)) + tip
    return swing, yaw, pitch


def foot_pose(
    phase: np.ndarray, footholds: np.ndarray, roll: Roll, sole: np.ndarray, detour: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pose of one foot at phases counted in cycles from its first heel strike.

    Args:
        phase: `[..., T]`, within `[0, K - 1)`.
        footholds: `[..., K, 3]` (x, y, yaw), one per cycle, yaw continuous.
        roll: rolling law; its fields broadcast against `phase`.
        sole: heel edge x, toe edge x, half width, z (m, foot frame).
        detour: `[..., 1 or T, 4, n]` bump weights of the swing: along (m), sideways (m), up (m), pitch (rad).

    Returns:
        Ankle positions `[..., T, 3]`, foot rotations `[..., T, 3, 3]`, contact flags `[..., T]`.
    """
    phase = np.broadcast_to(phase, np.broadcast_shapes(np.shape(phase), footholds.shape[:-2] + (1,)))
    cycle = np.floor(phase).astype(int)
    f = phase - cycle
    here = np.take_along_axis(footholds, cycle[..., None], -2)
    there = np.take_along_axis(footholds, cycle[..., None] + 1, -2)
    contact = f < roll.toe_off

    stance_phase = np.minimum(f, roll.toe_off)
    stance = place(here, roll.ankle(stance_phase, sole)[0], True)
    span = 1 - roll.toe_off + 0 * f
    u = np.clip((f - roll.toe_off) / span, 0, 1)
    off, on = edge_states(roll, roll.toe_off + 0 * f, sole), edge_states(roll, 0 * f, sole)
    swing, yaw, swing_pitch = swing_pose(u, span, here, there, off, on, detour)
    pitch = np.where(contact, roll.pitch(stance_phase)[0], swing_pitch)
    ankle = np.where(contact[..., None], stance, swing)
    rotation = axis_rotation(2, np.where(contact, here[..., 2], yaw)) @ axis_rotation(1, pitch)
    return ankle, rotation, contact
