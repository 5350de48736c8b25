"""What the person at the terminal sees: messages, the banner, the list of artefacts; and Ctrl-C."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import IO

#: Of tqdm, for trainings and fits: there is no unit to count, and what matters is said behind it.
BAR_FORMAT = "{percentage:3.0f}%|{bar:20}| {elapsed} gone, {remaining} left {postfix}"
_WIDTH = 14
_LISTED = 4  # more files of a kind than this are one line


class Console:
    """Prints messages and keeps them in a log file.

    Args:
        log: file the messages are appended to with the time of day, or None.
    """

    def __init__(self, log: Path | None = None) -> None:
        self._log: IO[str] | None = open(log, "a", encoding="utf-8") if log else None  # noqa: SIM115

    def say(self, text: str = "") -> None:
        """Print ``text`` above any progress bar, and log it."""
        from tqdm import tqdm  # its write() keeps a running bar in one piece

        tqdm.write(text, file=sys.stdout)
        sys.stdout.flush()
        self.log(text)

    def warn(self, text: str) -> None:
        """Like :meth:`say`, marked as something to look at."""
        self.say(f"warning: {text}")

    def log(self, text: str) -> None:
        """Write ``text`` to the log file only."""
        if self._log is None:
            return
        stamp = time.strftime("%H:%M:%S")
        try:
            for line in text.splitlines() or [""]:
                self._log.write(f"{stamp} {line}\n".replace(f"{stamp} \n", "\n"))
            self._log.flush()
        except OSError as error:  # a full disk must not end a training run
            self._log = None
            print(f"warning: log.txt can no longer be written ({error.strerror}); going on without it.")

    def close(self) -> None:
        """Close the log file."""
        if self._log is not None:
            self._log.close()
            self._log = None

    def table(self, rows: Sequence[tuple[str, str]]) -> None:
        """Print ``(label, text)`` rows in two columns; further lines of a text are indented."""
        for label, text in rows:
            first, *rest = text.splitlines() or [""]
            self.say(f"  {label:<{_WIDTH}}{first}")
            for line in rest:
                self.say(" " * (_WIDTH + 2) + line)

    def artefacts(self, folder: Path) -> None:
        """List the files under ``folder`` with their sizes, many of a kind as one."""
        files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
        if not files:
            return
        self.say(f"\nIn {shown(folder)}/")
        groups: dict[tuple[Path, str], list[Path]] = {}
        for path in sorted(files, key=lambda path: (len(path.relative_to(folder).parts), path)):
            groups.setdefault((path.parent, path.suffix), []).append(path)
        for (parent, suffix), members in groups.items():
            if len(members) > _LISTED:
                name = f"{parent.relative_to(folder) / f'*{suffix}'} ({len(members)} files)"
                self._artefact(name, sum(path.stat().st_size for path in members), members[0])
                continue
            for path in members:
                self._artefact(str(path.relative_to(folder)), path.stat().st_size, path)

    def _artefact(self, name: str, count: int, example: Path) -> None:
        self.say(f"  {name:<44} {size(count):>9}  {_describe(example)}".rstrip())


class StopRequest:
    """A polite end: true once a signal arrived; a second one ends the process at once.

    >>> stop = StopRequest()
    >>> bool(stop)
    False
    """

    def __init__(
        self,
        message: str = "Stopping after this iteration; a checkpoint is saved first. Once more ends at once.",
    ) -> None:
        """``message``: what is answered to the first signal."""
        self.signal: int | None = None
        self.message = message

    def __bool__(self) -> bool:
        return self.signal is not None

    @property
    def requested(self) -> bool:
        """Whether somebody asked for an end."""
        return self.signal is not None

    def request(self, number: int = signal.SIGINT) -> None:
        """Ask for an end, as the signal ``number`` would."""
        self.signal = number

    @property
    def exit_code(self) -> int:
        """0, or what shells expect of a process ended by the signal."""
        return 0 if self.signal is None else 128 + self.signal

    @contextmanager
    def installed(self) -> Iterator[StopRequest]:
        """Listen to Ctrl-C and SIGTERM inside the block. Only the main thread of a program can."""
        previous = {}
        try:
            for number in (signal.SIGINT, signal.SIGTERM):
                previous[number] = signal.signal(number, self._handle)
        except ValueError:  # not the main thread: signals stay with whoever is
            pass
        try:
            yield self
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self.requested:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        self.request(number)
        # Plain write: the handler may interrupt a print, which must not be entered twice.
        os.write(2, f"\n{self.message}\n".encode())


def shown(path: Path) -> str:
    """``path`` as a person would type it from here."""
    try:
        return os.path.relpath(path) if path.resolve().is_relative_to(Path.cwd()) else str(path)
    except (OSError, ValueError):
        return str(path)


def size(count: float) -> str:
    """``count`` bytes in a unit that reads well."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def duration(seconds: float) -> str:
    """``seconds`` the way one would say it: ``about 8 minutes``."""
    if seconds < 90:
        whole = max(round(seconds), 1)
        return f"about {whole} second{'s' * (whole > 1)}"
    if seconds < 5400:
        return f"about {round(seconds / 60)} minutes"
    return f"about {seconds / 3600:.1f} hours"


_DESCRIPTIONS = {
    "config.yaml": "the complete configuration",
    "log.txt": "these messages",
    "policy.onnx": "the policy for other programs",
    "policy.json": "what its numbers mean",
    "command.onnx": "from commands to what the policy is told",
    "inbetween.onnx": "the network for other programs",
    "inbetween_fp16.onnx": "the same in half the bytes",
    "inbetween.json": "what its numbers mean",
    "inbetween.png": "beside interpolation, on clips held out",
    "matching.npz": "clips to be matched by the policy's user",
    "steering.json": "how well the commands were followed",
    "report.html": "a page to look at",
    "evaluation.json": "how well it does, beside its clips",
    "progress.csv": "the curves as a table",
    "last.pth": "to resume or play",
    "best.pth": "the best so far",
}
_SUFFIXES = {
    ".bvh": "motion for Blender, Maya, Unreal, ...",
    ".mp4": "film",
    ".npz": "the recorded motion as arrays",
    ".png": "the way that was gone",
    ".pth": "checkpoint",
}


def _describe(path: Path) -> str:
    if path.name.startswith("events.out.tfevents"):
        return "curves: tensorboard --logdir runs"
    return _DESCRIPTIONS.get(path.name, _SUFFIXES.get(path.suffix, ""))
