"""CommandScript: commands that change at given times."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from isaacmm.errors import ConfigError, nearest
from isaacmm.steering.source import FASTEST, Command, Starts, times

#: Named ways of going: (forward, left) m/s.
MODES: dict[str, tuple[float, float]] = {
    "stand": (0.0, 0.0),
    "stroll": (0.8, 0.0),
    "walk": (1.3, 0.0),
    "run": (2.8, 0.0),
    "back": (-0.7, 0.0),
    "left": (0.0, 0.6),
    "right": (0.0, -0.6),
}
#: Nobody is asked to turn faster (deg/s).
SHARPEST = 1080.0


@dataclass(frozen=True)
class Step:
    """From ``time`` s on: go ``forward`` and ``left`` m/s and keep turning by ``turn`` deg/s (left positive), or face
    ``facing`` deg, counted from the facing at the start."""

    time: float
    forward: float = 0.0
    left: float = 0.0
    turn: float = 0.0
    facing: float | None = None


class CommandScript:
    """Piecewise constant commands; facings count from where each character faced when it began.

    A step that only turns goes on from the facing that the steps before it led to.

    Args:
        steps: in the order of their times, the first at 0 s.
        duration: s; how long the whole takes (default: two seconds after the last step).
        loop: begin again after ``duration``, facing on from where the round ended; otherwise the last step goes on.
        name: for messages and file names.
    """

    def __init__(
        self, steps: Sequence[Step], duration: float | None = None, loop: bool = False, name: str = "script"
    ) -> None:
        if not steps:
            raise ConfigError(f"{name}: a command script needs at least one step")
        if steps[0].time != 0.0:
            raise ConfigError(f"{name}: the first step is at {steps[0].time:g} s; a script begins at 0")
        for before, after in zip(steps[:-1], steps[1:], strict=True):
            if after.time <= before.time:
                raise ConfigError(
                    f"{name}: the step at {after.time:g} s follows the one at {before.time:g} s; times must rise"
                )
        self.name, self.loop, self.steps = name, loop, tuple(steps)
        self.duration = steps[-1].time + 2.0 if duration is None else float(duration)
        if not math.isfinite(self.duration):
            raise ConfigError(f"{name}: its duration is {self.duration:g}; give seconds (loop: true goes on)")
        if self.duration <= steps[-1].time:
            raise ConfigError(
                f"{name}: its duration {self.duration:g} s ends before its last step at {steps[-1].time:g} s"
            )
        ends = [*(s.time for s in steps[1:]), self.duration]
        facing, at, begins = 0.0, [], []
        for step, end in zip(steps, ends, strict=True):
            facing = math.radians(step.facing) if step.facing is not None else facing
            begins.append(facing)
            at.append((step.forward, step.left, math.radians(step.turn)))
            facing += math.radians(step.turn) * (end - step.time)
        self._round = facing
        self._time = torch.tensor([s.time for s in steps])
        self._facing = torch.tensor(begins)
        self._going = torch.tensor(at)
        self._starts = Starts()

    def reset(self, ids: Tensor, root_pos: Tensor, root_yaw: Tensor) -> None:
        """See :class:`~isaacmm.steering.source.Source`."""
        self._starts.reset(ids, root_pos, root_yaw)

    def command(self, time: Tensor | float, root_pos: Tensor, root_yaw: Tensor) -> Command:
        """See :class:`~isaacmm.steering.source.Source`."""
        now = times(time, root_yaw)
        self._starts.of(now, root_pos, root_yaw)
        velocity, facing, turn = self.at(now)
        return Command(velocity, self._starts.yaw + facing, turn)

    def at(self, time: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Velocity ``[N, 2]``, facing ``[N]`` since the start (not wrapped) and turn rate ``[N]`` at ``time [N]``."""
        if self._time.device != time.device:
            self._time, self._facing, self._going = (t.to(time.device) for t in (self._time, self._facing, self._going))
        time = time.clamp(min=0.0)
        rounds = torch.floor(time / self.duration) if self.loop else torch.zeros_like(time)
        within = time - rounds * self.duration
        # a hair more than the time: a step that is due now has come, whatever the rounding of t += dt
        step = (torch.searchsorted(self._time.to(time), within + 1e-5, right=True) - 1).clamp(min=0)
        going = self._going.to(time)[step]
        facing = self._facing.to(time)[step] + going[:, 2] * (within - self._time.to(time)[step])
        return going[:, :2], facing + rounds * self._round, going[:, 2]

    def speeds(self) -> tuple[float, float]:
        """Lowest and highest commanded speed, m/s."""
        speed = [math.hypot(s.forward, s.left) for s in self.steps]
        return min(speed), max(speed)

    @classmethod
    def parse(
        cls, rows: Sequence[Mapping[str, object]], where: str, lines: Sequence[int] | None = None, **rest: object
    ) -> CommandScript:
        """From rows with ``time`` and ``mode`` or ``forward``/``left`` (m/s), ``turn`` (deg/s) or ``facing`` (deg).

        Args:
            rows: one per step.
            where: the file, for messages.
            lines: line of each row in that file.
            rest: ``duration``, ``loop``, ``name``.

        Raises:
            ConfigError: naming file and line (or step).
        """
        steps = [
            _step(row, f"{where}, line {lines[i]}" if lines is not None else f"{where}, step {i + 1}")
            for i, row in enumerate(rows)
        ]
        try:
            return cls(steps, **rest)  # type: ignore[arg-type]
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None


_KEYS = ("time", "mode", "forward", "left", "turn", "facing")


def _step(row: Mapping[str, object], where: str) -> Step:
    if not isinstance(row, Mapping):
        raise ConfigError(f"{where}: a step is a mapping such as {{time: 0, mode: walk}}, not {row!r}")
    for key in row:
        if key not in _KEYS:
            raise ConfigError(f"{where}: unknown key '{key}'; {nearest(str(key), _KEYS)}")
    given = {str(k): v for k, v in row.items() if v is not None and v != ""}
    if "time" not in given:
        raise ConfigError(f"{where}: no 'time' (s)")
    forward, left = 0.0, 0.0
    if "mode" in given:
        mode = str(given["mode"])
        if mode not in MODES:
            raise ConfigError(f"{where}: unknown mode '{mode}'; {nearest(mode, MODES)}")
        forward, left = MODES[mode]
    elif "forward" not in given and "left" not in given and "turn" not in given and "facing" not in given:
        raise ConfigError(f"{where}: says nothing; give a mode ({', '.join(MODES)}), forward/left m/s, turn or facing")
    if "turn" in given and "facing" in given:
        raise ConfigError(f"{where}: gives both turn (deg/s) and facing (deg); give one")
    return Step(
        _number(given, "time", where, 0.0),
        _number(given, "forward", where, forward, FASTEST),
        _number(given, "left", where, left, FASTEST),
        _number(given, "turn", where, 0.0, SHARPEST),
        _number(given, "facing", where, 0.0) if "facing" in given else None,
    )


def _number(given: Mapping[str, object], key: str, where: str, default: float, most: float = math.inf) -> float:
    if key not in given:
        return default
    try:
        value = float(given[key])  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise ConfigError(f"{where}: {key} is {given[key]!r}; it is a number") from None
    if isinstance(given[key], bool):
        raise ConfigError(f"{where}: {key} is {given[key]}; it is a number")
    if not math.isfinite(value):
        raise ConfigError(f"{where}: {key} is {value}; it is a finite number")
    if abs(value) > most:
        unit = "deg/s" if key == "turn" else "m/s"
        raise ConfigError(f"{where}: {key} is {value:g} {unit}; nobody is asked for more than {most:g}")
    return value
