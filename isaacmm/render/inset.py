"""A small map in the corner of a film: the way asked for, the way gone, and where everything faces. North is up."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw

Array = np.ndarray

_PAPER, _FRAME = (244, 246, 248), (201, 209, 216)
_ASKED, _GONE, _HERE = (91, 151, 196), (214, 120, 44), (38, 50, 61)
#: Drawn this many times larger and then made smaller, which smooths the lines.
_FINE = 3


class Map:
    """Seen from above.

    Args:
        gone: ``[T, 2]`` m, the way that was gone.
        heading: ``[T]`` rad.
        asked: ``[M, 2]`` m, the way asked for: a line that is there from the beginning, or
        along: whether ``asked`` has one point per frame and appears with time.
        size: pixels of a side.
    """

    def __init__(self, gone: Array, heading: Array, asked: Array, along: bool = False, size: int = 128) -> None:
        self.gone, self.heading, self.asked, self.along, self.size = gone, heading, asked, along, size
        points = np.concatenate([gone, asked])
        low, high = points.min(0), points.max(0)
        self._middle = 0.5 * (low + high)
        reach = max(float((high - low).max()), 4.0)
        self._scale = _FINE * size * 0.84 / reach

    def __call__(self, f: int) -> Array:
        """The map at frame ``f``, uint8 ``[size, size, 3]``."""
        side = _FINE * self.size
        image = Image.new("RGB", (side, side), _PAPER)
        pen = ImageDraw.Draw(image)
        pen.rectangle((0, 0, side - 1, side - 1), outline=_FRAME, width=_FINE)
        asked = self.asked[: f + 1] if self.along else self.asked
        if len(asked) > 1:
            pen.line(self._at(asked), fill=_ASKED, width=2 * _FINE, joint="curve")
        if f > 0:
            pen.line(self._at(self.gone[: f + 1]), fill=_GONE, width=2 * _FINE, joint="curve")
        (x, y) = self._at(self.gone[f : f + 1])[0]
        angle = float(self.heading[f])
        corners = ((21, 0.0), (13, 2.4), (13, -2.4))
        tip = [(x + r * math.cos(angle + a), y - r * math.sin(angle + a)) for r, a in corners]
        pen.polygon(tip, fill=_HERE)
        return np.asarray(image.resize((self.size, self.size), Image.Resampling.BOX))

    def _at(self, points: Array) -> list[tuple[float, float]]:
        half = 0.5 * _FINE * self.size
        xy = (points - self._middle) * self._scale
        return [(half + float(x), half - float(y)) for x, y in xy]
