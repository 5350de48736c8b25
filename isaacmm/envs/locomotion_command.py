"""Locomotion commands: a local velocity and a facing per world, drawn from modes such as walk, run or stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from isaacmm import rotation
from isaacmm.envs.commands import _pair
from isaacmm.errors import ConfigError, nearest
from isaacmm.matching import kinds
from isaacmm.matching.database import Database
from isaacmm.matching.trajectory import CommandSpring

#: Commands may go this much beyond what clips do (m/s, rad/s).
MARGIN = 0.05


@dataclass(frozen=True)
class Mode:
    """A kind of command.

    Attributes:
        name: e.g. ``walk``.
        weight: how often it is drawn, relative to the others.
        forward, sideways: range of the velocity m/s, in the frame of the facing (left is positive).
        turn: range of the turn rate rad/s.
        straight: share of its commands that do not turn.
        face: range of a sudden change of the facing when the command begins, rad.
        tags: the mode needs clips with any of these tags, and is left out where there are none.
        clips: only clips with any of these tags are searched for an answer; none: all clips.
    """

    name: str
    weight: float = 1.0
    forward: tuple[float, float] = (0.0, 0.0)
    sideways: tuple[float, float] = (0.0, 0.0)
    turn: tuple[float, float] = (0.0, 0.0)
    straight: float = 0.0
    face: tuple[float, float] = (0.0, 0.0)
    tags: tuple[str, ...] = ()
    clips: tuple[str, ...] = ()

    @classmethod
    def from_config(cls, name: str, config: Mapping[str, Any]) -> Mode:
        """From ``task.env.command.modes.<name>``."""
        key = f"task.env.command.modes.{name}"
        for word in config:
            if word not in cls.__dataclass_fields__ or word == "name":
                hint = nearest(str(word), list(cls.__dataclass_fields__)[1:])
                raise ConfigError(f"{key}.{word} is not known; {hint}")

        def pair(word: str) -> tuple[float, float]:
            return _pair(config[word], f"{key}.{word}") if word in config else (0.0, 0.0)

        def words(word: str) -> tuple[str, ...]:
            return tuple(str(tag) for tag in config.get(word, ()))

        weight, straight = float(config.get("weight", 1.0)), float(config.get("straight", 0.0))
        if weight < 0 or not 0 <= straight <= 1:
            raise ConfigError(f"{key}: weight is at least 0 and straight a share from 0 to 1")
        return cls(
            name, weight, pair("forward"), pair("sideways"), pair("turn"), straight, pair("face"), words("tags"),
            words("clips"),
        )  # fmt: skip


class Source(Protocol):
    """Somebody who says what to do: a script, a path, a keyboard (:mod:`isaacmm.steering`)."""

    def command(self, time: Tensor, root_pos: Tensor, root_yaw: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Local velocity ``[N, 2]`` m/s, facing ``[N]`` rad in the world and turn rate ``[N]`` rad/s.

        Args:
            time: ``[N]`` s since each world's episode began.
            root_pos: ``[N, 2]`` m on the ground.
            root_yaw: ``[N]`` rad.
        """
        ...


class LocomotionCommand:
    """What every world is told, and the spring that makes it answerable.

    Args:
        num_envs: ``N``.
        modes: kinds of commands, those without clips already left out.
        horizons: s, of the predicted trajectory.
        resample_seconds: shortest and longest time between commands.
        halflife: of the spring, s.
        leash: rad; the facing never runs further ahead of the character than this, as somebody who waits for the one
            he leads. 0 leads on regardless.
        dt: control step, s.
        generator: source of randomness, on ``device``.

    Attributes:
        velocity: ``[N, 2]`` goal, m/s, forward and left of the facing.
        yaw: ``[N]`` goal facing now, rad, world.
        turn_rate: ``[N]`` rad/s at which the goal facing turns on.
        mode: ``[N]`` int64.
        spring: how the goals are approached.
        source: asked instead of drawing, where set.
    """

    def __init__(
        self,
        num_envs: int,
        modes: Sequence[Mode],
        horizons: Sequence[float],
        resample_seconds: tuple[float, float],
        dt: float,
        generator: torch.Generator,
        halflife: float = 0.27,
        leash: float = 1.0,
        device: torch.device | str = "cpu",
    ) -> None:
        if not modes or not sum(mode.weight for mode in modes) > 0:
            raise ConfigError("task.env.command.modes: no mode is left; the clips carry none of the tags they need")
        self.modes, self.dt, self.leash, self.generator = tuple(modes), dt, leash, generator
        self.resample_steps = (max(1, round(resample_seconds[0] / dt)), max(1, round(resample_seconds[1] / dt)))
        ranges = [[m.forward, m.sideways, m.turn, m.face] for m in modes]
        self._ranges = torch.tensor(ranges, device=device)
        self._weights = torch.tensor([m.weight for m in modes], device=device)
        self._straight = torch.tensor([m.straight for m in modes], device=device)
        self.velocity = torch.zeros(num_envs, 2, device=device)
        self.yaw = torch.zeros(num_envs, device=device)
        self.turn_rate = torch.zeros(num_envs, device=device)
        self.mode = torch.zeros(num_envs, dtype=torch.int64, device=device)
        self.steps_left = torch.zeros(num_envs, dtype=torch.int64, device=device)
        #: numbers of the trajectory that the policy sees
        self.size = 4 * len(horizons)
        self.spring = CommandSpring(num_envs, horizons, halflife, device)
        self.source: Source | None = None
        #: draw for all worlds and keep what is due, so that nobody asks the device how many are
        self.sync_free = False

    @property
    def speed(self) -> Tensor:
        """Commanded speed ``[N]`` m/s."""
        return self.velocity.norm(dim=-1)

    def direction(self) -> Tensor:
        """Unit vectors ``[N, 2]``, world: where the commanded velocity points, or the facing while standing."""
        angle = self.spring.yaw + torch.atan2(self.velocity[:, 1], self.velocity[:, 0])
        return torch.stack((torch.cos(angle), torch.sin(angle)), dim=-1)

    def draw(self, n: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Velocity ``[n, 2]``, turn rate ``[n]``, change of facing ``[n]`` and mode ``[n]`` of ``n`` new commands."""
        device = self.yaw.device
        mode = torch.multinomial(self._weights, n, replacement=True, generator=self.generator)
        u = torch.rand(n, 5, generator=self.generator, device=device)
        low, high = self._ranges[mode].unbind(-1)
        values = low + (high - low) * u[:, :4]
        turn = torch.where(u[:, 4] < self._straight[mode], 0.0, values[:, 2])
        return values[:, :2], turn, values[:, 3], mode

    def reset(self, ids: Tensor, yaw: Tensor, velocity: Tensor, turn_rate: Tensor, mode: Tensor) -> None:
        """Worlds ``ids [n]`` are told to do, and are already doing, this evenly from facing ``yaw [n]`` on."""
        self.velocity[ids], self.turn_rate[ids], self.mode[ids], self.yaw[ids] = velocity, turn_rate, mode, yaw
        self.spring.reset(ids, yaw, velocity, turn_rate)
        self._restart_clock(ids)

    def advance(self, time: Tensor, root_pos: Tensor, root_yaw: Tensor) -> None:
        """One control step; worlds whose time is up get a new command (see :class:`Source` for the arguments)."""
        if self.source is not None:
            self.velocity, self.yaw, self.turn_rate = self.source.command(time, root_pos, root_yaw)
            # the source says where to face now; a step of the spring begins a control step ago
            self.spring.step(self.velocity, self.yaw - self.turn_rate * self.dt, self.turn_rate, self.dt)
            return
        self.steps_left -= 1
        if self.sync_free:
            self._redraw(self.steps_left <= 0)
        elif len(ids := (self.steps_left <= 0).nonzero().flatten()):
            velocity, turn, face, mode = self.draw(len(ids))
            self.velocity[ids], self.turn_rate[ids], self.mode[ids] = velocity, turn, mode
            self.yaw[ids] += face
            self._restart_clock(ids)
        self.spring.step(self.velocity, self.yaw, self.turn_rate, self.dt)
        self.yaw = rotation.wrap_angle(self.yaw + self.turn_rate * self.dt)
        if self.leash > 0:
            self.yaw = self._held(self.yaw, root_yaw)
            self.spring.yaw = self._held(self.spring.yaw, root_yaw)

    def _redraw(self, due: Tensor) -> None:
        """New commands for worlds ``due [N]``."""
        velocity, turn, face, mode = self.draw(len(due))
        self.velocity = torch.where(due[:, None], velocity, self.velocity)
        self.turn_rate = torch.where(due, turn, self.turn_rate)
        self.mode = torch.where(due, mode, self.mode)
        self.yaw = torch.where(due, self.yaw + face, self.yaw)
        self._restart_where(due)

    def reset_where(self, done: Tensor, yaw: Tensor, velocity: Tensor, turn_rate: Tensor, mode: Tensor) -> None:
        """As :meth:`reset` for worlds ``done [N]``; everything is given for all of them."""
        spring = self.spring
        self.velocity = torch.where(done[:, None], velocity, self.velocity)
        self.turn_rate = torch.where(done, turn_rate, self.turn_rate)
        self.mode = torch.where(done, mode, self.mode)
        self.yaw = torch.where(done, yaw, self.yaw)
        spring.yaw = torch.where(done, yaw, spring.yaw)
        spring.yaw_rate = torch.where(done, turn_rate, spring.yaw_rate)
        spring.velocity = torch.where(done[:, None], velocity, spring.velocity)
        spring.acceleration = torch.where(done[:, None], 0.0, spring.acceleration)
        self._restart_where(done)

    def _restart_where(self, due: Tensor) -> None:
        low, high = self.resample_steps
        left = torch.randint(low, high + 1, (len(due),), generator=self.generator, device=self.yaw.device)
        self.steps_left = torch.where(due, left, self.steps_left)

    def told(
        self, ids: Tensor, yaw: Tensor, time: Tensor, root_pos: Tensor, root_yaw: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What the source first says to worlds ``ids [n]``, which begin at the origin of the ground facing ``yaw [n]``.

        The other arguments are those of :class:`Source`, of all worlds. Returns velocity, facing and turn rate ``[n]``.
        """
        assert self.source is not None
        time, root_pos, root_yaw = time.clone(), root_pos.clone(), root_yaw.clone()
        time[ids], root_pos[ids], root_yaw[ids] = 0.0, 0.0, yaw
        begin = getattr(self.source, "reset", None)  # scripts and paths are laid where a character begins
        if begin is not None:
            begin(ids, root_pos[ids], yaw)
        velocity, facing, turn = self.source.command(time, root_pos, root_yaw)
        return velocity[ids], facing[ids], turn[ids]

    def predict(self, root_yaw: Tensor, ids: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Path and facings of the next second, ``[N, K, 2]`` each, seen from bodies facing ``root_yaw [N]``.

        With ``ids [n]`` of those worlds only; ``root_yaw`` is all worlds' nevertheless.
        """
        if ids is None:
            return self.spring.predict(self.velocity, self.yaw, self.turn_rate, root_yaw)
        return self.spring.predict(self.velocity[ids], self.yaw[ids], self.turn_rate[ids], root_yaw[ids], ids)

    def steady(self, velocity: Tensor, turn_rate: Tensor) -> tuple[Tensor, Tensor]:
        """Path and facings ``[n, K, 2]`` of moving like this evenly."""
        n, device = len(turn_rate), self.yaw.device
        spring = CommandSpring.like(self.spring, n)
        zero = torch.zeros(n, device=device)
        spring.reset(torch.arange(n, device=device), zero, velocity, turn_rate)
        return spring.predict(velocity, zero, turn_rate, zero)

    def _held(self, yaw: Tensor, root_yaw: Tensor) -> Tensor:
        ahead = rotation.wrap_angle(yaw - root_yaw)
        return torch.where(ahead.abs() > self.leash, root_yaw + ahead.clamp(-self.leash, self.leash), yaw)

    def _restart_clock(self, ids: Tensor) -> None:
        low, high = self.resample_steps
        self.steps_left[ids] = torch.randint(
            low, high + 1, (len(ids),), generator=self.generator, device=self.yaw.device
        )

    def state_dict(self) -> dict[str, Any]:
        """Everything that a resumed run needs."""
        names = ("velocity", "yaw", "turn_rate", "mode", "steps_left")
        return {"spring": self.spring.state_dict()} | {name: getattr(self, name).clone() for name in names}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of :meth:`state_dict`."""
        for name in ("velocity", "yaw", "turn_rate", "mode", "steps_left"):
            getattr(self, name).copy_(state[name])
        self.spring.load_state_dict(state["spring"])


def modes_from_config(
    config: Mapping[str, Any], database: Database, within: bool = True
) -> tuple[list[Mode], list[str]]:
    """Modes of ``task.env.command.modes`` that the clips allow, and the names of those left out.

    Ranges are narrowed to what the clips of a mode's tags really do: nobody learns to walk a curve from somebody who
    walks straight on.

    Args:
        config: name -> settings, or nothing to leave a mode out.
        database: of the clips.
        within: False leaves the ranges as they are.
    """
    modes = [Mode.from_config(str(name), settings) for name, settings in config.items() if settings]
    tags = kinds.tags(database)
    kept, absent = [], []
    for mode in modes:
        clips = [i for i, own in enumerate(tags) if not mode.tags or own & set(mode.tags)]
        if mode.weight > 0 and clips:
            kept.append(_within(mode, kinds.reach(database, clips)) if within else mode)
        elif mode.weight > 0:
            absent.append(mode.name)
    return kept, absent


def _within(mode: Mode, reach: Tensor) -> Mode:
    """``mode`` with its ranges cut to ``reach [3, 2]`` (:func:`isaacmm.matching.kinds.reach`)."""
    found: dict[str, tuple[float, float]] = {}
    for name, (low, high) in zip(("forward", "sideways", "turn"), reach.tolist(), strict=True):
        low, high = low - MARGIN, high + MARGIN
        # a little swaying is no curve and no step aside
        low, high = (0.0 if abs(low) < 2 * MARGIN else low), (0.0 if abs(high) < 2 * MARGIN else high)
        ends = getattr(mode, name)
        found[name] = (min(max(ends[0], low), high), min(max(ends[1], low), high))
    return replace(mode, forward=found["forward"], sideways=found["sideways"], turn=found["turn"])
