"""Running mean and variance, for whatever a network eats."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

#: ``(mean, biased variance, rows)`` of one's own batch -> those of everybody's.
Merge = Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor, int]]


class RunningNormalizer(nn.Module):
    """``(x - mean) / std``, clipped; statistics live in buffers, so they are in every checkpoint.

    Batches are merged by the parallel formula of Chan, Golub and LeVeque (1983).

    Args:
        size: features ``F``.
        clip: largest magnitude of a normalised value.
        epsilon: added to the variance.
    """

    mean: Tensor
    var: Tensor
    count: Tensor
    #: where several processes train together: makes one batch of theirs
    merge: Merge | None = None

    def __init__(self, size: int, clip: float = 5.0, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.clip = clip
        self.epsilon = epsilon
        self.register_buffer("mean", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("var", torch.ones(size, dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))

    @torch.no_grad()
    def update(self, x: Tensor) -> None:
        """Take in a batch ``[n, F]``."""
        x = x.double()
        n = x.shape[0]
        mean, var = x.mean(0), x.var(0, unbiased=False)
        if self.merge is not None:
            mean, var, n = self.merge(mean, var, n)
        total = self.count + n
        delta = mean - self.mean
        moment = self.var * self.count + var * n + delta**2 * self.count * n / total
        self.mean.copy_(self.mean + delta * n / total)
        self.var.copy_(moment / total)
        self.count.copy_(total)

    def forward(self, x: Tensor) -> Tensor:
        """``[n, F]`` normalised."""
        scale = torch.rsqrt(self.var + self.epsilon)
        return ((x - self.mean.float()) * scale.float()).clamp(-self.clip, self.clip)
