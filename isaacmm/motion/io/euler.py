"""Euler angles of animation files: quaternions from angle channels, and smooth angle curves back.

float64 numpy, radians, intrinsic orders as channel lists name them ("zxy": about z, then the new
x, then the new y). The formulas are those of the rotation matrix ``R = R_i(a) R_j(b) R_k(c)`` with
parity ``p`` (+1 for xyz, yzx, zxy): ``R_ik = p sin b``, ``R_jk = -p sin a cos b``,
``R_kk = cos a cos b``, and their like.
"""

from __future__ import annotations

import numpy as np
import torch

_Triple = tuple[np.ndarray, np.ndarray, np.ndarray]
_AXES = {"x": 0, "y": 1, "z": 2}

#: Cosine of the middle angle under which the two outer angles cannot be told apart.
_LOCKED = 1e-5


def _indices(order: str) -> tuple[int, int, int, float]:
    i, j, k = (_AXES[letter] for letter in order)
    return i, j, k, 1.0 if (j - i) % 3 == 1 else -1.0


def euler_to_quaternion(angles: np.ndarray, order: str) -> np.ndarray:
    """Quaternions xyzw ``[..., 4]`` of angles ``[..., 3]`` about the axes ``order``.

    ``order`` may also name an axis twice ("zxz") or less than three axes ("x", angles ``[..., 1]``).
    """
    half = torch.as_tensor(0.5 * angles)
    cos, sin = torch.cos(half).numpy(), torch.sin(half).numpy()  # a tenth of the time that numpy's take
    if len(order) == 3 and len(set(order)) == 3:
        i, j, k, p = _indices(order)
        c1, c2, c3 = cos[..., 0], cos[..., 1], cos[..., 2]
        s1, s2, s3 = sin[..., 0], sin[..., 1], sin[..., 2]
        cc, ss, cs, sc = c1 * c2, s1 * s2, c1 * s2, s1 * c2
        q = np.empty((*angles.shape[:-1], 4))
        q[..., 3] = cc * c3 - p * (ss * s3)
        q[..., i] = sc * c3 + p * (cs * s3)
        q[..., j] = cs * c3 - p * (sc * s3)
        q[..., k] = cc * s3 + p * (ss * c3)
        return q
    q = np.zeros((*angles.shape[:-1], 4))
    q[..., 3] = 1.0
    for n, letter in enumerate(order):
        # q * (axis sin, cos), written out for an axis along a coordinate
        a = _AXES[letter]
        b, c = (a + 1) % 3, (a + 2) % 3
        si, co = sin[..., n], cos[..., n]
        out = np.empty_like(q)
        out[..., 3] = q[..., 3] * co - q[..., a] * si
        out[..., a] = q[..., a] * co + q[..., 3] * si
        out[..., b] = q[..., b] * co + q[..., c] * si
        out[..., c] = q[..., c] * co - q[..., b] * si
        q = out
    return q


def quaternion_to_euler(q: np.ndarray, order: str, smooth: bool = True) -> np.ndarray:
    """Angles ``[T, ..., 3]`` of unit quaternions ``[T, ..., 4]`` (xyzw) about three different axes.

    With ``smooth`` the curves over the first axis are made continuous: of the two triples that
    describe a rotation the one nearer to the frame before, then whole turns. Where the middle angle
    is 90 degrees, the first angle keeps the value it had.
    """
    flat = np.asarray(q, dtype=np.float64).reshape(len(q), -1, 4)
    out = np.empty((*flat.shape[:2], 3))
    step = max(1, 16_384 // max(1, len(q)))  # joints at a time, so that the work stays in the cache
    for start in range(0, flat.shape[1], step):
        part = slice(start, start + step)
        angles = _angles(np.ascontiguousarray(flat[:, part].transpose(2, 0, 1)), order)
        if smooth and len(q) > 1:
            angles = _unroll(angles)
        for n in range(3):
            out[:, part, n] = angles[n]
    return out.reshape(*q.shape[:-1], 3)


def _angles(q: np.ndarray, order: str) -> _Triple:
    """The triple with the middle angle within 90 degrees; ``q [4, T, n]``."""
    i, j, k, p = _indices(order)
    w = q[3]
    ij, ik, jk = q[i] * q[j], q[i] * q[k], q[j] * q[k]
    iw, jw, kw = p * q[i] * w, p * q[j] * w, p * q[k] * w
    ii, jj, kk = q[i] * q[i], q[j] * q[j], q[k] * q[k]
    # matrix entries, those off the diagonal halved; an odd order sees the axes from behind (p = -1)
    m_jk, m_kk, m_ik = jk - iw, 0.5 - ii - jj, ik + jw
    m_ji, m_ki, m_jj, m_kj = ij + kw, ik - jw, 0.5 - ii - kk, jk + iw
    cos_b = np.sqrt(m_jk * m_jk + m_kk * m_kk)
    b = _atan2(p * m_ik, cos_b)
    a = _atan2(-p * m_jk, m_kk)
    locked = cos_b < 0.5 * _LOCKED
    if locked.any():
        a = _hold(a, locked)
        cos_a, sin_a = np.cos(a), p * np.sin(a)
    else:
        cos_a, sin_a = m_kk / cos_b, -m_jk / cos_b
    # the third angle from what remains when the first is taken out: right for any choice of the first
    c = _atan2(p * (cos_a * m_ji + sin_a * m_ki), cos_a * m_jj + sin_a * m_kj)
    return a, b, c


def _atan2(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    return torch.atan2(torch.as_tensor(y), torch.as_tensor(x)).numpy()


def _hold(a: np.ndarray, locked: np.ndarray) -> np.ndarray:
    """Entries where ``locked`` take the last value before that was not (0 where there is none)."""
    frames = np.arange(len(a))[:, None]
    last = np.maximum.accumulate(np.where(locked, -1, frames), axis=0)
    return np.where(last < 0, 0.0, np.take_along_axis(a, np.maximum(last, 0), axis=0))


def _wrapped(difference: np.ndarray) -> np.ndarray:
    return difference - 2.0 * np.pi * np.rint(difference / (2.0 * np.pi))


def _unroll(triples: _Triple) -> _Triple:
    """Continuous curves from triples ``[T, n]``.

    Choosing the nearer triple frame by frame needs no loop: the other triple of ``(a, b, c)`` is
    ``(a + pi, pi - b, c + pi)``, a map that keeps distances, so whether a step changes from one
    family to the other does not depend on the family one is in.
    """
    a, b, c = triples
    da, db, dc = np.diff(a, axis=0), np.diff(b, axis=0), np.diff(c, axis=0)
    stay = _wrapped(da) ** 2 + _wrapped(db) ** 2 + _wrapped(dc) ** 2
    change = _wrapped(da + np.pi) ** 2 + _wrapped(np.pi - b[1:] - b[:-1]) ** 2 + _wrapped(dc + np.pi) ** 2
    other = np.zeros(a.shape, dtype=bool)
    # begin with the triple nearer to zero: a knee bent by 120 degrees is (0, 120, 0), not (180, 60, 180)
    other[0] = (
        _wrapped(a[0] + np.pi) ** 2 + _wrapped(np.pi - b[0]) ** 2 + _wrapped(c[0] + np.pi) ** 2
        < a[0] ** 2 + b[0] ** 2 + c[0] ** 2
    )
    other[1:] = change < stay
    np.logical_xor.accumulate(other, axis=0, out=other)
    if other.any():
        turn = np.pi * other
        a, b, c = a + turn, np.where(other, np.pi - b, b), c + turn
    return _continued(a), _continued(b), _continued(c)


def _continued(angle: np.ndarray) -> np.ndarray:
    """Whole turns added so that no step is longer than half a turn; the first frame within half a turn."""
    turns = np.rint(np.diff(angle, axis=0) / (2.0 * np.pi))
    out = angle.copy()
    out[1:] -= 2.0 * np.pi * np.cumsum(turns, axis=0)
    return out - 2.0 * np.pi * np.rint(out[:1] / (2.0 * np.pi))
