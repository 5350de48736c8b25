"""While no foot touches the floor, a body falls freely: shift the pelvis path until it does.

A fitted running gait nearly obeys this; steps that differ in length, arcs and changes of manner disturb it again. The
shift d(t) is the smallest and smoothest one after which the centre of mass has no acceleration but gravity's in flight:
linear least squares with the true acceleration evaluated again a few times.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

#: What weighs alike: m/s^2 of acceleration left over in flight (level, upright) and of the shift's while a foot is
#: down, where it moves the centre of pressure; m/s^3 of the shift's jerk; m of the shift itself
FALL, PUSH, JERK, SHIFT = (3.0, 0.4), 0.5, 60.0, 0.005
#: Share of a shift of the pelvis that the centre of mass follows: the feet stay where they are.
FOLLOW = 0.8


def differences(count: int, order: int, periodic: bool) -> sparse.csr_array:
    """Matrix of the finite differences of an order (2: central, 3: forward) of `count` samples.

    Periodic: `count` rows that wrap around. Otherwise rows only where all samples exist: `count - order`.
    """
    weights = {2: (1.0, -2.0, 1.0), 3: (-1.0, 3.0, -3.0, 1.0)}[order]
    rows = np.arange(count if periodic else count - order)
    first = rows - 1 if order == 2 and periodic else rows
    at = (first[:, None] + np.arange(order + 1)) % count
    values = np.broadcast_to(weights, at.shape)
    return sparse.csr_array((values.ravel(), (np.repeat(rows, order + 1), at.ravel())), shape=(len(rows), count))


class FreeFall:
    """Corrections of the pelvis path of one clip.

    Args:
        air: `[T]` bool, no foot touches the floor. fps: 1/s. periodic: the clip's sample T would be its first again.
        fixed: `[T]` bool, where nothing may be shifted.
    """

    def __init__(self, air: np.ndarray, fps: float, periodic: bool, fixed: np.ndarray | None = None) -> None:
        n = len(air)
        inside = air if periodic else air[1:-1]
        second = differences(n, 2, periodic) * (FOLLOW * fps**2)
        third = differences(n, 3, periodic) * (fps**3 / JERK)
        push = sparse.csr_array(sparse.diags_array(~inside / PUSH) @ second)
        pins = np.full(n, 1 / SHIFT**2) if fixed is None else np.where(fixed, 1e8, 1 / SHIFT**2)
        smooth = push.T @ push + third.T @ third + sparse.diags_array(pins)
        self.falls, self.factors = [], []
        for tolerance in (FALL[0], FALL[0], FALL[1]):
            fall = sparse.csr_array(sparse.diags_array(inside / tolerance**2) @ second)
            self.falls.append((second, fall))
            self.factors.append(splu(sparse.csc_array(smooth + second.T @ fall)))

    def correct(self, acceleration: np.ndarray, shift: np.ndarray) -> np.ndarray:
        """New total shift `[T, 3]`.

        Args:
            acceleration: `[T or T - 2, 3]` m/s^2 of the centre of mass without gravity, of the motion with `shift`.
            shift: `[T, 3]` m.
        """
        columns = []
        for axis, ((second, fall), factors) in enumerate(zip(self.falls, self.factors, strict=True)):
            wanted = second @ shift[:, axis] - acceleration[:, axis]
            columns.append(factors.solve(np.asarray(fall.T @ wanted)))
        return np.stack(columns, -1)
