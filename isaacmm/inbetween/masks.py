"""Which frames of a training window are keys: gaps to fill, every n-th frame, noisy keys."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

#: Frames of the longest window.
LONGEST = 65
#: Frames before a gap that are told (the benchmark's ten), frames of the longest gap.
PAST, LONGEST_GAP = 10, 45


@dataclass(frozen=True)
class Mask:
    """Attributes:
    known: ``[T]`` bool, the same for a whole batch.
    noise: spread of the keys' rotations, rad.
    """

    known: Tensor
    noise: float


def draw(generator: torch.Generator, longest: int = LONGEST) -> Mask:
    """One batch's keys: nearly half gaps, a third every n-th frame, a fifth noisy keys.

    Args:
        longest: frames of the longest window that the clips allow.
    """

    def pick(low: int, high: int) -> int:
        return int(torch.randint(low, max(high, low) + 1, (1,), generator=generator))

    def chance(p: float) -> bool:
        return bool(torch.rand(1, generator=generator) < p)

    kind = float(torch.rand(1, generator=generator))
    if kind < 0.45:
        past = PAST if chance(0.7) else pick(1, PAST)
        past = min(past, longest - 3)
        gap = pick(1, min(LONGEST_GAP, longest - past - 1))
        future = 1 if chance(0.6) else pick(1, max(1, min(PAST, longest - past - gap)))
        return Mask(gap_mask(past, gap, future), 0.0)
    if kind < 0.8:
        every = (2, 4, 8, 16)[pick(0, 3)] if chance(0.8) else pick(2, 16)
        every = min(every, max(2, (longest - 1) // 2))
        keys = pick(3, max(3, min(9, (longest - 1) // every)))
        known = every_nth(min((keys - 1) * every + 1, longest), every)
        if chance(0.2) and int(known.sum()) > 3:  # keys of people are not evenly spaced
            inner = known.nonzero().flatten()[1:-1]
            known[inner[pick(0, len(inner) - 1)]] = False
        return Mask(known, 0.0)
    every = (1, 2, 4, 8)[pick(0, 3)]
    known = every_nth(min(longest, 4 * max(every, 4) + 1), every)
    return Mask(known, float(torch.rand(1, generator=generator)) * 0.12)


def gap_mask(past: int, gap: int, future: int) -> Tensor:
    """``[past + gap + future]`` bool with ``gap`` frames missing."""
    known = torch.ones(past + gap + future, dtype=torch.bool)
    known[past : past + gap] = False
    return known


def every_nth(count: int, every: int) -> Tensor:
    """``[count]`` bool: the first frame and every ``every``-th after it, and the last."""
    known = torch.zeros(count, dtype=torch.bool)
    known[::every] = True
    known[-1] = True
    return known
