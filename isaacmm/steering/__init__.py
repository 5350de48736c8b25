"""Steering: what characters are told to do over time; shared by the kinematic controller and physics tasks."""

from __future__ import annotations

from pathlib import Path

from isaacmm import paths
from isaacmm.errors import ConfigError, nearest
from isaacmm.steering.builtin import BUILTIN
from isaacmm.steering.chance import RandomCommands
from isaacmm.steering.keyboard import Keyboard
from isaacmm.steering.path import GroundPath, PathFollower
from isaacmm.steering.script import MODES, CommandScript, Step
from isaacmm.steering.source import Command, Source

PATHS = {f.__name__: f for f in (GroundPath.circle, GroundPath.figure_eight, GroundPath.slalom, GroundPath.square)}

__all__ = [
    "BUILTIN",
    "MODES",
    "PATHS",
    "Command",
    "CommandScript",
    "GroundPath",
    "Keyboard",
    "PathFollower",
    "RandomCommands",
    "Source",
    "Step",
    "follow",
    "named",
]


def named(word: str) -> Source:
    """A built-in script (``figure_eight``), a file of ``cfg/commands`` or any YAML, JSON or CSV command file.

    Raises:
        ConfigError: no such script or file.
    """
    if word in BUILTIN:
        return BUILTIN[word]()
    from isaacmm.steering.files import read

    if Path(word).suffix:
        return read(paths.resolve(word))
    files = _files()
    if word in files:
        return read(files[word])
    raise ConfigError(f"no command script '{word}'; {nearest(word, [*BUILTIN, *files])}")


def follow(word: str, speed: float | None = None) -> PathFollower:
    """Follow a built-in path (``circle``, ``figure_eight``, ``slalom``, ``square``), one of ``cfg/commands`` or a file.

    Raises:
        ConfigError: no such path, or the file holds a script.
    """
    if word in PATHS:
        return PathFollower(PATHS[word](), 1.3 if speed is None else speed)
    source = named(word) if Path(word).suffix or word in _files() else None
    if source is None:
        raise ConfigError(f"no path '{word}'; {nearest(word, [*PATHS, *_files()])}")
    if not isinstance(source, PathFollower):
        raise ConfigError(f"{word}: holds a command script, not a path (points: [[x, y], ...])")
    return source if speed is None else PathFollower(source.path, speed, source.own_lookahead)


def _files() -> dict[str, Path]:
    """Command files of ``cfg/commands`` by name."""
    folder = paths.data_folder("cfg") / "commands"
    return {p.stem: p for p in sorted(folder.glob("*.*"))} if folder.is_dir() else {}
