"""AMP with PPO as bare as it gets: one file of torch, no rl-games, no abstractions, the same arithmetic.

The yardstick of ``benchmarks/training.py``, and an independent second opinion on the trainer: from the same
weights and the same rollout it must arrive at the same new weights (tests/learn/test_second_opinion.py).
Shared with the trainer are only the simulator, the observation function and the table of clip states.
"""

from __future__ import annotations

import copy
import math
import time
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from isaacmm import rotation
from isaacmm.learn.rl_games.agent import AMPAgent
from isaacmm.sim.simulator import Simulator


class Statistics:
    """Running mean and variance of columns, Chan et al. 1983."""

    def __init__(self, mean: Tensor, var: Tensor, count: Tensor) -> None:
        self.mean, self.var, self.count = mean.clone(), var.clone(), count.clone()

    def update(self, x: Tensor, double: bool = False) -> None:
        x = x.double() if double else x
        n, mean, var = len(x), x.mean(0), x.var(0, unbiased=False)
        total = self.count + n
        delta = mean - self.mean
        self.var = (self.var * self.count + var * n + delta**2 * self.count * n / total) / total
        self.mean, self.count = self.mean + delta * n / total, total

    def __call__(self, x: Tensor) -> Tensor:
        return ((x - self.mean.float()) / torch.sqrt(self.var.float() + 1e-5)).clamp(-5.0, 5.0)

    def undo(self, x: Tensor) -> Tensor:
        return x.clamp(-5.0, 5.0) * torch.sqrt(self.var.float() + 1e-5) + self.mean.float()


def _mlp(model: Any, body: str, head: str) -> nn.Sequential:
    """A copy of one of rl-games' networks."""
    layers = [copy.deepcopy(m) for m in getattr(model.a2c_network, body)]
    return nn.Sequential(*layers, copy.deepcopy(getattr(model.a2c_network, head)))


class BareLoop:
    """Starts from an agent's present weights and statistics, with worlds of its own.

    For the settings of the CPU preset: steering reward, ``mul``, bce, constant spread, no reference.
    """

    def __init__(self, agent: AMPAgent, simulator: Simulator) -> None:
        c, env = agent.config, agent.env
        self.c, self.env, self.sim = c, env, simulator
        self.actor, self.critic = (
            _mlp(agent.model, "actor_mlp", "mu"),
            _mlp(agent.model, "critic_mlp", "value"),
        )
        self.sigma = agent.model.a2c_network.sigma.detach().exp()
        self.parameters = [*self.actor.parameters(), *self.critic.parameters()]
        self.adam = torch.optim.Adam(self.parameters, lr=float(agent.last_lr), eps=1e-8, fused=True)
        for name in ("running_mean_std", "value_mean_std"):
            s = getattr(agent.model, name)
            setattr(self, name, Statistics(s.running_mean, s.running_var, s.count))
        style = agent.style
        self.s = style.config
        self.judge = copy.deepcopy(style.discriminator)
        self.judge_adam = torch.optim.Adam(self.judge.parameters(), lr=self.s.learning_rate, fused=True)
        self.judge_norm = Statistics(style.normalizer.mean, style.normalizer.var, style.normalizer.count)
        self.replay, self.filled, self.next = torch.zeros(self.s.replay, env.amp_observation_size), 0, 0
        self.physics = 0.0
        n = env.num_envs
        self.steps, self.yaw = torch.zeros(n, dtype=torch.int64), torch.zeros(n)
        self.goal, self.speed, self.left = torch.zeros(n), torch.zeros(n), torch.zeros(n, dtype=torch.int64)
        self.history = torch.zeros(n, env.amp_frames, env.observe.size)
        self.reset(torch.arange(n))

    # ------------------------------------------------------------------ worlds
    def reset(self, ids: Tensor) -> None:
        table, command = self.env.table, self.env.command
        rows = table.sample(len(ids))
        self.sim.reset(ids, table.reset_state(rows))
        self.history = self.history.index_put((ids,), table.histories(rows))
        self.steps[ids] = 0
        self.yaw[ids] = self.goal[ids] = table.yaw[rows]
        first = self.env.clip_speeds[table.clip[rows]] + 0.2 * (torch.rand(len(ids)) - 0.5)
        self.speed[ids] = first.clamp(*command.range)
        self.left[ids] = torch.randint(command.resample_steps[0], command.resample_steps[1] + 1, (len(ids),))

    def observation(self) -> Tensor:
        turn = self.goal - self.yaw
        command = torch.stack((torch.cos(turn), torch.sin(turn), self.speed), dim=1)
        return torch.cat((self.history[:, 0], command), dim=1)

    def step(self, actions: Tensor) -> tuple[Tensor, ...]:
        env = self.env
        begin = time.perf_counter()
        self.sim.step(actions)
        state = self.sim.state()
        self.physics += time.perf_counter() - begin
        lost = self.sim.diverged()
        self.steps += 1
        self.history = torch.cat((env.observe(state)[:, None], self.history[:, :-1]), dim=1)
        self.yaw = rotation.yaw(state.root_rot)
        wanted = self.speed[:, None] * torch.stack((torch.cos(self.goal), torch.sin(self.goal)), dim=1)
        miss = ((state.root_vel[:, :2] - wanted) ** 2).sum(1)
        reward = torch.exp(-env.sharpness * miss - env.facing * (1.0 - torch.cos(self.goal - self.yaw)))
        fallen = (state.body_pos[:, env._falls[0], 2] < env._falls[1]).any(1) | lost
        late = (self.steps >= env.max_steps) & ~fallen
        seen, final = self.history.flatten(1), self.observation()
        self.left -= 1
        due = (self.left <= 0).nonzero().flatten()
        if len(due):
            low, high = env.command.range
            self.speed[due] = low + (high - low) * torch.rand(len(due))
            self.left[due] = torch.randint(
                env.command.resample_steps[0], env.command.resample_steps[1] + 1, (len(due),)
            )
        ids = (fallen | late).nonzero().flatten()
        if len(ids):
            self.reset(ids)
        return reward, fallen, late, seen, final

    # ---------------------------------------------------------------- learning
    def iterate(self) -> None:
        """Rollout, PPO, discriminator."""
        self.judge_update(self.learn(self.rollout()))

    @torch.no_grad()
    def rollout(self) -> dict[str, Tensor]:
        rows: dict[str, list[Tensor]] = {}
        constant = 0.5 * math.log(2.0 * math.pi) * len(self.sigma) + float(self.sigma.log().sum())
        for _ in range(self.c["horizon_length"]):
            obs = self.observation()
            x = self.running_mean_std(obs)
            mu, value = self.actor(x), self.value_mean_std.undo(self.critic(x)).squeeze(1)
            actions = mu + self.sigma * torch.randn_like(mu)
            neglogp = 0.5 * (((actions - mu) / self.sigma) ** 2).sum(1) + constant
            reward, fallen, late, seen, final = self.step(actions)
            after = torch.zeros_like(value)
            if late.any():
                after[late] = self.value_mean_std.undo(
                    self.critic(self.running_mean_std(final[late]))
                ).squeeze(1)
            step = {"obs": obs, "mus": mu, "values": value, "actions": actions, "neglogp": neglogp,
                    "task_reward": reward, "dones": fallen | late, "amp_obs": seen, "after": after}  # fmt: skip
            for name, tensor in step.items():
                rows.setdefault(name, []).append(tensor)
        batch = {name: torch.stack(tensors) for name, tensors in rows.items()}
        last = self.value_mean_std.undo(self.critic(self.running_mean_std(self.observation()))).squeeze(1)
        values, dones = batch["values"], batch["dones"]
        batch["next_values"] = torch.where(dones, batch["after"], torch.cat((values[1:], last[None])))
        return batch

    def learn(self, batch: dict[str, Tensor], orders: list[Tensor] | None = None) -> Tensor:
        """PPO on a rollout; returns its discriminator observations ``[T*N, S]``."""
        c = self.c
        seen = batch["amp_obs"].flatten(0, 1)
        with torch.no_grad():
            logits = self.judge(self.judge_norm(seen)).view_as(batch["values"])
            style = -self.s.reward_scale * torch.log((1.0 - torch.sigmoid(logits)).clamp(min=1e-4))
            reward = batch["task_reward"] * style
            deltas = reward + c["gamma"] * batch["next_values"] - batch["values"]
            advantages, carry = torch.empty_like(deltas), torch.zeros_like(deltas[0])
            for t in range(len(deltas) - 1, -1, -1):
                carry = deltas[t] + c["gamma"] * c["tau"] * (~batch["dones"][t]) * carry
                advantages[t] = carry
            returns = (advantages + batch["values"]).reshape(-1, 1)
            self.value_mean_std.update(returns)
            returns = self.value_mean_std(returns)
            advantages = advantages.flatten()
            advantages = ((advantages - advantages.mean()) / (advantages.std() + 1e-8)).clamp(
                -c["advantage_clip"], c["advantage_clip"]
            )
        flat = {name: batch[name].flatten(0, 1) for name in ("obs", "actions", "mus", "neglogp")}
        constant = 0.5 * math.log(2.0 * math.pi) * len(self.sigma) + float(self.sigma.log().sum())
        for epoch in range(c["mini_epochs"]):
            kls = []
            order = orders[epoch] if orders else torch.randperm(len(seen))
            for ids in order.split(c["minibatch_size"]):
                obs, actions = flat["obs"][ids], flat["actions"][ids]
                if epoch == 0:
                    self.running_mean_std.update(obs)
                x = self.running_mean_std(obs)
                mu, value = self.actor(x), self.critic(x)
                neglogp = 0.5 * (((actions - mu) / self.sigma) ** 2).sum(1) + constant
                ratio = torch.exp(flat["neglogp"][ids] - neglogp)
                gain = advantages[ids]
                clipped = gain * ratio.clamp(1.0 - c["e_clip"], 1.0 + c["e_clip"])
                loss = torch.max(-gain * ratio, -clipped).mean()
                loss = loss + 0.5 * c["critic_coef"] * ((returns[ids] - value) ** 2).mean()
                loss = loss + c["bounds_loss_coef"] * (mu**2).sum(1).mean()
                self.adam.zero_grad(set_to_none=True)
                loss.backward()
                nn.utils.clip_grad_norm_(self.parameters, c["grad_norm"])
                self.adam.step()
                with torch.no_grad():
                    kls.append(0.5 * (((mu - flat["mus"][ids]) / self.sigma) ** 2).sum(1).mean())
        self.kl = float(torch.stack(kls).mean())
        return seen

    def judge_update(self, rows: Tensor) -> None:
        s = self.s
        if not self.filled:
            self.remember(rows)
        for _ in range(s.updates):
            fresh = rows[torch.randint(len(rows), (s.batch,))]
            replayed = self.replay[torch.randint(self.filled, (s.batch,))]
            self.judge_step(self.env.demo_obs(s.batch), torch.cat((fresh, replayed)))
        if s.normalizer == "running":
            self.judge_norm.update(rows, double=True)
            self.judge_norm.update(self.env.demo_obs(len(rows)), double=True)
        self.remember(rows)

    def judge_step(self, real: Tensor, fake: Tensor) -> None:
        """One step of the discriminator on raw observations."""
        s, net = self.s, self.judge
        x, on = self.judge_norm(real), []
        for layer in net.hidden:
            x = torch.relu(layer(x))
            on.append((x > 0).float())
        real_logits, fake_logits = net.logit(x), net(self.judge_norm(fake))
        slope = net.logit.weight * on[-1]
        for k in range(len(net.hidden) - 1, 0, -1):
            slope = (slope @ net.hidden[k].weight) * on[k - 1]
        slope = slope @ net.hidden[0].weight
        weights = [*(layer.weight for layer in net.hidden), net.logit.weight]
        loss = 0.5 * (functional.softplus(-real_logits).mean() + functional.softplus(fake_logits).mean())
        loss = loss + s.gradient_penalty * (slope**2).sum(1).mean() + s.logit_reg * (weights[-1] ** 2).sum()
        loss = s.coef * (loss + s.weight_decay * sum((w**2).sum() for w in weights))
        self.judge_adam.zero_grad(set_to_none=True)
        loss.backward()
        self.judge_adam.step()

    def remember(self, rows: Tensor) -> None:
        first = min(len(rows), len(self.replay) - self.next)
        self.replay[self.next : self.next + first] = rows[:first]
        self.replay[: len(rows) - first] = rows[first:]
        self.next = (self.next + len(rows)) % len(self.replay)
        self.filled = min(len(self.replay), self.filled + len(rows))
