"""Collecting a horizon of transitions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from isaacmm.learn.arithmetic import products

if TYPE_CHECKING:
    from isaacmm.learn.rl_games.agent import AMPAgent


@dataclass
class Batch:
    """``T`` steps of ``N`` worlds; everything ``[T, N, ...]``."""

    obs: Tensor
    actions: Tensor
    mus: Tensor
    sigmas: Tensor
    neglogp: Tensor
    values: Tensor
    next_values: Tensor
    task_reward: Tensor
    amp_obs: Tensor
    condition: Tensor
    reference: Tensor
    dones: Tensor
    truncated: Tensor
    diverged: Tensor
    episode_steps: Tensor
    speed_error: Tensor
    heading_error: Tensor
    last_obs: Tensor
    physics_seconds: float
    advantages: Tensor = field(default_factory=lambda: torch.empty(0))
    returns: Tensor = field(default_factory=lambda: torch.empty(0))

    @property
    def samples(self) -> int:
        """``T * N``."""
        return self.dones.numel()


class Rollouts:
    """Steps an agent's environment; buffers are allocated once and reused."""

    def __init__(self, agent: AMPAgent) -> None:
        self.agent = agent
        self._buffers: dict[str, Tensor] = {}

    def _put(self, name: str, step: int, value: Tensor) -> None:
        buffer = self._buffers.get(name)
        if buffer is None:
            shape = (self.agent.horizon_length, *value.shape)
            buffer = self._buffers[name] = torch.zeros(shape, dtype=value.dtype, device=value.device)
        buffer[step] = value

    def _late_finals(self) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Steps, worlds and last observations of all time-outs of a horizon; waits for the device."""
        step, worlds = self._buffers["truncated"].nonzero(as_tuple=True)
        return [(step, worlds, self._buffers["final_obs"][step, worlds])] if len(worlds) else []

    def collect(self, obs: Tensor) -> Batch:
        """A horizon of transitions from observation ``obs [N, O]`` on.

        On a CPU torch keeps to one thread meanwhile: these tensors are small, and threads that torch
        leaves waiting between them take the cores from the physics.
        """
        threads = torch.get_num_threads()
        if obs.device.type == "cpu":
            torch.set_num_threads(1)
        try:
            return self._collect(obs)
        finally:
            torch.set_num_threads(threads)

    @torch.no_grad()
    def _collect(self, obs: Tensor) -> Batch:
        agent, env = self.agent, self.agent.env
        finals: list[tuple[int | Tensor, Tensor, Tensor]] = []
        physics = env.physics_seconds
        for t in range(agent.horizon_length):
            with products(agent.precision):
                out = agent.model.act(obs)
            self._put("obs", t, obs)
            for name, value in out.items():
                self._put(name, t, value)
            obs, reward, terminated, truncated, info = env.step(out["actions"])
            self._put("task_reward", t, reward)
            self._put("amp_obs", t, info["amp_obs"])
            self._put("condition", t, info["condition"])
            self._put("reference", t, info["reference"])
            self._put("dones", t, terminated | truncated)
            self._put("truncated", t, truncated)
            self._put("diverged", t, info["diverged"])
            self._put("episode_steps", t, info["episode_steps"])
            self._put("speed_error", t, info["reward_terms"]["speed_error"])
            self._put("heading_error", t, info["reward_terms"]["heading_error"])
            if env.sync_free:  # which worlds ran out of time is asked once, at the end
                self._put("final_obs", t, info["final_obs"])
                continue
            worlds = truncated.nonzero().flatten()
            if len(worlds):
                finals.append((t, worlds, info["final_obs"][worlds]))
        if env.sync_free:
            finals = [*self._late_finals()]
        # all values at once, which the physics need not wait for
        dones = self._buffers["dones"]
        seen = torch.cat((self._buffers["obs"].flatten(0, 1), obs, *(rows for _, _, rows in finals)))
        with products(agent.precision):
            steps = agent.workers.by_halves(agent.model.values, seen)
        values, last, at_end = steps.split((dones.numel(), len(obs), len(steps) - dones.numel() - len(obs)))
        values = values.view_as(dones)
        next_values = torch.cat((values[1:], last[None])) * (~dones)
        if finals:
            # time-outs continue in the mind: value of the true last observation, not of the reset one
            t_index = torch.cat([torch.zeros_like(worlds) + t for t, worlds, _ in finals])
            next_values[t_index, torch.cat([worlds for _, worlds, _ in finals])] = at_end
        fields: dict[str, Any] = {name: buffer for name, buffer in self._buffers.items() if name != "final_obs"}
        spent = env.physics_seconds - physics
        return Batch(**fields, values=values, next_values=next_values, last_obs=obs, physics_seconds=spent)
