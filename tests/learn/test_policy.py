"""The policy that is played and exported is the agent's own, without its machinery."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from isaacmm.errors import CheckpointError
from isaacmm.learn import checkpoint
from isaacmm.learn.policy import Policy
from isaacmm.learn.train import content_of


def trained(tiny_agent: Any, tmp_path: Path, **changes: Any) -> tuple[Any, dict[str, Any]]:
    agent, cfg = tiny_agent(**changes)
    agent.start()
    for _ in range(2):
        agent.iterate()
    path = tmp_path / "last.pth"
    checkpoint.save(path, content_of(agent, cfg))
    return agent, checkpoint.load(path)


@pytest.mark.parametrize("activation", ["relu", "elu", "tanh", "swish"])
def test_best_action_is_the_agents(tiny_agent: Any, tmp_path: Path, activation: str) -> None:
    agent, content = trained(tiny_agent, tmp_path, train__params__network__mlp__activation=activation)
    policy = Policy.from_checkpoint(content)
    obs = agent.env.demo_obs(200)[:, :84] * 1.7 + 0.1  # also far outside of what was seen
    agent.model.eval()
    with torch.no_grad():
        out = agent.model({"is_train": False, "prev_actions": None, "obs": obs.clone(), "rnn_states": None})
        got = policy(obs)
    torch.testing.assert_close(got, out["mus"], atol=2e-5, rtol=1e-5)
    assert float(got.std(dim=0).mean()) > 1e-4  # and not a constant
    torch.testing.assert_close(policy.sigma, out["sigmas"][0])
    assert policy.observation_size == 84 and policy.action_size == 28


def test_normalisation_is_inside(tiny_agent: Any, tmp_path: Path) -> None:
    agent, content = trained(tiny_agent, tmp_path)
    policy = Policy.from_checkpoint(content)
    statistics = agent.model.running_mean_std
    torch.testing.assert_close(policy.mean, statistics.running_mean.float())
    assert float(policy.mean.abs().max()) > 0.1
    far = torch.full((1, 84), 1e6)
    torch.testing.assert_close(policy(far), policy(2 * far))  # clipped at five deviations


def test_sampling_has_the_training_noise(tiny_agent: Any, tmp_path: Path) -> None:
    _, content = trained(tiny_agent, tmp_path)
    policy = Policy.from_checkpoint(content)
    obs = torch.zeros(4000, 84)
    actions = policy.sample(obs, torch.Generator().manual_seed(0))
    torch.testing.assert_close(actions.std(dim=0), policy.sigma, rtol=0.1, atol=0)
    torch.testing.assert_close(actions.mean(dim=0), policy(obs)[0].detach(), atol=0.02, rtol=0)


def test_without_normalisation(tiny_agent: Any, tmp_path: Path) -> None:
    _, content = trained(tiny_agent, tmp_path, train__params__config__normalize_input=False)
    policy = Policy.from_checkpoint(content)
    assert torch.equal(policy.mean, torch.zeros(84))
    torch.testing.assert_close(policy.scale, torch.ones(84), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "content", [{}, {"model": {}}, {"model": {"other.weight": torch.zeros(1)}}, {"model": 3}]
)
def test_no_policy_inside(content: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match="holds no policy"):
        Policy.from_checkpoint(content)
