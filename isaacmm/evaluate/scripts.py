"""The held-out command scripts: what every policy is told to do when it is judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from isaacmm.errors import ConfigError
from isaacmm.steering import Command, CommandScript, GroundPath, PathFollower, Source, Step

#: Length of every script (s).
SECONDS = 10.0
#: Commanded steps begin at these times, so that each has two and a half seconds to be answered in.
_TIMES = (0.0, 2.5, 5.0, 7.5)


@dataclass(frozen=True)
class Trial:
    """One script.

    Attributes:
        name: e.g. ``heading_60``.
        group: ``walk`` (walking and turning, what acceptance is about) or another kind of motion.
        source: the script; a :class:`PathFollower` also has a path to stay on.
        speed_steps, heading_steps: ``(time s, size)`` of sudden changes in m/s and rad.
    """

    name: str
    group: str
    source: CommandScript | PathFollower
    speed_steps: tuple[tuple[float, float], ...] = ()
    heading_steps: tuple[tuple[float, float], ...] = ()


def suite(modes: Sequence[str]) -> list[Trial]:
    """The scripts that somebody who knows ``modes`` (of :class:`LocomotionCommand`) can be asked for.

    The same for every training: no random number is drawn, no setting is read. None of them is a command that
    training draws: there speeds and turn rates are uniform and change together at random times, and the facing never
    jumps (unless ``face`` says so).

    Walking and turning, where there is a mode ``walk``: speeds from 0.8 to 1.6 m/s, turn rates of 15 to 34 deg/s,
    changes of heading by 30, 60 and 90 degrees at once, corners of 90 degrees at 45 deg/s, slalom, and figure eight
    and slalom as paths on the ground. With ``stand`` also stop and go, with ``run`` running and the change of gait,
    with ``turn_in_place``, ``side`` and ``back`` what they say.

    Raises:
        ConfigError: no script asks for any of these modes.
    """
    known = set(modes)
    trials = [trial for needs, group, make in _SUITE if needs <= known for trial in make(group)]
    if not trials:
        raise ConfigError(f"no command script asks for {', '.join(modes)} alone; scripts are about walking and running")
    return trials


class Together:
    """Many sources as one: world ``i`` obeys source ``i % S``."""

    def __init__(self, sources: Sequence[Source], num_envs: int, device: torch.device | str = "cpu") -> None:
        if num_envs < len(sources):
            raise ConfigError(f"{len(sources)} command scripts need at least as many worlds, not {num_envs}")
        self.sources = tuple(sources)
        #: number of the source of each world ``[N]``
        self.which = torch.arange(num_envs, device=device) % len(sources)
        self.worlds = [(self.which == i).nonzero().flatten() for i in range(len(sources))]
        self._own = torch.arange(num_envs, device=device) // len(sources)

    def command(self, time: Tensor | float, root_pos: Tensor, root_yaw: Tensor) -> Command:
        """See :class:`~isaacmm.steering.source.Source`."""
        velocity, facing, turn = root_pos.new_zeros(len(root_yaw), 2), torch.zeros_like(root_yaw), root_yaw * 0.0
        moment = torch.as_tensor(time, dtype=root_yaw.dtype, device=root_yaw.device).expand(root_yaw.shape)
        for source, ids in zip(self.sources, self.worlds, strict=True):
            velocity[ids], facing[ids], turn[ids] = source.command(moment[ids], root_pos[ids], root_yaw[ids])
        return Command(velocity, facing, turn)

    def reset(self, ids: Tensor, root_pos: Tensor, root_yaw: Tensor) -> None:
        """See :class:`~isaacmm.steering.source.Source`."""
        for i, source in enumerate(self.sources):
            mine = self.which[ids] == i
            if bool(mine.any()):
                source.reset(self._own[ids[mine]], root_pos[mine], root_yaw[mine])


# ------------------------------------------------------------------------------------------ scripts


def _speeds(name: str, group: str, *speeds: float) -> Trial:
    """Straight on at one speed after the other."""
    steps = [Step(t, v) for t, v in zip(_TIMES, speeds, strict=False)]
    jumps = [(t, after - before) for t, before, after in zip(_TIMES[1:], speeds[:-1], speeds[1:], strict=False)]
    return Trial(name, group, CommandScript(steps, SECONDS, name=name), tuple(jumps))


def _rates(name: str, group: str, speed: float, *rates: float) -> Trial:
    """At one speed, turning at one rate (deg/s) after the other."""
    steps = [Step(t, speed, turn=rate) for t, rate in zip(_TIMES, rates, strict=False)]
    return Trial(name, group, CommandScript(steps, SECONDS, name=name))


def _headings(name: str, group: str, speed: float, *facings: float) -> Trial:
    """At one speed, towards one heading (deg) after the other."""
    steps = [Step(t, speed, facing=facing) for t, facing in zip(_TIMES, facings, strict=False)]
    jumps = [
        (t, (after - before) * torch.pi / 180.0)
        for t, before, after in zip(_TIMES[1:], facings[:-1], facings[1:], strict=False)
    ]
    return Trial(name, group, CommandScript(steps, SECONDS, name=name), heading_steps=tuple(jumps))


def _timed(name: str, group: str, *steps: Step) -> Trial:
    return Trial(name, group, CommandScript(steps, SECONDS, name=name))


def _walking(group: str) -> list[Trial]:
    return [
        _speeds("faster_slower", group, 0.8, 1.2, 1.6, 1.0),
        _speeds("slower_faster", group, 1.5, 1.0, 0.8, 1.4),
        _rates("turns_gentle", group, 1.0, 15.0, -15.0, 25.0, -25.0),
        _rates("turns_brisk", group, 1.3, -20.0, 30.0, 0.0, -34.0),
        _headings("heading_30", group, 1.2, 0.0, 30.0, 0.0, -30.0),
        _headings("heading_60", group, 1.0, 0.0, -60.0, 0.0, 60.0),
        _headings("heading_90", group, 0.9, 0.0, 90.0, 90.0, 0.0),
        _timed(
            "corners", group,
            Step(0.0, 1.1), Step(1.5, 1.0, turn=45.0), Step(3.5, 1.2), Step(6.0, 1.0, turn=-45.0), Step(8.0, 1.2),
        ),
        _timed(
            "weave", group,
            Step(0.0, 1.2, turn=20.0), Step(1.5, 1.2, turn=-30.0), Step(4.0, 0.9, turn=30.0),
            Step(6.5, 1.4, turn=-25.0), Step(9.0, 1.2),
        ),
        Trial("figure_eight", group, PathFollower(GroundPath.figure_eight(2.5), 1.2)),
        Trial("slalom", group, PathFollower(GroundPath.slalom(), 1.2)),
    ]  # fmt: skip


def _stopping(group: str) -> list[Trial]:
    return [_speeds("stop_and_go", group, 1.2, 0.0, 0.9, 0.0), _speeds("go_and_stop", group, 0.0, 1.0, 0.0, 1.4)]


def _running(group: str) -> list[Trial]:
    return [
        _speeds("run_speeds", group, 2.4, 3.0, 2.6, 3.2),
        _rates("run_turns", group, 2.6, 12.0, -20.0, 0.0, 20.0),
        _headings("run_headings", group, 2.6, 0.0, 30.0, 0.0, -30.0),
    ]


def _changing(group: str) -> list[Trial]:
    return [_speeds("walk_run", group, 1.2, 2.4, 3.0, 1.4)]


def _on_the_spot(group: str) -> list[Trial]:
    return [
        _timed("pivot", group, Step(0.0), Step(1.0, turn=45.0), Step(4.0), Step(5.5, turn=-45.0), Step(8.5)),
    ]


def _sideways(group: str) -> list[Trial]:
    return [_timed("sidesteps", group, Step(0.0, left=0.4), Step(5.0, left=-0.4))]


def _backwards(group: str) -> list[Trial]:
    return [_timed("backwards", group, Step(0.0, -0.4), Step(5.0, -0.6))]


_SUITE = (
    ({"walk"}, "walk", _walking),
    ({"walk", "stand"}, "stop", _stopping),
    ({"run"}, "run", _running),
    ({"walk", "run"}, "run", _changing),
    ({"turn_in_place"}, "pivot", _on_the_spot),
    ({"side"}, "side", _sideways),
    ({"back"}, "back", _backwards),
)
