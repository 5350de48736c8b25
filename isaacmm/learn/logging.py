"""Where the numbers of a training go: TensorBoard, a CSV file, and the progress bar."""

from __future__ import annotations

import csv
import errno
import io
import logging
import os
import sys
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from isaacmm.cli.console import BAR_FORMAT

log = logging.getLogger(__name__)

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
    "time_matching": "time/matching_share",
    "time_inference": "time/inference_share",
    "time_learning": "time/learning_share",
    "samples_per_second": "time/samples_per_second",
}


class TrainingLog:
    """Scalars per iteration, against samples, in ``summaries/`` (TensorBoard and ``progress.csv``).

    A resumed run goes on behind the checkpoint's iteration and drops what came after it, so that both
    always show one unbroken curve. A full disk is a warning: rows wait in memory until there is room.

    Args:
        folder: ``summaries/`` of the run.
        resumed_at: iteration of the checkpoint, 0 for a fresh run.
        samples: of that checkpoint.
    """

    def __init__(self, folder: Path, resumed_at: int = 0, samples: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.writer: SummaryWriter | None = SummaryWriter(
            str(folder), purge_step=samples + 1 if resumed_at else None
        )
        self.path = folder / "progress.csv"
        self._fields, self._end = self._written_until(resumed_at) if resumed_at else ([], 0)
        self._waiting = b""
        self._warned = False

    def _written_until(self, iteration: int) -> tuple[list[str], int]:
        """Column names, and the byte behind the last complete row that the checkpoint knows of."""
        if not self.path.exists():
            return [], 0
        fields: list[str] = []
        end = position = 0
        with self.path.open("rb") as file:
            for line in file:
                position += len(line)
                if not line.endswith(b"\n"):
                    break
                cells = next(csv.reader([line.decode()]))
                if not fields:
                    fields, end = cells, position
                elif _number(dict(zip(fields, cells, strict=False)).get("iteration")) <= iteration:
                    end = position
        return fields, end

    def write(self, stats: Stats) -> None:
        """One iteration."""
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        if not self._fields:
            self._fields = list(stats)
            rows.writerow(self._fields)
        rows.writerow([f"{stats[name]:.6g}" if name in stats else "" for name in self._fields])
        self._waiting += text.getvalue().encode()
        try:
            self._append()
            self._summarise(stats)
        except OSError as error:
            if not self._warned:
                self._warned = True
                log.warning("summaries cannot be written (%s); training goes on.", error)

    def _append(self) -> None:
        """Write what waits; half-written rows of a failed attempt are overwritten."""
        with self.path.open("r+b" if self._end else "wb", buffering=0) as file:
            file.seek(self._end)
            file.truncate()
            written = file.write(self._waiting)
            if written != len(self._waiting):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._end += written
        self._waiting = b""

    def _summarise(self, stats: Stats) -> None:
        if self.writer is None:
            return
        step = int(stats["samples"])
        try:
            for name, value in stats.items():
                if name not in ("iteration", "samples"):
                    tag = _GROUPS.get(name, f"{'disc' if name.startswith('disc') else 'train'}/{name}")
                    self.writer.add_scalar(tag, value, step)
        except OSError:
            self.writer = None  # its thread has ended and takes nothing more
            raise

    def close(self) -> None:
        """Flush and close."""
        try:
            if self.writer is not None:
                self.writer.close()
            if self._waiting:
                self._append()
        except OSError as error:
            log.warning("summaries are incomplete: %s", error)


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return float("nan")


def share_done(iterations: int, minutes: float | None, iteration: int, seconds: float) -> float:
    """How much of a training of so many iterations, or minutes, is done, in [0, 1]."""
    by_count = iteration / iterations if iterations else 1.0
    by_clock = seconds / (60.0 * minutes) if minutes else 0.0
    return min(1.0, max(by_count, by_clock))


class Unseen:
    """Log and progress bar of a process that does not write."""

    def write(self, stats: Stats) -> None:
        """Nothing."""

    def show(self, stats: Stats) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


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
            bar_format=BAR_FORMAT,
        )
        self.bar.update(100.0 * self.share(done, seconds))
        self.bar.start_t -= seconds
        self.bar.initial = 0

    def share(self, iteration: int, seconds: float) -> float:
        """How much of the training is done, in [0, 1]."""
        return share_done(self.iterations, self.minutes, iteration, seconds)

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
