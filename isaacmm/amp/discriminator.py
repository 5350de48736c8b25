"""The discriminator: does this look like the clips, given what was commanded?"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from isaacmm.errors import ConfigError, nearest

#: How a discriminator is told the command: not at all, as further inputs, or by projection.
CONDITIONINGS = ("none", "concat", "proj")


class Discriminator(nn.Module):
    """ReLU network from discriminator observations, and a condition, to one logit.

    ``none``: ``D = w f(x) + b``. ``concat``: ``D = w f([x, c]) + b``. ``proj``: ``D = w f(x) + b + <V c, f(x)>``
    (projection discriminator, Miyato and Koyama 2018, sec. 3): the condition chooses how the hidden features of the
    motion are weighed, so it cannot be read without looking at the motion.

    Args:
        size: features of an observation ``S``.
        units: hidden layer widths.
        logit_init: the output layer starts uniform in +- this (1.0 in the classic recipe).
        condition: numbers of a condition ``K``; 0 for none.
        conditioning: one of :data:`CONDITIONINGS`; without a condition always ``none``.
    """

    def __init__(
        self,
        size: int,
        units: Sequence[int] = (1024, 512),
        logit_init: float = 1.0,
        condition: int = 0,
        conditioning: str = "proj",
    ) -> None:
        super().__init__()
        if conditioning not in CONDITIONINGS:
            raise ConfigError(f"disc_cond '{conditioning}' is not known; {nearest(conditioning, CONDITIONINGS)}")
        self.size = size
        self.conditioning = conditioning if condition else "none"
        layers: list[nn.Linear] = []
        width_in = size + (condition if self.conditioning == "concat" else 0)
        for width in units:
            layers.append(nn.Linear(width_in, width))
            width_in = width
        self.hidden = nn.ModuleList(layers)
        self._layers = layers  # the same, typed
        self.logit = nn.Linear(width_in, 1)
        for layer in layers:
            nn.init.zeros_(layer.bias)
        nn.init.uniform_(self.logit.weight, -logit_init, logit_init)
        nn.init.zeros_(self.logit.bias)
        self.projection = nn.Linear(condition, width_in, bias=False) if self.conditioning == "proj" else None
        if self.projection is not None:
            nn.init.zeros_(self.projection.weight)  # begins as the unconditional one

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Logits ``[n]`` of normalised observations ``[n, S]`` under conditions ``[n, K]``."""
        x = self._inputs(x, condition)
        for layer in self.hidden:
            x = torch.relu(layer(x))
        return self._logit(x, condition)

    def with_input_gradient(self, x: Tensor, condition: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Logits ``[n]`` and their gradient with respect to ``x``, ``[n, S]``, in one differentiable pass.

        A ReLU network is linear around almost every point, so its input gradient is the product of
        its weights with the units that are off struck out: ``((w * on_k) W_k * on_{k-1}) W_{k-1} ...``.
        Written out like that, the gradient penalty needs one ordinary backward pass instead of a
        double one, and is the same number (the test compares both). The condition gets no penalty: how
        the judgement depends on the command may be as steep as it likes.
        """
        x = self._inputs(x, condition)
        on: list[Tensor] = []
        for layer in self.hidden:
            x = torch.relu(layer(x))
            on.append((x > 0).to(x.dtype))
        logits = self._logit(x, condition)
        gradient = (self.logit.weight + self._direction(condition)) * on[-1]
        for k in range(len(self._layers) - 1, 0, -1):
            gradient = (gradient @ self._layers[k].weight) * on[k - 1]
        return logits, gradient @ self._layers[0].weight[:, : self.size]

    def weights(self) -> list[Tensor]:
        """All weight matrices, the output layer's last."""
        projection = [] if self.projection is None else [self.projection.weight]
        return [layer.weight for layer in self._layers] + projection + [self.logit.weight]

    def _inputs(self, x: Tensor, condition: Tensor | None) -> Tensor:
        if self.conditioning != "concat":
            return x
        assert condition is not None
        return torch.cat((x, condition), dim=-1)

    def _logit(self, hidden: Tensor, condition: Tensor | None) -> Tensor:
        logits = self.logit(hidden).squeeze(-1)
        if self.projection is None:
            return logits
        return logits + (hidden * self._direction(condition)).sum(-1)

    def _direction(self, condition: Tensor | None) -> Tensor | float:
        """What the condition adds to the output weights, ``[n, width]``."""
        if self.projection is None:
            return 0.0
        assert condition is not None
        return self.projection(condition)
