"""What the agent learns from: the transitions as they were, and returns that know how an episode ended."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from isaacmm.errors import CheckpointError, SimulatorError
from isaacmm.learn import checkpoint, train
from isaacmm.learn.rl_games.rollout import Batch

SHORT = {"task__env__episode_seconds": 0.2, "task__env__termination__head_height": 0.0}


def collected(agent: Any) -> tuple[Batch, list[dict[str, Any]]]:
    """One rollout, and what the environment said at each of its steps."""
    said: list[dict[str, Any]] = []
    step = agent.env.step

    def listen(actions: torch.Tensor) -> Any:
        out = step(actions)
        said.append({"obs": out[0].clone(), "terminated": out[2], "truncated": out[3], **out[4]})
        return out

    agent.env.step = listen
    agent.start()
    agent.model.eval()
    batch = agent.rollouts.collect(agent.obs)
    agent.env.step = step
    return batch, said


def value_of(agent: Any, obs: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return agent.model({"is_train": False, "prev_actions": None, "obs": obs, "rnn_states": None})[
            "values"
        ][:, 0]


def test_ends_in_a_rollout(tiny_agent: Any) -> None:
    """Six-step episodes end by the clock: their value goes on, that of falls does not."""
    agent, _ = tiny_agent(**SHORT, task__env__termination__pelvis_height=0.83)
    batch, said = collected(agent)
    falls = torch.stack([s["terminated"] for s in said])
    late = torch.stack([s["truncated"] for s in said])
    assert falls.any() and late.any()
    assert torch.equal(batch.dones, falls | late) and torch.equal(batch.truncated, late)
    assert (batch.next_values[falls] == 0).all()
    for t, world in late.nonzero().tolist():
        expected = value_of(agent, said[t]["final_obs"][world : world + 1])
        torch.testing.assert_close(batch.next_values[t, world : world + 1], expected, atol=1e-5, rtol=0)
        assert (
            float((batch.next_values[t, world] - value_of(agent, said[t]["obs"][world : world + 1])).abs())
            > 1e-7
        )
    following = torch.cat((batch.values[1:], value_of(agent, batch.last_obs)[None]))
    going = ~batch.dones
    torch.testing.assert_close(batch.next_values[going], following[going], atol=1e-5, rtol=0)
    for t, step in enumerate(said):
        assert torch.equal(batch.amp_obs[t], step["amp_obs"])
        if t + 1 < len(said):
            assert torch.equal(batch.obs[t + 1], step["obs"])


def test_style_is_judged_on_the_last_moment_itself(tiny_agent: Any) -> None:
    """A fallen character's reward is that of its fall, not of the clip it is put into."""
    agent, _ = tiny_agent(task__env__termination__pelvis_height=0.84)
    batch, said = collected(agent)
    falls = torch.stack([s["terminated"] for s in said])
    assert falls.any()
    size = agent.env.observe.size
    assert (batch.amp_obs[falls][:, 0] < 0.84).all()  # height, newest frame first
    assert torch.equal(batch.amp_obs[falls][:, size], batch.obs[falls][:, 0])  # one step before


def test_a_world_that_blew_up_earns_no_style(tiny_agent: Any) -> None:
    agent, _ = tiny_agent(train__params__config__reward_combine="add")
    batch, _ = collected(agent)
    sound = agent._rewards_and_advantages(batch)["style_reward"]
    batch.diverged[:] = True
    assert sound > 0 and agent._rewards_and_advantages(batch)["style_reward"] == 0.0


def test_log_probabilities_are_of_the_actions_taken(tiny_agent: Any) -> None:
    agent, _ = tiny_agent()
    batch, _ = collected(agent)
    normal = torch.distributions.Normal(batch.mus, batch.sigmas)
    torch.testing.assert_close(batch.neglogp, -normal.log_prob(batch.actions).sum(-1), atol=1e-3, rtol=0)
    assert float(batch.sigmas[0, 0, 0]) == pytest.approx(math.exp(-1.9), rel=1e-5)


def test_spread_of_actions_is_not_learned(tiny_agent: Any) -> None:
    agent, _ = tiny_agent()
    agent.start()
    before = agent.model.a2c_network.sigma.clone()
    agent.iterate()
    assert torch.equal(agent.model.a2c_network.sigma, before)
    assert not agent.model.a2c_network.sigma.requires_grad


def test_an_iteration_changes_all_networks_and_counts(tiny_agent: Any) -> None:
    agent, _ = tiny_agent()
    agent.start()
    before = {name: value.clone() for name, value in agent.model.state_dict().items()}
    judge = {name: value.clone() for name, value in agent.style.discriminator.state_dict().items()}
    stats = agent.iterate()
    for name, value in agent.model.state_dict().items():
        if name != "a2c_network.sigma":
            assert not torch.equal(value, before[name]), name
    for name, value in agent.style.discriminator.state_dict().items():
        assert not torch.equal(value, judge[name]), name
    assert stats["samples"] == 64 and stats["iteration"] == 1
    # every sample enters the statistics once: the first count is rl-games' own
    assert float(agent.model.running_mean_std.count) == 1 + 64
    assert stats["time_physics"] + stats["time_inference"] + stats["time_learning"] == pytest.approx(1.0)
    assert all(math.isfinite(value) for value in stats.values())


def test_same_seed_same_training(tiny_agent: Any) -> None:
    def rewards(seed: int) -> list[float]:
        agent, _ = tiny_agent(seed=seed)
        agent.start()
        return [agent.iterate()["reward"] for _ in range(3)]

    first = rewards(5)
    assert rewards(5) == first and rewards(6) != first


def save(agent: Any, cfg: Any, path: Path) -> dict[str, Any]:
    checkpoint.save(path, train.content_of(agent, cfg))
    return checkpoint.load(path)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"train__params__network__mlp__units": "[32,8]"}, "'a2c_network.actor_mlp.2.weight' of the policy"),
        ({"train__params__network__disc__units": "[32,8]"}, "'hidden.1.weight' of the discriminator"),
        ({"task__env__reference": "observe"}, "of the policy"),
        ({"task__env__amp_frames": 3}, "'hidden.0.weight' of the discriminator"),
        ({"task__env__dof_observation": "tan_norm"}, "of the policy"),
    ],
)
def test_a_checkpoint_of_another_network_is_refused(
    tiny_agent: Any, tmp_path: Path, change: dict[str, Any], what: str
) -> None:
    path = tmp_path / "last.pth"
    content = save(*tiny_agent(), path)
    other, _ = tiny_agent(**change)
    with pytest.raises(CheckpointError, match="does not fit this configuration") as caught:
        train.check_fits(other, content, path)
    assert what in str(caught.value) and str(path) in str(caught.value)


def test_a_checkpoint_without_networks_is_refused(tiny_agent: Any, tmp_path: Path) -> None:
    agent, _ = tiny_agent()
    with pytest.raises(CheckpointError, match="holds no policy"):
        train.check_fits(agent, {}, tmp_path)
    with pytest.raises(CheckpointError, match="holds no discriminator"):
        train.check_fits(agent, {"model": agent.model.state_dict()}, tmp_path)


def test_weights_alone_can_start_a_new_run(tiny_agent: Any, tmp_path: Path) -> None:
    agent, cfg = tiny_agent()
    agent.start()
    agent.iterate()
    content = save(agent, cfg, tmp_path / "last.pth")
    other, _ = tiny_agent(seed=9)
    other.load_weights(content)
    assert other.epoch_num == 0 and other.frame == 0
    for name, value in agent.model.state_dict().items():
        assert torch.equal(value, other.model.state_dict()[name]), name
    assert torch.equal(agent.style.normalizer.mean, other.style.normalizer.mean)


def test_too_many_blown_up_worlds_end_the_training(tiny_agent: Any) -> None:
    agent, _ = tiny_agent()
    agent.start()
    stats = agent.iterate()
    agent.env.diverged_total = 1
    assert train._check_divergence(agent, stats, 0) == 1
    agent.env.diverged_total = 40
    with pytest.raises(SimulatorError, match="blew up 39 times"):
        train._check_divergence(agent, stats, 1)
