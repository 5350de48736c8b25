"""Searches: exactly the nearest allowed row, ties and odd input included, whichever way it is looked for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from isaacmm.errors import ConfigError
from isaacmm.matching.search import Boxes, BruteForce, Search, make_search

SEARCHES: dict[str, Callable[..., Search]] = {
    "brute": BruteForce,
    "boxes": Boxes,
    "boxes in order": lambda *args, **kw: Boxes(*args, split=False, **kw),
    "boxes, 2 threads": lambda *args, **kw: Boxes(*args, threads=2, **kw),
}
search_kinds = pytest.mark.parametrize("make", SEARCHES.values(), ids=SEARCHES.keys())


def walk(rows: int, width: int, seed: int, step: float = 0.15) -> Tensor:
    """A smooth curve through feature space, as clips are: neighbours are alike."""
    draw = torch.Generator().manual_seed(seed)
    path = torch.cumsum(step * torch.randn(rows, width, generator=draw), dim=0)
    return torch.sin(path) + 0.05 * torch.randn(rows, width, generator=draw)


def questions(features: Tensor, count: int, seed: int, pose: int | None = None) -> Tensor:
    """Half easy (a row and some noise), half hard (pose of one row, trajectory of another)."""
    draw = torch.Generator().manual_seed(seed)
    one, two = torch.randint(len(features), (2, count), generator=draw)
    cut = pose if pose is not None else features.shape[1] // 2
    hard = torch.cat((features[one, :cut], features[two, cut:]), dim=1)
    easy = features[one] + 0.1 * torch.randn(features[one].shape, generator=draw)
    return torch.where((torch.arange(count) % 2 == 0)[:, None], easy, hard)


def truth(features: Tensor, allowed: Tensor, query: Tensor, style: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Independent: numpy, every distance in float64, column after column, first minimum."""
    table, rows, costs = features.numpy().astype(np.float64), [], []
    for q, s in zip(query.numpy().astype(np.float64), style.tolist(), strict=True):
        distance = np.zeros(len(table))
        for w in range(table.shape[1]):
            distance += (q[w] - table[:, w]) ** 2
        distance[~allowed[s].numpy()] = np.inf
        rows.append(int(distance.argmin()))
        costs.append(distance.min())
    return np.array(rows), np.array(costs)


@search_kinds
def test_finds_the_nearest_row(make: Callable[..., Search]) -> None:
    features = walk(6000, 27, seed=1)
    query = questions(features, 400, seed=2, pose=15)
    row, cost = make(features)(query)
    want, distance = truth(features, torch.ones(1, 6000, dtype=torch.bool), query, torch.zeros(400, dtype=torch.long))
    assert row.dtype == torch.int64 and cost.dtype == torch.float32
    assert np.array_equal(row.numpy(), want)
    np.testing.assert_allclose(cost.numpy(), distance, rtol=1e-6)


def test_boxes_and_brute_force_agree_in_every_bit() -> None:
    features = walk(20_000, 27, seed=3)
    query = questions(features, 4000, seed=4, pose=15)
    (row, cost), (want, distance) = Boxes(features)(query), BruteForce(features)(query)
    assert torch.equal(row, want) and torch.equal(cost, distance)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 2500),
    width=st.integers(1, 30),
    styles=st.integers(1, 4),
    coarse=st.booleans(),
    offset=st.sampled_from([0.0, 3.0, -200.0]),
    seed=st.integers(0, 1 << 20),
)
def test_any_size_any_masks(rows: int, width: int, styles: int, coarse: bool, offset: float, seed: int) -> None:
    """Sizes around the boxes', styles that overlap, far from the origin; ``coarse`` makes a great many exact ties."""
    draw = torch.Generator().manual_seed(seed)
    features = walk(rows, width, seed) + offset
    if coarse:
        features = features.round()
    allowed = torch.rand(styles, rows, generator=draw) < 0.3
    allowed[torch.arange(styles), torch.randint(rows, (styles,), generator=draw)] = True
    query = questions(features, 30, seed + 1)
    if coarse:
        query = query.round()
    style = torch.randint(styles, (30,), generator=draw)
    want, _ = truth(features, allowed, query, style)
    for name, make in SEARCHES.items():
        row, _ = make(features, allowed)(query, style)
        assert np.array_equal(row.numpy(), want), name


@search_kinds
def test_of_equal_rows_the_first_is_returned(make: Callable[..., Search]) -> None:
    features = walk(1000, 12, seed=5).repeat(3, 1)
    allowed = torch.ones(2, 3000, dtype=torch.bool)
    allowed[1, :1000] = False
    search = make(features, allowed)
    row, cost = search(features[2000:], torch.arange(1000) % 2)
    assert torch.equal(row, torch.arange(1000) + 1000 * (torch.arange(1000) % 2))
    assert torch.equal(cost, torch.zeros(1000))


@search_kinds
def test_mirrored_rows_of_a_symmetric_query_tie(make: Callable[..., Search]) -> None:
    """Left and right swapped: the same squares in another order. The sum's order, not the search, decides."""
    features = walk(800, 8, seed=6)
    both = torch.cat((features, features.flip(1)))
    side = torch.randn(300, 4, generator=torch.Generator().manual_seed(7))
    query = torch.cat((side, side.flip(1)), dim=1)
    want, _ = truth(both, torch.ones(1, 1600, dtype=torch.bool), query, torch.zeros(300, dtype=torch.long))
    assert np.array_equal(make(both)(query)[0].numpy(), want)


@search_kinds
def test_muted_columns_do_not_count(make: Callable[..., Search]) -> None:
    features, query = walk(3000, 10, seed=8), walk(50, 10, seed=9)
    features[:, 4:] = query[:, 4:] = 0.0
    want = torch.cdist(query[:, :4].double(), features[:, :4].double()).argmin(dim=1)
    assert torch.equal(make(features)(query)[0], want)


@search_kinds
def test_results_do_not_depend_on_the_company(make: Callable[..., Search]) -> None:
    """One by one, in a permuted batch, or as a view into a larger tensor: the same answers."""
    features = walk(3000, 27, seed=10)
    query = questions(features, 200, seed=11)
    search = make(features)
    row, cost = search(query)
    order = torch.randperm(200, generator=torch.Generator().manual_seed(12))
    again, costs = search(query[order])
    assert torch.equal(again, row[order]) and torch.equal(costs, cost[order])
    single = torch.cat([search(query[i : i + 1])[0] for i in range(20)])
    assert torch.equal(single, row[:20])
    wide = torch.cat((query, query), dim=1)
    assert torch.equal(search(wide[:, :27])[0], row)
    assert search(query[:0])[0].shape == (0,)


@search_kinds
def test_a_query_that_is_not_finite_gets_the_first_allowed_row(make: Callable[..., Search]) -> None:
    features = walk(2000, 27, seed=13)
    allowed = torch.zeros(2, 2000, dtype=torch.bool)
    allowed[0, 70:], allowed[1, 700:] = True, True
    query = features[[100, 800, 900, 1000]].clone()
    query[1, 3], query[2, 5] = float("nan"), float("inf")
    row, cost = make(features, allowed)(query, torch.tensor([0, 1, 0, 1]))
    assert row.tolist() == [100, 700, 70, 1000]
    assert cost.isinf().tolist() == [False, True, True, False]


@search_kinds
def test_refuses_what_cannot_be_searched(make: Callable[..., Search]) -> None:
    features = walk(300, 6, seed=14)
    none = torch.ones(2, 300, dtype=torch.bool)
    none[1] = False
    with pytest.raises(ConfigError, match="style 1 allows no row"):
        make(features, none)
    with pytest.raises(ConfigError, match="do not fit 300 rows"):
        make(features, torch.ones(2, 299, dtype=torch.bool))
    two = make(features, torch.ones(2, 300, dtype=torch.bool))
    for style in (2, -1):
        with pytest.raises(ConfigError, match=r"not one of 0\.\.1"):
            two(features[:3], torch.tensor([0, style, 1]))


def test_brute_force_keeps_its_precision_when_training_does_not() -> None:
    features = walk(3000, 27, seed=15)
    query = questions(features, 100, seed=16)
    want = BruteForce(features)(query)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        got = BruteForce(features)(query)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    assert torch.equal(got[0], want[0])


def test_make_search_chooses() -> None:
    features = walk(400, 6, seed=17)
    assert isinstance(make_search(features), Boxes)
    assert isinstance(make_search(features, kind="brute"), BruteForce)
    elsewhere = torch.empty(4, 6, device="meta")  # any device that is not the CPU
    with pytest.raises(ConfigError, match="use 'brute'"):
        make_search(elsewhere, kind="boxes")
    with pytest.raises(ConfigError, match="did you mean"):
        make_search(features, kind="boxs")


@pytest.mark.slow
def test_a_million_queries() -> None:
    """Brute force and boxes give the same row for a million queries (about three minutes on one core)."""
    features = walk(30_000, 27, seed=18)
    allowed = torch.ones(1, 30_000, dtype=torch.bool)
    plain, boxes = BruteForce(features, allowed), Boxes(features, allowed)
    for part in range(50):
        query = questions(features, 20_000, seed=19 + part, pose=15)
        assert torch.equal(plain(query)[0], boxes(query)[0])
