"""Keyboard: commands typed into the terminal while a character moves."""

from __future__ import annotations

import math
import os
import select
import sys
from types import TracebackType

import torch
from torch import Tensor

from isaacmm.errors import IsaacmmError
from isaacmm.steering.source import Command

#: What a key does to (forward m/s, left m/s, facing rad).
KEYS: dict[str, tuple[float, float, float]] = {
    "w": (0.2, 0.0, 0.0),
    "s": (-0.2, 0.0, 0.0),
    "q": (0.0, 0.2, 0.0),
    "e": (0.0, -0.2, 0.0),
    "a": (0.0, 0.0, math.radians(15)),
    "d": (0.0, 0.0, math.radians(-15)),
}
_ARROWS = {"A": "w", "B": "s", "D": "a", "C": "d"}
HELP = "w/s or up/down: faster/slower   a/d or left/right: turn   q/e: sideways   space: stand   x or Ctrl-C: end"


class Keyboard:
    """A :class:`~isaacmm.steering.source.Source` of one command for all characters, from the keys of a terminal.

    A terminal tells of keys pressed, not of keys released, so each press changes what is asked for by a step. Use it
    as a context: the terminal is put into raw mode and given back at the end, whatever happens.

    Args:
        fastest: m/s forward; backwards and sideways a third and a half of it.
        file: file descriptor of the terminal (default: standard input).

    Raises:
        IsaacmmError: standard input is no terminal, or this system has none of that kind.
    """

    def __init__(self, fastest: float = 3.0, file: int | None = None) -> None:
        self.fastest = fastest
        self._file = sys.stdin.fileno() if file is None else file
        if not os.isatty(self._file):
            raise IsaacmmError(
                "commands from the keyboard need a terminal, and standard input is none (a pipe, a file or a service); "
                "run in a terminal, or give command=figure_eight or a command file"
            )
        self.forward = self.left = 0.0
        self.facing: float | None = None
        self.ended = False
        self._before: list | None = None

    def __enter__(self) -> Keyboard:
        try:
            import termios
            import tty
        except ImportError:
            raise IsaacmmError(
                "commands from the keyboard need a POSIX terminal; give a command file instead"
            ) from None
        self._before = termios.tcgetattr(self._file)
        tty.setcbreak(self._file)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            import termios

            termios.tcsetattr(self._file, termios.TCSADRAIN, self._before)
            self._before = None

    def reset(self, ids: Tensor, root_pos: Tensor, root_yaw: Tensor) -> None:
        """See :class:`~isaacmm.steering.source.Source`."""
        if len(root_yaw):
            self.facing = float(root_yaw[0])

    def command(self, time: Tensor | float, root_pos: Tensor, root_yaw: Tensor) -> Command:
        """See :class:`~isaacmm.steering.source.Source`; reads what was typed since the last call, without waiting."""
        if self.facing is None:
            self.facing = float(root_yaw[0])
        self.press(self._typed())
        like = torch.ones_like(root_yaw)
        return Command(torch.stack((self.forward * like, self.left * like), -1), self.facing * like, 0.0 * like)

    def press(self, typed: str) -> None:
        """Apply keys in the order in which they were typed."""
        i = 0
        while i < len(typed):
            key = typed[i].lower()
            if typed.startswith(("\x1b[", "\x1bO"), i) and i + 2 < len(typed):
                key = _ARROWS.get(typed[i + 2], "")
                i += 2
            i += 1
            if key == " ":
                self.forward = self.left = 0.0
            elif key in ("x", "\x03", "\x04"):
                self.ended = True
            elif key in KEYS:
                forward, left, turn = KEYS[key]
                self.forward = min(max(round(self.forward + forward, 3), -self.fastest / 3), self.fastest)
                self.left = min(max(round(self.left + left, 3), -self.fastest / 2), self.fastest / 2)
                self.facing = (self.facing or 0.0) + turn

    def _typed(self) -> str:
        typed = b""
        while select.select([self._file], [], [], 0.0)[0]:
            piece = os.read(self._file, 256)
            if not piece:  # the terminal is gone
                self.ended = True
                break
            typed += piece
        return typed.decode("utf-8", "ignore")
