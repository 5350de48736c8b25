"""BruteForce: compares a query with every row, as one matrix product. Runs on any device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from isaacmm.errors import ConfigError
from isaacmm.matching.search.base import allowed_rows, exact_cost

#: Numbers of a distance table that are made at once (rows of the database times queries): what a cache holds, and
#: what a GPU is busy with.
PIECE_CPU, PIECE_GPU = 1 << 19, 1 << 26
#: Unit roundoff of float32.
ROUND = 2.0**-24


class BruteForce:
    """Compares with every row. The plain truth that faster searches are held against.

    The product ``|x|^2 - 2 q.x`` finds the rows that may be nearest: all within its rounding error of the smallest.
    Mostly that is one row; if there are more, exact distances decide.

    Args:
        features: ``[F, W]`` float32.
        allowed: ``[S, F]`` bool, one mask per style; None allows all rows.
    """

    def __init__(self, features: Tensor, allowed: Tensor | None = None) -> None:
        self.features = features.float().contiguous()
        #: rows of each style
        self.rows = allowed_rows(features, allowed)
        self._tables = [self.features[rows] for rows in self.rows]
        norms = [(table.double() ** 2).sum(-1) for table in self._tables]
        self._norms = [norm.float() for norm in norms]
        self._longest = [float(norm.max().sqrt()) for norm in norms]
        self._piece = PIECE_CPU if features.device.type == "cpu" else PIECE_GPU

    def __call__(self, query: Tensor, style: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """See :class:`~isaacmm.matching.search.base.Search`."""
        with torch.no_grad(), _full_precision():
            if style is None or len(self.rows) == 1:
                return self._nearest(query, 0)
            row = torch.full((len(query),), -1, dtype=torch.int64, device=query.device)
            cost = torch.zeros(len(query), device=query.device)
            for s in range(len(self.rows)):
                ids = (style == s).nonzero().flatten()
                row[ids], cost[ids] = self._nearest(query[ids], s)
            if query.device.type == "cpu" and bool((row < 0).any()):
                raise ConfigError(f"search: a query's style is not one of 0..{len(self.rows) - 1}")
            return row, cost

    def _nearest(self, query: Tensor, style: int) -> tuple[Tensor, Tensor]:
        rows, table, norms = self.rows[style], self._tables[style], self._norms[style]
        found = torch.zeros(len(query), dtype=torch.int64, device=query.device)
        cost = torch.full((len(query),), float("inf"), dtype=torch.float64, device=query.device)
        # Bound of the rounding error of the product (Higham, Accuracy and Stability of Numerical Algorithms, 3.1):
        # W products and sums of at most |q||x|, the norm, and the last subtraction, with some room.
        width, long = query.shape[1], self._longest[style]
        error = 1.2 * ROUND * (2.0 * long**2 + 2.0 * (width + 2) * long * query.norm(dim=1))
        size = max(1, self._piece // len(table))
        for start in range(0, len(query), size):
            part = query[start : start + size]
            distance = torch.addmm(norms, part, table.T, alpha=-2.0)
            least = distance.amin(dim=1) + 2.0 * error[start : start + size]
            which, where = (distance <= least[:, None]).nonzero(as_tuple=True)
            exact = exact_cost(part[which], table[where])
            best = cost[start : start + size].scatter_reduce_(0, which, exact, "amin")
            tied = exact == best[which]
            which, where = which[tied], where[tied]
            first = torch.full_like(best, len(table), dtype=torch.int64).scatter_reduce_(0, which, where, "amin")
            found[start : start + size] = torch.where(first < len(table), first, 0)
        return rows[found], cost.float()


@contextmanager
def _full_precision() -> Iterator[None]:
    """Products in float32, whatever the training uses: TF32 or bfloat16 would leave too many rows to decide on."""
    before = torch.get_float32_matmul_precision()
    if before == "highest":
        yield
        return
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
