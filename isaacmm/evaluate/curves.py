"""Learning curves of several runs in one picture.

``python -m isaacmm.evaluate.curves label=runs/NAME [label=runs/OTHER ...] --out curves.png``
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

from isaacmm.errors import ConfigError, IsaacmmError

_PANELS = (
    ("survival", "survival of recent episodes (s)"),
    ("speed_error", "speed error (m/s)"),
    ("task_reward", "task reward"),
    ("style_reward", "style reward"),
)


def read(run: Path) -> dict[str, list[float]]:
    """Columns of a run's ``summaries/progress.csv``.

    Raises:
        ConfigError: the run left no curve.
    """
    file = run / "summaries" / "progress.csv" if run.is_dir() else run
    if not file.exists():
        raise ConfigError(f"{run}: there is no learning curve at {file}; train the run first")
    with file.open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    if not rows:
        raise ConfigError(f"{file} holds no iterations yet")
    return {name: [float(row[name]) for row in rows] for name in rows[0]}


def plot(runs: dict[str, Path], out: Path, by: str = "samples", smooth: int = 5) -> None:
    """Draw the curves of ``runs`` (label -> run folder or csv file).

    Args:
        runs: what to draw; labels that share the part before ``#`` share a colour (seeds of one setting).
        out: PNG or SVG.
        by: ``samples`` (equal samples) or ``seconds`` (equal training time).
        smooth: iterations in a running mean.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np

    figure, axes = plt.subplots(1, len(_PANELS), figsize=(4.2 * len(_PANELS), 3.4), layout="constrained")
    groups = list(dict.fromkeys(label.split("#")[0] for label in runs))
    for label, run in runs.items():
        data = read(run)
        group = label.split("#")[0]
        x = np.array(data[by]) / (1e6 if by == "samples" else 60.0)
        first = next(name for name in runs if name.split("#")[0] == group) == label
        for axis, (key, title) in zip(axes, _PANELS, strict=True):
            y = np.array(data[key])
            width = min(smooth, len(y))
            mean = np.convolve(y, np.ones(width) / width, mode="valid")
            axis.plot(x[width - 1 :], mean, color=f"C{groups.index(group)}", lw=1.3, label=group if first else None)
            axis.set_title(title, fontsize=10)
            axis.set_xlabel("million samples" if by == "samples" else "minutes of training")
            axis.grid(alpha=0.3)
    axes[0].legend(fontsize=8)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=80)
    plt.close(figure)


def main(words: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m isaacmm.evaluate.curves", description=__doc__)
    parser.add_argument("runs", nargs="+", metavar="[LABEL=]RUN", help="run folders, with a label in front if wanted")
    parser.add_argument("--out", type=Path, default=Path("curves.png"), help="picture to write (%(default)s)")
    parser.add_argument("--by", choices=("samples", "seconds"), default="samples", help="horizontal axis")
    given = parser.parse_args(words)
    runs = {}
    for word in given.runs:
        label, _, path = word.rpartition("=")
        runs[label or Path(path).name] = Path(path)
    try:
        plot(runs, given.out, given.by)
    except IsaacmmError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"wrote {given.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
