"""Runs of the command line in processes of their own, without paying for the imports each time.

``Launcher`` starts one Python that has everything imported; every run is a fork of it, so it may be killed,
interrupted, or end with an exit code like any other. Unix only.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


class Launcher:
    """Starts command lines; a context manager."""

    def __enter__(self) -> Launcher:
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "CUDA_VISIBLE_DEVICES": "",
        }
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def _ask(self, **request: Any) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def start(
        self,
        words: list[str],
        folder: Path,
        artefacts: bool = False,
        largest_file: int | None = None,
        environment: dict[str, str] | None = None,
        call: str = "isaacmm.cli.main:main",
    ) -> Job:
        """Begin ``launch.py words`` in ``folder``.

        Args:
            words: of the command line.
            folder: where it runs.
            artefacts: make what is made after training (with a film of half a second).
            largest_file: bytes beyond which no file of the run may grow, like a disk that is full.
            environment: further variables.
            call: ``module:function`` that takes the words instead, and returns an exit code.
        """
        output = folder / f"output_{time.monotonic_ns()}.txt"
        pid = self._ask(
            do="start", words=words, folder=str(folder), output=str(output), artefacts=artefacts,
            largest_file=largest_file, environment=environment or {}, call=call,
        )  # fmt: skip
        return Job(self, pid, output)

    def team(self, words: list[str], folder: Path, count: int = 2, **options: Any) -> list[Job]:
        """Begin the same in ``count`` processes that find each other as torchrun's do."""
        import torch.distributed as dist

        # torchrun holds the store where its processes meet, so it outlives each of them
        self._store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        common = {
            "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": self._store.port, "TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": 0,
            **options.pop("environment", {}),
        }  # fmt: skip
        jobs = []
        for rank in range(count):
            own = {name: str(value) for name, value in {**common, "RANK": rank, "LOCAL_RANK": rank}.items()}
            jobs.append(self.start(words, folder, environment=own, **options))
        return jobs

    def run(self, words: list[str], folder: Path, **options: Any) -> tuple[int, str]:
        """Exit code and everything printed; see :meth:`start`."""
        job = self.start(words, folder, **options)
        return job.wait(), job.output.read_text()


class Job:
    """A run on its way."""

    def __init__(self, launcher: Launcher, pid: int, output: Path) -> None:
        self.launcher, self.pid, self.output = launcher, pid, output

    def signal(self, number: int) -> None:
        """Send a signal, if it still runs."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def wait(self, seconds: float = 300.0) -> int:
        """Exit code; minus the signal's number if one ended it."""
        return int(self.launcher._ask(do="wait", pid=self.pid, seconds=seconds))

    def wait_for_lines(self, path: Path, count: int, seconds: float = 120.0) -> None:
        """Return once ``path`` has ``count`` lines."""
        deadline = time.monotonic() + seconds
        while not (path.exists() and path.read_bytes().count(b"\n") >= count):
            assert time.monotonic() < deadline, self.output.read_text()
            time.sleep(0.01)


def _serve() -> None:
    sys.path.insert(0, str(ROOT))
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # nothing that prints while importing may spoil the replies
    import isaacmm.cli.main
    import isaacmm.learn.artefacts as artefacts
    import isaacmm.learn.play
    import isaacmm.learn.rl_games.build
    import isaacmm.learn.train
    import isaacmm.sim.mujoco  # noqa: F401 - for the runs

    def child(request: dict[str, Any]) -> None:
        os.dup2(os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), 1)
        os.dup2(1, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.chdir(request["folder"])
        os.environ.update(request["environment"])
        artefacts.FILM_SECONDS = 0.5
        if not request["artefacts"]:
            artefacts.after_training = lambda *_: None
        if request["largest_file"] is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            limit = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
            resource.setrlimit(resource.RLIMIT_FSIZE, (request["largest_file"], limit))
        code = 1
        try:
            module, function = request["call"].split(":")
            code = getattr(importlib.import_module(module), function)(request["words"])
        except BaseException:
            import traceback

            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    def wait(pid: int, seconds: float) -> int:
        deadline = time.monotonic() + seconds
        while True:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
                deadline = float("inf")
            time.sleep(0.005)

    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "start":
            reply = os.fork()
            if reply == 0:
                child(request)
        else:
            reply = wait(request["pid"], request["seconds"])
        print(json.dumps(reply), file=replies, flush=True)


if __name__ == "__main__":
    _serve()
