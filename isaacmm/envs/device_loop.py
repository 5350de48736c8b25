"""A rollout that never waits for the GPU.

Asking a GPU which worlds are done (``nonzero``, a boolean index, ``.item()``) means waiting until it has done
everything that was asked before, and then the GPU waits for Python. Where physics runs on a GPU, environments
therefore work in fixed shapes: whatever happens to some worlds is worked out for all of them, or for a fixed number of
candidates, and ``torch.where`` picks. Random numbers are drawn in other amounts then, so the CPU keeps its own way.
"""

from __future__ import annotations

import torch
from torch import Tensor

from isaacmm.matching.search.base import allowed_rows, exact_cost
from isaacmm.matching.search.brute import PIECE_CPU, PIECE_GPU, _full_precision
from isaacmm.matching.twin import Twins


def pool_size(num_envs: int) -> int:
    """States prepared per control step for worlds that end. If more end at once, some begin alike."""
    return min(num_envs, max(64, num_envs // 8))


def hand_out(done: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Which of ``size`` prepared states each world may take ``[N]``, and the same with -1 where none is wanted."""
    turn = torch.remainder(done.cumsum(0) - 1, size)
    return turn, torch.where(done, turn, -1)


class DeviceSearch:
    """Nearest rows in fixed shapes; a :class:`~isaacmm.matching.search.Search` but for ties.

    Of rows whose distances differ by less than float32 can tell, any may be found.

    Args:
        features: ``[F, W]`` float32.
        allowed: ``[S, F]`` bool, one mask per style; None allows all rows.
    """

    def __init__(self, features: Tensor, allowed: Tensor | None = None) -> None:
        self.features = features.float().contiguous()
        self.rows = allowed_rows(features, allowed)
        closed = torch.zeros(len(self.rows), len(features), device=features.device)
        for style, rows in enumerate(self.rows):
            closed[style] = float("inf")
            closed[style, rows] = 0.0
        self._closed = closed
        self._first = torch.stack([rows[0] for rows in self.rows])
        self._norms = (self.features.double() ** 2).sum(-1).float()
        self._index = torch.arange(len(features), device=features.device)
        self._piece = PIECE_CPU if features.device.type == "cpu" else PIECE_GPU

    def __call__(
        self,
        query: Tensor,
        style: Tensor | None = None,
        avoid: tuple[Tensor, Tensor, Tensor, int] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Row ``[Q]`` and squared distance ``[Q]`` for ``query [Q, W]``.

        ``avoid``: where ``avoid[0] [Q]`` is set, rows of the same clip (``avoid[2] [F]`` is the clip of every row)
        within ``avoid[3]`` rows of ``avoid[1] [Q]`` are not found.
        """
        style = torch.zeros(len(query), dtype=torch.int64, device=query.device) if style is None else style
        size = max(1, self._piece // len(self.features))
        found = []
        with torch.no_grad(), _full_precision():
            for part in torch.arange(len(query), device=query.device).split(size):
                distance = torch.addmm(self._norms, query[part], self.features.T, alpha=-2.0)
                distance += self._closed if len(self._closed) == 1 else self._closed[style[part]]
                if avoid is not None:
                    where, here, clip, near = avoid[0][part, None], avoid[1][part, None], avoid[2], avoid[3]
                    same = (clip == clip[here]) & ((self._index - here).abs() <= near)
                    distance = distance.masked_fill(where & same, float("inf"))
                least, row = distance.nan_to_num(nan=float("inf")).min(dim=1)
                found.append(torch.where(least.isfinite(), row, self._first[style[part]]))
        rows = torch.cat(found)
        return rows, exact_cost(query, self.features[rows]).float()


class DeviceTwins(Twins):
    """:class:`~isaacmm.matching.twin.Twins` that search for all worlds at once and keep what is due."""

    search: DeviceSearch

    def step(self, condition: Tensor, style: Tensor | None = None) -> Tensor:
        """See :meth:`Twins.step`."""
        grid = self.database.grid
        ended = self.database.rows_left(self.row) < self.stride
        here = torch.where(ended, self.row, self.row + self.stride)
        self.timer = self.timer - 1
        due = (self.timer < 0) | ended | ((condition - self.last).norm(dim=-1) > self.jump)
        self.last = condition
        query = torch.cat((self.database.pose[here], condition), dim=1)
        best, cost = self.search(query, style, (ended, here, grid.clip, self.near))
        staying = ((query - self.database.features[here]) ** 2).sum(-1)
        near = (grid.clip[best] == grid.clip[here]) & ((best - here).abs() <= self.near)
        stay = ~ended & (near | (staying <= cost + self.stay_bias))
        if style is not None and self._clips is not None:
            stay = stay & self._clips[style, grid.clip[here]]
        self.jumped = due & ~stay
        self.row = torch.where(self.jumped, best, here)
        self.timer = torch.where(due, self.every - 1, self.timer)
        return self.row

    def reset_where(self, done: Tensor, rows: Tensor, condition: Tensor) -> None:
        """Worlds ``done [N]`` go on from ``rows [N]`` under ``condition [N, K]``."""
        self.row = torch.where(done, rows, self.row)
        self.last = torch.where(done[:, None], condition, self.last)
        self.timer = torch.where(done, torch.arange(len(done), device=done.device) % self.every, self.timer)
        self.jumped = self.jumped & ~done
