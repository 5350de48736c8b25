"""How exactly, and how fast, networks are computed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def products(precision: str) -> Iterator[None]:
    """Inside, large matrix products are as exact as ``precision`` says, in every thread; on exit as before.

    In torch's words, of numbers that are multiplied: ``highest`` float32, ``high`` TF32 (10 bits, on GPUs), ``medium``
    bfloat16 (8 bits). Sums are float32 in any case.
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


def faded(values: Any) -> int:
    """How many numbers, in tensors however nested in dicts and lists, are too small for normal ones and not zero."""
    if torch.is_tensor(values):
        size = values.abs() if values.is_floating_point() else values.new_zeros(0, dtype=torch.float32)
        return int(((size > 0) & (size < torch.finfo(size.dtype).tiny)).sum())
    if isinstance(values, dict):
        return sum(faded(part) for part in values.values())
    return sum(faded(part) for part in values) if isinstance(values, list | tuple) else 0


def _flushes() -> bool:
    """Whether the calling thread takes denormal numbers for zero; torch does not tell."""
    return float(torch.tensor(1e-39) * 1.0) == 0.0
