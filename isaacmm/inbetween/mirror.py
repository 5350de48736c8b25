"""Mirrored clips of any skeleton whose left and right have names, whatever way its local axes point.

Under the reflection ``M`` of the world at the x-z plane, body ``i`` takes the place of its partner ``j`` on the other
side: ``R'_i = M R_j S_i``, where the sign matrix ``S_i`` says how the axes of ``i`` and ``j`` correspond. Positions
come out reflected if ``S_i`` takes the bones that leave ``i`` to those that leave ``j``; where more than one does, the
one is taken that leaves the mirrored clip's mean pose nearest to the clip's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from isaacmm import rotation
from isaacmm.inbetween.pose import local_rotations, to_motion
from isaacmm.motion.clip import Motion

#: How unequal left and right bones may be (m).
_TOLERANCE = 0.02
_WORLD = (1.0, -1.0, 1.0)
_CHOICES = torch.tensor([_WORLD, (-1.0, 1.0, 1.0), (1.0, 1.0, -1.0), (-1.0, -1.0, -1.0)])


def axis_signs(motions: Sequence[Motion]) -> Tensor | None:
    """Signs ``[B, 3]`` of every body's ``S``, or None for a skeleton that is not symmetric (or names no sides)."""
    skeleton = motions[0].skeleton
    order = list(skeleton.mirror_bodies)
    if all(i == j for i, j in enumerate(order)):
        return None
    rot = rotation.to_matrix(torch.cat([local_rotations(m)[::4] for m in motions]))
    mean = rot.mean(dim=0)
    signs = torch.ones(len(order), 3)
    for body, parent in enumerate(skeleton.parents):
        outer = torch.tensor(_WORLD) if parent < 0 else signs[parent]
        children = [c for c, p in enumerate(skeleton.parents) if p == body]
        mine, others = skeleton.offsets[children], skeleton.offsets[[order[c] for c in children]]
        best = None
        for choice in _CHOICES:
            if len(children) and float((choice * mine - others).norm(dim=-1).max()) > _TOLERANCE:
                continue
            mirrored = outer[:, None] * rot[:, order[body]] * choice
            # the root's heading is free: what is compared is which way its axes lean against the vertical
            like = (mirrored.mean(0) - mean[body])[2] if parent < 0 else mirrored.mean(0) - mean[body]
            far = float(like.norm())
            if float(torch.det(torch.diag(outer) @ torch.diag(choice))) > 0 and (best is None or far < best[0]):
                best = (far, choice)
        if best is None:
            return None
        signs[body] = best[1]
    return signs


def mirror(motion: Motion, signs: Tensor) -> Motion:
    """The clip reflected at the x-z plane, by the signs of :func:`axis_signs`."""
    skeleton = motion.skeleton
    order = list(skeleton.mirror_bodies)
    outer = torch.stack([torch.tensor(_WORLD) if p < 0 else signs[p] for p in skeleton.parents])
    matrix = rotation.to_matrix(local_rotations(motion))[:, order]
    local = rotation.from_matrix(outer[:, :, None] * matrix * signs[:, None, :])
    pos = motion.root_pos * motion.root_pos.new_tensor(_WORLD)
    done = to_motion(skeleton, pos, local, motion.fps, f"{motion.name}_mirrored")
    return replace(done, tags=motion.tags)
