"""``-m``: several runs from one command line, one after the other or some at a time, each in a folder of its own."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import FrameType
from typing import Any

from isaacmm.errors import ConfigError

#: Exit codes of a run that was asked to stop; what has not begun is not begun then.
_ASKED = (-signal.SIGINT, -signal.SIGTERM, 128 + signal.SIGINT, 128 + signal.SIGTERM)


def several(words: Sequence[str]) -> int:
    """Run every combination of the comma-separated values in ``words``; returns the worst exit code.

    ``jobs=N`` (of this command, not of a run) lets N run at a time: they share the CPU cores evenly, and where there
    are several GPUs each run has one of them.

    Raises:
        ConfigError: a word is wrong in any of the runs; none has begun.
    """
    jobs, words = _jobs(words)
    if any(word.lower() == "multi_gpu=true" for word in words):
        raise ConfigError(
            "-m with multi_gpu=True: every run needs a torchrun of its own; start one per run, in a shell loop."
        )
    commands = sweep(words)
    jobs = min(jobs, len(commands))
    if jobs > 1 and not any(word.startswith("threads=") for word in words):
        threads = f"threads={max(_cores() // jobs, 1)}"
        commands = [[*command, threads] for command in commands]
    codes = _Runs(commands, jobs, _gpus(words) if jobs > 1 else []).run()
    shown = ["not begun" if code is None else str(code) for code in codes]
    print("\nexit codes: " + ", ".join(shown))
    return max((abs(code) for code in codes if code is not None), default=0)


def sweep(words: Sequence[str]) -> list[list[str]]:
    """The command lines that ``words`` with comma-separated values stand for, all checked first."""
    from itertools import product

    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    from isaacmm.cli.compose import compose

    choices: list[list[str]] = []
    for word in words:
        key = word.partition("=")[0]
        try:
            override = OverridesParser.create().parse_override(word)
            swept = override.is_sweep_override()
        except HydraException:
            swept = False  # compose() below says what is wrong with it
        choices.append([f"{key}={value}" for value in override.sweep_string_iterator()] if swept else [word])
    commands = [list(combination) for combination in product(*choices)]
    named = any(word.startswith("experiment=") for word in words)
    for number, command in enumerate(commands, start=1):
        if named and len(commands) > 1:
            index = next(i for i, word in enumerate(command) if word.startswith("experiment="))
            command[index] += f"_{number}"
        compose(command)
    return commands


def _jobs(words: Sequence[str]) -> tuple[int, list[str]]:
    """The number in ``jobs=N``, and the other words."""
    jobs = 1
    for word in words:
        key, _, text = word.partition("=")
        if key == "hydra/launcher":
            raise ConfigError(f"{word}: runs are started by this program itself; jobs=N lets N of them run at a time.")
        if key == "jobs":
            if not text.isdigit() or int(text) < 1:
                raise ConfigError(f"{word}: wants a whole number of at least 1. Nearest: jobs=1.")
            jobs = int(text)
    return jobs, [word for word in words if word.partition("=")[0] != "jobs"]


def _cores() -> int:
    from isaacmm.sim.mujoco import cores

    return cores()


def _gpus(words: Sequence[str]) -> list[str]:
    """Numbers of the GPUs to share out: none where there is one at most, or where devices were named."""
    if any(word.partition("=")[0] in ("sim_device", "rl_device") for word in words):
        return []
    import torch

    count = torch.cuda.device_count()
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return (visible or [str(i) for i in range(count)])[:count] if count > 1 else []


class _Runs:
    """Processes of a sweep.

    They are in sessions of their own, so that Ctrl-C reaches this process alone; it passes every signal on once, and
    runs end as if they had been asked directly: politely at first.

    Args:
        commands: words of each run.
        jobs: how many at a time.
        gpus: to be shared out, if any.
    """

    def __init__(self, commands: list[list[str]], jobs: int, gpus: Sequence[str]) -> None:
        from isaacmm.paths import CHECKOUT

        search = os.pathsep.join(filter(None, [str(CHECKOUT), os.environ.get("PYTHONPATH")]))
        self._environment = {**os.environ, "PYTHONPATH": search}  # launch.py may run from any folder
        self._commands, self._jobs = commands, jobs
        self._gpus: queue.Queue[str] = queue.Queue()
        for number in range(jobs if gpus else 0):
            self._gpus.put(gpus[number % len(gpus)])
        self._alive: set[subprocess.Popen[str]] = set()
        self._guard = threading.Lock()
        self._asked = False

    def run(self) -> list[int | None]:
        """Exit codes in the order of the commands; None: not begun, because an earlier one was asked to stop."""
        with self._signals_passed_on(), ThreadPoolExecutor(self._jobs, "run") as pool:
            futures = [pool.submit(self._one, number) for number in range(len(self._commands))]
            return [future.result() for future in futures]

    def _one(self, number: int) -> int | None:
        command, name = self._commands[number], f"[{number + 1}/{len(self._commands)}]"
        gpu = self._gpus.get() if not self._gpus.empty() else None
        environment = self._environment if gpu is None else {**self._environment, "CUDA_VISIBLE_DEVICES": gpu}
        apart: dict[str, Any] = {}
        if self._jobs > 1:  # several bars in one line would be none
            apart = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "errors": "replace"}
        with self._guard:
            if self._asked:
                return None
            print(f"\n{name} {' '.join(command)}", flush=True)
            process = subprocess.Popen(
                [sys.executable, "-m", "isaacmm", *command], env=environment, start_new_session=True, **apart
            )
            self._alive.add(process)
        for line in process.stdout or ():
            if line.strip():
                print(f"{name} {line.rstrip()}", flush=True)
        code = process.wait()
        with self._guard:
            self._alive.discard(process)
            self._asked |= code in _ASKED
        if gpu is not None:
            self._gpus.put(gpu)
        return code

    @contextmanager
    def _signals_passed_on(self) -> Iterator[None]:
        def pass_on(number: int, _frame: FrameType | None) -> None:
            self._asked = True
            for process in list(self._alive):
                process.send_signal(number)

        before = {}
        try:
            for number in (signal.SIGINT, signal.SIGTERM):
                before[number] = signal.signal(number, pass_on)
        except ValueError:  # not the main thread: whoever is gets the signals
            pass
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
