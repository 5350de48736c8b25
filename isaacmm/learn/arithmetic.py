"""How exactly, and how fast, networks are computed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

#: Of torch: float32 throughout, factors of 10 bits (TF32, on GPUs), or of 8 (bfloat16); sums are float32 in any case.
PRECISIONS = ("highest", "high", "medium")


@contextmanager
def products(precision: str) -> Iterator[None]:
    """Inside, large matrix products are as exact as ``precision`` says, in every thread; on exit as before.

    To be held around networks alone: kinematics and searches need float32.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def without_denormals() -> Iterator[None]:
    """Inside, numbers below 1.2e-38 are zero, in the calling thread; on exit as before.

    After a million samples or so the weights of units that died, and Adam's means of them, have faded that far, and a
    processor takes a hundred times as long for each of them: a long training got three times slower by and by.
    """
    before = _flushes()
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


def worker() -> None:
    """Makes a thread of a pool like the one that :func:`without_denormals` is held in; one torch thread of its own."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)


def _flushes() -> bool:
    """Whether the calling thread takes denormal numbers for zero; torch does not tell."""
    return float(torch.tensor(1e-39) * 1.0) == 0.0
