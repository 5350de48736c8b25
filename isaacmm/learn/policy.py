"""Policy: observation in, best action out; what is played, evaluated and exported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from isaacmm.errors import CheckpointError

_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "elu": nn.ELU, "tanh": nn.Tanh, "swish": nn.SiLU}


class Policy(nn.Module):
    """Normaliser and actor of a trained agent, without the machinery that trained it.

    ``forward(obs [n, O]) -> action [n, D]``, the mean of the policy's distribution. Observations are
    raw: normalisation is inside.
    """

    mean: Tensor
    scale: Tensor
    sigma: Tensor

    def __init__(self, layers: list[nn.Module], mean: Tensor, var: Tensor, sigma: Tensor) -> None:
        super().__init__()
        self.actor = nn.Sequential(*layers)
        self.register_buffer("mean", mean.float())
        self.register_buffer("scale", torch.rsqrt(var.float() + 1e-5))
        self.register_buffer("sigma", sigma.float())

    @property
    def observation_size(self) -> int:
        """``O``."""
        return self.mean.shape[0]

    @property
    def action_size(self) -> int:
        """``D``."""
        return self.sigma.shape[0]

    def forward(self, obs: Tensor) -> Tensor:
        """Deterministic action ``[n, D]`` of observations ``[n, O]``."""
        return self.actor(((obs - self.mean) * self.scale).clamp(-5.0, 5.0))

    @torch.no_grad()
    def sample(self, obs: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Action ``[n, D]`` with the noise it was trained with."""
        mean = self(obs)
        return mean + self.sigma * torch.randn(mean.shape, generator=generator, device=mean.device)

    @classmethod
    def from_checkpoint(cls, content: Mapping[str, Any]) -> Policy:
        """The actor in a checkpoint (:func:`isaacmm.learn.checkpoint.load`).

        Raises:
            CheckpointError: the checkpoint holds no policy of the expected kind.
        """
        model = content.get("model")
        if not isinstance(model, Mapping) or "a2c_network.mu.weight" not in model:
            raise CheckpointError("the checkpoint holds no policy network; was it written by another task?")
        activation = str(content["config"]["train"]["params"]["network"]["mlp"]["activation"])
        if activation not in _ACTIVATIONS:
            raise CheckpointError(f"the policy uses the activation '{activation}', which cannot be exported")
        layers: list[nn.Module] = []
        ids = sorted({int(k.split(".")[2]) for k in model if k.startswith("a2c_network.actor_mlp.")})
        for i in ids:
            layers += [_linear(model, f"a2c_network.actor_mlp.{i}"), _ACTIVATIONS[activation]()]
        layers.append(_linear(model, "a2c_network.mu"))
        size = model["a2c_network.mu.weight"].shape[0]
        first = layers[0]
        assert isinstance(first, nn.Linear)
        mean = model.get("running_mean_std.running_mean", torch.zeros(first.in_features))
        var = model.get("running_mean_std.running_var", torch.ones(first.in_features))
        sigma = torch.exp(model.get("a2c_network.sigma", torch.full((size,), float("-inf"))))
        return cls(layers, mean, var, sigma).eval()


def _linear(model: Mapping[str, Tensor], prefix: str) -> nn.Linear:
    weight, bias = model[f"{prefix}.weight"], model[f"{prefix}.bias"]
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return layer
