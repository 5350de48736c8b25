"""Where the numbers of a training go: TensorBoard, a CSV file, and the progress bar."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any, TextIO

from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

Stats = dict[str, float]

_GROUPS = {
    "reward": "reward/total",
    "task_reward": "reward/task",
    "style_reward": "reward/style",
    "survival": "episode/survival_s",
    "full_episodes": "episode/full_share",
    "speed_error": "command/speed_error_m_s",
    "heading_error": "command/heading_error_rad",
    "time_physics": "time/physics_share",
    "time_inference": "time/inference_share",
    "time_learning": "time/learning_share",
    "samples_per_second": "time/samples_per_second",
}


class TrainingLog:
    """Scalars per iteration, against samples, in ``summaries/`` (TensorBoard and ``progress.csv``).

    A resumed run cuts ``progress.csv`` back to the checkpoint's iteration first, so that the file
    always holds one unbroken curve.
    """

    def __init__(self, folder: Path, resumed_at: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.writer = SummaryWriter(str(folder), purge_step=None)
        self.path = folder / "progress.csv"
        self._file: TextIO | None = None
        self._csv: Any = None
        self._kept = self._rows_until(resumed_at) if resumed_at else []

    def _rows_until(self, iteration: int) -> list[dict[str, str]]:
        if not self.path.exists():
            return []
        with self.path.open(newline="") as file:
            return [row for row in csv.DictReader(file) if _number(row.get("iteration")) <= iteration]

    def write(self, stats: Stats) -> None:
        """One iteration."""
        if self._csv is None:
            self._file = self.path.open("w", newline="")
            self._csv = csv.DictWriter(self._file, fieldnames=list(stats), extrasaction="ignore")
            self._csv.writeheader()
            for row in self._kept:
                self._csv.writerow(row)
        assert self._file is not None
        self._csv.writerow({name: f"{value:.6g}" for name, value in stats.items()})
        self._file.flush()
        step = int(stats["samples"])
        for name, value in stats.items():
            if name not in ("iteration", "samples"):
                self.writer.add_scalar(_GROUPS.get(name, f"{'disc' if name.startswith('disc') else 'train'}/{name}"), value, step)

    def close(self) -> None:
        """Flush and close."""
        self.writer.close()
        if self._file is not None:
            self._file.close()


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return float("nan")


class ProgressBar:
    """One line with the numbers a person watches, and the time that is left.

    The end is whichever comes first: the iterations or the minutes.
    """

    def __init__(self, iterations: int, minutes: float | None, done: int = 0, seconds: float = 0.0) -> None:
        self.iterations, self.minutes = iterations, minutes
        self.bar = tqdm(
            total=100.0,
            file=sys.stdout,
            dynamic_ncols=True,
            mininterval=1.0 if sys.stdout.isatty() else 15.0,
            bar_format="{percentage:3.0f}%|{bar:20}| {elapsed} gone, {remaining} left {postfix}",
        )
        self.bar.update(100.0 * self.share(done, seconds))
        self.bar.start_t -= seconds
        self.bar.initial = 0

    def share(self, iteration: int, seconds: float) -> float:
        """How much of the training is done, in [0, 1]."""
        by_count = iteration / self.iterations
        by_clock = seconds / (60.0 * self.minutes) if self.minutes else 0.0
        return min(1.0, max(by_count, by_clock))

    def show(self, stats: Stats) -> None:
        """After an iteration."""
        self.bar.set_postfix_str(
            f"| survives {stats['survival']:.1f} s, speed error {stats['speed_error']:.2f} m/s, "
            f"task {stats['task_reward']:.2f}, style {stats['style_reward']:.2f}, "
            f"{stats['samples'] / 1e6:.2f} M samples, {stats['samples_per_second']:,.0f}/s",
            refresh=False,
        )
        target = 100.0 * self.share(int(stats["iteration"]), stats["seconds"])
        self.bar.update(max(0.0, target - self.bar.n))

    def close(self) -> None:
        """Leave the last line standing."""
        self.bar.close()
