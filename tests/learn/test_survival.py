"""How long episodes lasted lately."""

from __future__ import annotations

import pytest
import torch

from isaacmm.learn.survival import EpisodeMeter

torch.set_num_threads(1)


def ends(meter: EpisodeMeter, *steps: int, late: tuple[int, ...] = ()) -> None:
    """One rollout of a single world in which episodes of these lengths ended."""
    count = torch.tensor(steps)[:, None]
    truncated = torch.tensor([s in late for s in steps], dtype=torch.bool)[:, None]
    meter.add(torch.ones_like(count, dtype=torch.bool), count, truncated)


def test_mean_of_the_ends_so_far() -> None:
    meter = EpisodeMeter(1, dt=0.5, window=4)
    assert meter.stats() == {"survival": 0.0, "full_episodes": 0.0}
    ends(meter, 2, 20, late=(20,))
    # (2 + 20) / 2 * 0.5 s, one of two by the clock
    assert meter.stats() == {"survival": pytest.approx(5.5), "full_episodes": pytest.approx(0.5)}


def test_only_the_latest_count() -> None:
    meter = EpisodeMeter(1, dt=1.0, window=3)
    ends(meter, 1, 1, 10)
    ends(meter, 20, 30)
    assert meter.stats()["survival"] == pytest.approx(20.0)  # 10, 20, 30
    ends(meter, *range(1, 11))
    assert meter.stats()["survival"] == pytest.approx(9.0)  # 8, 9, 10


def test_running_episodes_do_not_count() -> None:
    meter = EpisodeMeter(2, dt=1.0, window=3)
    dones = torch.tensor([[False, True], [False, False]])
    meter.add(dones, torch.tensor([[4, 7], [5, 1]]), torch.zeros_like(dones))
    assert meter.stats() == {"survival": 7.0, "full_episodes": 0.0}


def test_state_goes_on_alike() -> None:
    first, second = (EpisodeMeter(1, dt=1.0, window=3) for _ in range(2))
    ends(first, 1, 5)
    second.load_state_dict(first.state_dict())
    for meter in (first, second):
        ends(meter, 8, 9)
    assert first.stats() == second.stats()
