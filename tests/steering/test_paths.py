"""Paths on the ground, and followers that keep to them."""

from __future__ import annotations

import math

import pytest
import torch

from isaacmm import steering
from isaacmm.steering import GroundPath, PathFollower


def walk(follower: PathFollower, seconds: float, pos: torch.Tensor, yaw: torch.Tensor) -> torch.Tensor:
    """Tracks ``[T, N, 2]`` of points that turn towards what they are told within a quarter of a second."""
    dt = 1 / 30
    follower.reset(torch.arange(len(yaw)), pos, yaw)
    tracks = []
    for k in range(round(seconds / dt)):
        velocity, facing, _ = follower.command(k * dt, pos, yaw)
        gap = torch.remainder(facing - yaw + math.pi, 2 * math.pi) - math.pi
        yaw = yaw + gap * min(1.0, dt / 0.25)
        pos = pos + velocity[:, :1] * torch.stack((torch.cos(yaw), torch.sin(yaw)), -1) * dt
        tracks.append(pos)
    return torch.stack(tracks)


def test_arc_length_heading_and_curvature() -> None:
    circle = GroundPath.circle(2.0)
    assert abs(circle.length - 4 * math.pi) < 1e-3
    assert torch.allclose(circle.curvature, torch.full_like(circle.curvature, 0.5), atol=5e-3)
    eight = GroundPath.figure_eight(2.5)
    assert abs(eight.length - 10 * math.pi) < 1e-2
    assert abs(float(eight.curvature.sum())) * eight.step < 0.05
    steps = (eight.points[1:] - eight.points[:-1]).norm(dim=-1)
    assert float(steps.max() - steps.min()) < 2e-3
    line = GroundPath([(0, 0), (0, 3)])
    assert torch.allclose(line.heading, torch.tensor(math.pi / 2)) and float(line.curvature.abs().max()) < 1e-6


def test_distance() -> None:
    circle = GroundPath.circle(2.0)
    assert torch.allclose(circle.distance(torch.tensor([[0.0, 2.0], [0.0, -1.0]])), torch.tensor([2.0, 1.0]), atol=1e-3)


BOUNDS = [("circle", 0.15), ("figure_eight", 0.25), ("slalom", 0.2), ("square", 0.6)]


@pytest.mark.parametrize(("name", "bound"), BOUNDS)
def test_followers_stay_on_their_paths(name: str, bound: float) -> None:
    """Two at once, from different places and facings: each has its own copy of the path."""
    follower = steering.follow(name, 1.3)
    tracks = walk(follower, 25.0, torch.tensor([[0.0, 0.0], [5.0, -3.0]]), torch.tensor([0.0, 2.0]))
    error = follower.error(tracks)
    assert float(error[60:].max()) < bound
    assert int(follower.progress.min()) * follower.path.step > 20.0


def test_an_open_path_ends_in_standing() -> None:
    follower = PathFollower(GroundPath([(0, 0), (4, 0)]), 1.3)
    tracks = walk(follower, 10.0, torch.zeros(1, 2), torch.zeros(1))
    assert 3.5 < float(tracks[-1, 0, 0]) < 4.3
    assert float((tracks[-1] - tracks[-30]).norm()) == 0.0


def test_sharp_bends_are_taken_slowly() -> None:
    follower = PathFollower(GroundPath.circle(1.0), 2.5, turn_limit=1.0)
    follower.reset(torch.arange(1), torch.zeros(1, 2), torch.zeros(1))
    velocity = follower.command(0.0, torch.zeros(1, 2), torch.zeros(1)).velocity
    assert float(velocity[0, 0]) == pytest.approx(1.0, abs=0.02)
