"""BVH (placeholder for the first commit: recognises the format, reader follows)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from isaacmm.errors import MotionError


def sniff(path: Path) -> bool:
    """True for a text that starts with HIERARCHY."""
    with open(path, "rb") as file:
        return b"HIERARCHY" in file.read(200).upper()


def read(path: Path, skeleton: Any = None) -> Any:
    """Not there yet."""
    raise MotionError(f"{path}: BVH is not read yet")


def write(motion: Any, path: Path) -> None:
    """Not there yet."""
    raise MotionError(f"{path}: BVH is not written yet")
