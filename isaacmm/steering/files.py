"""Command scripts and paths from YAML, JSON and CSV files."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import yaml

from isaacmm.errors import ConfigError, nearest
from isaacmm.steering.path import GroundPath, PathFollower
from isaacmm.steering.script import CommandScript
from isaacmm.steering.source import Source

_SCRIPT_KEYS = ("name", "duration", "loop", "steps")
_PATH_KEYS = ("name", "points", "closed", "speed", "lookahead")


def read(path: str | Path) -> Source:
    """The script or path in a file.

    ``.yaml`` and ``.json``: a mapping with ``steps: [{time, mode | forward, left, turn | facing}, ...]`` and, if
    wanted, ``duration``, ``loop``, ``name``; or a path: ``points: [[x, y], ...]`` m with ``closed``, ``speed`` m/s,
    ``lookahead`` m. ``.csv``: a header of the steps' keys, one step per line; or ``x,y``, a path.

    Raises:
        ConfigError: naming file, line and key.
    """
    path = Path(path)
    if path.is_dir():
        raise ConfigError(f"'{path}' is a folder; a command file (.yaml, .json or .csv) is wanted")
    if not path.is_file():
        folder = path.parent
        names = (
            sorted(p.name for p in folder.iterdir() if p.suffix in (".yaml", ".yml", ".json", ".csv"))
            if folder.is_dir()
            else []
        )
        hint = nearest(path.name, names) if names else f"the folder {folder} has no command files"
        raise ConfigError(f"no command file at '{path}'; {hint}")
    readers = {".csv": _csv, ".json": _json, ".yaml": _yaml, ".yml": _yaml}
    if path.suffix not in readers:
        raise ConfigError(f"{path}: command files are .yaml, .json or .csv, not '{path.suffix}'")
    try:
        return readers[path.suffix](path)
    except ConfigError as error:
        raise error if str(path) in str(error) else ConfigError(f"{path}: {error}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not a text file ({error.reason} at byte {error.start})") from None
    except RecursionError:
        raise ConfigError(f"{path}: nested too deeply; a command file is a list of steps or points") from None


def _csv(path: Path) -> Source:
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = [
            (i, line) for i, line in enumerate(file, start=1) if line.strip() and not line.lstrip().startswith("#")
        ]
    if len(lines) < 2:
        raise ConfigError(f"{path}: no steps; a header such as 'time,mode,turn' and one step per line are wanted")
    try:
        rows = list(csv.DictReader((line for _, line in lines), skipinitialspace=True, strict=True))
    except csv.Error as error:
        raise ConfigError(f"{path}: not a table: {error}") from None
    numbers = [i for i, _ in lines[1:]]
    if len(rows) != len(numbers):
        raise ConfigError(f"{path}: a value in quotes goes on over several lines; one step per line is wanted")
    clean: list[dict[str, Any]] = []
    for number, row in zip(numbers, rows, strict=True):
        if None in row:
            raise ConfigError(f"{path}, line {number}: has more values than the header has names")
        clean.append({str(k).strip(): (v or "").strip() for k, v in row.items()})
    if set(clean[0]) == {"x", "y"}:
        points = []
        for number, row in zip(numbers, clean, strict=True):
            try:
                points.append((float(row["x"]), float(row["y"])))
            except ValueError:
                raise ConfigError(f"{path}, line {number}: x and y are numbers (m), not {row}") from None
        return PathFollower(GroundPath(points, closed=False, name=path.stem))
    return CommandScript.parse(clean, str(path), numbers, name=path.stem)


def _json(path: Path) -> Source:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}, line {error.lineno}: not JSON: {error.msg}") from None
    return _mapping(content, path, None)


def _yaml(path: Path) -> Source:
    text = path.read_text(encoding="utf-8")
    try:
        content = yaml.safe_load(text)
        lines = _step_lines(yaml.compose(text))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise ConfigError(f"{path}, line {line}: not YAML: {error.problem}") from None
    except yaml.YAMLError as error:  # a sign that no YAML may hold
        raise ConfigError(f"{path}: not YAML: {str(error).splitlines()[0]}") from None
    return _mapping(content, path, lines)


def _step_lines(node: Any) -> list[int] | None:
    """Line of every item of ``steps`` in a parsed document, which may also be just the list of them."""
    found = node
    if isinstance(node, yaml.MappingNode):
        found = next((value for key, value in node.value if key.value == "steps"), None)
    if not isinstance(found, yaml.SequenceNode):
        return None
    return [item.start_mark.line + 1 for item in found.value]


def _mapping(content: Any, path: Path, lines: list[int] | None) -> Source:
    if isinstance(content, list):
        content = {"steps": content}
    if not isinstance(content, dict) or not ("steps" in content or "points" in content):
        close = [nearest(str(key), ("steps", "points")) for key in content] if isinstance(content, dict) else []
        hint = next((f"; {text}" for text in close if text.startswith("did you mean")), "")
        raise ConfigError(f"{path}: wants 'steps' (a command script) or 'points' (a path on the ground){hint}")
    known = _PATH_KEYS if "points" in content else _SCRIPT_KEYS
    for key in content:
        if key not in known:
            raise ConfigError(f"{path}: unknown key '{key}'; {nearest(str(key), known)}")
    name = str(content.get("name", path.stem))
    if "points" in content:
        try:
            points = [(float(x), float(y)) for x, y in content["points"]]
            speed, ahead = float(content.get("speed", 1.3)), content.get("lookahead")
            ahead = None if ahead is None else float(ahead)
        except (TypeError, ValueError):
            raise ConfigError(f"{path}: points are pairs [x, y] m; speed and lookahead are numbers") from None
        return PathFollower(GroundPath(points, _truth(content, "closed", path), name), speed, ahead)
    if not isinstance(content["steps"], list):
        raise ConfigError(f"{path}: 'steps' is a list of steps such as {{time: 0, mode: walk}}")
    duration = content.get("duration")
    try:
        duration = None if duration is None else float(duration)
    except (TypeError, ValueError):
        raise ConfigError(f"{path}: duration is {duration!r}; it is a number of seconds") from None
    return CommandScript.parse(
        content["steps"], str(path), lines, duration=duration, loop=_truth(content, "loop", path), name=name
    )


def _truth(content: dict[str, Any], key: str, path: Path) -> bool:
    value = content.get(key, False)
    if not isinstance(value, bool):
        raise ConfigError(f"{path}: {key} is {value!r}; it is true or false, without quotes")
    return value
