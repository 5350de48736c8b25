"""A slow average of a model's weights, which is what is judged and shipped."""

from __future__ import annotations

import copy

import torch
from torch import nn


class WeightAverage:
    """Exponential moving average of the parameters; buffers (statistics, codebooks) are copied as they are.

    Args:
        model: whose weights; a copy in evaluation mode is kept in :attr:`model`.
        decay: of the average, once ``(1 + n) / (10 + n)`` of ``n`` updates has grown to it: early on, the
            average must follow quickly or it is an average of noise.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.model = copy.deepcopy(model).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move towards ``model`` after its update number ``step`` (from 1)."""
        weight = 1.0 - min(self.decay, (1 + step) / (10 + step))
        mine, theirs = ([p.detach() for p in m.parameters()] for m in (self.model, model))
        if mine:
            torch._foreach_lerp_(mine, theirs, weight)
        for a, b in zip(self.model.buffers(), model.buffers(), strict=True):
            a.copy_(b)
