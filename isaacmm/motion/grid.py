"""TimeGrid: all clips of a library sampled at one rate, as rows of flat tables."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from isaacmm.motion.library import MotionLibrary
from isaacmm.state import MotionState


class TimeGrid:
    """Rows ``[F]``: the moments ``0, 1/rate, 2/rate, ...`` s of every clip, one clip after the other.

    Tables made over the same grid (observations, matching features) share their row numbers.

    Attributes:
        rate: rows per second.
        first: ``[C]`` row of each clip's beginning.
        count: ``[C]`` rows of each clip.
        clip: ``[F]`` int64.
        time: ``[F]`` s from the clip's beginning.
    """

    def __init__(self, library: MotionLibrary, rate: float) -> None:
        self.library = library
        self.rate = rate
        device = library.device
        self.count = (library.lengths * rate + 1e-4).long() + 1
        self.first = torch.cumsum(self.count, 0) - self.count
        self.clip = torch.repeat_interleave(torch.arange(library.num_clips, device=device), self.count)
        row = torch.arange(len(self.clip), device=device) - self.first[self.clip]
        self.time = row / rate

    def __len__(self) -> int:
        return len(self.clip)

    def states(self, piece: int = 4096) -> Iterator[MotionState]:
        """States of all rows in order, ``piece`` rows at a time."""
        for rows in torch.arange(len(self), device=self.library.device).split(piece):
            yield self.library.state(self.clip[rows], self.time[rows])
