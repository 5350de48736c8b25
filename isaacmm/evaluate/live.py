"""Live: a person at the keyboard steers one world in real time, and reads in a line of text how it goes."""

from __future__ import annotations

import math
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, TextIO

from isaacmm import rotation
from isaacmm.envs.humanoid_amp import HumanoidAMP
from isaacmm.steering import Keyboard
from isaacmm.steering.keyboard import HELP

#: The line is written anew so often (1/s): more is not read.
_LINES = 10.0
#: A machine that falls behind real time by more than this does not try to catch up (s).
_PATIENCE = 0.25
_ARROWS = "→↗↑↖←↙↓↘"  # seen from above, where the character faced at first is up


class Live:
    """Asked before every control step (:func:`isaacmm.evaluate.rollout.record`); waits until the step is due.

    A context: the terminal hands over keys while it lasts, Ctrl-C ends the session instead of the program, and both
    are given back at the end.

    Args:
        env: one world.
        keyboard: read by the environment's commands.
        stopped: asked as well.
        out: where the line goes.
    """

    def __init__(
        self, env: HumanoidAMP, keyboard: Keyboard, stopped: Callable[[], bool] = lambda: False,
        out: TextIO | None = None,
    ) -> None:  # fmt: skip
        self.env, self.keyboard, self.stopped = env, keyboard, stopped
        self.out = sys.stdout if out is None else out
        self.frames = self.falls = 0
        self._due = self._shown = 0.0
        self._start = 0.0
        self._before: Any = None

    def __enter__(self) -> Live:
        self.keyboard.__enter__()
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._interrupted)
        self._say(HELP + "\n")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
        self.keyboard.__exit__(kind, error, trace)
        self._say("\n")

    def __call__(self) -> bool:
        """Whether the session is over; otherwise returns when the next step is due."""
        if self.keyboard.ended or self.stopped():
            return True
        now = time.monotonic()
        if self.frames == 0 or now - self._due > _PATIENCE:
            self._due = now
        elif now < self._due:
            time.sleep(self._due - now)
        self._due += self.env.dt
        if int(self.env.steps[0]) == 0:
            self._start = float(self.env.root_yaw[0])
            self.falls += self.frames > 0
        self.frames += 1
        if now - self._shown >= 1.0 / _LINES:
            self._shown = now
            self._say("\r" + self.line() + "\x1b[K")
        return False

    def line(self) -> str:
        """What is asked and what is done, in less than 80 columns."""
        state, asked = self.env.simulator.state(), self.keyboard
        yaw = float(self.env.root_yaw[0])
        velocity = rotation.rotate_inverse(rotation.heading(state.root_rot), state.root_vel)[0]
        off = math.degrees((float(self.env.command.yaw[0]) - yaw + math.pi) % (2 * math.pi) - math.pi)
        falls = f"  fell {self.falls}x" if self.falls else ""
        return (
            f"{self.frames * self.env.dt:6.1f} s  {_arrow(yaw - self._start)}  ahead {asked.forward:+.1f} -> "
            f"{float(velocity[0]):+.1f}  left {asked.left:+.1f} -> {float(velocity[1]):+.1f} m/s  "
            f"facing off {off:+.0f}°{falls}"
        )

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        self.keyboard.ended = True

    def _say(self, text: str) -> None:
        self.out.write(text)
        self.out.flush()


def _arrow(turned: float) -> str:
    """The way one looks who has turned left by so many rad since looking up."""
    return _ARROWS[round((turned + 0.5 * math.pi) / (0.25 * math.pi)) % 8]
