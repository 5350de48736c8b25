"""Where the character is told to go: a direction and a speed per world."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from isaacmm import rotation
from isaacmm.envs.observations import Slice
from isaacmm.errors import ConfigError


class SteeringCommand:
    """Direction of travel (world yaw, rad) and speed (m/s) per world, drawn anew from time to time.

    Args:
        num_envs: ``N``.
        speed: lowest and highest speed m/s.
        heading_change: largest change of direction when a command is drawn anew, rad.
        resample_seconds: shortest and longest time between commands.
        dt: control step, s.
        generator: source of randomness, on ``device``.
    """

    size = 3
    #: draw for all worlds and keep what is due, so that nobody asks the device how many are
    sync_free = False

    def __init__(
        self,
        num_envs: int,
        speed: tuple[float, float],
        heading_change: float,
        resample_seconds: tuple[float, float],
        dt: float,
        generator: torch.Generator,
        device: torch.device | str = "cpu",
    ) -> None:
        self.range = speed
        self.heading_change = heading_change
        self.resample_steps = (max(1, round(resample_seconds[0] / dt)), max(1, round(resample_seconds[1] / dt)))
        self.generator = generator
        self.yaw = torch.zeros(num_envs, device=device)
        self.speed = torch.zeros(num_envs, device=device)
        self.steps_left = torch.zeros(num_envs, dtype=torch.int64, device=device)

    @classmethod
    def from_config(
        cls,
        config: Mapping[str, Any],
        num_envs: int,
        clip_speeds: Tensor,
        dt: float,
        generator: torch.Generator,
        device: torch.device | str,
    ) -> SteeringCommand:
        """From ``task.env.command``; ``speed: auto`` takes the range of the clips' own mean speeds."""
        speed = config.get("speed", "auto")
        if speed == "auto":
            low, high = float(clip_speeds.min()), float(clip_speeds.max())
        else:
            low, high = _pair(speed, "task.env.command.speed")
        change = float(config.get("heading_change", 0.0))
        if not 0.0 <= change <= math.pi:
            raise ConfigError(f"task.env.command.heading_change is {change}; it is an angle of 0 to pi rad")
        resample = _pair(config.get("resample_seconds", (3.0, 6.0)), "task.env.command.resample_seconds")
        return cls(num_envs, (low, high), change, resample, dt, generator, device)

    def _uniform(self, n: int, low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(n, generator=self.generator, device=self.yaw.device)

    def reset(self, ids: Tensor, yaw: Tensor, speed: Tensor | None = None) -> None:
        """New commands for worlds ``ids [n]``: onwards in the direction ``yaw [n]`` they face."""
        n = len(ids)
        self.yaw[ids] = yaw
        self.speed[ids] = self._uniform(n, *self.range) if speed is None else speed
        self._restart_clock(ids)

    def reset_where(self, done: Tensor, yaw: Tensor, speed: Tensor | None = None) -> None:
        """As :meth:`reset` for worlds ``done [N]``; everything is given for all of them."""
        n = len(done)
        self.yaw = torch.where(done, yaw, self.yaw)
        self.speed = torch.where(done, self._uniform(n, *self.range) if speed is None else speed, self.speed)
        low, high = self.resample_steps
        left = torch.randint(low, high + 1, (n,), generator=self.generator, device=self.yaw.device)
        self.steps_left = torch.where(done, left, self.steps_left)

    def advance(self, keep_speed: bool = False) -> None:
        """One control step: worlds whose time is up turn their direction and draw a speed."""
        self.steps_left -= 1
        if self.sync_free:
            due = self.steps_left <= 0
            turn = self._uniform(len(due), -self.heading_change, self.heading_change)
            speed = self.speed if keep_speed else self._uniform(len(due), *self.range)
            self.reset_where(due, rotation.wrap_angle(self.yaw + turn), speed)
            return
        ids = (self.steps_left <= 0).nonzero().flatten()
        if len(ids) == 0:
            return
        turn = self._uniform(len(ids), -self.heading_change, self.heading_change)
        self.yaw[ids] = rotation.wrap_angle(self.yaw[ids] + turn)
        if not keep_speed:
            self.speed[ids] = self._uniform(len(ids), *self.range)
        self._restart_clock(ids)

    def _restart_clock(self, ids: Tensor) -> None:
        low, high = self.resample_steps
        self.steps_left[ids] = torch.randint(
            low, high + 1, (len(ids),), generator=self.generator, device=self.yaw.device
        )

    def direction(self) -> Tensor:
        """Unit vectors ``[N, 2]`` on the ground, world."""
        return torch.stack((torch.cos(self.yaw), torch.sin(self.yaw)), dim=-1)

    def observation(self, root_yaw: Tensor) -> Tensor:
        """``[N, 3]``: direction in the heading frame (cos, sin) and speed m/s."""
        delta = self.yaw - root_yaw
        return torch.stack((torch.cos(delta), torch.sin(delta), self.speed), dim=-1)

    def slices(self, start: int) -> list[Slice]:
        """Names of the parts of :meth:`observation`, from index ``start`` on."""
        return [
            Slice("command_direction", start, start + 2, "unit vector", "heading", ("x", "y")),
            Slice("command_speed", start + 2, start + 3, "m/s", "along the direction"),
        ]

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that a resumed run needs."""
        return {"yaw": self.yaw.clone(), "speed": self.speed.clone(), "steps_left": self.steps_left.clone()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Inverse of :meth:`state_dict`."""
        for name in ("yaw", "speed", "steps_left"):
            getattr(self, name).copy_(state[name])


def _pair(value: Any, key: str) -> tuple[float, float]:
    try:
        low, high = (float(v) for v in value)
    except (TypeError, ValueError):
        raise ConfigError(f"{key} is {value!r}; give two numbers [low, high]") from None
    if low > high:
        raise ConfigError(f"{key} is [{low}, {high}]; the first number must not exceed the second")
    return low, high
