"""Inverse kinematics over all frames at once: two-bone limbs in closed form, and points within joint limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from isaacmm import rotation
from isaacmm.motion.retarget.geometry import reject, unit
from isaacmm.skeleton import Skeleton


def two_bone(start: Tensor, goal: Tensor, side: Tensor, upper: float, lower: float) -> tuple[Tensor, Tensor]:
    """Directions ``[T, 3]`` of both bones of a limb from ``start`` that reaches for ``goal`` (each ``[T, 3]`` m).

    The limb bends in the plane perpendicular to ``side [T, 3]``, so that the cross product of upper and lower
    bone points along it (law of cosines; Tolani et al. 2000). A goal out of reach is reached towards.
    """
    way = goal - start
    distance = way.norm(dim=-1).clamp(abs(upper - lower) + 1e-4, upper + lower - 1e-6)
    along = unit(way)
    across = torch.linalg.cross(along, unit(reject(side, along)))  # where the knee goes
    cosine = ((upper**2 + distance**2 - lower**2) / (2 * upper * distance)).clamp(-1.0, 1.0)
    sine = (1 - cosine.square()).clamp(min=0.0).sqrt()
    first = cosine[:, None] * along + sine[:, None] * across
    return first, unit(distance[:, None] * along - upper * first)


@dataclass(eq=False)
class Point:
    """A point of the character and where it ought to be: body, ``offset [3]`` m in it, ``goal [T, 3]`` m."""

    body: int
    offset: Tensor
    goal: Tensor
    weight: float = 1.0


def hinges_in_world(skeleton: Skeleton, body_rot: Tensor, dof: Tensor, dofs: Sequence[int]) -> Tensor:
    """World axes ``[T, n, 3]`` of hinges ``dofs``, each as turned by the hinges of its body before it."""
    axes = []
    for d in dofs:
        body = skeleton.dof_bodies[d]
        q = rotation.multiply(body_rot[:, skeleton.parents[body]], skeleton.rest_rotations[body].to(dof))
        for before in [k for k in range(d) if skeleton.dof_bodies[k] == body]:
            turn = rotation.from_axis_angle(skeleton.dof_axes[before].to(dof), dof[:, before])
            q = rotation.multiply(q, turn)
        axes.append(rotation.rotate(q, skeleton.dof_axes[d].to(dof)))
    return torch.stack(axes, dim=1)


def reach(
    skeleton: Skeleton, root_pos: Tensor, root_rot: Tensor, dof: Tensor, dofs: Sequence[int], points: Sequence[Point],
    *, iterations: int = 8, damping: float = 0.02, longest: float = 0.3, keep: float = 0.0,
) -> Tensor:  # fmt: skip
    """Hinge angles ``[T, D]`` whose ``points`` come as near to their goals as the joint limits allow.

    Damped least squares (Wampler 1986) on the hinges ``dofs`` only, within limits: a hinge that stands at a
    limit and is pushed over it is left out of the step. Every frame for itself, all frames at once.

    Args:
        skeleton: with hinges and limits.
        root_pos, root_rot: ``[T, 3]`` m, ``[T, 4]``.
        dof: ``[T, D]`` rad, the start.
        dofs: which hinges may move.
        points: what should be where.
        iterations: of the method.
        damping: m per rad.
        longest: largest step of a hinge per iteration, rad.
        keep: m per rad, what going away from the start costs against missing a goal.
    """
    low, high = skeleton.dof_limits.to(dof)[list(dofs)].unbind(-1)
    dof = dof.clone()
    dof[:, dofs] = dof[:, dofs].clamp(low, high)
    begin = dof[:, dofs].clone()
    above = torch.tensor([[_moves(skeleton, d, p.body) for d in dofs] for p in points], dtype=dof.dtype)
    owners = [skeleton.dof_bodies[d] for d in dofs]
    eye = torch.eye(len(dofs), dtype=dof.dtype)
    for _ in range(iterations):
        body_pos, body_rot = skeleton.fk(root_pos, root_rot, skeleton.dofs_to_joint_rot(dof))
        axes = hinges_in_world(skeleton, body_rot, dof, dofs)
        rows, errors = [], []
        for k, point in enumerate(points):
            at = body_pos[:, point.body] + rotation.rotate(body_rot[:, point.body], point.offset.to(dof))
            lever = at[:, None] - body_pos[:, owners]
            rows.append((torch.linalg.cross(axes, lever) * above[k][:, None]).mT * point.weight)
            errors.append((point.goal - at) * point.weight)
        jacobian, error = torch.cat(rows, dim=1), torch.cat(errors, dim=1)
        if float(error.abs().max()) < 1e-6:
            break
        angles = dof[:, dofs]
        gradient = (jacobian.mT @ error[..., None])[..., 0] - keep**2 * (angles - begin)
        stuck = ((angles <= low + 1e-9) & (gradient < 0)) | ((angles >= high - 1e-9) & (gradient > 0))
        free = (~stuck).to(dof)
        jacobian = jacobian * free[:, None]
        normal = jacobian.mT @ jacobian + (damping**2 + keep**2) * eye
        step = torch.linalg.solve(normal, gradient * free).clamp(-longest, longest)
        dof[:, dofs] = (angles + step * free).clamp(low, high)
    return dof


def _moves(skeleton: Skeleton, dof: int, body: int) -> bool:
    """Whether hinge ``dof`` carries ``body``."""
    while body >= 0:
        if skeleton.dof_bodies[dof] == body:
            return True
        body = skeleton.parents[body]
    return False
