"""Run folders: where a run leaves what it makes, and how an earlier one is found again.

Nothing here ever deletes or overwrites a run: a taken name gets a number behind it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO

from isaacmm.cli.console import Console, StopRequest
from isaacmm.errors import CheckpointError, ConfigError, nearest

CONFIG_FILE = "config.yaml"
LOG_FILE = "log.txt"
LAST = "last.pth"


@dataclass
class Run:
    """What the trainer and the player get besides the configuration.

    Attributes:
        path: the run's folder; it exists. Sub-folders are made when first asked for.
        checkpoint: what to load before anything else, or None.
        resume: True: go on where ``checkpoint`` stopped, counters and optimisers included;
            False with a checkpoint: take its weights only.
        console: for every message to the person; also written to ``log.txt``.
        stop: polled between iterations; true once Ctrl-C or SIGTERM asked for an end.
    """

    path: Path
    console: Console
    stop: StopRequest
    checkpoint: Path | None = None
    resume: bool = False

    @property
    def nn(self) -> Path:
        """Folder of checkpoints."""
        return self._folder("nn")

    @property
    def summaries(self) -> Path:
        """Folder of TensorBoard event files."""
        return self._folder("summaries")

    @property
    def motions(self) -> Path:
        """Folder of BVH files."""
        return self._folder("motions")

    @property
    def videos(self) -> Path:
        """Folder of films."""
        return self._folder("videos")

    def _folder(self, name: str) -> Path:
        folder = self.path / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder


# --- naming -----------------------------------------------------------------------------------------


def default_name(task: str, now: datetime | None = None) -> str:
    """The name of a run that was given none: task and local date-time, sortable."""
    return f"{task}_{(now or datetime.now()):%Y-%m-%d_%H-%M-%S}"


def check_name(name: str) -> None:
    """Raise :class:`ConfigError` unless ``name`` is a plain folder name on every system."""
    if re.fullmatch(r"[\w][\w.+=,@ -]*", name) and not name.endswith((" ", ".")):
        return
    plain = re.sub(r"[^\w.+=,@-]+", "_", Path(name).name).strip("._") or "my_run"
    raise ConfigError(f"experiment={name}: wants a plain folder name. Nearest: experiment={plain}")


def create_numbered(folder: Path, stem: str) -> Path:
    """Make and return ``folder/stem_1``, or the first number that is free."""
    for number in range(1, 100_000):
        made = folder / f"{stem}_{number}"
        try:
            made.mkdir()
        except FileExistsError:
            continue
        return made
    raise ConfigError(f"{folder} already has {stem}_1 to {stem}_99999.")


def create(runs_dir: Path, name: str) -> Path:
    """Make and return ``runs_dir/name``, or ``name_2``, ``name_3``, ... when that is taken."""
    runs_dir.mkdir(parents=True, exist_ok=True)
    for number in range(1, 100_000):
        folder = runs_dir / (name if number == 1 else f"{name}_{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise ConfigError(f"{runs_dir} already has every name from {name} to {name}_99999.")


# --- finding ----------------------------------------------------------------------------------------


def list_runs(runs_dir: Path) -> list[Path]:
    """Run folders, the most recently active first."""
    if not runs_dir.is_dir():
        return []
    runs = [folder for folder in runs_dir.iterdir() if folder.is_dir() and is_run(folder)]
    return sorted(runs, key=_activity, reverse=True)


def is_run(folder: Path) -> bool:
    """Whether ``folder`` looks like a run: it has a configuration or checkpoints."""
    return (folder / CONFIG_FILE).is_file() or bool(checkpoints(folder))


def checkpoints(folder: Path) -> list[Path]:
    """Checkpoints of a run folder, the one to continue from first: ``last.pth``, then the newest."""
    found = [path for path in (folder / "nn").glob("*.pth") if path.is_file()]
    return sorted(found, key=lambda path: (path.name == LAST, path.stat().st_mtime), reverse=True)


def run_of(checkpoint: Path) -> Path | None:
    """The run folder a checkpoint file belongs to, or None for a lone file."""
    folder = checkpoint.resolve().parent
    if folder.name == "nn" and (folder.parent / CONFIG_FILE).is_file():
        return folder.parent
    return folder if (folder / CONFIG_FILE).is_file() else None


def find_checkpoint(text: str, runs_dir: Path, key: str = "checkpoint=") -> Path:
    """The checkpoint file that ``checkpoint=text`` means.

    Args:
        text: a file, a run folder (its path, or its name under ``runs_dir``), or ``latest``.
        key: what stood in front of it where it was asked for, to be said again.

    Raises:
        CheckpointError: nothing is there; the message lists what is.
    """
    if text == "latest":
        for folder in sorted(list_runs(runs_dir), key=_checkpoint_time, reverse=True):
            if files := checkpoints(folder):
                return files[0]
        raise CheckpointError(f"{key}latest: no run under {runs_dir}/ has a checkpoint yet.")
    path = Path(text).expanduser()
    for candidate in (path, runs_dir / path):
        if candidate.is_file():
            return candidate
        if candidate.is_dir():
            folder = candidate.parent if candidate.name == "nn" else candidate
            if files := checkpoints(folder):
                return files[0]
            raise CheckpointError(
                f"{key}{text}: {folder}/nn holds no .pth file. {_what_exists(runs_dir)}"
            )
    raise CheckpointError(f"{key}{text}: there is no such file or run. {_what_exists(runs_dir, text)}")


def latest_of_task(task: str, runs_dir: Path) -> Path:
    """The newest checkpoint among the runs of one task.

    Raises:
        CheckpointError: there is none.
    """
    for folder in sorted(list_runs(runs_dir), key=_checkpoint_time, reverse=True):
        if (files := checkpoints(folder)) and task_of(folder) == task:
            return files[0]
    raise CheckpointError(
        f"no run of {task} under {runs_dir}/ has a checkpoint yet. Train one: python launch.py task={task}"
    )


def task_of(folder: Path) -> str | None:
    """The task a run folder was made for, or None where its configuration does not say."""
    import yaml

    try:
        saved = yaml.safe_load((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        return str(saved["task"]["name"])
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError):
        return None


def find_run(text: str, runs_dir: Path) -> Path:
    """The run folder to resume: ``text`` is its name or path, or ``latest``.

    Raises:
        CheckpointError: there is no such run; the message lists what is there.
    """
    if text == "latest":
        runs = list_runs(runs_dir)
        if runs:
            return runs[0]
        raise CheckpointError(f"resume=True: there is no run under {runs_dir}/ to go on with.")
    for candidate in (runs_dir / text, Path(text).expanduser()):
        if candidate.is_dir() and is_run(candidate):
            return candidate
    raise CheckpointError(f"resume=True: there is no run {text!r}. {_what_exists(runs_dir, text)}")


def _what_exists(runs_dir: Path, wanted: str = "") -> str:
    runs = [folder.name for folder in list_runs(runs_dir) if checkpoints(folder)]
    if not runs:
        return f"No run under {runs_dir}/ has a checkpoint yet."
    close = nearest(Path(wanted).name, runs) if wanted else ""
    if close.startswith("did you mean"):
        return close[0].upper() + close[1:]
    more = f" and {len(runs) - 8} more" if len(runs) > 8 else ""
    return f"Runs with a checkpoint, newest first: {', '.join(runs[:8])}{more}; or checkpoint=latest."


def _activity(folder: Path) -> float:
    marks = [folder / CONFIG_FILE, folder / LOG_FILE, *checkpoints(folder)]
    return max((path.stat().st_mtime for path in marks if path.exists()), default=0.0)


def _checkpoint_time(folder: Path) -> float:
    return max((path.stat().st_mtime for path in checkpoints(folder)), default=0.0)


# --- one process per run ----------------------------------------------------------------------------


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold ``folder`` for this process; the system lets go of it however the process ends.

    Raises:
        ConfigError: another process is at work in the folder.
    """
    try:
        import fcntl
    except ImportError:  # a system without it: nothing is guarded
        yield
        return
    with _open_lock(folder) as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigError(
                f"{folder} is in use by another process that is still running. "
                "Wait for it, stop it, or start a new run with another experiment= name."
            ) from error
        yield


def _open_lock(folder: Path) -> IO[str]:
    return open(folder / LOG_FILE, "a", encoding="utf-8")
