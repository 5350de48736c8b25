"""Actor and critic through rl-games' own builder."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

import torch
from rl_games.algos_torch import model_builder
from rl_games.algos_torch.models import ModelA2CContinuousLogStd
from rl_games.algos_torch.network_builder import A2CBuilder
from rl_games.algos_torch.running_mean_std import RunningMeanStd
from torch import Tensor

from isaacmm.amp.normalizer import Merge
from isaacmm.learn.parallel import Workers


class RunningStatistics(RunningMeanStd):
    """rl-games' normaliser; with :attr:`merge` several processes take in their batches as one."""

    merge: Merge | None = None

    def _update_mean_var_count_from_moments(
        self, mean: Tensor, var: Tensor, count: Tensor, batch_mean: Tensor, batch_var: Tensor, batch_count: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        if self.merge is not None:
            batch_mean, batch_var, batch_count = self.merge(batch_mean, batch_var, batch_count)
        merged: tuple[Tensor, Tensor, Tensor] = super()._update_mean_var_count_from_moments(
            mean, var, count, batch_mean, batch_var, batch_count
        )
        return merged


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
            #: with these, a separate critic learns in a thread of its own
            self.workers = Workers(0)
            self._critic_backward: list[Future[None]] = []

        def actor(self, obs: Tensor) -> tuple[Tensor, Tensor]:
            """Means and log standard deviations ``[n, D]`` of actions at normalised observations ``[n, O]``."""
            out = self.actor_mlp(obs)
            mu = self.mu_act(self.mu(out))
            if self.fixed_sigma:
                return mu, mu * 0.0 + self.sigma_act(self.sigma)
            return mu, self.sigma_act(self.sigma(out))

        def critic(self, obs: Tensor) -> Tensor:
            """Normalised values ``[n, 1]`` of normalised observations ``[n, O]``."""
            mlp = self.critic_mlp if self.separate else self.actor_mlp
            return self.value_act(self.value(mlp(obs)))

        def forward(self, obs_dict: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor, Any]:
            """What rl-games' own returns: means, log standard deviations, values, states.

            When training with workers, the critic is evaluated in one of them, and its backward pass starts
            there as soon as the caller's reaches the values; :meth:`join` before using its gradients.
            """
            if not (self.workers and self.separate and torch.is_grad_enabled()):
                return super().forward(obs_dict)
            obs = obs_dict["obs"]
            job = self.workers.submit(lambda: self.critic(obs))
            mu, logstd = self.actor(obs)
            behind = job.result()
            values = behind.detach().requires_grad_()

            def hand_over(gradient: Tensor) -> None:
                self._critic_backward.append(self.workers.submit(lambda: behind.backward(gradient)))

            values.register_hook(hand_over)
            return mu, logstd, values, obs_dict.get("rnn_states")

        def join(self) -> None:
            """Wait for the critic's backward pass; raises what it raised."""
            while self._critic_backward:
                self._critic_backward.pop().result()

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
                self.value_mean_std = RunningStatistics((self.value_size,))
            if self.normalize_input:
                self.running_mean_std = RunningStatistics(self.obs_shape)

        @torch.no_grad()
        def act(self, obs: Tensor) -> dict[str, Tensor]:
            """Draw ``actions`` at ``obs [n, O]``, with ``mus``, ``sigmas`` and ``neglogp``; values are not needed."""
            mu, logstd = self.a2c_network.actor(self.norm_obs(obs))
            sigma = torch.exp(logstd)
            actions = torch.normal(mu, sigma)
            return {"actions": actions, "mus": mu, "sigmas": sigma, "neglogp": self.neglogp(actions, mu, sigma, logstd)}

        @torch.no_grad()
        def values(self, obs: Tensor) -> Tensor:
            """Values ``[n]`` of ``obs [n, O]``, in units of reward."""
            return self.denorm_value(self.a2c_network.critic(self.norm_obs(obs))).squeeze(-1)


def register() -> None:
    """Names of the classic AMP configs: network ``amp``, model ``continuous_amp``."""
    model_builder.register_network("amp", AMPBuilder)
    model_builder.register_model("continuous_amp", AMPModel)
