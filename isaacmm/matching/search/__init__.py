"""Search: the row of the database that is closest to a query."""

from __future__ import annotations

import importlib.util

from torch import Tensor

from isaacmm.errors import ConfigError, nearest
from isaacmm.matching.search.base import Search
from isaacmm.matching.search.boxes import Boxes
from isaacmm.matching.search.brute import BruteForce

__all__ = ["KINDS", "Boxes", "BruteForce", "Search", "make_search"]

#: What :func:`make_search` knows.
KINDS = ("auto", "brute", "boxes")


def make_search(features: Tensor, allowed: Tensor | None = None, kind: str = "auto", threads: int = 1) -> Search:
    """The search that suits the device and the database; all of them find the same rows.

    Args:
        features: ``[F, W]`` float32, normalised.
        allowed: ``[S, F]`` bool, one mask per style; None allows all rows.
        kind: ``brute`` (any device), ``boxes`` (CPU), or ``auto``: boxes on the CPU, where they are faster from a
            hundred rows on (``benchmarks/search.py``), brute force elsewhere or where numba is missing.
        threads: most threads that a call of ``boxes`` may use.
    """
    if kind not in KINDS:
        raise ConfigError(f"search '{kind}' is not known; {nearest(kind, KINDS)}")
    if kind == "auto":
        compiles = importlib.util.find_spec("numba") is not None
        kind = "boxes" if features.device.type == "cpu" and compiles else "brute"
    return Boxes(features, allowed, threads) if kind == "boxes" else BruteForce(features, allowed)
