"""Advantages by hand, with the two kinds of ends."""

from __future__ import annotations

import pytest
import torch

from isaacmm.learn.gae import advantages

torch.set_num_threads(1)

GAMMA, TAU = 0.5, 0.8  # their product is 0.4


def column(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None]


def test_without_ends() -> None:
    # deltas: 1 + 0.5*4 - 2 = 1;  2 + 0.5*6 - 4 = 1;  3 + 0.5*8 - 6 = 1
    # backwards: 1;  1 + 0.4*1 = 1.4;  1 + 0.4*1.4 = 1.56
    got = advantages(column(1, 2, 3), column(2, 4, 6), column(4, 6, 8), column(0, 0, 0).bool(), GAMMA, TAU)
    assert got.flatten().tolist() == pytest.approx([1.56, 1.4, 1.0])


def test_a_fall_cuts_and_is_worth_nothing_afterwards() -> None:
    # the second step ends in a fall: its next value is 0
    # deltas: 1;  2 + 0 - 4 = -2;  1;  the second takes nothing from the third
    # backwards: 1;  -2;  1 + 0.4*(-2) = 0.2
    got = advantages(column(1, 2, 3), column(2, 4, 6), column(4, 0, 8), column(0, 1, 0).bool(), GAMMA, TAU)
    assert got.flatten().tolist() == pytest.approx([0.2, -2.0, 1.0])


def test_a_time_out_cuts_and_keeps_its_value() -> None:
    # the second step ends by the clock, in a state worth 10
    # deltas: 1;  2 + 0.5*10 - 4 = 3;  1;  backwards: 1;  3;  1 + 0.4*3 = 2.2
    got = advantages(column(1, 2, 3), column(2, 4, 6), column(4, 10, 8), column(0, 1, 0).bool(), GAMMA, TAU)
    assert got.flatten().tolist() == pytest.approx([2.2, 3.0, 1.0])


def test_ends_of_one_world_leave_the_others_alone() -> None:
    g = torch.Generator().manual_seed(0)
    rewards, values, following = (torch.randn(7, 5, generator=g) for _ in range(3))
    dones = torch.zeros(7, 5, dtype=torch.bool)
    before = advantages(rewards, values, following, dones, 0.99, 0.95)
    dones[3, 2] = True
    after = advantages(rewards, values, following, dones, 0.99, 0.95)
    others = [0, 1, 3, 4]
    assert torch.equal(before[:, others], after[:, others])
    assert (before[:4, 2] != after[:4, 2]).all() and torch.equal(before[4:, 2], after[4:, 2])


def test_limits_of_lambda() -> None:
    """0 is the one-step error, 1 the discounted return less the value."""
    g = torch.Generator().manual_seed(0)
    rewards, values, last = (
        torch.rand(6, 3, generator=g),
        torch.rand(6, 3, generator=g),
        torch.rand(3, generator=g),
    )
    following = torch.cat((values[1:], last[None]))
    dones = torch.zeros(6, 3, dtype=torch.bool)
    one_step = advantages(rewards, values, following, dones, 0.9, 0.0)
    torch.testing.assert_close(one_step, rewards + 0.9 * following - values)
    whole = last
    for t in range(5, -1, -1):
        whole = rewards[t] + 0.9 * whole
    torch.testing.assert_close(advantages(rewards, values, following, dones, 0.9, 1.0)[0], whole - values[0])
