"""Actor and critic through rl-games' own builder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rl_games.algos_torch import model_builder
from rl_games.algos_torch.models import ModelA2CContinuousLogStd
from rl_games.algos_torch.network_builder import A2CBuilder
from rl_games.algos_torch.running_mean_std import RunningMeanStd


class AMPBuilder(A2CBuilder):
    """rl-games' actor-critic; the spread of actions is a constant unless ``learn_sigma``.

    A learned spread lets the agent buy style reward by going quiet before it can walk.
    """

    class Network(A2CBuilder.Network):
        """See :class:`AMPBuilder`."""

        def __init__(self, params: Mapping[str, Any], **kwargs: Any) -> None:
            super().__init__(params, **kwargs)
            learn = params["space"]["continuous"].get("learn_sigma", False)
            if self.fixed_sigma and not learn:
                self.sigma.requires_grad_(False)

    def build(self, name: str, **kwargs: Any) -> AMPBuilder.Network:
        """The network of a loaded config."""
        return AMPBuilder.Network(self.params, **kwargs)


class AMPModel(ModelA2CContinuousLogStd):
    """rl-games' Gaussian policy, its normalisers left uncompiled.

    Scripted as rl-games has them, they spend ten seconds of the second iteration in a compiler.
    """

    class Network(ModelA2CContinuousLogStd.Network):
        """See :class:`AMPModel`."""

        def __init__(self, a2c_network: Any, **kwargs: Any) -> None:
            super().__init__(a2c_network, **{**kwargs, "normalize_value": False, "normalize_input": False})
            self.normalize_value, self.normalize_input = kwargs["normalize_value"], kwargs["normalize_input"]
            if self.normalize_value:
                self.value_mean_std = RunningMeanStd((self.value_size,))
            if self.normalize_input:
                self.running_mean_std = RunningMeanStd(self.obs_shape)


def register() -> None:
    """Names of the classic AMP configs: network ``amp``, model ``continuous_amp``."""
    model_builder.register_network("amp", AMPBuilder)
    model_builder.register_model("continuous_amp", AMPModel)
