"""The trainer against an independent implementation in plain torch (benchmarks/bare_loop.py)."""

from __future__ import annotations

import importlib.util
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.helpers import PuppetSimulator
from tests.launcher import ROOT


@pytest.fixture(scope="module")
def bare_loop() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bare_loop", ROOT / "benchmarks" / "bare_loop.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def off_by(a: list[Tensor], b: list[Tensor], before: list[Tensor]) -> float:
    """How far two results are apart, as a share of the way both went."""
    apart = sum(float(((x - y) ** 2).sum()) for x, y in zip(a, b, strict=True)) ** 0.5
    way = sum(float(((x - y) ** 2).sum()) for x, y in zip(a, before, strict=True)) ** 0.5
    assert way > 1e-3
    return apart / way


def test_an_iteration_of_ppo(tiny_agent: Any, bare_loop: ModuleType) -> None:
    """Same weights, same rollout, same shuffling: after eight Adam steps the same weights."""
    agent, _ = tiny_agent(
        train__params__config__mini_epochs=4,
        train__params__config__learning_rate=1e-3,
        train__params__config__e_clip=0.02,  # so that clipping happens
        train__params__config__grad_norm=0.3,  # and so does this
        train__params__config__bounds_loss_coef=0.1,
        train__params__config__advantage_clip=1.5,
        task__env__episode_seconds=0.2,
    )
    agent.start()
    agent.model.eval()
    batch = agent.rollouts.collect(agent.obs)
    assert batch.dones.any() and batch.truncated.any()
    bare = bare_loop.BareLoop(agent, PuppetSimulator(8))
    before = [p.detach().clone() for p in bare.parameters]
    shuffle = torch.Generator()
    shuffle.set_state(agent.shuffle.get_state())
    names = ("obs", "actions", "mus", "neglogp", "values", "next_values", "task_reward", "dones", "amp_obs")
    copies = {name: getattr(batch, name).clone() for name in names}

    agent._rewards_and_advantages(batch)
    stats = agent._update_policy(batch)
    bare.learn(copies, [torch.randperm(64, generator=shuffle) for _ in range(4)])

    network = agent.model.a2c_network
    layers = [network.actor_mlp, network.mu, network.critic_mlp, network.value]
    ours = [p.detach() for layer in layers for p in layer.parameters()]
    theirs = [p.detach() for p in bare.parameters]
    assert off_by(ours, theirs, before) < 2e-3
    torch.testing.assert_close(
        agent.model.running_mean_std.running_var, bare.running_mean_std.var, rtol=1e-5, atol=1e-7
    )
    torch.testing.assert_close(
        agent.model.value_mean_std.running_mean, bare.value_mean_std.mean, rtol=1e-5, atol=1e-7
    )
    # rl-games adds 1e-5 to the variance for safety, which costs 28 * 0.5e-5 / sigma^2 = 0.006 at 0.15 rad
    assert bare.kl > 0.01 and stats["kl"] == pytest.approx(bare.kl, abs=0.0065)


def test_a_step_of_the_discriminator(tiny_agent: Any, bare_loop: ModuleType) -> None:
    agent, _ = tiny_agent(train__params__config__disc_grad_penalty=2, train__params__config__disc_coef=3)
    bare = bare_loop.BareLoop(agent, PuppetSimulator(8))
    before = [p.detach().clone() for p in bare.judge.parameters()]
    g = torch.Generator().manual_seed(0)
    for _ in range(3):
        real = agent.env.demo_obs(32, g)
        fake = real + torch.randn(real.shape, generator=g)
        agent.style._step(real, fake)
        bare.judge_step(real, fake)
    ours, theirs = ([p.detach() for p in net.parameters()] for net in (agent.style.discriminator, bare.judge))
    assert off_by(ours, theirs, before) < 2e-3


def test_the_opinion_can_differ(tiny_agent: Any, bare_loop: ModuleType) -> None:
    """Without the clip of the ratio the two part ways: the comparison above sees such things."""
    agent, _ = tiny_agent(train__params__config__mini_epochs=4, train__params__config__learning_rate=1e-3,
                          train__params__config__e_clip=0.02)  # fmt: skip
    agent.start()
    agent.model.eval()
    batch = agent.rollouts.collect(agent.obs)
    bare = bare_loop.BareLoop(agent, PuppetSimulator(8))
    before = [p.detach().clone() for p in bare.parameters]
    names = ("obs", "actions", "mus", "neglogp", "values", "next_values", "task_reward", "dones", "amp_obs")
    copies = {name: getattr(batch, name).clone() for name in names}
    shuffle = torch.Generator()
    shuffle.set_state(agent.shuffle.get_state())
    agent.e_clip = 10.0
    agent._rewards_and_advantages(batch)
    agent._update_policy(batch)
    bare.learn(copies, [torch.randperm(64, generator=shuffle) for _ in range(4)])
    network = agent.model.a2c_network
    layers = [network.actor_mlp, network.mu, network.critic_mlp, network.value]
    ours = [p.detach() for layer in layers for p in layer.parameters()]
    assert off_by(ours, [p.detach() for p in bare.parameters], before) > 0.02
