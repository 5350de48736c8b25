"""How diagrams look: the colours of text and lines, and axes without clutter."""

from __future__ import annotations

from typing import Any, Literal

INK, FAINT = "#26323d", "#c9d1d8"


def tidy(axes: Any, grid: Literal["both", "x", "y"] = "both") -> None:
    """Two spines, small ticks and a pale ``grid`` behind the lines of a matplotlib ``axes``."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=8, length=2)
    axes.grid(axis=grid, color="#eef1f3", linewidth=0.8)
    axes.set_axisbelow(True)
