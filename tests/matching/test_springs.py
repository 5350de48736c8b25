"""Springs against fine numerical integration; the command's predicted path against the one it really takes."""

from __future__ import annotations

import cmath
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from isaacmm import rotation
from isaacmm.matching import springs
from isaacmm.matching.trajectory import CommandSpring

HORIZONS = (1.0 / 3.0, 2.0 / 3.0, 1.0)
numbers = st.floats(-5.0, 5.0, allow_nan=False)
halflives = st.floats(0.05, 1.0)
times = st.floats(0.0, 2.0)


def double(*values: float) -> list[Tensor]:
    return [torch.tensor([value], dtype=torch.float64) for value in values]


def integrate(x: float, v: float, goal: float, drift: float, halflife: float, t: float) -> tuple[float, float]:
    """Runge-Kutta on ``x'' = y^2 (g - x) + 2 y (g' - x')``, the critically damped spring itself."""
    y, steps = springs.rate(halflife), 400
    dt, now = t / steps, 0.0

    def slope(x: float, v: float, now: float) -> tuple[float, float]:
        return v, y * y * (goal + drift * now - x) + 2.0 * y * (drift - v)

    for _ in range(steps):
        a = slope(x, v, now)
        b = slope(x + 0.5 * dt * a[0], v + 0.5 * dt * a[1], now + 0.5 * dt)
        c = slope(x + 0.5 * dt * b[0], v + 0.5 * dt * b[1], now + 0.5 * dt)
        d = slope(x + dt * c[0], v + dt * c[1], now + dt)
        x += dt / 6.0 * (a[0] + 2 * b[0] + 2 * c[0] + d[0])
        v += dt / 6.0 * (a[1] + 2 * b[1] + 2 * c[1] + d[1])
        now += dt
    return x, v


@settings(max_examples=25, deadline=None)
@given(x=numbers, v=numbers, goal=numbers, drift=numbers, halflife=halflives, t=times)
def test_closed_form_solves_the_spring(
    x: float, v: float, goal: float, drift: float, halflife: float, t: float
) -> None:
    got = springs.follow(*double(x, v, goal, drift), halflife, t)
    assert [float(g) for g in got] == pytest.approx(integrate(x, v, goal, drift, halflife, t), abs=1e-5)
    offset = springs.decay(*double(x - goal, v - drift), halflife, t)
    assert float(offset[0]) + goal + drift * t == pytest.approx(float(got[0]), abs=1e-9)


@settings(deadline=None)
@given(x=numbers, v=numbers, halflife=halflives, t=times, part=st.floats(0.0, 1.0))
def test_any_two_steps_make_one(x: float, v: float, halflife: float, t: float, part: float) -> None:
    once = springs.decay(*double(x, v), halflife, t)
    twice = springs.decay(*springs.decay(*double(x, v), halflife, part * t), halflife, (1.0 - part) * t)
    for a, b in zip(once, twice, strict=True):
        assert float(a) == pytest.approx(float(b), abs=1e-9)


def test_spring_comes_to_rest_at_its_goal() -> None:
    x, v = springs.follow(*double(3.0, -9.0, 1.0, 0.5), 0.2, 10.0)
    assert float(x) == pytest.approx(6.0) and float(v) == pytest.approx(0.5)


def test_many_times_at_once() -> None:
    draw = torch.Generator().manual_seed(0)
    x, v = torch.randn(2, 5, generator=draw)
    t = torch.linspace(0.0, 1.0, 7)
    got = springs.decay(x[:, None], v[:, None], 0.3, t)
    for k in range(7):
        want = springs.decay(x, v, 0.3, float(t[k]))
        for a, b in zip(got, want, strict=True):
            torch.testing.assert_close(a[:, k], b)


# ------------------------------------------------------------------------ command
def moving(worlds: int, seed: int) -> tuple[CommandSpring, dict[str, Tensor]]:
    """Springs in the middle of something, and goals."""
    draw = torch.Generator().manual_seed(seed)
    spring = CommandSpring(worlds, HORIZONS)
    spring.velocity, spring.acceleration = torch.randn(2, worlds, 2, generator=draw).unbind()
    spring.yaw = math.pi * (2.0 * torch.rand(worlds, generator=draw) - 1.0)
    spring.yaw_rate = torch.randn(worlds, generator=draw)
    goals = {
        "velocity": 1.5 * torch.randn(worlds, 2, generator=draw),
        "yaw": spring.yaw + torch.randn(worlds, generator=draw).clamp(-2.0, 2.0),
        "turn_rate": 0.7 * torch.randn(worlds, generator=draw),
    }
    return spring, goals


@settings(max_examples=30, deadline=None)
@given(speed=st.floats(0.3, 4.0), side=st.floats(-1.0, 1.0), turn=st.floats(-1.5, 1.5), facing=st.floats(-3.0, 3.0))
def test_settled_turn_is_an_arc(speed: float, side: float, turn: float, facing: float) -> None:
    """Even speed and turn rate: a circle of radius speed / turn rate. The trapezoids of the integration shorten it
    by ``1 - (turn h)^2 / 12`` for steps of ``h``, which the comparison allows for."""
    yaw = torch.tensor([facing])
    goal, rate = torch.tensor([[speed, side]]), torch.tensor([turn])
    spring = CommandSpring(1, HORIZONS)
    spring.reset(torch.tensor([0]), yaw, goal, rate)
    position, direction = spring.predict(goal, yaw, rate, facing=yaw)
    for k, t in enumerate(HORIZONS):
        length = t if abs(turn) < 1e-6 else (cmath.exp(1j * turn * t) - 1.0) / (1j * turn)
        along = complex(speed, side) * length
        room = 1e-5 + abs(along) * (turn / 12.0) ** 2 / 11.0
        assert complex(*position[0, k].tolist()) == pytest.approx(along, abs=room)
        assert direction[0, k].tolist() == pytest.approx([math.cos(turn * t), math.sin(turn * t)], abs=1e-5)


def test_prediction_comes_true() -> None:
    """A command that is kept: in a second the character that obeys it stands where it was predicted to."""
    spring, goal = moving(64, seed=1)
    begin = spring.yaw.clone()
    position, direction = spring.predict(goal["velocity"], goal["yaw"], goal["turn_rate"], begin)
    dt, path, yaw, places, faces = 1.0 / 600.0, torch.zeros(64, 2), goal["yaw"].clone(), [], []

    def along() -> Tensor:
        cos, sin = torch.cos(spring.yaw - begin), torch.sin(spring.yaw - begin)
        x, y = spring.velocity.unbind(1)
        return torch.stack((cos * x - sin * y, sin * x + cos * y), dim=1)

    for step in range(1, 601):
        before = along()
        spring.step(goal["velocity"], yaw, goal["turn_rate"], dt)
        yaw = yaw + goal["turn_rate"] * dt
        path = path + 0.5 * dt * (before + along())
        if step % 200 == 0:
            places.append(path)
            faces.append(rotation.wrap_angle(spring.yaw - begin))
    assert (position - torch.stack(places, dim=1)).norm(dim=-1).max() < 0.02
    angle = torch.stack(faces, dim=1)
    torch.testing.assert_close(direction, torch.stack((angle.cos(), angle.sin()), dim=-1), atol=1e-3, rtol=0.0)


def test_step_length_does_not_matter() -> None:
    once, goal = moving(16, seed=2)
    thrice, _ = moving(16, seed=2)
    once.step(goal["velocity"], goal["yaw"], goal["turn_rate"], 0.3)
    for k in range(3):
        thrice.step(goal["velocity"], goal["yaw"] + 0.1 * k * goal["turn_rate"], goal["turn_rate"], 0.1)
    for name, value in once.state_dict().items():
        torch.testing.assert_close(thrice.state_dict()[name], value, atol=1e-4, rtol=1e-4)


def test_prediction_does_not_know_north() -> None:
    """The same command, everything turned by an angle: the same path in the body's frame."""
    spring, goal = moving(16, seed=3)
    want = spring.predict(goal["velocity"], goal["yaw"], goal["turn_rate"], spring.yaw)
    spring.yaw = rotation.wrap_angle(spring.yaw + 2.5)
    got = spring.predict(goal["velocity"], rotation.wrap_angle(goal["yaw"] + 2.5), goal["turn_rate"], spring.yaw)
    for a, b in zip(want, got, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_prediction_is_seen_from_the_body() -> None:
    """A body that faces elsewhere sees the same path turned by the difference."""
    spring, goal = moving(16, seed=4)
    want = spring.predict(goal["velocity"], goal["yaw"], goal["turn_rate"], spring.yaw)
    got = spring.predict(goal["velocity"], goal["yaw"], goal["turn_rate"], spring.yaw + 0.4)
    turn = torch.tensor([[math.cos(0.4), -math.sin(0.4)], [math.sin(0.4), math.cos(0.4)]])
    for a, b in zip(want, got, strict=True):
        torch.testing.assert_close(a, b @ turn.T, atol=1e-5, rtol=1e-5)


def test_state_goes_through_a_checkpoint() -> None:
    spring, _ = moving(4, seed=5)
    other = CommandSpring(4, HORIZONS)
    other.load_state_dict(spring.state_dict())
    for name, value in spring.state_dict().items():
        assert torch.equal(getattr(other, name), value)
