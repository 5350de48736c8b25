"""The curve on disk stays one unbroken curve, whatever happened in between."""

from __future__ import annotations

import csv
import errno
import logging
import resource
import signal
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from isaacmm.learn.logging import ProgressBar, TrainingLog


def stats(iteration: int, value: float = 0.5) -> dict[str, float]:
    return {
        "reward": value,
        "iteration": float(iteration),
        "samples": 64.0 * iteration,
        "disc_loss": value / 2,
    }


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "progress.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def write(folder: Path, first: int, last: int, resumed_at: int = 0, value: float = 0.5) -> None:
    log = TrainingLog(folder, resumed_at, 64 * resumed_at)
    for i in range(first, last + 1):
        log.write(stats(i, value))
    log.close()


def test_every_iteration_is_a_row(tmp_path: Path) -> None:
    write(tmp_path, 1, 5)
    assert [row["iteration"] for row in rows(tmp_path)] == ["1", "2", "3", "4", "5"]
    assert rows(tmp_path)[2] == {"reward": "0.5", "iteration": "3", "samples": "192", "disc_loss": "0.25"}


def test_rows_are_on_disk_at_once(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path)
    log.write(stats(1))
    assert len(rows(tmp_path)) == 1
    log.close()


def test_resuming_cuts_what_the_checkpoint_does_not_know(tmp_path: Path) -> None:
    write(tmp_path, 1, 7)
    write(tmp_path, 5, 8, resumed_at=4, value=0.75)
    assert [row["iteration"] for row in rows(tmp_path)] == [str(i) for i in range(1, 9)]
    assert [row["reward"] for row in rows(tmp_path)] == ["0.5"] * 4 + ["0.75"] * 4


def test_a_half_written_row_is_cut(tmp_path: Path) -> None:
    write(tmp_path, 1, 4)
    path = tmp_path / "progress.csv"
    path.write_bytes(path.read_bytes()[:-9])
    write(tmp_path, 4, 5, resumed_at=4)
    assert [row["iteration"] for row in rows(tmp_path)] == ["1", "2", "3", "4", "5"]


def test_resuming_and_dying_before_the_first_iteration_loses_nothing(tmp_path: Path) -> None:
    write(tmp_path, 1, 4)
    before = (tmp_path / "progress.csv").read_bytes()
    TrainingLog(tmp_path, 3, 192).close()
    assert (tmp_path / "progress.csv").read_bytes() == before


def test_resuming_with_the_file_gone(tmp_path: Path) -> None:
    write(tmp_path, 4, 5, resumed_at=3)
    assert [row["iteration"] for row in rows(tmp_path)] == ["4", "5"]


def test_a_fresh_run_begins_a_fresh_file(tmp_path: Path) -> None:
    write(tmp_path, 1, 4)
    write(tmp_path, 1, 2)
    assert [row["iteration"] for row in rows(tmp_path)] == ["1", "2"]


def test_tensorboard_shows_one_curve_after_resuming(tmp_path: Path) -> None:
    write(tmp_path, 1, 7)
    write(tmp_path, 5, 8, resumed_at=4, value=0.75)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {"reward/total", "disc/disc_loss"}
    curve = events.Scalars("reward/total")
    assert [point.step for point in curve] == [64 * i for i in range(1, 9)]
    assert [point.value for point in curve] == [0.5] * 4 + [0.75] * 4


def test_full_disk_is_a_warning_and_rows_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    log = TrainingLog(tmp_path)
    log.write(stats(1))
    real = Path.open

    def full(path: Path, *args: Any, **kwargs: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "open", full)
    with caplog.at_level(logging.WARNING):
        log.write(stats(2))
        log.write(stats(3))
    assert len([r for r in caplog.records if "No space left" in r.getMessage()]) == 1  # said once
    monkeypatch.setattr(Path, "open", real)
    assert [row["iteration"] for row in rows(tmp_path)] == ["1"]
    log.write(stats(4))
    log.close()
    assert [row["iteration"] for row in rows(tmp_path)] == ["1", "2", "3", "4"]


def test_a_row_that_only_half_fits_is_written_again(tmp_path: Path) -> None:
    """A real limit of the system: files of this process may not grow beyond it."""
    log = TrainingLog(tmp_path)
    log.write(stats(1))
    log.close()
    log.writer = None
    size = (tmp_path / "progress.csv").stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 5, hard))
        log.write(stats(2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)
    log.write(stats(3))
    assert [row["iteration"] for row in rows(tmp_path)] == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("iterations", "minutes", "iteration", "seconds", "share"),
    [
        (100, None, 25, 1e9, 0.25),  # no clock
        (100, 10.0, 25, 60.0, 0.25),  # the count is ahead
        (100, 10.0, 25, 480.0, 0.8),  # the clock is ahead
        (100, 10.0, 100, 1.0, 1.0),
        (100, 10.0, 3, 900.0, 1.0),  # never beyond the end
    ],
)
def test_progress_is_whichever_comes_first(
    iterations: int, minutes: float | None, iteration: int, seconds: float, share: float
) -> None:
    bar = ProgressBar(iterations, minutes)
    assert bar.share(iteration, seconds) == pytest.approx(share)
    bar.close()


def test_bar_moves_to_the_share_and_a_resumed_one_starts_there() -> None:
    shown = {
        "survival": 1.0, "speed_error": 0.1, "task_reward": 0.5, "style_reward": 1.0, "samples": 1e6,
        "samples_per_second": 4000.0, "iteration": 30.0, "seconds": 90.0,
    }  # fmt: skip
    bar = ProgressBar(100, None)
    bar.show(shown)
    assert bar.bar.n == pytest.approx(30.0)
    assert "survives 1.0 s" in str(bar.bar) and "1.00 M samples" in str(bar.bar)
    bar.show({**shown, "iteration": 29.0})  # never backwards
    assert bar.bar.n == pytest.approx(30.0)
    bar.close()
    bar = ProgressBar(100, None, done=40, seconds=60.0)
    assert bar.bar.n == pytest.approx(40.0)
    assert "01:00" in str(bar.bar)  # the time already spent counts
    bar.close()
