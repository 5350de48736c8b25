"""Running statistics against numpy's over everything at once."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from isaacmm.amp.normalizer import RunningNormalizer

torch.set_num_threads(1)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(0, 10_000), st.floats(-1e3, 1e3))
@settings(deadline=None, max_examples=40)
def test_equals_numpy_on_all_batches_together(sizes: list[int], seed: int, offset: float) -> None:
    rng = np.random.default_rng(seed)
    batches = [rng.normal(offset + i, 1.0 + i, (n, 3)).astype(np.float32) for i, n in enumerate(sizes)]
    normalizer = RunningNormalizer(3)
    for batch in batches:
        normalizer.update(torch.from_numpy(batch))
    together = np.concatenate(batches).astype(np.float64)
    np.testing.assert_allclose(normalizer.mean.numpy(), together.mean(0), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(normalizer.var.numpy(), together.var(0), rtol=1e-7, atol=1e-9)
    assert float(normalizer.count) == len(together)


def test_forward() -> None:
    normalizer = RunningNormalizer(1, clip=2.0, epsilon=0.0)
    normalizer.update(torch.tensor([[1.0], [5.0]]))  # mean 3, variance 4
    assert normalizer(torch.tensor([[3.0], [5.0], [2.0], [100.0], [-100.0]])).flatten().tolist() == [
        0,
        1,
        -0.5,
        2,
        -2,
    ]


def test_statistics_are_in_the_checkpoint() -> None:
    first, second = RunningNormalizer(4), RunningNormalizer(4)
    first.update(torch.randn(50, 4))
    second.load_state_dict(first.state_dict())
    more = torch.randn(20, 4)
    for normalizer in (first, second):
        normalizer.update(more)
    assert torch.equal(first(more), second(more))
    assert set(first.state_dict()) == {"mean", "var", "count"}


def test_nothing_seen_changes_nothing() -> None:
    x = torch.tensor([[0.5, -1.0]])
    torch.testing.assert_close(RunningNormalizer(2)(x), x, atol=1e-5, rtol=0)
