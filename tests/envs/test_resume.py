"""A saved environment goes on exactly where it was."""

from __future__ import annotations

import io

import pytest
import torch

from isaacmm.errors import SimulatorError
from tests.helpers import PuppetSimulator, make_env, mujoco

N = 6


def go_on(env: object, steps: int, seed: int) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    out = []
    for _ in range(steps):
        obs, reward, terminated, truncated, info = env.step(0.3 * torch.randn(N, 28, generator=g))
        out += [obs.flatten(), reward, terminated.float(), truncated.float(), info["amp_obs"].flatten(),
                info["final_obs"].flatten(), env.demo_obs(2).flatten()]  # fmt: skip
    return torch.cat(out)


@pytest.mark.parametrize("mode", ["none", "residual"])
def test_bit_for_bit(mode: str) -> None:
    settings = {
        "reference": mode,
        "command__resample_seconds": [0.2, 0.4],
        "episode_seconds": 1.0,
        "amp_frames": 3,
    }
    env = make_env(N, seed=3, simulator=mujoco(N), **settings)
    env.reset()
    go_on(env, 25, seed=1)  # falls, time-outs and new commands behind it
    file = io.BytesIO()
    torch.save(env.state_dict(), file)
    seen = env.current_observation().clone()
    expected = go_on(env, 40, seed=2)

    other = make_env(N, seed=99, simulator=mujoco(N), **settings)
    other.reset()
    go_on(other, 3, seed=5)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other.current_observation(), seen)
    assert torch.equal(go_on(other, 40, seed=2), expected)


def test_saved_state_is_a_copy() -> None:
    env = make_env(N, simulator=mujoco(N))
    env.reset()
    state = env.state_dict()
    before = {name: value.clone() for name, value in state.items() if isinstance(value, torch.Tensor)}
    go_on(env, 20, seed=1)
    for name, value in before.items():
        assert torch.equal(value, state[name]), name


def test_another_number_of_worlds_is_refused() -> None:
    env, other = make_env(6), make_env(4)
    env.reset()
    with pytest.raises(SimulatorError, match="has 6 worlds, this one 4; resume with num_envs=6"):
        other.load_state_dict(env.state_dict())


def test_without_snapshots_worlds_start_afresh() -> None:
    env, other = make_env(4), make_env(4, seed=8)
    env.reset()
    env.step(torch.zeros(4, 28))
    assert isinstance(other.simulator, PuppetSimulator)
    other.load_state_dict(env.state_dict())
    assert other.simulator.resets == [[0, 1, 2, 3]]
    assert other.steps.tolist() == [0] * 4
    assert torch.isfinite(other.current_observation()).all()
