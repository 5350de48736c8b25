"""Search: the row of the database that is closest to a query."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

#: Numbers of a distance table that are made at once (rows of the database times queries).
PIECE = 1 << 22


class Search(Protocol):
    """Finds nearest rows; ``features [F, W]`` are normalised, only rows allowed for a style are returned."""

    def __call__(self, query: Tensor, style: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Nearest allowed row ``[Q]`` int64 and its squared distance ``[Q]`` for ``query [Q, W]``.

        ``style [Q]`` int64 chooses a mask per query (0 where not given). Of equally near rows the first is returned.
        """
        ...


class BruteForce:
    """Compares with every row. The plain truth that faster searches are held against.

    Args:
        features: ``[F, W]`` float32.
        allowed: ``[S, F]`` bool, one mask per style; None allows all rows.
    """

    def __init__(self, features: Tensor, allowed: Tensor | None = None) -> None:
        self.features = features.contiguous()
        if allowed is None:
            allowed = torch.ones(1, len(features), dtype=torch.bool, device=features.device)
        #: rows of each style
        self.rows = [mask.nonzero().flatten() for mask in allowed]
        self._tables = [self.features[rows] for rows in self.rows]
        self._norms = [(table**2).sum(-1) for table in self._tables]

    def __call__(self, query: Tensor, style: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """See :class:`Search`."""
        row = torch.zeros(len(query), dtype=torch.int64, device=query.device)
        cost = torch.zeros(len(query), device=query.device)
        styles = range(len(self.rows)) if style is not None and len(self.rows) > 1 else (0,)
        for s in styles:
            ids = (style == s).nonzero().flatten() if style is not None and len(self.rows) > 1 else slice(None)
            row[ids], cost[ids] = self._nearest(query[ids], s)
        return row, cost

    def _nearest(self, query: Tensor, style: int) -> tuple[Tensor, Tensor]:
        table, norms = self._tables[style], self._norms[style]
        best = []
        for part in query.split(max(1, PIECE // max(1, len(table)))):
            best.append(torch.addmm(norms, part, table.T, alpha=-2.0).argmin(dim=1))
        found = torch.cat(best) if best else torch.zeros(0, dtype=torch.int64, device=query.device)
        return self.rows[style][found], ((query - table[found]) ** 2).sum(-1)


def make_search(features: Tensor, allowed: Tensor | None = None, kind: str = "auto") -> Search:
    """The search that suits the device."""
    return BruteForce(features, allowed)
