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
#: ``(condition [n, K], reference [n], generator) -> (observations [n, S], condition [n, K])`` of clips.
PairedSource = Callable[[Tensor, Tensor, torch.Generator], tuple[Tensor, Tensor]]


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
        conditioning: how the command enters: ``none``, ``concat`` or ``proj`` (disc_cond).
        mismatch: weight of clips under somebody else's command as further samples to reject (disc_mismatch).
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
    conditioning: str = "proj"
    mismatch: float = 0.5

    def __post_init__(self) -> None:
        if self.loss not in losses.LOSSES:
            raise ConfigError(f"disc_loss '{self.loss}' is not known; {nearest(self.loss, losses.LOSSES)}")
        if self.normalizer not in ("demos", "running"):
            hint = nearest(self.normalizer, ("demos", "running"))
            raise ConfigError(f"amp_normalizer '{self.normalizer}' is not known; {hint}")


class StyleTrainer:
    """Owns discriminator, its optimiser, normaliser and replay buffer; gives style rewards.

    With ``paired`` demonstrations every agent sample carries the condition it was made under and a reference (a row
    of the clips that answers the same command). Clips enter a batch as the partners of its agent samples, so
    conditions are distributed alike on both sides: the condition alone tells nothing about who is who.

    Args:
        size: features of a discriminator observation ``S``.
        demos: ``demos(n, generator) -> [n, S]``, fresh clip observations.
        config: settings.
        seed: of all its sampling.
        device: where it lives.
        condition: numbers of a condition ``K``; 0 for a discriminator that knows no commands.
        paired: clips that answer given conditions and references; None takes ``demos`` whatever was commanded.
    """

    def __init__(
        self,
        size: int,
        demos: DemoSource,
        config: StyleConfig,
        seed: int = 42,
        device: torch.device | str = "cpu",
        condition: int = 0,
        paired: PairedSource | None = None,
    ) -> None:
        self.config = config
        self.demos, self.paired = demos, paired
        self.generator = torch.Generator(device).manual_seed(seed)
        self.discriminator = Discriminator(
            size, config.units, condition=condition, conditioning=config.conditioning
        ).to(device)
        self.normalizer = RunningNormalizer(size).to(device)
        self.size, self.condition = size, condition
        self.replay = ReplayBuffer(config.replay, size + condition, device)
        self.replay_reference = ReplayBuffer(config.replay, 1, device, torch.int64) if paired else None
        # partners are gathered afresh, so only unpaired demonstrations are ever buffered
        buffered = bool(config.demo_buffer) and paired is None
        self.demo_buffer = ReplayBuffer(config.demo_buffer, size, device) if buffered else None
        if self.demo_buffer is not None:
            self.demo_buffer.add(demos(config.demo_buffer, self.generator))
        self.optimizer = torch.optim.Adam(self.discriminator.parameters(), lr=config.learning_rate, fused=True)
        # Clips tell the scale of natural motion; a fresh agent's flailing would tell another.
        self.normalizer.update(demos(8192, self.generator))

    def _input(self, rows: Tensor) -> Tensor:
        return self.normalizer(rows) if self.config.normalize else rows

    @torch.no_grad()
    def logits(self, rows: Tensor, condition: Tensor | None = None) -> Tensor:
        """Logits ``[n]`` of raw observations ``[n, S]`` under conditions ``[n, K]``."""
        return self.discriminator(self._input(rows), condition)

    @torch.no_grad()
    def reward(self, rows: Tensor, condition: Tensor | None = None) -> Tensor:
        """Style reward ``[n]`` of raw observations ``[n, S]`` under conditions ``[n, K]``."""
        return reward.style_reward(self.logits(rows, condition), self.config.loss, self.config.reward_scale)

    def update(
        self, rows: Tensor, condition: Tensor | None = None, reference: Tensor | None = None
    ) -> dict[str, float]:
        """Train on this iteration's agent observations ``[n, S]``; returns means of what is worth logging.

        Args:
            rows: agent observations.
            condition: ``[n, K]`` commands they were made under; needed where the trainer has a condition.
            reference: ``[n]`` int64; needed with ``paired`` demonstrations.
        """
        if self.paired is not None:
            assert condition is not None and reference is not None
            return self._update_paired(rows, condition, reference)
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

    def _update_paired(self, rows: Tensor, condition: Tensor, reference: Tensor) -> dict[str, float]:
        """As :meth:`update`; real and fake samples of a batch share their conditions."""
        assert self.paired is not None and self.replay_reference is not None
        c, device = self.config, rows.device
        agent, reference = torch.cat((rows, condition), dim=1), reference[:, None]
        if len(self.replay) == 0:
            self.replay.add(agent)
            self.replay_reference.add(reference)
        totals: dict[str, Tensor] = {}
        for _ in range(c.updates):
            for name, value in self._step(*self._paired_batch(agent, reference, self.generator)).items():
                totals[name] = totals.get(name, torch.zeros((), device=device)) + value
        if c.normalize and c.normalizer == "running":
            self.normalizer.update(rows)
            self.normalizer.update(self.paired(condition, reference[:, 0], self.generator)[0])
        self._store(agent, reference)
        return {name: float(value) / c.updates for name, value in totals.items()}

    def _paired_batch(
        self, agent: Tensor, reference: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Real and fake observations and their conditions: ``real [B, S], fake [2B, S], c [B, K], c [2B, K]``.

        Args:
            agent: fresh observations with their conditions ``[n, S + K]``; as many again are replayed.
            reference: ``[n, 1]`` rows of clips that answer them.
            generator: source of randomness.
        """
        assert self.paired is not None and self.replay_reference is not None
        batch = self.config.batch
        half = (batch + 1) // 2
        now = torch.randint(len(agent), (batch,), generator=generator, device=agent.device)
        then = self.replay.draw(batch, generator)
        fake, condition = torch.cat((agent[now], self.replay.data[then])).split((self.size, self.condition), dim=1)
        # the partners of half of each kind, so that there are as many clips as rows of a kind
        partners = torch.cat((reference[now[:half]], self.replay_reference.data[then[: batch - half]]))
        wanted = torch.cat((condition[:half], condition[batch : 2 * batch - half]))
        real, real_condition = self.paired(wanted, partners[:, 0], generator)
        return real, fake, real_condition, condition

    def conditions(
        self, rows: Tensor, condition: Tensor, reference: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Conditions ``[B, K]`` of clips and ``[2B, K]`` of the agent in a batch of :meth:`update`; trains nothing."""
        agent = torch.cat((rows, condition), dim=1)
        _, _, real, fake = self._paired_batch(agent, reference[:, None], generator)
        return real, fake

    def _demo_batch(self, n: int) -> Tensor:
        if self.demo_buffer is None:
            return self.demos(n, self.generator)
        return self.demo_buffer.sample(n, self.generator)

    def _step(
        self,
        real: Tensor,
        fake: Tensor,
        real_condition: Tensor | None = None,
        fake_condition: Tensor | None = None,
    ) -> dict[str, Tensor]:
        c, net = self.config, self.discriminator
        clips = self._input(real)
        real_logits, gradient = net.with_input_gradient(clips, real_condition)
        fake_logits = net(self._input(fake), fake_condition)
        classification = losses.classification(real_logits, fake_logits, c.loss)
        wrong_logits = None
        if c.mismatch > 0 and net.conditioning != "none" and real_condition is not None:
            # natural motion, but not what was commanded: neighbours in a batch are strangers to each other
            wrong_logits = net(clips, real_condition.roll(1, dims=0))
            classification = classification + c.mismatch * losses.rejection(wrong_logits, c.loss)
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
        wrong = {} if wrong_logits is None else {"disc_mismatch_logit": wrong_logits.detach().mean()}
        return {
            **wrong,
            "disc_loss": classification.detach(),
            "disc_grad_penalty": penalty.detach(),
            "disc_demo_accuracy": real_right,
            "disc_agent_accuracy": fake_right,
            "disc_demo_logit": real_logits.detach().mean(),
            "disc_agent_logit": fake_logits.detach().mean(),
        }

    def _store(self, rows: Tensor, reference: Tensor | None = None) -> None:
        """All rows while there is room, a share of them afterwards, so that the buffer spans many iterations."""
        if len(self.replay) >= self.replay.capacity and self.config.replay_keep < 1.0:
            keep = torch.rand(len(rows), generator=self.generator, device=rows.device) < self.config.replay_keep
            rows, reference = rows[keep], None if reference is None else reference[keep]
        self.replay.add(rows)
        if self.replay_reference is not None and reference is not None:
            self.replay_reference.add(reference)

    def state_dict(self) -> dict[str, Any]:
        """Everything that resuming needs."""
        demos = {} if self.demo_buffer is None else {"demo_buffer": self.demo_buffer.state_dict()}
        if self.replay_reference is not None:
            demos["replay_reference"] = self.replay_reference.state_dict()
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
        if self.replay_reference is not None:
            self.replay_reference.load_state_dict(state["replay_reference"])
        self.generator.set_state(state["generator"].cpu())
