"""Token files: what remains of a clip, as text that can be read, cut and joined by hand.

``.json`` holds everything that :func:`load` needs to give the clip back where it was; ``.txt`` holds a line of numbers
per token step and nothing else, for sequences from anywhere.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from isaacmm.errors import MotionError
from isaacmm.motion.io.files import atomic
from isaacmm.vqvae.features import Start

FORMAT = "isaacmm-tokens"
VERSION = 1
SUFFIXES = (".json", ".txt")


@dataclass(frozen=True, eq=False)
class Tokens:
    """A clip as tokens.

    Attributes:
        codes: ``[S, L]`` int64.
        frames: how many frames the clip has; None: all that the tokens make.
        start: where it begins on the ground.
        name: of the clip.
        tokenizer: digest of the weights that made and understand them; empty if not known.
    """

    codes: Tensor
    frames: int | None = None
    start: Start = field(default_factory=Start)
    name: str = ""
    tokenizer: str = ""

    def save(self, path: Path) -> None:
        """Write ``.json`` or ``.txt``.

        Raises:
            MotionError: another ending.
        """
        lines = [" ".join(map(str, row)) for row in self.codes.tolist()]
        if path.suffix == ".txt":
            text = "\n".join(lines) + "\n"
        elif path.suffix == ".json":
            head: dict[str, Any] = {
                "format": FORMAT, "version": VERSION, "name": self.name, "tokenizer": self.tokenizer,
                "frames": self.frames, "start": {"position": list(self.start.position), "yaw": self.start.yaw},
            }  # fmt: skip
            rows = ",\n  ".join(str(row) for row in self.codes.tolist())
            text = json.dumps(head, indent=1)[:-2] + f',\n "tokens": [\n  {rows}\n ]\n}}\n'
        else:
            raise MotionError(f"{path}: token files end in {' or '.join(SUFFIXES)}")
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path) as file:
            file.write(text.encode())


def load(path: Path) -> Tokens:
    """Read a token file.

    Raises:
        MotionError: missing, not one of ours, or not tables of whole numbers.
    """
    if not path.is_file():
        raise MotionError(f"{path}: there is no such token file (python -m isaacmm.vqvae tokenize makes them)")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise MotionError(f"{path}: is no text; token files are .json or .txt") from None
    if text.lstrip()[:1] == "{":
        return _from_json(text, path)
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.replace(",", " ").split()
        if words and not words[0].startswith("#"):
            try:
                rows.append([int(word) for word in words])
            except ValueError:
                raise MotionError(f"{path}, line {number}: wants whole numbers, found {line[:40]!r}") from None
    return Tokens(_table(rows, path), name=path.stem)


def _from_json(text: str, path: Path) -> Tokens:
    try:
        held = json.loads(text)
        if held.get("format") != FORMAT:
            raise MotionError(f"{path}: is JSON, but no token file of isaacmm (its format is not {FORMAT!r})")
        if int(held.get("version", 0)) > VERSION:
            raise MotionError(f"{path}: was written by a newer isaacmm")
        x, y = (float(v) for v in held.get("start", {}).get("position", (0.0, 0.0)))
        start = Start((x, y), float(held.get("start", {}).get("yaw", 0.0)))
        frames = held.get("frames")
        codes = _table(held["tokens"], path)
        return Tokens(codes, None if frames is None else int(frames), start, str(held.get("name") or path.stem),
                      str(held.get("tokenizer", "")))  # fmt: skip
    except MotionError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MotionError(f"{path}: damaged token file ({type(error).__name__}: {str(error)[:120]})") from error


def _table(rows: Any, path: Path) -> Tensor:
    if not isinstance(rows, list) or not rows:
        raise MotionError(f"{path}: holds no tokens")
    rows = [row if isinstance(row, list) else [row] for row in rows]
    wide = {len(row) for row in rows}
    if len(wide) != 1 or not all(isinstance(n, int) for row in rows for n in row):
        raise MotionError(f"{path}: every line wants as many whole numbers as the others; found {sorted(wide)}")
    return torch.tensor(rows, dtype=torch.int64)
