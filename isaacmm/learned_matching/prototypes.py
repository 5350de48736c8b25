"""Prototypes: rows of the database that stand for those around them."""

from __future__ import annotations

import torch
from torch import Tensor

from isaacmm.matching.database import Database

#: Rounds of moving centres to the middle of what is nearest to them.
ROUNDS = 4
#: Distances that are held at once.
_MOST = 2**24


class Prototypes:
    """``C`` rows, and which rows are around each (k-means on the features, then the row nearest to each centre).

    Attributes:
        rows: ``[C]`` rows of the database, all of them valid.
    """

    def __init__(self, database: Database, count: int, seed: int = 0) -> None:
        self.features = database.features
        valid = database.valid.nonzero().flatten()
        self.rows = _medoids(self.features, valid, min(count, len(valid)), seed)
        around = _nearest(self.features[valid], self.features[self.rows])
        # rows that are alike may all be nearest to the first of them; none is left without itself
        around[torch.searchsorted(valid, self.rows)] = torch.arange(len(self.rows), device=valid.device)
        order = torch.argsort(around, stable=True)
        self._members = valid[order]
        self._count = torch.bincount(around, minlength=len(self.rows))
        self._first = torch.cumsum(self._count, 0) - self._count

    def __len__(self) -> int:
        return len(self.rows)

    def choose(self, query: Tensor) -> Tensor:
        """The prototype ``[n]`` nearest to ``query [n, K]``."""
        return _nearest(query, self.features[self.rows])

    def answer(self, query: Tensor, chosen: Tensor) -> Tensor:
        """The row ``[n]`` nearest to ``query [n, K]`` of those around prototypes ``chosen [n]``."""
        # all rows around all of them, one after the other: clusters differ much in size
        count = self._count[chosen]
        asker = torch.repeat_interleave(torch.arange(len(chosen), device=chosen.device), count)
        place = torch.arange(len(asker), device=chosen.device) - (torch.cumsum(count, 0) - count)[asker]
        rows = self._members[self._first[chosen][asker] + place]
        distance = (self.features[rows] - query[asker]).square().sum(-1)
        least = torch.full((len(chosen),), torch.inf, device=chosen.device).scatter_reduce(0, asker, distance, "amin")
        found = torch.full_like(chosen, len(rows))
        there = (distance == least[asker]).nonzero().flatten()
        return rows[found.scatter_reduce(0, asker[there], there, "amin")]


def _medoids(features: Tensor, valid: Tensor, count: int, seed: int) -> Tensor:
    """``count`` of the rows ``valid``, ascending."""
    draw = torch.Generator().manual_seed(seed)
    shuffled = valid[torch.randperm(len(valid), generator=draw)]
    if count == len(valid):
        return valid
    table, centres = features[valid], features[shuffled[:count]].clone()
    for _ in range(ROUNDS):
        around = _nearest(table, centres)
        size = torch.bincount(around, minlength=count)[:, None]
        middle = torch.zeros_like(centres).index_add_(0, around, table) / size.clamp(min=1)
        centres = torch.where(size > 0, middle, centres)
    found = valid[_nearest(centres, table)].unique()
    # centres that share a row leave room for others
    others = shuffled[~torch.isin(shuffled, found)]
    return torch.cat((found, others[: count - len(found)])).sort().values


def _nearest(queries: Tensor, table: Tensor) -> Tensor:
    """Index into ``table`` for each of ``queries``."""
    square, piece = table.square().sum(-1), max(1, _MOST // len(table))
    return torch.cat([torch.addmm(square, part, table.T, alpha=-2.0).argmin(1) for part in queries.split(piece)])
