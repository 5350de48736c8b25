"""Trainings of an experiment, several processes side by side; what is finished is not done again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from isaacmm.cli.console import BAR_FORMAT
from isaacmm.errors import IsaacmmError
from isaacmm.experiment.design import Cell, Design
from isaacmm.export.curves import read_progress

#: Written into a run's folder when it is through.
RESULT = "evaluation.json"
#: So often a training is tried before it counts as failed.
TRIES = 2


@dataclass(frozen=True)
class Job:
    """One training.

    Attributes:
        cell: what is special about it.
        seed: of everything random.
        folder: ``<root>/<cell>_s<seed>``.
    """

    cell: Cell
    seed: int
    folder: Path

    @property
    def done(self) -> bool:
        """Whether its result is there, complete."""
        try:
            return bool(json.loads((self.folder / RESULT).read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return False

    def share(self, iterations: int) -> float:
        """How much of it is trained, from 0 to 1, as its curves say."""
        done = read_progress(self.folder / "summaries" / "progress.csv").get("iteration", [0.0])
        return min(1.0, done[-1] / iterations)

    def command(self, design: Design, iterations: int, threads: int, more: Sequence[str]) -> list[str]:
        """The command line, or that of going on where it was interrupted."""
        place = [f"runs_dir={self.folder.parent}", f"experiment={self.folder.name}"]
        place += ["export_bvh=False", "export_onnx=False", "export_video=False"]
        if (self.folder / "nn" / "last.pth").exists():
            return [sys.executable, "-m", "isaacmm", *place, "resume=True"]
        words = [f"threads={threads}", *design.base, *self.cell.words, *more]
        words += [f"seed={self.seed}", f"max_iterations={iterations}", "max_minutes=100000"]
        return [sys.executable, "-m", "isaacmm", *words, *place]


def jobs(design: Design, cells: Sequence[Cell], seeds: int, root: Path) -> list[Job]:
    """All trainings, seed by seed, so that an interrupted experiment has every cell."""
    return [Job(cell, seed, root / f"{cell.name}_s{seed}") for seed in range(1, seeds + 1) for cell in cells]


def run(
    design: Design, todo: Sequence[Job], iterations: Mapping[str, int], parallel: int, more: Sequence[str]
) -> list[Job]:
    """Train whatever is not done yet, each for the ``iterations`` of its cell. Returns the jobs that failed.

    Ctrl-C asks the running trainings to save and ends; the same command goes on.
    """
    threads = max(1, (os.cpu_count() or 1) // parallel)
    waiting = [job for job in todo if not job.done]
    running: list[tuple[Job, subprocess.Popen[bytes]]] = []
    failed: list[Job] = []
    bar = _Bar(len(todo), iterations)
    tries: dict[Path, int] = {}
    # a scheduler's way of stopping is taken like Ctrl-C, also where Ctrl-C is ignored (nohup ... &)
    before = {name: signal.signal(name, signal.default_int_handler) for name in (signal.SIGTERM, signal.SIGINT)}
    try:
        while waiting or running:
            while waiting and len(running) < parallel:
                job = waiting.pop(0)
                running.append((job, _start(design, job, iterations[job.cell.name], threads, more)))
                tries[job.folder] = tries.get(job.folder, 0) + 1
            time.sleep(0.5)
            for entry in list(running):
                job, process = entry
                if process.poll() is None:
                    continue
                running.remove(entry)
                if job.done:
                    continue
                if tries[job.folder] < TRIES:
                    waiting.insert(0, job)
                else:
                    failed.append(job)
                    bar.say(f"failed: {job.folder.name}; see {job.folder.parent / (job.folder.name + '.log')}")
            finished = len(todo) - len(waiting) - len(running) - len(failed)
            bar.show(finished, [job for job, _ in running])
    except KeyboardInterrupt:
        for _, process in running:
            process.send_signal(signal.SIGINT)
        for _, process in running:
            process.wait(timeout=120)
        raise IsaacmmError("stopped; the same command goes on where it was") from None
    finally:
        bar.close()
        for name, handler in before.items():
            signal.signal(name, handler)
    return failed


def _start(design: Design, job: Job, iterations: int, threads: int, more: Sequence[str]) -> subprocess.Popen[bytes]:
    job.folder.parent.mkdir(parents=True, exist_ok=True)
    log = (job.folder.parent / f"{job.folder.name}.log").open("ab")
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    try:
        # a group of its own: Ctrl-C reaches it through us, once
        return subprocess.Popen(
            job.command(design, iterations, threads, more), stdout=log, stderr=log, env=environment,
            start_new_session=True,
        )  # fmt: skip
    finally:
        log.close()


class _Bar:
    """One line: how many trainings are done, and how far those are that run."""

    def __init__(self, total: int, iterations: Mapping[str, int]) -> None:
        self.total, self.iterations = total, iterations
        self.every = 1.0 if sys.stderr.isatty() else 60.0
        self.shown = -self.every
        self.bar = tqdm(total=float(total), dynamic_ncols=True, bar_format=BAR_FORMAT)

    def show(self, finished: int, running: Sequence[Job] = ()) -> None:
        """``finished`` are done, ``running`` as their curves say, which are not read more often than anybody looks."""
        if running and time.monotonic() - self.shown < self.every:
            return
        self.shown = time.monotonic()
        shares = {job.folder.name: job.share(self.iterations[job.cell.name]) for job in running}
        parts = [f"{name} {100 * share:.0f} %" for name, share in shares.items()]
        self.bar.set_postfix_str(", ".join([f"| {finished} of {self.total} runs", *parts]), refresh=False)
        self.bar.n = finished + sum(shares.values())
        self.bar.refresh()

    def say(self, text: str) -> None:
        """A line above the bar."""
        self.bar.write(text)

    def close(self) -> None:
        """Leave the last line standing."""
        self.bar.close()
