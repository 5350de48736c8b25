"""The ring of past observations."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from isaacmm.amp.replay import ReplayBuffer

torch.set_num_threads(1)


def rows(start: int, n: int) -> torch.Tensor:
    """Rows that say which they are."""
    return torch.arange(start, start + n, dtype=torch.float32)[:, None].repeat(1, 2)


def kept(buffer: ReplayBuffer) -> list[int]:
    return sorted(int(v) for v in buffer.data[: len(buffer), 0])


@given(st.integers(1, 12), st.lists(st.integers(0, 30), max_size=8))
@settings(deadline=None, max_examples=60)
def test_holds_exactly_the_newest(capacity: int, sizes: list[int]) -> None:
    buffer, total = ReplayBuffer(capacity, 2), 0
    for n in sizes:
        buffer.add(rows(total, n))
        total += n
        assert kept(buffer) == list(range(max(0, total - capacity), total))


def test_oldest_goes_first() -> None:
    buffer = ReplayBuffer(4, 2)
    buffer.add(rows(0, 3))
    buffer.add(rows(3, 3))  # wraps: 4 and 5 take the places of 0 and 1
    assert buffer.data[:, 0].tolist() == [4.0, 5.0, 2.0, 3.0]
    assert buffer.next == 2


def test_sampling_stays_inside_what_is_filled() -> None:
    buffer = ReplayBuffer(100, 2)
    buffer.add(rows(1, 5))
    drawn = buffer.sample(2000, torch.Generator().manual_seed(0))
    counts = drawn[:, 0].long().bincount(minlength=6)
    assert int(counts[0]) == 0  # never one of the empty rows
    assert int(counts[1:].min()) > 320  # 400 each, evenly


def test_sample_of_nothing_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="empty"):
        ReplayBuffer(3, 2).sample(1)


@pytest.mark.parametrize("filled", [0, 3, 5, 8, 13])
def test_state_goes_on_alike(filled: int) -> None:
    first = ReplayBuffer(5, 2)
    first.add(rows(0, filled // 2))
    first.add(rows(filled // 2, filled - filled // 2))
    second = ReplayBuffer(5, 2)
    second.load_state_dict(first.state_dict())
    for buffer in (first, second):
        buffer.add(rows(100, 2))
    assert torch.equal(first.data, second.data)
    assert (first.next, first.filled) == (second.next, second.filled)


def test_saved_state_is_a_copy() -> None:
    buffer = ReplayBuffer(3, 2)
    buffer.add(rows(0, 3))
    state = buffer.state_dict()
    buffer.add(rows(10, 3))
    assert state["data"][:, 0].tolist() == [0.0, 1.0, 2.0]


def test_a_smaller_buffer_takes_the_newest() -> None:
    big, small = ReplayBuffer(6, 2), ReplayBuffer(2, 2)
    big.add(rows(0, 8))  # 2..7, the oldest at position 2
    small.load_state_dict(big.state_dict())
    assert kept(small) == [6, 7]


def test_a_larger_buffer_takes_all() -> None:
    small, big = ReplayBuffer(3, 2), ReplayBuffer(6, 2)
    small.add(rows(0, 4))
    big.load_state_dict(small.state_dict())
    big.add(rows(4, 3))
    assert kept(big) == [1, 2, 3, 4, 5, 6]
