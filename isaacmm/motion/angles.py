"""Hinge angles of a clip: continuous, and on the side of the joint limits.

Two triples of angles make every rotation of a three-hinge joint. Following the nearer one from frame to frame
keeps curves smooth, but a leg that passes over the pole of its hinges (a tucked somersault) can leave on the other
triple, half a turn outside its limits, and stay there for the rest of the clip. Here the whole sequence of choices is
weighed: steps against time spent outside the limits.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from isaacmm import rotation
from isaacmm.skeleton import Skeleton

#: What a second spent a radian outside the limits costs, against steps in rad^2. Changing triples costs about 20.
_OUTSIDE = 20.0


def dof_curves(skeleton: Skeleton, joint_rot: Tensor, fps: float = 30.0) -> Tensor:
    """Hinge angles ``[T, D]`` rad of joint rotations ``[T, J, 4]``, as :meth:`Skeleton.joint_rot_to_dofs` of every
    frame, but without jumps.

    :func:`nearest_curves` where these keep the limits to half a radian; otherwise with the sequence of triples that
    costs least in steps and time outside the limits, by the shortest path through both triples of every frame
    (Viterbi; forward and backward costs by parallel min-plus scans).
    """
    curves = nearest_curves(skeleton, joint_rot)
    low, high = skeleton.dof_limits.to(curves).unbind(-1)
    far = torch.maximum(low - curves, curves - high).amax(dim=0) > 0.5
    triples = skeleton.triples
    chosen = far[triples].any(dim=1) if len(triples) else torch.zeros(0, dtype=torch.bool)
    if len(curves) < 2 or not bool(chosen.any()):
        return curves
    triples = triples[chosen]
    middle = skeleton.dof_limits.to(curves).mean(dim=1)
    turned = [middle + rotation.wrap_angle(d - middle) for d in (curves, skeleton.other_triples(curves))]
    both = torch.stack([d[:, triples] for d in turned], dim=2)  # [T, n, 2, 3]
    over = torch.maximum(low[triples][None, :, None] - both, both - high[triples][None, :, None]).clamp(min=0.0)
    outside = over.square().sum(-1) * (_OUTSIDE / fps)
    steps = rotation.wrap_angle(both[1:, :, None] - both[:-1, :, :, None]).square().sum(-1)  # [T-1, n, from, to]
    path = _cheapest(outside, steps)
    picked = torch.gather(both, 2, path[:, :, None, None].expand(-1, -1, 1, 3))[:, :, 0]
    result = curves.clone()
    result[:, triples] = _unrolled(picked, middle[triples])
    # only where it is better
    better = _beyond(result, low, high)[triples].sum(-1) < _beyond(curves, low, high)[triples].sum(-1)
    result[:, triples[~better].flatten()] = curves[:, triples[~better].flatten()]
    return result


def nearest_curves(skeleton: Skeleton, joint_rot: Tensor) -> Tensor:
    """Hinge angles ``[T, D]`` rad that follow the nearer triple from frame to frame.

    The way from one triple to the other keeps distances, so whether a step changes over does not depend on where
    it starts; what remains free, for the clip as a whole, is chosen by the limits.
    """
    dof = skeleton.joint_rot_to_dofs(joint_rot)
    if dof.shape[0] < 2:
        return dof
    triples = skeleton.triples
    other = skeleton.other_triples(dof)
    before, stay, change = dof[:-1, triples], dof[1:, triples], other[1:, triples]
    far = rotation.wrap_angle(stay - before).square().sum(-1)
    near = rotation.wrap_angle(change - before).square().sum(-1)
    changed = (torch.cumsum(near < far, dim=0) % 2 == 1).unsqueeze(-1)
    dof[1:, triples] = torch.where(changed, change, stay)
    low, high = skeleton.dof_limits.to(dof).unbind(-1)
    middle = 0.5 * (low + high)

    def unrolled(angles: Tensor) -> Tensor:
        steps = rotation.wrap_angle(angles[1:] - angles[:-1])
        return _centred(torch.cat((angles[:1], angles[:1] + torch.cumsum(steps, dim=0))), middle)

    dof, other = unrolled(dof), unrolled(skeleton.other_triples(dof))
    better = _beyond(other, low, high)[triples].sum(-1) + 1e-4 < _beyond(dof, low, high)[triples].sum(-1)
    dof[:, triples] = torch.where(better[:, None], other[:, triples], dof[:, triples])
    return dof


def _centred(curves: Tensor, middle: Tensor) -> Tensor:
    """Whole turns added to each curve ``[T, ...]``, so that its mean is nearest to ``middle``."""
    return curves + 2.0 * math.pi * torch.round((middle - curves.mean(dim=0)) / (2.0 * math.pi))


def _beyond(dof: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Sum over the clip of how far each hinge is outside its limits, ``[D]``."""
    return torch.maximum(low - dof, dof - high).clamp(min=0.0).sum(dim=0)


def _unrolled(angles: Tensor, middle: Tensor) -> Tensor:
    """``angles [T, n, 3]``, all within half a turn of the middle of their limits: left so, unless that jumps by a
    whole turn where the curve would not."""
    jumps = ((angles[1:] - angles[:-1]).abs() > 1.5 * math.pi).any(dim=0)
    steps = rotation.wrap_angle(angles[1:] - angles[:-1])
    smooth = torch.cat((angles[:1], angles[:1] + steps.cumsum(dim=0)))
    return torch.where(jumps, _centred(smooth, middle), angles)


def _cheapest(states: Tensor, steps: Tensor) -> Tensor:
    """Choice ``[T, n]`` at every frame on the cheapest path: ``states [T, n, S]``, ``steps [T-1, n, S, S]``."""
    forward = states.clone()
    onward = steps + states[1:, :, None]  # arriving at a state pays for it
    forward[1:] = (states[0][None, :, :, None] + _scan(onward)).amin(dim=2)
    back = steps + states[:-1, :, :, None]  # leaving one pays for it, seen from the end
    back = back.flip(0).transpose(-1, -2)
    rest = torch.zeros_like(states)
    reached = (states[-1][None, :, :, None] + _scan(back)).amin(dim=2).flip(0)
    rest[:-1] = reached - states[:-1]
    rest[-1] = 0.0
    return (forward + rest).argmin(dim=-1)


def _scan(matrices: Tensor) -> Tensor:
    """Running min-plus products of ``[T, n, S, S]`` along time (Hillis and Steele 1986)."""
    total, shift = matrices, 1
    while shift < len(total):
        joined = (total[:-shift, :, :, :, None] + total[shift:, :, None, :, :]).amin(dim=3)
        total = torch.cat((total[:shift], joined))
        shift *= 2
    return total
