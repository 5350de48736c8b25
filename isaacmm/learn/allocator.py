"""Keep the memory that training uses over and over, instead of handing it back each time."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_LARGE = 1 << 30


def keep_freed_memory() -> bool:
    """Tell glibc's malloc to recycle large blocks; returns whether it could be told.

    By default every tensor above a few hundred kilobytes is fetched from the kernel and given back,
    zeroed page by page each time: about a fifth of the time of a small network's training step on a
    CPU. Elsewhere than on glibc nothing is changed.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _LARGE)) and bool(mallopt(_M_TRIM_THRESHOLD, 2 * _LARGE - 1))
