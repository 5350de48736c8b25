"""StyleTrainer: the adversarial half of AMP, whatever trains the policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from isaacmm.amp import losses, reward
from isaacmm.amp.discriminator import Discriminator
from isaacmm.amp.normalizer import RunningNormalizer
from isaacmm.amp.replay import ReplayBuffer
from isaacmm.errors import ConfigError, nearest

DemoSource = Callable[[int, torch.Generator], Tensor]


@dataclass(frozen=True)
class StyleConfig:
    """Settings of the discriminator; names in brackets are the training config's.

    Attributes:
        loss: ``bce`` or ``lsgan`` (disc_loss).
        coef: factor of the classification loss and gradient penalty (disc_coef).
        gradient_penalty: weight of ``E |grad D|^2`` on clips (disc_grad_penalty).
        logit_reg: weight of the output layer's squared norm (disc_logit_reg).
        weight_decay: weight of all squared weights (disc_weight_decay).
        learning_rate: of Adam (disc_learning_rate; the policy's where not given).
        reward_scale: factor of the style reward (disc_reward_scale).
        updates: gradient steps per iteration (disc_updates).
        batch: rows per step of each kind: clips, fresh agent rows, replayed agent rows (amp_minibatch_size).
        replay: rows kept (amp_replay_buffer_size).
        demo_buffer: clip rows kept and sampled from (amp_obs_demo_buffer_size); 0 draws every batch afresh
            from all clips, which needs no buffer where that is cheap, as it is here.
        demo_fetch: fresh clip rows that enter the buffer per iteration (amp_batch_size).
        replay_keep: share of an iteration's rows that enters a full buffer (amp_replay_keep_prob).
        normalize: normalise observations (normalize_amp_input).
        normalizer: whose statistics: ``demos``, the clips' alone, fixed from the start, or ``running``, clips
            and agent together (amp_normalizer). A fresh agent's flailing is many times larger than
            natural motion; in a scale that includes it, all clips look alike.
        units: hidden layers (network.disc.units).
    """

    loss: str = "bce"
    coef: float = 1.0
    gradient_penalty: float = 1.0
    logit_reg: float = 0.01
    weight_decay: float = 1e-4
    learning_rate: float = 1e-4
    reward_scale: float = 2.0
    updates: int = 8
    batch: int = 256
    replay: int = 100_000
    demo_buffer: int = 0
    demo_fetch: int = 512
    replay_keep: float = 1.0
    normalize: bool = True
    normalizer: str = "demos"
    units: Sequence[int] = (1024, 512)

    def __post_init__(self) -> None:
        if self.loss not in losses.LOSSES:
            raise ConfigError(f"disc_loss '{self.loss}' is not known; {nearest(self.loss, losses.LOSSES)}")
        if self.normalizer not in ("demos", "running"):
            hint = nearest(self.normalizer, ("demos", "running"))
            raise ConfigError(f"amp_normalizer '{self.normalizer}' is not known; {hint}")


class StyleTrainer:
    """Owns discriminator, its optimiser, normaliser and replay buffer; gives style rewards.

    Args:
        size: features of a discriminator observation ``S``.
        demos: ``demos(n, generator) -> [n, S]``, fresh clip observations.
        config: settings.
        seed: of all its sampling.
        device: where it lives.
    """

    def __init__(
        self, size: int, demos: DemoSource, config: StyleConfig, seed: int = 42, device: torch.device | str = "cpu"
    ) -> None:
        self.config = config
        self.demos = demos
        self.generator = torch.Generator(device).manual_seed(seed)
        self.discriminator = Discriminator(size, config.units).to(device)
        self.normalizer = RunningNormalizer(size).to(device)
        self.replay = ReplayBuffer(config.replay, size, device)
        self.demo_buffer = ReplayBuffer(config.demo_buffer, size, device) if config.demo_buffer else None
        if self.demo_buffer is not None:
            self.demo_buffer.add(demos(config.demo_buffer, self.generator))
        self.optimizer = torch.optim.Adam(self.discriminator.parameters(), lr=config.learning_rate, fused=True)
        # Clips tell the scale of natural motion; a fresh agent's flailing would tell another.
        self.normalizer.update(demos(8192, self.generator))

    def _input(self, rows: Tensor) -> Tensor:
        return self.normalizer(rows) if self.config.normalize else rows

    @torch.no_grad()
    def logits(self, rows: Tensor) -> Tensor:
        """Logits ``[n]`` of raw observations ``[n, S]``."""
        return self.discriminator(self._input(rows))

    @torch.no_grad()
    def reward(self, rows: Tensor) -> Tensor:
        """Style reward ``[n]`` of raw observations ``[n, S]``."""
        return reward.style_reward(self.logits(rows), self.config.loss, self.config.reward_scale)

    def update(self, rows: Tensor) -> dict[str, float]:
        """Train on this iteration's agent observations ``[n, S]``; returns means of what is worth logging."""
        c = self.config
        if len(self.replay) == 0:
            self.replay.add(rows)
        totals: dict[str, Tensor] = {}
        for _ in range(c.updates):
            real = self._demo_batch(c.batch)
            fresh = rows[torch.randint(len(rows), (c.batch,), generator=self.generator, device=rows.device)]
            fake = torch.cat((fresh, self.replay.sample(c.batch, self.generator)))
            for name, value in self._step(real, fake).items():
                totals[name] = totals.get(name, torch.zeros((), device=rows.device)) + value
        if c.normalize and c.normalizer == "running":
            self.normalizer.update(rows)
            self.normalizer.update(self.demos(len(rows), self.generator))
        self._store(rows)
        if self.demo_buffer is not None:
            self.demo_buffer.add(self.demos(c.demo_fetch, self.generator))
        return {name: float(value) / c.updates for name, value in totals.items()}

    def _demo_batch(self, n: int) -> Tensor:
        if self.demo_buffer is None:
            return self.demos(n, self.generator)
        return self.demo_buffer.sample(n, self.generator)

    def _step(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        c, net = self.config, self.discriminator
        real_logits, gradient = net.with_input_gradient(self._input(real))
        fake_logits = net(self._input(fake))
        classification = losses.classification(real_logits, fake_logits, c.loss)
        penalty = losses.gradient_penalty(gradient)
        weights = net.weights()
        loss = c.coef * (
            classification
            + c.gradient_penalty * penalty
            + c.logit_reg * losses.logit_regularization(weights[-1])
            + c.weight_decay * losses.weight_decay(weights)
        )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        real_right, fake_right = losses.accuracy(real_logits.detach(), fake_logits.detach())
        return {
            "disc_loss": classification.detach(),
            "disc_grad_penalty": penalty.detach(),
            "disc_demo_accuracy": real_right,
            "disc_agent_accuracy": fake_right,
            "disc_demo_logit": real_logits.detach().mean(),
            "disc_agent_logit": fake_logits.detach().mean(),
        }

    def _store(self, rows: Tensor) -> None:
        """All rows while there is room, a share of them afterwards, so that the buffer spans many iterations."""
        if len(self.replay) >= self.replay.capacity and self.config.replay_keep < 1.0:
            keep = torch.rand(len(rows), generator=self.generator, device=rows.device) < self.config.replay_keep
            rows = rows[keep]
        self.replay.add(rows)

    def state_dict(self) -> dict[str, Any]:
        """Everything that resuming needs."""
        demos = {} if self.demo_buffer is None else {"demo_buffer": self.demo_buffer.state_dict()}
        return {
            **demos,
            "discriminator": self.discriminator.state_dict(),
            "normalizer": self.normalizer.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "replay": self.replay.state_dict(),
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of :meth:`state_dict`."""
        self.discriminator.load_state_dict(state["discriminator"])
        self.normalizer.load_state_dict(state["normalizer"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.replay.load_state_dict(state["replay"])
        if self.demo_buffer is not None and "demo_buffer" in state:
            self.demo_buffer.load_state_dict(state["demo_buffer"])
        self.generator.set_state(state["generator"].cpu())
