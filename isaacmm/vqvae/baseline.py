"""What can be had without learning: patches of frames, each replaced by the nearest of a few typical ones.

Vector quantization of the raw (normalised) features with as many tokens and codes as the network has; residual layers
likewise. A network that is not better than this is not worth its time.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from isaacmm.vqvae import usage

#: More codes than this are not worth the wait; then the baseline has fewer bits, and says how many.
_MOST_CODES = 1024


class PatchQuantizer:
    """Typical patches of ``frames`` frames.

    Args:
        clips: normalised features ``[T, F]`` of each clip to learn from.
        frames: per patch.
        sizes: codes of each residual layer.
    """

    def __init__(self, clips: Sequence[Tensor], frames: int, sizes: Sequence[int], seed: int = 0) -> None:
        self.frames = frames
        rest = torch.cat([self._patches(clip) for clip in clips])
        generator = torch.Generator().manual_seed(seed)
        self.books: list[Tensor] = []
        for size in sizes:
            count = min(size, _MOST_CODES, len(rest))
            begin = rest[torch.randperm(len(rest), generator=generator)[:count]]
            centres, which = usage.lloyd(rest, begin, rounds=8)
            self.books.append(centres)
            rest = rest - centres[which]

    @property
    def bits(self) -> float:
        """Bits per patch."""
        return float(sum(torch.log2(torch.tensor(float(len(book)))) for book in self.books))

    def reconstruct(self, clip: Tensor) -> Tensor:
        """Normalised features ``[T, F]`` of a clip put together from the patches."""
        rest = self._patches(clip)
        total = torch.zeros_like(rest)
        for book in self.books:
            part = book[usage.assign(rest, book)]
            rest, total = rest - part, total + part
        return total.unflatten(1, (self.frames, -1)).flatten(0, 1)[: len(clip)]

    def _patches(self, clip: Tensor) -> Tensor:
        """``[S, frames * F]``, the last frame repeated until the last patch is full."""
        missing = -len(clip) % self.frames
        full = torch.cat((clip, clip[-1:].expand(missing, -1)))
        return full.unflatten(0, (-1, self.frames)).flatten(1)
