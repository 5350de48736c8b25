"""Playheads: twins that may play the end of a clip again."""

from __future__ import annotations

from torch import Tensor

from isaacmm.matching.twin import Twins


class Playheads(Twins):
    """Twins that, at a clip's end, go to the best row even if it lies shortly before that end in the same clip."""

    def _elsewhere(self, query: Tensor, here: Tensor, fallback: Tensor, style: Tensor | None) -> Tensor:
        return fallback
