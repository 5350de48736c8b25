"""How tokens are used: histograms, and what can be told from them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def histogram(tokens: Tensor, size: int) -> Tensor:
    """How often each of ``size`` codes occurs in ``tokens [n]`` int64: ``[size]``, counts."""
    return torch.bincount(tokens.flatten().cpu(), minlength=size).double()


def share(counts: Tensor) -> Tensor:
    """Counts ``[..., K]`` to frequencies that sum to 1."""
    return counts / counts.sum(-1, keepdim=True).clamp(min=1e-12)


def perplexity(counts: Tensor) -> float:
    """``exp(entropy)`` of the frequencies: so many codes, used equally often, would be as hard to guess."""
    p = share(counts)
    return float(torch.exp(-torch.xlogy(p, p).sum()))


def divergence(a: Tensor, b: Tensor) -> float:
    """Jensen-Shannon divergence of two histograms ``[K]``, in bits: 0 alike, 1 nothing in common (Lin 1991)."""
    p, q = share(a), share(b)
    middle = 0.5 * (p + q)

    def gap(x: Tensor) -> Tensor:
        return (torch.xlogy(x, x) - torch.xlogy(x, middle)).sum()

    return max(0.0, float(0.5 * (gap(p) + gap(q)) / torch.log(torch.tensor(2.0, dtype=p.dtype))))


def kmeans(rows: Tensor, count: int, seed: int = 0, rounds: int = 20) -> tuple[Tensor, Tensor]:
    """Lloyd's algorithm, begun far apart (k-means++, Arthur and Vassilvitskii 2007).

    Args:
        rows: ``[n, W]``.
        count: clusters, at most ``n``.

    Returns:
        Centres ``[count, W]`` and which one each row is nearest to, ``[n]``.
    """
    count = min(count, len(rows))
    generator = torch.Generator().manual_seed(seed)
    picks = [int(torch.randint(len(rows), (1,), generator=generator))]
    far = (rows - rows[picks[0]]).square().sum(-1)
    for _ in range(count - 1):
        weight = far if float(far.sum()) > 0 else torch.ones_like(far)
        picks.append(int(torch.multinomial(weight, 1, generator=generator)))
        far = torch.minimum(far, (rows - rows[picks[-1]]).square().sum(-1))
    centres = rows[picks].clone()
    return lloyd(rows, centres, rounds)


def lloyd(rows: Tensor, centres: Tensor, rounds: int) -> tuple[Tensor, Tensor]:
    """Move ``centres`` to the middles of what is nearest to them, at most ``rounds`` times."""
    which = assign(rows, centres)
    for _ in range(rounds):
        total = torch.zeros_like(centres).index_add_(0, which, rows)
        number = torch.bincount(which, minlength=len(centres)).to(rows)
        centres = torch.where(number[:, None] > 0, total / number.clamp(min=1.0)[:, None], centres)
        before, which = which, assign(rows, centres)
        if torch.equal(before, which):
            break
    return centres, which


def assign(rows: Tensor, centres: Tensor) -> Tensor:
    """Index ``[n]`` of the nearest of ``centres [K, W]`` for ``rows [n, W]``."""
    half = 0.5 * centres.square().sum(-1)
    return torch.cat([(part @ centres.T - half).argmax(-1) for part in rows.split(4096)])


def clusters(histograms: Sequence[Tensor], count: int, seed: int = 0) -> list[int]:
    """Cluster clips by what they are made of: number of the cluster of each.

    Square roots of frequencies are compared, whose Euclidean distance is Hellinger's of the histograms; the best of
    eight beginnings is kept.
    """
    rows = torch.stack([share(h).sqrt() for h in histograms])
    best: tuple[float, Tensor] | None = None
    for attempt in range(8):
        centres, which = kmeans(rows, count, seed + attempt)
        spread = float((rows - centres[which]).square().sum())
        if best is None or spread < best[0]:
            best = spread, which
    assert best is not None
    return best[1].tolist()
