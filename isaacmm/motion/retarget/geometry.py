"""Frames from directions."""

from __future__ import annotations

import torch
from torch import Tensor

from isaacmm import rotation


def unit(v: Tensor) -> Tensor:
    """``v / |v|``; a vanishing vector stays vanishing."""
    return v / v.norm(dim=-1, keepdim=True).clamp_min(1e-12)


def reject(v: Tensor, axis: Tensor) -> Tensor:
    """The part of ``v`` perpendicular to the unit ``axis``."""
    return v - (v * axis).sum(-1, keepdim=True) * axis


def limb_frame(direction: Tensor, side: Tensor) -> Tensor:
    """Rotation ``[..., 4]`` of a limb: -z along ``direction [..., 3]``, y as near ``side [..., 3]`` as that allows.

    A limb that hangs with its hinge axis to the left has the identity.
    """
    z = -unit(direction)
    y = unit(reject(side, z))
    x = torch.linalg.cross(y, z)
    return rotation.from_matrix(torch.stack((x, y, z), dim=-1))


def trunk_frame(left: Tensor, up: Tensor) -> Tensor:
    """Rotation ``[..., 4]`` with y along ``left`` and z as near ``up`` as that allows."""
    y = unit(left)
    z = unit(reject(up, y))
    return rotation.from_matrix(torch.stack((torch.linalg.cross(y, z), y, z), dim=-1))


def shortest(a: Tensor, b: Tensor) -> Tensor:
    """The smallest rotation ``[..., 4]`` that takes direction ``a`` to ``b`` (opposite ones: any half turn)."""
    a, b = torch.broadcast_tensors(unit(a), unit(b))
    w = 1.0 + (a * b).sum(-1, keepdim=True)
    q = torch.cat((torch.linalg.cross(a, b), w), dim=-1)
    x = torch.zeros_like(a)
    x[..., 0] = 1.0
    y = x.roll(1, dims=-1)
    across = torch.where(a[..., :1].abs() < 0.9, torch.linalg.cross(a, x), torch.linalg.cross(a, y))
    turned = torch.cat((unit(across), torch.zeros_like(w)), dim=-1)
    return rotation.normalize(torch.where(w < 1e-8, turned, q))


def smoothstep(x: Tensor) -> Tensor:
    """``3x^2 - 2x^3`` of ``x`` clamped to [0, 1]."""
    x = x.clamp(0.0, 1.0)
    return x * x * (3.0 - 2.0 * x)


def gaussian(values: Tensor, sigma: float) -> Tensor:
    """``values [T, ...]`` smoothed over time, ``sigma`` in frames; ends are held."""
    if sigma < 0.2 or len(values) < 2:
        return values
    half = max(1, int(3 * sigma + 0.5))
    k = torch.arange(-half, half + 1, dtype=values.dtype)
    kernel = torch.exp(-0.5 * (k / sigma) ** 2)
    flat = values.reshape(len(values), -1).T[:, None]
    flat = torch.nn.functional.pad(flat, (half, half), mode="replicate")
    smooth = torch.nn.functional.conv1d(flat, (kernel / kernel.sum())[None, None])
    return smooth[:, 0].T.reshape(values.shape)
