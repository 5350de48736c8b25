"""Learning curves as a picture, from a run's ``summaries/progress.csv``."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from isaacmm.render.axes import FAINT, INK, tidy

Rows = dict[str, list[float]]

_BLUE, _ORANGE = "#2a7f9e", "#d0763f"

#: title, unit of the axis, columns with their labels
PANELS: tuple[tuple[str, str, tuple[tuple[str, str], ...]], ...] = (
    ("time to a fall", "s", (("survival", ""),)),
    ("speed error", "m/s", (("speed_error", ""),)),
    ("rewards", "", (("task_reward", "task"), ("style_reward", "style"))),
    ("discriminator tells apart", "share right", (("disc_demo_accuracy", "clips"), ("disc_agent_accuracy", "policy"))),
)  # fmt: skip


def read_progress(path: Path) -> Rows:
    """Columns of ``progress.csv``; a line that was cut off is left out.

    Returns:
        Column name -> values; empty when there is no such file.
    """
    if not path.is_file():
        return {}
    columns: Rows = {}
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        for row in reader:
            if None in row or None in row.values():
                continue
            for name, text in row.items():
                columns.setdefault(name, []).append(_number(text))
    return columns


def draw(rows: Rows, *, full_seconds: float = 10.0) -> bytes:
    """PNG of the panels against samples, or ``b''`` when there is nothing to draw.

    Args:
        rows: of :func:`read_progress`.
        full_seconds: length of an episode, drawn as the survival to reach.
    """
    panels = [panel for panel in PANELS if any(name in rows for name, _ in panel[2])]
    if len(rows.get("samples", ())) < 2 or not panels:
        return b""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure  # not pyplot: nothing global, no display asked for

    figure = Figure(figsize=(10, 2.6 * math.ceil(len(panels) / 2)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(math.ceil(len(panels) / 2), 2, squeeze=False)
    x = [value / 1e6 for value in rows["samples"]]
    for axes, panel in zip(grid.flat, panels, strict=False):
        _panel(axes, x, rows, panel, full_seconds)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for axes in grid[-1]:
        axes.set_xlabel("million samples", color=INK, fontsize=9)
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()


def _panel(
    axes: Any,
    x: Sequence[float],
    rows: Rows,
    panel: tuple[str, str, tuple[tuple[str, str], ...]],
    full_seconds: float,
) -> None:
    title, unit, lines = panel
    axes.set_title(title + (f" ({unit})" if unit else ""), loc="left", fontsize=10, color=INK)
    for (name, label), color in zip(lines, (_BLUE, _ORANGE), strict=False):
        if name not in rows:
            continue
        axes.plot(x, rows[name], color=color, linewidth=0.8, alpha=0.3)
        axes.plot(x, smooth(rows[name]), color=color, linewidth=1.8, label=label)
    if len(lines) > 1:
        axes.legend(frameon=False, fontsize=9, labelcolor=INK)
    if lines[0][0] == "survival":
        axes.axhline(full_seconds, color=FAINT, linewidth=1, linestyle="--")
    axes.set_ylim(bottom=0.0)
    axes.margins(x=0.0)
    tidy(axes, grid="y")


def smooth(values: Sequence[float], share: float = 0.02) -> list[float]:
    """Centred running mean over ``share`` of the curve; numbers that are not finite are skipped."""
    reach = int(len(values) * share / 2)
    out = []
    for i in range(len(values)):
        near = [v for v in values[max(0, i - reach) : i + reach + 1] if math.isfinite(v)]
        out.append(sum(near) / len(near) if near else math.nan)
    return out


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan
