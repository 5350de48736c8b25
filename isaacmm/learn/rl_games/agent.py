"""AMPAgent: PPO by rl-games, with a style reward learned from clips."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from rl_games.algos_torch.a2c_continuous import A2CAgent
from torch import Tensor

from isaacmm.amp.reward import RewardCombiner
from isaacmm.amp.trainer import StyleTrainer
from isaacmm.learn import gae, parallel
from isaacmm.learn.arithmetic import products, without_denormals
from isaacmm.learn.rl_games.rollout import Batch, Rollouts
from isaacmm.learn.schedule import AdaptiveRate
from isaacmm.learn.survival import EpisodeMeter

Stats = dict[str, float]


class AMPAgent(A2CAgent):
    """rl-games supplies networks, normalisers, optimiser and the PPO loss; this adds the rest.

    Per iteration: a rollout; style rewards of its transitions (as they were before any reset) from the
    present discriminator; task and style combined; GAE that is cut at episode ends and bootstraps
    time-outs from the true last observation; PPO epochs over shuffled minibatches; discriminator steps.

    Args:
        base_name: rl-games' name of the run.
        params: rl-games parameters; ``params['config']['style']`` is a :class:`StyleTrainer` and
            ``params['config']['combiner']`` a :class:`RewardCombiner`.
    """

    def __init__(self, base_name: str, params: dict[str, Any]) -> None:
        super().__init__(base_name, params)
        config = params["config"]
        self.env = self.vec_env.env
        self.style: StyleTrainer = config["style"]
        self.combiner: RewardCombiner = config["combiner"]
        self.rate = AdaptiveRate.from_config(config)
        self.advantage_clip = float(config.get("advantage_clip", 0.0))
        self.precision = str(config.get("matmul_precision", "highest"))
        self.rollouts = Rollouts(self)
        self.episodes = EpisodeMeter(self.env.num_envs, self.env.dt, self.ppo_device)
        self.last_lr: float = float(config["learning_rate"])
        self.progress = 0.0
        self.seconds = 0.0
        side_by_side = parallel.wanted(config.get("parallel_update", "auto"), self.ppo_device)
        self.workers = self.model.a2c_network.workers = parallel.Workers(2 if side_by_side else 0)
        if side_by_side:
            torch.set_num_threads(1)  # in between, too: the same bits whatever the number of cores
        self.shuffle = torch.Generator(self.ppo_device).manual_seed(int(params.get("seed") or 0))

    # ------------------------------------------------------------------ train
    def start(self) -> None:
        """First observation of fresh worlds."""
        self.obs = self.env.reset()[0]

    def synchronise(self) -> None:
        """Several processes make their networks alike here; one is alike to itself."""

    @without_denormals()
    def iterate(self) -> Stats:
        """One iteration: rollout, policy update, discriminator update. Returns what is worth logging."""
        begin = time.perf_counter()
        self.epoch_num += 1
        self.model.eval()
        matching = self.env.matching_seconds
        batch = self.rollouts.collect(self.obs)
        self.obs = batch.last_obs
        collected = time.perf_counter()

        stats = self._rewards_and_advantages(batch)
        with products(self.precision):
            parts = self.workers.together(lambda: self._update_policy(batch), lambda: self._update_style(batch))
        for part in parts:
            stats.update(part)
        self.frame += batch.samples
        end = time.perf_counter()
        self.seconds += end - begin

        stats.update(self.episodes.stats())
        stats.update(
            iteration=float(self.epoch_num),
            samples=float(self.frame),
            seconds=self.seconds,
            samples_per_second=batch.samples / (end - begin),
            time_physics=batch.physics_seconds / (end - begin),
            time_matching=(self.env.matching_seconds - matching) / (end - begin),
            time_inference=(collected - begin - batch.physics_seconds) / (end - begin),
            time_learning=(end - collected) / (end - begin),
            learning_rate=float(self.last_lr),
            diverged_worlds=float(self.env.diverged_total),
        )
        return stats

    def _rewards_and_advantages(self, batch: Batch) -> Stats:
        rows, condition = batch.amp_obs.flatten(0, 1), batch.condition.flatten(0, 1)
        with products(self.precision):
            style = self.workers.by_halves(self.style.reward, rows, condition).view_as(batch.task_reward)
        # a world whose physics blew up is no evidence of style
        style = torch.where(batch.diverged, 0.0, style)
        reward = self.combiner(batch.task_reward, style, self.progress)
        batch.advantages = gae.advantages(reward, batch.values, batch.next_values, batch.dones, self.gamma, self.tau)
        batch.returns = batch.advantages + batch.values
        self.episodes.add(batch.dones, batch.episode_steps, batch.truncated)
        return {
            "reward": float(reward.mean()),
            "task_reward": float(batch.task_reward.mean()),
            "style_reward": float(style.mean()),
            "speed_error": float(batch.speed_error.mean()),
            "heading_error": float(batch.heading_error.mean()),
        }

    def _update_style(self, batch: Batch) -> Stats:
        return self.style.update(
            batch.amp_obs.flatten(0, 1), batch.condition.flatten(0, 1), batch.reference.flatten()
        )

    def _update_policy(self, batch: Batch) -> Stats:
        self.set_train()
        data = self._dataset(batch)
        count = data["obs"].shape[0]
        sums = torch.zeros(3, device=self.ppo_device)
        updates = 0
        kl = torch.zeros((), device=self.ppo_device)
        for _ in range(self.mini_epochs_num):
            order = torch.randperm(count, generator=self.shuffle, device=self.ppo_device)
            kls = []
            for ids in order.split(self.minibatch_size):
                self.calc_gradients({name: value[ids] for name, value in data.items()})
                a_loss, c_loss, _, step_kl, _, _, _, _, b_loss = self.train_result
                kls.append(step_kl)
                sums += torch.stack((a_loss, c_loss, b_loss)).detach().view(3)
                updates += 1
            kl = torch.stack(kls).mean()
            if self.normalize_input:
                self.model.running_mean_std.eval()  # every sample counts once in the statistics
        kl = self._step_size(kl)
        self.last_lr = self.rate.update(float(self.last_lr), float(kl))
        self.update_lr(self.last_lr)
        losses = (sums / updates).tolist()
        return dict(zip(("actor_loss", "critic_loss", "bounds_loss"), losses, strict=True)) | {"kl": float(kl)}

    def trancate_gradients_and_step(self) -> None:
        """rl-games' clipping and step, once the critic's gradients are there too."""
        self.model.a2c_network.join()
        super().trancate_gradients_and_step()

    def _normalised(self, advantages: Tensor) -> Tensor:
        """Advantages ``[n]`` with mean 0 and standard deviation 1."""
        return (advantages - advantages.mean()) / (advantages.std() + 1e-8)

    def _step_size(self, kl: Tensor) -> Tensor:
        """How far the policy moved (KL), as the learning rate is told."""
        return kl

    @property
    def diverged(self) -> int:
        """Worlds that blew up so far."""
        return self.env.diverged_total

    @property
    def worlds(self) -> int:
        """Worlds that are learned from."""
        return self.env.num_envs

    def _dataset(self, batch: Batch) -> dict[str, Tensor]:
        """Flat tensors ``[T*N, ...]`` under the names of rl-games' loss."""
        values, returns = batch.values.reshape(-1, 1), batch.returns.reshape(-1, 1)
        advantages = batch.advantages.reshape(-1)
        if self.normalize_value:
            self.value_mean_std.train()
            returns = self.value_mean_std(returns)
            self.value_mean_std.eval()
            values = self.value_mean_std(values)
        if self.normalize_advantage:
            advantages = self._normalised(advantages)
        if self.advantage_clip > 0:
            advantages = advantages.clamp(-self.advantage_clip, self.advantage_clip)
        return {
            "old_values": values,
            "returns": returns,
            "advantages": advantages,
            "old_logp_actions": batch.neglogp.reshape(-1),
            "actions": batch.actions.flatten(0, 1),
            "obs": batch.obs.flatten(0, 1),
            "mu": batch.mus.flatten(0, 1),
            "sigma": batch.sigmas.flatten(0, 1),
        }

    # --------------------------------------------------------------- checkpoint
    def state_dict(self) -> dict[str, Any]:
        """Everything that resuming bit for bit needs."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "style": self.style.state_dict(),
            "env": self.env.state_dict(),
            "episodes": self.episodes.state_dict(),
            "counters": self.counters(),
            "rng": {"torch": torch.get_rng_state(), "shuffle": self.shuffle.get_state()},
        }

    def counters(self) -> dict[str, float]:
        """How far the training is."""
        return {
            "iteration": self.epoch_num,
            "samples": self.frame,
            "seconds": self.seconds,
            "learning_rate": float(self.last_lr),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`; call instead of :meth:`start`."""
        self.load_policy(state)
        self.style.load_state_dict(state["style"])
        self.episodes.load_state_dict(state["episodes"])
        self.env.load_state_dict(state["env"])
        self.obs = self.env.current_observation()
        torch.set_rng_state(state["rng"]["torch"].cpu())
        self.shuffle.set_state(state["rng"]["shuffle"].cpu())

    def load_policy(self, state: dict[str, Any]) -> None:
        """Actor, critic, their normalisers and optimiser, and the counters."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        counters = state["counters"]
        self.epoch_num, self.frame = int(counters["iteration"]), int(counters["samples"])
        self.seconds, self.last_lr = float(counters["seconds"]), float(counters["learning_rate"])
        self.update_lr(self.last_lr)

    def load_weights(self, state: dict[str, Any]) -> None:
        """Networks and statistics only, to start a new run from (fine-tuning)."""
        self.model.load_state_dict(state["model"])
        self.style.discriminator.load_state_dict(state["style"]["discriminator"])
        self.style.normalizer.load_state_dict(state["style"]["normalizer"])


Callback = Callable[[AMPAgent, Stats], None]
