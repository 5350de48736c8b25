"""A foot's way as a list of stances, each with its own place, times and rolling: what unsteady motions are made of.

Steady gait repeats one stance; starting, stopping and turning on the spot do not. Here every stance says when it begins
and ends, so that a foot may also stand still for as long as it likes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from isaacmm.gait.body import axis_rotation
from isaacmm.gait.foot import Roll, bump, edge_states, place, swing_pose
from isaacmm.gait.pattern import DETOUR


@dataclass
class Stance:
    """One contact of a foot and the swing after it.

    `x`, `y`, `yaw` of the flat foot (m, rad); `down`, `up` s; `strike` toe-up pitch at landing and `push` toe-down
    pitch at lifting (rad; negative: landing on the toes, leaving over the heel, as in walking backwards); `flat` s
    from landing until the sole rests, `heel_off` s from landing until it rises; `lift`, `rise` see `Roll`.
    `detour` `[4, n]`: bump weights of the swing that follows: along, sideways, up (m) and pitch (rad).
    """

    x: float
    y: float
    yaw: float
    down: float
    up: float
    strike: float = 0.0
    push: float = 0.0
    flat: float = 0.1
    heel_off: float = 0.3
    lift: float = 1.5
    rise: float = 2.0
    detour: np.ndarray = field(default_factory=lambda: np.zeros((4, DETOUR)))

    def roll(self) -> Roll:
        """Rolling in seconds since landing."""
        return Roll(
            self.flat, self.heel_off, self.up - self.down, self.strike, self.push, self.lift, self.rise
        )

    @property
    def hold(self) -> np.ndarray:
        """Foothold `[3]`."""
        return np.array([self.x, self.y, self.yaw])


def track(
    stances: Sequence[Stance], t: np.ndarray, sole: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ankle positions `[T, 3]`, foot rotations `[T, 3, 3]` and contact flags `[T]` of one foot at times `t` `[T]`.

    The first stance must begin before and the last one end after all of `t`.
    """
    ankle, yaw, pitch = np.zeros((len(t), 3)), np.zeros(len(t)), np.zeros(len(t))
    contact = np.zeros(len(t), bool)
    for s in stances:
        inside = (t >= s.down) & (t < s.up)
        since = t[inside] - s.down
        ankle[inside] = place(
            np.broadcast_to(s.hold, (len(since), 3)), s.roll().ankle(since, sole)[0], True
        )
        yaw[inside], pitch[inside], contact[inside] = s.yaw, s.roll().pitch(since)[0], True
    for a, b in zip(stances[:-1], stances[1:], strict=True):
        inside = (t >= a.up) & (t < b.down)
        u = (t[inside] - a.up) / (b.down - a.up)
        ankle[inside], yaw[inside], pitch[inside] = swing(a, b, u, sole, a.detour)
    return ankle, axis_rotation(2, yaw) @ axis_rotation(1, pitch), contact


def swing(
    a: Stance, b: Stance, u: np.ndarray, sole: np.ndarray, detour: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ankle `[T, 3]`, yaw and pitch `[T]` between two stances at shares `u` `[T]` of the swing."""
    off = edge_states(a.roll(), a.up - a.down + 0 * u, sole)
    on = edge_states(b.roll(), 0 * u, sole)
    here, there = (np.broadcast_to(h, (len(u), 3)) for h in (a.hold, b.hold))
    return swing_pose(u, b.down - a.up + 0 * u, here, there, off, on, detour[None])


def ankle_over_floor(pitch: np.ndarray, sole: np.ndarray) -> np.ndarray:
    """Height (m) of the ankle while the lowest sole edge of a foot with this pitch touches the floor."""
    edges = [edge * np.sin(pitch) - sole[3] * np.cos(pitch) for edge in sole[:2]]
    return np.maximum(*edges)


def likened(
    a: Stance, b: Stance, model: tuple[Stance, Stance], sole: np.ndarray, raise_by: float = 0.0, most: float = np.inf
) -> np.ndarray:
    """Detour weights `[4, n]` that make the swing from `a` to `b` one like the model swing.

    A detour is fitted to the lengths, speeds and pitches at the ends of its own swing; a longer or shorter one needs
    another. Alike are: the share of the way over the share of the time, the clearance of the lowest sole edge (plus
    `raise_by` m in mid swing) and the pitch, scaled to the pitches at both ends, `most` times at most.
    """
    u = np.linspace(0, 1, 41)
    ankle, _, pitch = swing(*model, u, sole, model[0].detour)
    clear = ankle[:, 2] - ankle_over_floor(pitch, sole)
    away = ankle[:, :2] - ankle[0, :2]
    share = (away @ away[-1]) / (away[-1] @ away[-1])
    ease = u**3 * (10 - 15 * u + 6 * u**2)
    ratio = [min(new / old, most) if abs(old) > 0.05 else 1.0
             for new, old in ((a.push, model[0].push), (b.strike, model[1].strike))]  # fmt: skip
    tip = pitch * (ratio[0] + (ratio[1] - ratio[0]) * ease)
    plain, yaw, plain_pitch = swing(a, b, u, sole, np.zeros((4, DETOUR)))
    height = clear + raise_by * 16 * (u * (1 - u)) ** 2 + ankle_over_floor(tip, sole)
    begin, end = plain[0, :2], plain[-1, :2]
    along = ((begin + share[:, None] * (end - begin) - plain[:, :2]) * np.stack([np.cos(yaw), np.sin(yaw)], -1)).sum(-1)
    basis = np.stack([bump(u, row) for row in np.eye(DETOUR)], -1)
    solve = lambda gap: np.linalg.solve(basis.T @ basis + 1e-3 * np.eye(DETOUR), basis.T @ gap)  # noqa: E731
    return np.stack([solve(along), model[0].detour[1], solve(height - plain[:, 2]), solve(tip - plain_pitch)])
