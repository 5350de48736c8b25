"""Boxes: exact search on the CPU that looks only at the parts of the database that can hold the nearest row."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from isaacmm.errors import ConfigError
from isaacmm.matching.search.base import allowed_rows

#: Queries that are worth a thread of their own.
PER_THREAD = 64
#: Rows by which the most varying column is told.
SAMPLE = 512


class Boxes:
    """Two levels of axis-aligned bounding boxes over each style's rows, searched by compiled code.

    A box's distance to a query is a lower bound for the rows inside. Boxes that are farther away than the best row
    found so far are passed over; what is left is compared in float32, and the few rows that come near the best in
    float64. The result is the one of :class:`~isaacmm.matching.search.brute.BruteForce`, ties included.

    Args:
        features: ``[F, W]`` float32, on the CPU.
        allowed: ``[S, F]`` bool, one mask per style; None allows all rows.
        threads: most threads that share the queries of one call.
        split: rows are sorted into boxes by halving at the median of the column that varies most; without it boxes
            hold consecutive moments of the clips, as in Holden's accompanying code ("Learned Motion Matching", 2020),
            which are larger.
    """

    def __init__(
        self, features: Tensor, allowed: Tensor | None = None, threads: int = 1, split: bool = True
    ) -> None:
        from isaacmm.matching.search import compiled  # numba takes a while to import

        if features.device.type != "cpu":
            raise ConfigError(f"search 'boxes' runs on the CPU; the features are on {features.device}: use 'brute'")
        leaf, fan = compiled.LEAF, compiled.FAN
        self.rows = allowed_rows(features, allowed)
        self._features = np.ascontiguousarray(features.detach().float().numpy())
        if not np.isfinite(self._features).all():
            raise ConfigError("search: the features hold numbers that are not finite")
        low, high, leaves, ids, first = [], [], [], [], [0]
        for rows in self.rows:
            row = rows.numpy()
            if split:
                row = row[_halves(self._features[row], leaf, fan)]
            nodes = -(-len(row) // (leaf * fan))
            padded = np.full((nodes * leaf * fan, self._features.shape[1]), compiled.FAR, dtype=np.float32)
            padded[: len(row)] = self._features[row]
            table = padded.reshape(nodes, fan, leaf, -1)
            low.append(table.min(axis=2).transpose(0, 2, 1))
            padded[len(row) :] = -compiled.FAR
            high.append(table.max(axis=2).transpose(0, 2, 1))
            padded[len(row) :] = compiled.FAR
            leaves.append(table.reshape(nodes * fan, leaf, -1).transpose(0, 2, 1))
            ids.append(np.concatenate((row, np.zeros(len(padded) - len(row), dtype=np.int64))))
            first.append(first[-1] + nodes)
        corners = np.stack((np.concatenate(low), np.concatenate(high)), axis=1)  # [N, 2, W, FAN]
        nodes_low, nodes_high = corners[:, 0].min(axis=2), corners[:, 1].max(axis=2)
        self._tables = (
            np.array(first, dtype=np.int64),
            np.ascontiguousarray(np.stack((nodes_low.T, nodes_high.T))),
            np.ascontiguousarray(corners),
            np.ascontiguousarray(np.concatenate(leaves)),
            np.concatenate(ids),
            self._features,
            np.array([int(rows[0]) for rows in self.rows], dtype=np.int64),
        )
        self._run = compiled.nearest
        self._no_style = np.zeros(0, dtype=np.int64)
        self.threads = max(1, threads)
        self._pool = ThreadPoolExecutor(self.threads) if self.threads > 1 else None
        # compiles, or reads the compiled code from disk
        self(features[:1], torch.zeros(1, dtype=torch.int64))

    def __call__(self, query: Tensor, style: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """See :class:`~isaacmm.matching.search.base.Search`."""
        asked = np.ascontiguousarray(query.detach().numpy(), dtype=np.float32)
        if asked.ndim != 2 or asked.shape[1] != self._features.shape[1]:
            raise ConfigError(f"search: queries of shape {asked.shape} do not fit {self._features.shape[1]} columns")
        styles = self._no_style
        if style is not None and len(self.rows) > 1:
            styles = np.ascontiguousarray(style.numpy(), dtype=np.int64)
            if len(styles) != len(asked):
                raise ConfigError(f"search: {len(asked)} queries have {len(styles)} styles")
        row, cost = np.empty(len(asked), dtype=np.int64), np.empty(len(asked), dtype=np.float32)
        parts = min(self.threads, -(-len(asked) // PER_THREAD))
        if self._pool is None or parts < 2:
            known = self._run(asked, styles, *self._tables, row, cost)
        else:
            edges = [len(asked) * i // parts for i in range(parts + 1)]
            jobs = [
                self._pool.submit(self._run, asked[a:b], styles[a:b], *self._tables, row[a:b], cost[a:b])
                for a, b in itertools.pairwise(edges)
            ]
            done = [job.result() for job in jobs]  # all of them, before anyone reads the results
            known = all(done)
        if not known:
            raise ConfigError(f"search: a query's style is not one of 0..{len(self.rows) - 1}")
        return torch.from_numpy(row), torch.from_numpy(cost)


def _halves(values: np.ndarray, leaf: int, fan: int) -> np.ndarray:
    """Order of rows ``[n, W]`` in which neighbours are alike, leaf by leaf and node by node.

    Parts are halved at the median of their most varying column (as far as a sample shows), at multiples of a node's
    size and, within a node, of a leaf's.
    """
    order, columns = np.arange(len(values)), np.ascontiguousarray(values.T)
    parts = [(0, len(values))]
    while parts:
        start, stop = parts.pop()
        size = stop - start
        unit = leaf * fan if size > leaf * fan else leaf
        if size <= unit:
            continue
        here = order[start:stop]
        widest = values[here[:: -(-size // SAMPLE)]].var(axis=0).argmax()
        half = unit * max(1, round(size / (2 * unit)))
        order[start:stop] = here[np.argpartition(columns[widest, here], half)]
        parts += [(start, start + half), (start + half, stop)]
    return order
