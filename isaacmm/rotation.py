"""Quaternions as torch tensors, ``xyzw``, any leading batch shape.

Thin names over :mod:`roma` where it has the operation, plain tensor arithmetic where a hot path
needs fewer kernels. Unit quaternions are assumed unless a docstring says otherwise.
"""

from __future__ import annotations

import math

import roma
import torch
from torch import Tensor

__all__ = [
    "angle_between",
    "angular_velocity",
    "from_axis_angle",
    "from_euler",
    "from_matrix",
    "from_rotvec",
    "from_two_columns",
    "from_wxyz",
    "from_yaw",
    "heading",
    "identity",
    "inverse",
    "make_continuous",
    "matrix_of_columns",
    "multiply",
    "normalize",
    "rotate",
    "rotate_inverse",
    "slerp",
    "to_euler",
    "to_matrix",
    "to_rotvec",
    "to_wxyz",
    "two_columns",
    "wrap_angle",
    "yaw",
]


def identity(*shape: int, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Tensor:
    """Identity rotations ``[*shape, 4]``."""
    q = torch.zeros(*shape, 4, device=device, dtype=dtype)
    q[..., 3] = 1.0
    return q


def normalize(q: Tensor) -> Tensor:
    """``q / |q|``; a zero quaternion stays zero rather than becoming NaN."""
    return q / q.norm(dim=-1, keepdim=True).clamp_min(1e-12)


def multiply(a: Tensor, b: Tensor) -> Tensor:
    """Hamilton product ``a * b``: rotate by ``b`` first, then by ``a``. Broadcasts."""
    ax, ay, az, aw = a.unbind(-1)
    bx, by, bz, bw = b.unbind(-1)
    return torch.stack(
        (
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
            aw * bw - ax * bx - ay * by - az * bz,
        ),
        dim=-1,
    )


def inverse(q: Tensor) -> Tensor:
    """Conjugate of unit quaternions."""
    return torch.cat((-q[..., :3], q[..., 3:]), dim=-1)


def rotate(q: Tensor, v: Tensor) -> Tensor:
    """Rotate vectors ``v [..., 3]`` by ``q [..., 4]``; shapes broadcast."""
    xyz, w = q[..., :3], q[..., 3:]
    xyz, v = torch.broadcast_tensors(xyz, v)
    t = 2.0 * torch.linalg.cross(xyz, v)
    return v + w * t + torch.linalg.cross(xyz, t)


def rotate_inverse(q: Tensor, v: Tensor) -> Tensor:
    """Rotate ``v`` by the inverse of ``q``."""
    return rotate(inverse(q), v)


def from_rotvec(v: Tensor) -> Tensor:
    """Rotation vectors (axis times angle, rad) ``[..., 3]`` to quaternions."""
    return roma.rotvec_to_unitquat(v)


def to_rotvec(q: Tensor) -> Tensor:
    """Quaternions to rotation vectors of at most pi rad (the short way round)."""
    return roma.unitquat_to_rotvec(q)


def from_axis_angle(axis: Tensor, angle: Tensor) -> Tensor:
    """Unit ``axis [..., 3]`` and ``angle [...]`` rad to quaternions; shapes broadcast."""
    half = 0.5 * angle.unsqueeze(-1)
    vector = axis * torch.sin(half)
    return torch.cat((vector, torch.cos(half).expand(*vector.shape[:-1], 1)), dim=-1)


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Shortest-path spherical interpolation; ``t [...]`` in [0, 1].

    Shoemake 1985. Nearly equal rotations fall back to the normalised linear blend, where the
    closed form divides by a vanishing sine.
    """
    t = t.unsqueeze(-1)
    dot = (a * b).sum(-1, keepdim=True)
    b = torch.where(dot < 0, -b, b)
    dot = dot.abs().clamp(max=1.0)
    angle = torch.acos(dot)
    sine = torch.sin(angle)
    small = sine < 1e-4
    safe = torch.where(small, torch.ones_like(sine), sine)
    wa = torch.where(small, 1.0 - t, torch.sin((1.0 - t) * angle) / safe)
    wb = torch.where(small, t, torch.sin(t * angle) / safe)
    return normalize(wa * a + wb * b)


def from_matrix(m: Tensor) -> Tensor:
    """Rotation matrices ``[..., 3, 3]`` to quaternions."""
    return roma.rotmat_to_unitquat(m)


def to_matrix(q: Tensor) -> Tensor:
    """Quaternions to rotation matrices ``[..., 3, 3]``."""
    return roma.unitquat_to_rotmat(q)


def yaw(q: Tensor) -> Tensor:
    """Heading angle ``[...]`` rad about world z: where the rotated +x axis points on the ground."""
    x, y, z, w = q.unbind(-1)
    return torch.atan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))


def from_yaw(angle: Tensor) -> Tensor:
    """Rotations about world z by ``angle [...]`` rad."""
    half = 0.5 * angle
    zero = torch.zeros_like(half)
    return torch.stack((zero, zero, torch.sin(half), torch.cos(half)), dim=-1)


def heading(q: Tensor) -> Tensor:
    """The yaw-only part of ``q``: the rotation of the heading frame."""
    return from_yaw(yaw(q))


def two_columns(q: Tensor) -> Tensor:
    """First two columns of the rotation matrix, x then y, ``[..., 6]``.

    A continuous description of a rotation (Zhou et al. 2019, "On the Continuity of Rotation
    Representations in Neural Networks", sec. 4).
    """
    x, y, z, w = q.unbind(-1)
    return torch.stack(
        (
            1.0 - 2.0 * (y * y + z * z),
            2.0 * (x * y + w * z),
            2.0 * (x * z - w * y),
            2.0 * (x * y - w * z),
            1.0 - 2.0 * (x * x + z * z),
            2.0 * (y * z + w * x),
        ),
        dim=-1,
    )


def matrix_of_columns(c: Tensor) -> Tensor:
    """Rotation matrices ``[..., 3, 3]`` of two columns ``[..., 6]``, made orthonormal (Gram-Schmidt)."""
    x = torch.nn.functional.normalize(c[..., :3], dim=-1)
    y = c[..., 3:] - (x * c[..., 3:]).sum(-1, keepdim=True) * x
    y = torch.nn.functional.normalize(y, dim=-1)
    return torch.stack((x, y, torch.linalg.cross(x, y)), dim=-1)


def from_two_columns(c: Tensor) -> Tensor:
    """Inverse of :func:`two_columns`; columns need not be orthonormal (:func:`matrix_of_columns`)."""
    return from_matrix(matrix_of_columns(c))


def angle_between(a: Tensor, b: Tensor) -> Tensor:
    """Angle of the rotation from ``a`` to ``b``, ``[...]`` in [0, pi] rad."""
    d = multiply(inverse(a), b)
    return 2.0 * torch.atan2(d[..., :3].norm(dim=-1), d[..., 3].abs())


def from_euler(angles: Tensor, order: str) -> Tensor:
    """Euler angles ``[..., 3]`` rad to quaternions.

    ``order`` as in scipy: upper case intrinsic (``"ZXY"``: about z, then the new x, then the new
    y, which is also BVH channel order), lower case extrinsic.
    """
    intrinsic = order.isupper()
    axes = {"x": 0, "y": 1, "z": 2}
    total = None
    for i, letter in enumerate(order.lower()):
        half = 0.5 * angles[..., i]
        q = torch.zeros(*half.shape, 4, dtype=angles.dtype, device=angles.device)
        q[..., axes[letter]] = torch.sin(half)
        q[..., 3] = torch.cos(half)
        total = q if total is None else (multiply(total, q) if intrinsic else multiply(q, total))
    assert total is not None
    return total


def to_euler(q: Tensor, order: str) -> Tensor:
    """Quaternions to Euler angles ``[..., 3]`` rad; ``order`` as in :func:`from_euler`."""
    return torch.stack(tuple(roma.unitquat_to_euler(order, q, as_tuple=True)), dim=-1)


def to_wxyz(q: Tensor) -> Tensor:
    """Reorder ``xyzw`` to ``wxyz`` (for a file or simulator edge)."""
    return torch.cat((q[..., 3:], q[..., :3]), dim=-1)


def from_wxyz(q: Tensor) -> Tensor:
    """Reorder ``wxyz`` to ``xyzw`` (for a file or simulator edge)."""
    return torch.cat((q[..., 1:], q[..., :1]), dim=-1)


def make_continuous(q: Tensor) -> Tensor:
    """Flip signs along time so that neighbours ``q [T, ..., 4]`` lie in the same half-space."""
    if q.shape[0] < 2:
        return q
    dots = (q[1:] * q[:-1]).sum(-1)
    flips = torch.where(dots < 0, -1.0, 1.0).to(q.dtype)
    signs = torch.cat((torch.ones_like(flips[:1]), torch.cumprod(flips, dim=0)), dim=0)
    return q * signs.unsqueeze(-1)


def wrap_angle(angle: Tensor) -> Tensor:
    """Wrap to [-pi, pi)."""
    return torch.remainder(angle + math.pi, 2.0 * math.pi) - math.pi


def angular_velocity(q: Tensor, dt: float) -> Tensor:
    """World-frame angular velocity ``[T, ..., 3]`` rad/s of ``q [T, ..., 4]``.

    Central differences inside, one-sided at both ends: the rotation from the frame before to the
    frame after, divided by the time between them.
    """
    frames = q.shape[0]
    if frames < 2:
        return torch.zeros(*q.shape[:-1], 3, dtype=q.dtype, device=q.device)

    def rate(before: Tensor, after: Tensor, time: float) -> Tensor:
        return to_rotvec(multiply(after, inverse(before))) / time

    inner = rate(q[:-2], q[2:], 2.0 * dt)
    return torch.cat((rate(q[:1], q[1:2], dt), inner, rate(q[-2:-1], q[-1:], dt)), dim=0)
