"""The discriminator: does this look like the clips?"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Discriminator(nn.Module):
    """ReLU network from discriminator observations to one logit.

    Args:
        size: features of an observation ``S``.
        units: hidden layer widths.
        logit_init: the output layer starts uniform in +- this (1.0 in the classic recipe).
    """

    def __init__(self, size: int, units: Sequence[int] = (1024, 512), logit_init: float = 1.0) -> None:
        super().__init__()
        layers: list[nn.Linear] = []
        for width in units:
            layers.append(nn.Linear(size, width))
            size = width
        self.hidden = nn.ModuleList(layers)
        self._layers = layers  # the same, typed
        self.logit = nn.Linear(size, 1)
        for layer in layers:
            nn.init.zeros_(layer.bias)
        nn.init.uniform_(self.logit.weight, -logit_init, logit_init)
        nn.init.zeros_(self.logit.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[n]`` of normalised observations ``[n, S]``."""
        for layer in self.hidden:
            x = torch.relu(layer(x))
        return self.logit(x).squeeze(-1)

    def with_input_gradient(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits ``[n]`` and their gradient with respect to ``x``, ``[n, S]``, in one differentiable pass.

        A ReLU network is linear around almost every point, so its input gradient is the product of
        its weights with the units that are off struck out: ``((w * on_k) W_k * on_{k-1}) W_{k-1} ...``.
        Written out like that, the gradient penalty needs one ordinary backward pass instead of a
        double one, and is the same number (the test compares both).
        """
        on: list[Tensor] = []
        for layer in self.hidden:
            x = torch.relu(layer(x))
            on.append((x > 0).to(x.dtype))
        logits = self.logit(x).squeeze(-1)
        gradient = self.logit.weight * on[-1]
        for k in range(len(self._layers) - 1, 0, -1):
            gradient = (gradient @ self._layers[k].weight) * on[k - 1]
        return logits, gradient @ self._layers[0].weight

    def weights(self) -> list[Tensor]:
        """All weight matrices, the output layer's last."""
        return [layer.weight for layer in self._layers] + [self.logit.weight]
