"""Feet that skate: on the floor, but too fast to count as standing, because the way does not fit the steps.

A clip whose way was scaled, lost (walking in place) or taken from another body has no standing feet at all, so
nothing holds on to the floor and nothing can be planted. What the carrying soles do over the ground says how the way is
wrong.
"""

from __future__ import annotations

import torch
from torch import Tensor

from isaacmm.motion.contacts import SPEED
from isaacmm.motion.retarget.geometry import gaussian

#: A sole point lower than this may carry, however fast it is (m).
CARRIES = 0.015
#: Share of the steps between frames in which something must carry, and in which feet that stand are allowed.
_CARRYING, _STANDING = 0.25, 0.5
#: Drift that is said: more than this (m/s), and this share of the speed of travel more. Short stances of fast runs at
#: 30 frames a second are mostly touching down and leaving.
_SLIP = (0.3, 0.08)
#: What carrying feet do is looked at over so long before and after (s).
_WINDOW = 0.3


def drift(points: Tensor, fps: float) -> tuple[Tensor, Tensor]:
    """How carrying soles move over the ground, on average around each step between frames.

    Args:
        points: ``[T, F, C, 3]`` m, soles whose floor is at height 0.
        fps: frames per second.

    Returns:
        ``[T-1, 2]`` m/s (zero if nothing ever carries) and ``[T-1]`` bool, whether something carries there.
    """
    flat = points.flatten(1, 2).double()
    height, lowest = (0.5 * (flat[1:, :, 2] + flat[:-1, :, 2])).min(dim=1)
    velocity = (flat[1:] - flat[:-1])[torch.arange(len(lowest)), lowest, :2] * fps
    carries = height < CARRIES
    if int(carries.sum()) < 2:
        return torch.zeros_like(velocity), carries
    # medians: a foot that touches down or leaves moves fast for a frame or two, and what stands in between counts
    half = max(1, round(_WINDOW * fps))
    known = torch.where(carries[:, None], velocity, torch.full_like(velocity, float("nan")))
    edges = torch.full((half, 2), float("nan"), dtype=velocity.dtype)
    around = torch.cat((edges, known, edges)).unfold(0, 2 * half + 1, 1).nanmedian(dim=-1).values
    return gaussian(_filled(around), 0.5 * half), carries


def _filled(values: Tensor) -> Tensor:
    """``values [T, 2]`` with rows of NaN drawn between the rows around them."""
    known = values.isfinite().all(dim=1).nonzero().flatten()
    at = torch.arange(len(values))
    after = torch.searchsorted(known, at).clamp(min(1, len(known) - 1), len(known) - 1)
    low, high = known[(after - 1).clamp(min=0)], known[after]
    share = ((at - low).double() / (high - low).clamp(min=1)).clamp(0.0, 1.0)[:, None]
    return torch.lerp(values[low], values[high], share)


def skating_speed(points: Tensor, touching: Tensor, fps: float) -> float:
    """Median speed m/s at which carrying soles drift in a clip whose feet skate, 0 for any other.

    Args:
        points, fps: as for :func:`drift`.
        touching: ``[T, F]`` bool, :func:`isaacmm.motion.contacts.contacts`.
    """
    if len(points) < 8:
        return 0.0
    velocity, carries = drift(points, fps)
    stands = (touching[1:] & touching[:-1]).any(dim=-1)
    if float(carries.double().mean()) < _CARRYING or float(stands[carries].double().mean()) > _STANDING:
        return 0.0
    median = float(velocity[carries].norm(dim=-1).median())
    travel = float((points[1:] - points[:-1])[..., :2].mean(dim=(1, 2)).norm(dim=-1).mean()) * fps
    return median if median > max(SPEED, _SLIP[0] + _SLIP[1] * travel) else 0.0
