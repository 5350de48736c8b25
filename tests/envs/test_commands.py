"""Where the characters are told to go, and when that changes."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from isaacmm.envs.commands import SteeringCommand
from tests.helpers import library, make_env


def command(
    n: int = 2000, speed: tuple[float, float] = (0.5, 2.0), change: float = 1.0, seconds: Any = (0.5, 1.0)
) -> SteeringCommand:
    made = SteeringCommand(n, speed, change, seconds, 1 / 30, torch.Generator().manual_seed(0))
    made.reset(torch.arange(n), torch.linspace(-3, 3, n))
    return made


def test_a_new_command_is_onwards() -> None:
    made = command()
    torch.testing.assert_close(made.yaw, torch.linspace(-3, 3, 2000))
    assert float(made.speed.min()) >= 0.5 and float(made.speed.max()) <= 2.0
    assert float(made.speed.mean()) == pytest.approx(1.25, abs=0.05) and float(made.speed.std()) > 0.4
    assert set(made.steps_left.tolist()) == set(range(15, 31))  # 0.5 to 1 s of 30 Hz


def test_commands_change_when_their_time_is_up_and_not_before() -> None:
    made = command()
    yaw, speed, left = made.yaw.clone(), made.speed.clone(), made.steps_left.clone()
    for step in range(1, 31):
        made.advance()
        waiting = left > step
        assert torch.equal(made.yaw[waiting], yaw[waiting]) and torch.equal(
            made.speed[waiting], speed[waiting]
        )
        due = left == step
        assert (made.speed[due] != speed[due]).all()
    turned = torch.remainder(made.yaw - yaw + math.pi, 2 * math.pi) - math.pi
    assert float(turned.abs().max()) <= 2.0 + 1e-5  # at most two changes of at most 1 rad
    assert float(turned.abs().max()) > 0.9
    assert (made.yaw.abs() <= math.pi + 1e-6).all()
    assert (made.steps_left > 0).all()


def test_heading_change_zero_keeps_the_direction() -> None:
    made = command(change=0.0)
    before = made.yaw.clone()
    for _ in range(40):
        made.advance()
    torch.testing.assert_close(made.yaw, before, atol=1e-5, rtol=0)


def test_keep_speed() -> None:
    made = command()
    before = made.speed.clone()
    for _ in range(40):
        made.advance(keep_speed=True)
    assert torch.equal(made.speed, before)


def test_partial_reset_touches_only_its_worlds() -> None:
    made = command(6)
    before = made.state_dict()
    ids = torch.tensor([4, 1])
    made.reset(ids, torch.tensor([0.25, -0.5]), torch.tensor([9.0, 8.0]))
    others = [0, 2, 3, 5]
    for name, value in made.state_dict().items():
        assert torch.equal(value[others], before[name][others])
    assert made.yaw[ids].tolist() == [0.25, -0.5] and made.speed[ids].tolist() == [9.0, 8.0]


def test_observation_is_relative_to_the_heading() -> None:
    made = command(3)
    made.yaw, made.speed = torch.tensor([1.0, 1.0, -3.0]), torch.tensor([0.7, 0.8, 0.9])
    got = made.observation(torch.tensor([1.0, 1.0 - math.pi / 2, 3.0]))
    # straight ahead; to the left; across the seam at pi: 2 pi - 6 = 0.283 rad
    expected = torch.tensor([[1.0, 0.0, 0.7], [0.0, 1.0, 0.8], [math.cos(0.2832), math.sin(0.2832), 0.9]])
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(made.direction()[0], torch.tensor([math.cos(1.0), math.sin(1.0)]))


def test_auto_speed_is_the_clips() -> None:
    env = make_env()
    speeds = library().mean_speed()
    assert env.command.range == (pytest.approx(float(speeds.min())), pytest.approx(float(speeds.max())))
    assert make_env(command__speed=[0.3, 0.4]).command.range == (0.3, 0.4)


def test_first_speed_is_near_the_clips_unless_asked_otherwise() -> None:
    env = make_env(300, command__start="clip")
    env.reset()
    speeds, (low, high) = library().mean_speed()[env.table.clip[env.playhead]], env.command.range
    assert (env.command.speed >= low).all() and (env.command.speed <= high).all()
    off = env.command.speed - speeds
    assert float(off.abs().max()) <= 0.1 + 1e-6 and float(off.std()) > 0.03
    env = make_env(300, command__start="random")
    env.reset()
    off = env.command.speed - library().mean_speed()[env.table.clip[env.playhead]]
    assert float(off.abs().max()) > 0.5


def test_environment_resets_point_onwards_and_resample() -> None:
    env = make_env(64, command__heading_change=0.5, command__resample_seconds=[0.1, 0.1], episode_seconds=30)
    obs, _ = env.reset()
    start = env.observe.size
    torch.testing.assert_close(obs[:, start : start + 2], torch.tensor([[1.0, 0.0]]).expand(64, 2))
    torch.testing.assert_close(obs[:, start + 2], env.command.speed)
    speeds = env.command.speed.clone()
    for _ in range(3):
        obs = env.step(torch.zeros(64, 28))[0]
    assert (env.command.speed != speeds).all()
    torch.testing.assert_close(obs[:, start + 2], env.command.speed)


def test_reward_of_a_step_is_for_the_command_it_was_taken_under() -> None:
    """The command changes after the step is judged; what ended keeps the old one in its last observation."""
    env = make_env(4, command__resample_seconds=[0.03, 0.03], termination__head_height=0.0)
    env.reset()
    told = env.command.speed.clone()
    obs, _, terminated, _, info = env.step(torch.zeros(4, 28))
    assert not terminated.any()
    at = env.observe.size + 2
    torch.testing.assert_close(info["final_obs"][:, at], told)
    torch.testing.assert_close(obs[:, at], env.command.speed)
    assert (env.command.speed != told).all()


def test_state_goes_on_alike() -> None:
    first = command(50)
    state, draw = first.state_dict(), first.generator.get_state()
    second = command(50, seconds=(0.5, 1.0))
    second.load_state_dict(state)
    second.generator.set_state(draw)
    for made in (first, second):
        for _ in range(60):
            made.advance()
    assert torch.equal(first.yaw, second.yaw) and torch.equal(first.speed, second.speed)
