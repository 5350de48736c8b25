"""Playheads: twins that play their clips to the end."""

from __future__ import annotations

import torch
from torch import Tensor

from isaacmm.matching.twin import Twins


class Playheads(Twins):
    """Twins whose clips' last moments are played, though no search goes there.

    For a controller a clip's tail is as good as the rest of it: the next search comes when it is due. A playhead that
    had to leave the tail at once would find the row just before it, whose pose is its own, and tread on the spot.
    """

    def step(self, condition: Tensor, style: Tensor | None = None) -> Tensor:
        """See :meth:`Twins.step`."""
        ended = self.database.rows_left(self.row) < self.stride
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
        db, here = self.database, self.row[ids]
        query = torch.cat((db.pose[here], condition), dim=1)
        best, cost = self.search(query, style)
        staying = ((query - db.features[here]) ** 2).sum(-1)
        near = (db.grid.clip[best] == db.grid.clip[here]) & ((best - here).abs() <= self.near)
        stay = ~ended & (near | (staying <= cost + self.stay_bias))
        self.row[ids] = torch.where(stay, here, best)
        self.jumped[ids] = ~stay
        self.timer[ids] = self.every - 1
        self.searches += len(ids)
