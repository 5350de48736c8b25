"""From finished runs to a table and a figure."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from isaacmm.experiment.design import Design
from isaacmm.experiment.runner import RESULT, Job
from isaacmm.experiment.statistics import Interval, bootstrap


@dataclass(frozen=True)
class Measure:
    """A number of ``evaluation.json``.

    Attributes:
        key: path into it, dots between.
        label, unit: for people.
        digits: behind the point.
    """

    key: str
    label: str
    unit: str
    digits: int = 2


MEASURES = (
    Measure("policy.survival", "survival", "s", 1),
    Measure("commands.groups.walk.velocity_error_falls", "velocity error on scripts", "m/s", 3),
    Measure("commands.groups.run.velocity_error_falls", "velocity error on running scripts", "m/s", 3),
    Measure("commands.groups.walk.heading_error_falls", "heading error on scripts", "deg", 1),
    Measure("bins.rows.all.policy.frechet", "Frechet distance", "", 2),
    Measure("bins.rows.walk 0.9-1.4, straight.policy.frechet", "Frechet distance, walking", "", 2),
    Measure("bins.rows.run 2.0-2.7, straight.policy.frechet", "Frechet distance, running", "", 2),
    Measure("policy.velocity_error", "velocity error", "m/s", 3),
    Measure("policy.speed_error", "speed error", "m/s", 3),
    Measure("policy.heading_error", "heading error", "deg", 1),
    Measure("policy.judged_real", "taken for a clip", "%", 1),
    Measure("policy.contact_slide", "contact slide", "m/s", 3),
    Measure("policy.jerk", "jerk", "m/s^3", 0),
)


def value(content: Any, key: str) -> float:
    """The number at ``key`` (dots between; a name may have dots itself), or NaN."""
    if isinstance(content, dict):
        for name in content:
            if key == name or key.startswith(f"{name}."):
                return value(content[name], key[len(name) + 1 :])
    elif not key and isinstance(content, int | float):
        return float(content)
    return float("nan")


def amount(found: Mapping[str, Sequence[Any]]) -> str:
    """Millions of samples that the runs really had: one number, or the least and the most."""
    had = [value(run, "samples") / 1e6 for runs in found.values() for run in runs]
    least, most = (f"{number:.3g}" for number in (min(had), max(had)))
    return least if least == most else f"{least} to {most}"


def collect(jobs: Sequence[Job]) -> dict[str, list[dict[str, Any]]]:
    """Cell name -> contents of the results that are there."""
    found: dict[str, list[dict[str, Any]]] = {}
    for job in jobs:
        if job.done:
            content = json.loads((job.folder / RESULT).read_text(encoding="utf-8"))
            found.setdefault(job.cell.name, []).append(content)
    return found


def summarise(found: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, Interval]]:
    """Cell -> measure key -> interquartile mean and interval over seeds."""
    return {
        cell: {m.key: bootstrap([value(run, m.key) for run in runs]) for m in MEASURES} for cell, runs in found.items()
    }


def curves(jobs: Sequence[Job], column: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Cell -> samples ``[P]`` and ``column`` of ``progress.csv`` per run ``[R, P]``, on common samples."""
    raw: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for job in jobs:
        path = job.folder / "summaries" / "progress.csv"
        if not path.exists():
            continue
        with path.open(newline="", encoding="utf-8") as file:
            rows = [r for r in csv.DictReader(file) if r.get(column) and r.get("samples")]
        if rows:
            raw.setdefault(job.cell.name, []).append(
                (np.array([float(r["samples"]) for r in rows]), np.array([float(r[column]) for r in rows]))
            )
    found = {}
    for cell, runs in raw.items():
        grid = np.linspace(max(x[0] for x, _ in runs), min(x[-1] for x, _ in runs), 100)
        found[cell] = grid, np.stack([np.interp(grid, x, y) for x, y in runs])
    return found


def table(design: Design, summary: dict[str, dict[str, Interval]]) -> str:
    """Markdown: a row per cell, interquartile mean and [interval]."""
    shown = [m for m in MEASURES if any(np.isfinite(cell[m.key].value) for cell in summary.values())]
    head = ["cell", "runs", *(f"{m.label}{f' ({m.unit})' if m.unit else ''}" for m in shown)]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for cell, values in summary.items():
        runs = max(i.runs for i in values.values())
        cells = [
            f"{values[m.key].value:.{m.digits}f} [{values[m.key].low:.{m.digits}f}, {values[m.key].high:.{m.digits}f}]"
            if values[m.key].runs
            else "-"
            for m in shown
        ]
        lines.append("| " + " | ".join([cell, str(runs), *cells]) + " |")
    return "\n".join(lines)


def figure(design: Design, jobs: Sequence[Job], summary: dict[str, dict[str, Interval]], path: Path) -> None:
    """Learning curves above, end results with intervals below."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    top = [("survival", "survival (s)"), ("speed_error", "velocity error (m/s)"), ("style_reward", "style reward")]
    bottom = [m for m in MEASURES if any(np.isfinite(c[m.key].value) for c in summary.values())][:4]
    fig, axes = plt.subplots(2, max(len(top), len(bottom)), figsize=(4.2 * max(len(top), len(bottom)), 7.6))
    cells = list(summary)
    colours = {cell: f"C{i % 10}" for i, cell in enumerate(cells)}
    for axis, (column, label) in zip(axes[0], top, strict=False):
        for cell, (x, y) in curves(jobs, column).items():
            if cell not in colours:
                continue
            x, y = x[3:], y[:, 3:]  # a discriminator that knows nothing yet pays anything
            axis.plot(x / 1e6, np.median(y, axis=0), color=colours[cell], label=cell)
            axis.fill_between(x / 1e6, y.min(axis=0), y.max(axis=0), color=colours[cell], alpha=0.15, lw=0)
        axis.set_xlabel("million samples")
        axis.set_title(label, fontsize=10)
    axes[0][0].legend(fontsize=8)
    for axis, measure in zip(axes[1], bottom, strict=False):
        for i, cell in enumerate(cells):
            got = summary[cell][measure.key]
            spread = [[got.value - got.low], [got.high - got.value]]
            axis.errorbar([got.value], [i], xerr=np.abs(spread), fmt="o", color=colours[cell], capsize=3)
        axis.set_yticks(range(len(cells)), cells if axis is axes[1][0] else [""] * len(cells), fontsize=8)
        axis.invert_yaxis()
        axis.set_title(f"{measure.label}{f' ({measure.unit})' if measure.unit else ''}", fontsize=10)
        axis.grid(axis="x", alpha=0.3)
    for row, used in zip(axes, (len(top), len(bottom)), strict=True):
        for axis in row[used:]:
            axis.axis("off")
    fig.suptitle(f"{design.title}: median and range over seeds; interquartile mean with 95 % bootstrap interval")
    fig.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(path, dpi=110)
    plt.close(fig)
