"""Numbers out of dictionaries that a file filled: shapes and types checked, faults named."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from isaacmm.errors import MotionError, nearest
from isaacmm.motion.io import files

#: More frames or columns than this are a damaged header (three days at 120 fps).
_MOST = 1 << 25


class Fields:
    """One clip's dictionary (``.npz``, pickle, json) with typed access.

    Args:
        data: what the file holds.
        path: for messages.
        what: whose clip, for messages ("an AMASS clip").
    """

    def __init__(self, data: Mapping[str, Any], path: Path, what: str) -> None:
        self.data, self.path, self.what = data, path, what

    def __contains__(self, key: str) -> bool:
        return self.data.get(key) is not None

    def require(self, *keys: str) -> None:
        """Raise a :class:`MotionError` unless all ``keys`` are there."""
        missing = [key for key in keys if key not in self]
        if missing:
            there = ", ".join(str(key)[:40] for key in list(self.data)[:16])
            raise MotionError(f"{self.path}: lacks {', '.join(missing)} of {self.what}; it holds {there}.")

    def array(self, key: str, *shape: int | None) -> np.ndarray:
        """The numbers under ``key`` as float64 of the given shape (None: any length).

        Raises:
            MotionError: missing, not numbers, or of another shape.
        """
        self.require(key)
        try:
            values = np.asarray(self.data[key])
            if values.dtype.kind not in "fiub":
                raise ValueError(f"holds {values.dtype}")
            values = values.astype(np.float64)
        except (ValueError, TypeError, OverflowError) as error:
            raise MotionError(f"{self.path}: {key} is no array of numbers ({str(error)[:120]}).") from error
        if shape and (
            values.ndim != len(shape)
            or any(want is not None and want != have for want, have in zip(shape, values.shape, strict=True))
        ):
            wanted = "[" + ", ".join("any" if n is None else str(n) for n in shape) + "]"
            raise MotionError(
                f"{self.path}: {key} has the shape {list(values.shape)}, expected {wanted} of {self.what}."
            )
        if values.size > _MOST * 100:
            raise MotionError(f"{self.path}: {key} holds {values.size:,} numbers, no motion clip.")
        return values

    def number(self, *keys: str, default: float | None = None) -> float:
        """The one number under the first of ``keys`` that is there."""
        for key in keys:
            if key in self:
                values = self.array(key)
                if values.size != 1:
                    raise MotionError(f"{self.path}: {key} holds {values.size} numbers, expected one.")
                return float(values.reshape(()))
        if default is None:
            self.require(keys[0])
            raise AssertionError
        return default

    def rate(self, *keys: str, default: float | None = None) -> float:
        """Frames per second; anything that is not is refused.

        Raises:
            MotionError: not between 0 and 10,000.
        """
        return rate(self.number(*keys, default=default), self.path)


def rate(fps: float, path: Path) -> float:
    """``fps`` if it can be one."""
    if not 0.0 < fps < 10_000.0:
        raise MotionError(f"{path}: {fps} is no frame rate; give it with fps=... where the reader takes one.")
    # rates of files are noisy in the last digits (60.00024)
    return float(round(fps)) if abs(fps - round(fps)) < 1e-3 and round(fps) > 0 else fps


def pick_clip(clips: Mapping[str, Any], clip: str | None, path: Path) -> tuple[str, Any]:
    """Name and content of the clip asked for, or of the first.

    Raises:
        MotionError: no clips, or none of that name; the message lists them.
    """
    if not clips:
        raise MotionError(f"{path}: holds no clip.")
    if clip is None:
        name = next(iter(clips))
        if len(clips) > 1:
            files.log.warning(
                "%s: holds %d clips, the first (%r) is read; clip=NAME or read_all gives the others",
                path, len(clips), name,
            )  # fmt: skip
        return name, clips[name]
    if clip not in clips:
        names = list(clips)
        listed = ", ".join(names[:20]) + (f", ... ({len(names)} in all)" if len(names) > 20 else "")
        raise MotionError(
            f"{path}: has no clip {clip!r} ({nearest(clip, names[:200])}). Its clips: {listed}."
        )
    return clip, clips[clip]
