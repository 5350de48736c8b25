"""Twins: per world a moment of the clips that answers the world's command, as an expert would."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from isaacmm.matching.database import Database
from isaacmm.matching.search import Search


class Twins:
    """Motion-matching playheads, one per world.

    A twin plays its clip row by row. Every few steps, at once when the command jumps, and when its clip ends, it
    searches for the row whose pose is close to its own and whose path is what the command asks for; it goes there
    unless playing on is nearly as good. It never sees the simulated character: it is an expert, not a follower.

    Args:
        database: what is played.
        search: over ``database.features``.
        num_envs: ``N``.
        stride: rows per control step.
        every: control steps between searches; worlds are spread over them.
        stay_bias: squared distance by which another row must be better than playing on.
        near_seconds: a better row of the same clip within this time of the playhead is no reason to jump.
        jump: distance between two successive conditions that makes a twin search at once.

    Attributes:
        row: ``[N]`` int64, the present row.
        jumped: ``[N]`` bool, whether the last step left the clip's own order.
    """

    def __init__(
        self,
        database: Database,
        search: Search,
        num_envs: int,
        stride: int = 1,
        every: int = 6,
        stay_bias: float = 0.01,
        near_seconds: float = 1.0 / 3.0,
        jump: float = 1.0,
    ) -> None:
        self.database, self.search = database, search
        self.stride, self.every, self.stay_bias, self.jump = stride, max(1, every), stay_bias, jump
        self.near = round(near_seconds * database.rate)
        device = database.features.device
        self.row = torch.zeros(num_envs, dtype=torch.int64, device=device)
        self.timer = torch.arange(num_envs, device=device) % self.every
        self.last = torch.zeros(num_envs, database.spec.trajectory_size, device=device)
        self.jumped = torch.zeros(num_envs, dtype=torch.bool, device=device)
        #: searches made so far, of all worlds
        self.searches = 0
        #: clips of each style ``[S, C]``, where the search knows styles
        self._clips = _clips_of(database, getattr(search, "rows", None))

    def reset(self, ids: Tensor, rows: Tensor, condition: Tensor) -> None:
        """Worlds ``ids [n]`` go on from ``rows [n]`` under ``condition [n, K]``."""
        self.row[ids] = rows
        self.last[ids] = condition
        self.timer[ids] = ids % self.every
        self.jumped[ids] = False

    def step(self, condition: Tensor, style: Tensor | None = None) -> Tensor:
        """One control step under ``condition [N, K]`` (normalised trajectory). Returns the new rows ``[N]``."""
        left = self.database.rows_left(self.row)
        ended = left < self.stride
        # A clip's tail is played, though no search goes there: whoever had to leave it at once would find the row just
        # before it, whose pose is his own, and tread on the spot.
        self.row = torch.where(ended, self.row, self.row + self.stride)
        self.timer -= 1
        due = (self.timer < 0) | ended | ((condition - self.last).norm(dim=-1) > self.jump)
        self.last = condition
        self.jumped = torch.zeros_like(self.jumped)
        ids = due.nonzero().flatten()
        if len(ids):
            self._search(ids, condition[ids], ended[ids], None if style is None else style[ids])
        return self.row

    def _search(self, ids: Tensor, condition: Tensor, ended: Tensor, style: Tensor | None) -> None:
        here = self.row[ids]
        query = torch.cat((self.database.pose[here], condition), dim=1)
        best, cost = self.search(query, style)
        staying = ((query - self.database.features[here]) ** 2).sum(-1)
        grid = self.database.grid
        near = (grid.clip[best] == grid.clip[here]) & ((best - here).abs() <= self.near)
        stay = ~ended & (near | (staying <= cost + self.stay_bias))
        if style is not None and self._clips is not None:
            # a clip that the style leaves out is left, however well it fits
            stay &= self._clips[style, grid.clip[here]]
        back = (ended & near).nonzero().flatten()
        if len(back):
            best[back] = self._elsewhere(query[back], here[back], best[back], None if style is None else style[back])
        self.row[ids] = torch.where(stay, here, best)
        self.jumped[ids] = ~stay
        self.timer[ids] = self.every - 1
        self.searches += len(ids)

    def _elsewhere(self, query: Tensor, here: Tensor, fallback: Tensor, style: Tensor | None) -> Tensor:
        """Nearest rows to ``query [n, W]`` that are not just before a clip's end ``here [n]``: these would play the
        same moment over and over. ``fallback`` where there are no others.
        """
        allowed = getattr(self.search, "rows", [self.database.valid.nonzero().flatten()])
        found, styles = fallback.clone(), torch.zeros_like(here) if style is None else style
        for s in styles.unique().tolist():
            ids, rows = (styles == s).nonzero().flatten(), allowed[s]
            table, clip = self.database.features[rows], self.database.grid.clip
            close = (clip[rows] == clip[here[ids]][:, None]) & ((rows - here[ids, None]).abs() <= self.near)
            distance = torch.addmm((table**2).sum(-1), query[ids], table.T, alpha=-2.0)
            least, best = distance.masked_fill(close, float("inf")).min(dim=1)
            found[ids] = torch.where(torch.isfinite(least), rows[best], fallback[ids])
        return found

    def follow(self, rows: Tensor) -> Tensor:
        """Go to given ``rows [N]`` instead of searching."""
        self.jumped = rows != self.row + self.stride
        self.row = rows
        return rows

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that a resumed run needs."""
        return {name: getattr(self, name).clone() for name in ("row", "timer", "last")}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Inverse of :meth:`state_dict`."""
        for name in ("row", "timer", "last"):
            getattr(self, name).copy_(state[name])


def _clips_of(database: Database, rows: Sequence[Tensor] | None) -> Tensor | None:
    """Which clips have any of the ``rows`` of each style: ``[S, C]`` bool."""
    if rows is None or len(rows) < 2:
        return None
    clips = torch.zeros(len(rows), database.library.num_clips, dtype=torch.bool, device=database.features.device)
    for style, own in enumerate(rows):
        clips[style, database.grid.clip[own]] = True
    return clips
