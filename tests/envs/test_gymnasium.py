"""The habits of gymnasium's vector environments: spaces, seeds, shapes; and worlds that do not touch."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch

from isaacmm.errors import SimulatorError
from isaacmm.state import ResetState
from tests.helpers import make_env, mujoco

N = 6


def rollout(env: object, steps: int = 40, seed: int | None = None) -> torch.Tensor:
    """Everything an agent gets, of a fixed run of actions."""
    g = torch.Generator().manual_seed(9)
    out = [env.reset(seed=seed)[0].flatten()]
    for _ in range(steps):
        obs, reward, terminated, truncated, info = env.step(0.3 * torch.randn(env.num_envs, 28, generator=g))
        out += [obs.flatten(), reward, terminated.float(), truncated.float(), info["amp_obs"].flatten()]
    return torch.cat(out)


def test_spaces_and_shapes() -> None:
    env = make_env(N, simulator=mujoco(N))
    assert isinstance(env, gym.vector.VectorEnv)
    assert env.metadata["autoreset_mode"] == gym.vector.AutoresetMode.SAME_STEP
    obs, info = env.reset(seed=1)
    assert isinstance(info, dict)
    assert env.observation_space.contains(obs.numpy())
    assert env.single_observation_space.contains(obs[0].numpy())
    env.action_space.seed(0)
    obs, reward, terminated, truncated, info = env.step(env.action_space.sample())  # numpy is taken as well
    assert env.observation_space.contains(obs.numpy())
    assert obs.dtype == reward.dtype == torch.float32
    assert reward.shape == terminated.shape == truncated.shape == (N,)
    assert terminated.dtype == truncated.dtype == torch.bool
    assert info["amp_obs"].shape == (N, *env.amp_observation_space.shape)
    assert info["final_obs"].shape == obs.shape
    assert all(term.shape == (N,) for term in info["reward_terms"].values())
    env.close()
    with pytest.raises(SimulatorError, match="closed"):
        env.step(torch.zeros(N, 28))


@pytest.mark.parametrize(("kind", "limit"), [("radians", np.pi), ("classic", 1.0)])
def test_action_space(kind: str, limit: float) -> None:
    space = make_env(action=kind).single_action_space
    assert space.shape == (28,)
    assert float(space.high[0]) == pytest.approx(limit) and float(space.low[0]) == pytest.approx(-limit)


def test_same_seed_same_run() -> None:
    a, b = (rollout(make_env(N, seed=1, simulator=mujoco(N)), seed=7) for _ in range(2))
    assert torch.equal(a, b)
    env = make_env(N, seed=55, simulator=mujoco(N))
    rollout(env, 10)
    assert torch.equal(rollout(env, seed=7), a)  # a used environment, seeded again


def test_other_seed_other_run() -> None:
    a, b = (rollout(make_env(N, seed=s, simulator=mujoco(N)), 2) for s in (1, 2))
    assert not torch.equal(a, b)


def test_seed_of_the_constructor_counts() -> None:
    a, b = (rollout(make_env(N, seed=4, simulator=mujoco(N)), 2) for _ in range(2))
    assert torch.equal(a, b)


def _placed(order: list[int]) -> tuple[object, torch.Tensor]:
    """An environment whose world ``i`` is in the state that world ``order[i]`` of a reference has."""
    reference = make_env(N, seed=2, simulator=mujoco(N), command__resample_seconds=[50, 60])
    reference.reset()
    env = make_env(N, seed=2, simulator=mujoco(N), command__resample_seconds=[50, 60])
    env.reset()
    perm = torch.tensor(order)
    rows = reference.playhead[perm]
    state: ResetState = reference.table.reset_state(rows)
    env.simulator.reset(torch.arange(N), state)
    env.playhead, env.history, env.root_yaw = rows, reference.history[perm], reference.root_yaw[perm]
    env.command.yaw, env.command.speed = reference.command.yaw[perm], reference.command.speed[perm]
    return env, perm


def test_worlds_do_not_know_their_number() -> None:
    """Shuffling the worlds shuffles everything that comes out, bit for bit."""
    plain, _ = _placed(list(range(N)))
    shuffled, perm = _placed([3, 5, 0, 1, 4, 2])
    g = torch.Generator().manual_seed(9)
    for _ in range(12):
        actions = 0.2 * torch.randn(N, 28, generator=g)
        a, b = plain.step(actions), shuffled.step(actions[perm])
        if (a[2] | a[3]).any():
            break  # resets draw from one generator, in the order of worlds
        assert torch.equal(a[0][perm], b[0]) and torch.equal(a[1][perm], b[1])
        assert torch.equal(a[4]["amp_obs"][perm], b[4]["amp_obs"])
    else:
        return
    pytest.fail("a world fell: choose calmer actions")


def test_one_worlds_actions_reach_no_other() -> None:
    runs = []
    for wild in (False, True):
        env, _ = _placed(list(range(N)))
        g = torch.Generator().manual_seed(9)
        for _ in range(12):
            actions = 0.2 * torch.randn(N, 28, generator=g)
            if wild:
                actions[4] += 0.4
            out = env.step(actions)
        runs.append(out)
    others = [0, 1, 2, 3, 5]
    assert torch.equal(runs[0][0][others], runs[1][0][others])
    assert torch.equal(runs[0][1][others], runs[1][1][others])
    assert not torch.equal(runs[0][0][4], runs[1][0][4])


def test_a_reset_of_one_world_leaves_the_others_alone() -> None:
    env, _ = _placed(list(range(N)))
    env.step(torch.zeros(N, 28))
    before = env.current_observation().clone()
    env._reset(torch.tensor([2]))
    after = env.current_observation()
    others = [0, 1, 3, 4, 5]
    assert torch.equal(before[others], after[others]) and not torch.equal(before[2], after[2])
