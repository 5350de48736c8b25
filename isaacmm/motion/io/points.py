"""Joint positions to a skeleton with rotations, for formats that hold positions.

Positions do not show how a bone turns about its own length. A joint with several bones (pelvis, chest)
is turned by the rotation that fits them best (Kabsch 1976); a joint with one bone turns the shortest
way from where its parent leaves it, so nothing is twisted that need not be.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from isaacmm import rotation

_ROUNDS = 3


def bone_lengths(points: Tensor, parents: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Median length of each bone ``[B]`` and by how much it varies at most ``[B]`` (m); the root's are 0."""
    above = [max(parent, 0) for parent in parents]
    lengths = (points - points[:, above]).norm(dim=-1)
    median = lengths.median(dim=0).values
    return median, (lengths - median).abs().amax(dim=0)


def rotations(points: Tensor, parents: Sequence[int], rest: Tensor) -> tuple[Tensor, Tensor]:
    """Offsets ``[B, 3]`` and world rotations ``[T, B, 4]`` that put the joints on ``points``.

    Args:
        points: ``[T, B, 3]`` m, world; parents precede their children.
        parents: ``[B]``, the root's -1.
        rest: ``[B, 3]`` bones of a similar figure in its zero pose, for the directions of the offsets.
    """
    frames, bodies = points.shape[:2]
    lengths, _ = bone_lengths(points, parents)
    offsets = _unit(rest) * lengths[:, None]
    offsets[0] = 0.0
    world = rotation.identity(frames, bodies, dtype=points.dtype)
    for body in range(bodies):
        children = [i for i, parent in enumerate(parents) if parent == body]
        before = world[:, parents[body]] if parents[body] >= 0 else None
        if len(children) > 1:
            bones = points[:, children] - points[:, [body]]
            offsets[children], turn = _cluster(bones, offsets[children])
            world[:, body] = turn
        elif children and before is not None:
            goal = _unit(points[:, children[0]] - points[:, body])
            start = rotation.rotate(before, offsets[children[0]].expand(frames, 3))
            world[:, body] = rotation.multiply(_shortest(_unit(start), goal), before)
        elif before is not None:
            world[:, body] = before
    return offsets, world


def _unit(v: Tensor) -> Tensor:
    return v / v.norm(dim=-1, keepdim=True).clamp(min=1e-9)


def _shortest(a: Tensor, b: Tensor) -> Tensor:
    """The smallest rotation ``[T, 4]`` that takes unit ``a`` to unit ``b``; opposite ones turn about any axis."""
    axis = torch.linalg.cross(a, b)
    w = 1.0 + (a * b).sum(-1, keepdim=True)
    spare = torch.linalg.cross(a, torch.eye(3, dtype=a.dtype)[a.abs().argmin(dim=-1)])
    return rotation.normalize(torch.where(w < 1e-8, torch.cat((spare, 0 * w), -1), torch.cat((axis, w), -1)))


def _kabsch(shape: Tensor, bones: Tensor) -> Tensor:
    """Rotations ``[T, 3, 3]`` that bring ``shape [n, 3]`` closest to ``bones [T, n, 3]``."""
    u, _, vt = torch.linalg.svd(bones.transpose(-1, -2) @ shape)
    sign = torch.linalg.det(u @ vt)
    flip = torch.ones_like(u[..., 0])
    flip[..., 2] = sign
    return (u * flip.unsqueeze(-2)) @ vt


def _cluster(bones: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
    """Bones ``[n, 3]`` at rest of a joint with several, as its clip shows them, and its rotations ``[T, 4]``."""
    shape = rest
    for _ in range(_ROUNDS):
        turn = _kabsch(shape, bones)
        shape = (bones @ turn).mean(dim=0)
    back = _kabsch(rest, shape[None])[0]  # the figure's own directions at rest, as near as can be
    shape = shape @ back
    return shape, rotation.from_matrix(_kabsch(shape, bones))
