"""Poses as numbers for a network, and back: root position, and two columns of every body's rotation.

A *local rotation* here is that of a body in its parent's frame, with the rest rotation in it; the root's is in the
world. ``F = 3 + 6 B`` numbers per frame.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from isaacmm import rotation
from isaacmm.motion.clip import Motion
from isaacmm.skeleton import Skeleton


def local_rotations(motion: Motion) -> Tensor:
    """``[T, B, 4]``: the root's rotation, then every body's in its parent's frame."""
    rest = motion.skeleton.rest_rotations[1:].to(motion.joint_rot)
    return torch.cat((motion.root_rot[:, None], rotation.multiply(rest, motion.joint_rot)), dim=1)


def to_motion(skeleton: Skeleton, pos: Tensor, local: Tensor, fps: float, name: str = "") -> Motion:
    """Inverse of :func:`local_rotations`: ``pos [T, 3]`` m and ``local [T, B, 4]``."""
    rest = skeleton.rest_rotations[1:].to(local)
    joint = rotation.multiply(rotation.inverse(rest).expand_as(local[:, 1:]), local[:, 1:])
    return Motion(skeleton, pos, local[:, 0], joint, fps, name)


def encode(pos: Tensor, local: Tensor) -> Tensor:
    """``pos [..., 3]``, ``local [..., B, 4]`` to ``[..., F]``."""
    return torch.cat((pos, rotation.two_columns(local).flatten(-2)), dim=-1)


def matrices(frames: Tensor) -> tuple[Tensor, Tensor]:
    """``[..., F]`` to root positions ``[..., 3]`` and rotation matrices ``[..., B, 3, 3]`` (Gram-Schmidt)."""
    return frames[..., :3], rotation.matrix_of_columns(frames[..., 3:].unflatten(-1, (-1, 6)))


def decode(frames: Tensor) -> tuple[Tensor, Tensor]:
    """Inverse of :func:`encode`; the columns need not be orthonormal."""
    pos, matrix = matrices(frames)
    return pos, rotation.from_matrix(matrix)


class Kinematics:
    """Forward kinematics of many frames whose bones may differ in length, level by level of the tree.

    Args:
        parents: of the bodies ``[B]``, -1 for the root.
    """

    def __init__(self, parents: Sequence[int]) -> None:
        depth = [0] * len(parents)
        for body in range(1, len(parents)):
            depth[body] = depth[parents[body]] + 1
        self.levels = [[b for b in range(len(parents)) if depth[b] == d] for d in range(1, max(depth) + 1)]
        # bodies in the order in which the levels make them, and the way back
        order = [0, *(body for bodies in self.levels for body in bodies)]
        self.back = [order.index(body) for body in range(len(parents))]
        self.sources = [[self.back[parents[body]] for body in bodies] for bodies in self.levels]

    def __call__(self, pos: Tensor, matrix: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        """World positions ``[..., B, 3]`` and rotations ``[..., B, 3, 3]``.

        Args:
            pos: root ``[..., 3]`` m.
            matrix: local rotations ``[..., B, 3, 3]``.
            offsets: ``[..., B, 3]`` m, broadcast against them.
        """
        rot, at = matrix[..., :1, :, :], pos.unsqueeze(-2)
        for bodies, sources in zip(self.levels, self.sources, strict=True):
            parent = rot[..., sources, :, :]
            step = (parent @ offsets[..., bodies, :].unsqueeze(-1)).squeeze(-1)
            at = torch.cat((at, at[..., sources, :] + step), dim=-2)
            rot = torch.cat((rot, parent @ matrix[..., bodies, :, :]), dim=-3)
        return at[..., self.back, :], rot[..., self.back, :, :]
