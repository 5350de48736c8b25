"""Task rewards by hand."""

from __future__ import annotations

import math

import pytest
import torch

from isaacmm import rotation
from isaacmm.envs import rewards
from tests.helpers import PuppetSimulator, make_env


def test_local_velocity_is_seen_from_the_heading() -> None:
    facing = rotation.multiply(
        rotation.from_yaw(torch.tensor([math.pi / 2])), rotation.from_rotvec(torch.tensor([[0.3, 0.2, 0.0]]))
    )  # faces +y, leaning
    turned = rotation.yaw(facing)
    velocity = rewards.local_velocity(facing, torch.tensor([[0.0, 2.0, 0.4]]))[0]
    expected = torch.tensor([2.0 * math.sin(float(turned)), 2.0 * math.cos(float(turned)), 0.4])
    torch.testing.assert_close(velocity, expected)


def test_classic() -> None:
    velocity = torch.tensor([[1.5, 9.0, 9.0], [1.0, 0.0, 0.0]])
    got = rewards.classic(velocity, torch.tensor([1.0, 1.0]))  # sideways costs nothing: exp(-0.5^2), exp(0)
    assert got.tolist() == pytest.approx([math.exp(-0.25), 1.0])


def test_local() -> None:
    velocity = torch.tensor([[1.5, 0.5, 9.0]])
    assert float(rewards.local(velocity, torch.ones(1), 2.0)) == pytest.approx(math.exp(-2.0 * (0.25 + 0.25)))


def test_steering() -> None:
    root_vel = torch.tensor([[0.0, 1.0, 0.3], [0.0, 1.0, 0.3], [1.0, 0.0, 0.0]])
    to_y = torch.full((3,), math.pi / 2)
    facing = torch.tensor([math.pi / 2, 0.0, math.pi / 2])
    got = rewards.steering(root_vel, facing, to_y, torch.ones(3), sharpness=2.0, facing=0.5)
    # as told; as told but looking 90 degrees away: exp(-0.5 (1 - cos 90)); running to +x instead: off by (1, -1)
    assert got.tolist() == pytest.approx([1.0, math.exp(-0.5), math.exp(-2.0 * 2.0)], rel=1e-5)


def test_locomotion_judges_slow_commands_by_their_own_speed() -> None:
    still = torch.zeros(4, 3)
    asked = torch.tensor([[0.0, 0.4], [0.0, 0.2], [-0.7, 0.0], [3.0, 0.0]])
    straight = torch.zeros(4)
    alike = rewards.locomotion(still, asked, straight, sharpness=2.0)
    assert alike.tolist() == pytest.approx([math.exp(-0.32), math.exp(-0.08), math.exp(-0.98), math.exp(-18.0)])
    strict = rewards.locomotion(still, asked, straight, sharpness=2.0, slowest=0.4)
    # never stricter than at 0.4 m/s, never milder than at 1 m/s
    assert strict.tolist() == pytest.approx([math.exp(-2.0), math.exp(-0.5), math.exp(-2.0), math.exp(-18.0)])


def test_pose_tracking() -> None:
    # all hinges off by 0.1 rad: exp(-2 * 10 * 0.01)
    got = rewards.pose_tracking(torch.full((1, 28), 0.1), torch.zeros(1, 28))
    assert float(got) == pytest.approx(math.exp(-0.2), rel=1e-5)


@pytest.mark.parametrize("kind", rewards.KINDS)
def test_the_environment_pays_by_the_formula(kind: str) -> None:
    simulator = PuppetSimulator(3)
    env = make_env(3, simulator=simulator, task_reward=kind, reward__sharpness=1.5, reward__facing=0.3)
    env.reset()
    yaw, speed = env.command.yaw.clone(), env.command.speed.clone()
    vel = torch.tensor([[1.0, 0.2, 0.0], [0.0, 0.5, 0.1], [-0.3, 0.0, 0.0]])
    rot = rotation.from_yaw(torch.tensor([0.1, 1.0, -2.0]))
    simulator.put(root_vel=vel, root_rot=rot)
    _, reward, _, _, info = env.step(torch.zeros(3, 28))
    local = rewards.local_velocity(rot, vel)
    expected = {
        "classic": lambda: rewards.classic(local, speed),
        "local": lambda: rewards.local(local, speed, 1.5),
        "steering": lambda: rewards.steering(vel, torch.tensor([0.1, 1.0, -2.0]), yaw, speed, 1.5, 0.3),
    }[kind]()
    torch.testing.assert_close(reward, expected)
    torch.testing.assert_close(info["reward_terms"]["task"], reward)
    # errors: speed along the commanded direction, and the angle to it
    along = vel[:, 0] * torch.cos(yaw) + vel[:, 1] * torch.sin(yaw)
    torch.testing.assert_close(info["reward_terms"]["speed_error"], (along - speed).abs())
    turn = torch.remainder(yaw - torch.tensor([0.1, 1.0, -2.0]) + math.pi, 2 * math.pi) - math.pi
    torch.testing.assert_close(info["reward_terms"]["heading_error"], turn.abs())


def test_every_reward_is_between_zero_and_one() -> None:
    g = torch.Generator().manual_seed(0)
    n = 500
    velocity, speed = 3 * torch.randn(n, 3, generator=g), 3 * torch.rand(n, generator=g)
    yaw, other = 6 * torch.randn(2, n, generator=g)
    for reward in (
        rewards.classic(velocity, speed),
        rewards.local(velocity, speed),
        rewards.steering(velocity, yaw, other, speed),
        rewards.pose_tracking(torch.randn(n, 28, generator=g), torch.randn(n, 28, generator=g)),
    ):
        assert (
            (reward >= 0).all() and (reward <= 1).all() and float(reward.max()) > 0.1 * float(reward.mean())
        )
