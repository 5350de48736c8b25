"""Where feet go: standing ones roll on the floor without slipping, swinging ones follow in between."""

from __future__ import annotations

import torch
from torch import Tensor

from isaacmm import rotation
from isaacmm.motion.retarget.geometry import gaussian, smoothstep

#: Sole points within about this height of the lowest one share the load (m).
_LOAD = 0.004
#: Corrections of standing feet beyond this are not made (m): there the foot really moves.
_FARTHEST = 0.12


def segments(touching: Tensor) -> list[tuple[int, int]]:
    """First and last frame (both included) of every stretch of ``touching [T]`` bool."""
    padded = torch.cat((torch.zeros(1, dtype=torch.bool), touching, torch.zeros(1, dtype=torch.bool))).int()
    change = padded.diff()
    starts = (change == 1).nonzero().flatten().tolist()
    stops = (change == -1).nonzero().flatten().tolist()
    return [(a, b - 1) for a, b in zip(starts, stops, strict=True)]


def plant(ankle: Tensor, foot_rot: Tensor, sole: Tensor, touching: Tensor) -> Tensor:
    """Ankle positions ``[T, 3]`` near ``ankle`` at which a standing foot neither slips nor sinks.

    While the foot stands, the ankle moves as a rolling body's does: the sole points that carry (by height,
    softly, so that the load goes over from heel to toe) stay where they are on the ground, and the lowest
    one is at height 0. Each stretch is placed so that it deviates least from ``ankle``; the deviation is
    carried over the swing in between, where no sole point goes under the floor either.

    Args:
        ankle: ``[T, 3]`` m, where the ankle would go, floor at 0.
        foot_rot: ``[T, 4]`` world rotation of the foot.
        sole: ``[C, 3]`` m in the foot's frame.
        touching: ``[T]`` bool.
    """
    around = rotation.rotate(foot_rot[:, None], sole.to(ankle))  # [T, C, 3], from the ankle
    floor = -around[..., 2].amin(dim=-1)
    load = torch.softmax(-around[..., 2] / _LOAD, dim=-1)
    shared = 0.5 * (load[1:] + load[:-1])[..., None]
    roll = -(shared * (around[1:] - around[:-1]))[..., :2].sum(dim=1)
    path = torch.cat((torch.zeros_like(roll[:1]), roll.cumsum(dim=0)))
    correction = torch.zeros_like(ankle)
    known: list[tuple[int, int]] = segments(touching)
    for first, last in known:
        part = slice(first, last + 1)
        away = path[part] - ankle[part, :2]
        away = away - away.mean(dim=0)
        # a foot that wanders off farther than noise is being moved: follow its slow part
        if float(away.norm(dim=-1).max()) > 0.5 * _FARTHEST:
            away = away * (0.5 * _FARTHEST / away.norm(dim=-1, keepdim=True).clamp(min=0.5 * _FARTHEST))
        correction[part, :2] = away
        correction[part, 2] = floor[part] - ankle[part, 2]
    correction = _between(correction, known)
    goal = ankle + correction
    goal[:, 2] = torch.maximum(goal[:, 2], floor)
    return goal


def _between(correction: Tensor, known: list[tuple[int, int]]) -> Tensor:
    """``correction [T, 3]`` filled in between and beyond the ``known`` stretches, smoothly."""
    if not known:
        return correction
    correction = correction.clone()
    correction[: known[0][0]] = correction[known[0][0]]
    correction[known[-1][1] + 1 :] = correction[known[-1][1]]
    for (_, last), (first, _) in zip(known, known[1:], strict=False):
        t = torch.arange(1, first - last, dtype=correction.dtype) / (first - last)
        t = smoothstep(t)[:, None]
        correction[last + 1 : first] = (1 - t) * correction[last] + t * correction[first]
    return correction


def lower_hips(sockets: Tensor, ankles: Tensor, touching: Tensor, leg: float, fps: float) -> Tensor:
    """How far the root has to come down ``[T]`` m (at most 0) so that standing feet are within reach.

    Args:
        sockets: hip joints ``[T, 2, 3]`` m.
        ankles: where the ankles have to go ``[T, 2, 3]`` m.
        touching: ``[T, 2]`` bool.
        leg: longest reach, m.
        fps: frames per second.
    """
    flat = (sockets - ankles)[..., :2].norm(dim=-1).clamp(max=0.95 * leg)
    highest = ankles[..., 2] + (leg**2 - flat**2).sqrt()
    room = torch.where(touching, highest - sockets[..., 2], torch.full_like(flat, float("inf"))).amin(dim=-1)
    drop = room.clamp(max=0.0)
    # the envelope of the drops: wide first, so that smoothing does not take away what is needed
    half = max(1, round(0.06 * fps))
    held = -torch.nn.functional.max_pool1d(-drop[None, None], 2 * half + 1, stride=1, padding=half)[0, 0]
    return gaussian(held, 0.03 * fps).clamp(max=0.0)
