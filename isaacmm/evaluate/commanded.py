"""Following commands: the held-out scripts played, and how well they were obeyed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from isaacmm import rotation
from isaacmm.envs import rewards
from isaacmm.envs.humanoid_mm import HumanoidMM
from isaacmm.errors import ConfigError
from isaacmm.evaluate import response
from isaacmm.evaluate.response import Response
from isaacmm.evaluate.scripts import SECONDS, Together, Trial, suite
from isaacmm.learn.policy import Policy
from isaacmm.steering import PathFollower

#: What is asked of a policy, on average over the scripts of walking and turning (m/s, deg).
VELOCITY_BOUND, HEADING_BOUND = 0.35, 15.0
#: The scripts that these bounds are about.
ACCEPTANCE = "walk"

#: Who has fallen is charged with standing still, and with this (deg), what a facing drawn at random would miss by.
LOST = 90.0

#: Name -> (unit, definition).
COLUMNS: dict[str, tuple[str, str]] = {
    "velocity_error": (
        "m/s",
        "Mean |velocity of the root in its heading frame - commanded velocity|, frame by frame, sudden steps "
        "included, until the first fall",
    ),
    "velocity_error_spring": ("m/s", "velocity_error against the spring that makes sudden steps answerable"),
    "velocity_error_1s": ("m/s", "Mean |average over 1 s of (velocity - commanded velocity)| until the first fall"),
    "velocity_error_falls": ("m/s", "velocity_error of the whole script; who has fallen stands still"),
    "clips_velocity_error": ("m/s", "velocity_error of the clip moments that motion matching plays meanwhile"),
    "heading_error": ("deg", "Mean angle between where the root faces and the commanded facing, until the first fall"),
    "heading_error_spring": ("deg", "heading_error against the spring"),
    "heading_error_falls": ("deg", f"heading_error of the whole script; who has fallen is charged with {LOST:g} deg"),
    "stood_seconds": ("s", "Mean time to the first fall, at most the length of the script"),
    "stood": ("%", "Share of worlds that did not fall within the script"),
    "path_error": ("m", "Mean distance from the path, where the script is one, until the first fall"),
}


@dataclass(eq=False)
class Obeyed:
    """``N`` worlds over ``T`` control steps, one script each; what comes after a world's first fall does not count.

    Attributes:
        fps: frames per second.
        trials: the scripts.
        which: ``[N]`` number of each world's script.
        halflife: of the commands' spring, s.
        velocity: ``[T, N, 2]`` m/s of the root, in its own heading frame (forward, left).
        told, spring: ``[T, N, 2]`` m/s: the velocity asked for, and the spring that follows it, in the frame of the
            facing.
        heading_told, heading_spring: ``[T, N]`` rad: the facing asked for, and the spring's, less the root's.
        yaw: ``[T, N]`` rad of the root.
        clips: ``[T, N, 2]`` m/s: velocity of the clip moment that answers the command, in its own heading frame.
        distance: ``[T, N]`` m from the path, NaN where there is none.
        alive: ``[T, N]`` bool.
        clips_turn: ``[T, N]`` rad/s: turn rate of the clip moment that answers the command; None: not recorded.
    """

    fps: float
    trials: list[Trial]
    which: Tensor
    halflife: float
    velocity: Tensor
    told: Tensor
    spring: Tensor
    heading_told: Tensor
    heading_spring: Tensor
    yaw: Tensor
    clips: Tensor
    distance: Tensor
    alive: Tensor
    clips_turn: Tensor | None = None

    def of_script(self, index: int) -> dict[str, float]:
        """The numbers of :data:`COLUMNS` for one script."""
        worlds = self.which == index
        alive = self.alive[:, worlds]
        miss = (self.velocity - self.told)[:, worlds]
        heading = torch.rad2deg(self.heading_told[:, worlds].abs())
        asked = self._asked_speed(self.trials[index])[:, None].expand_as(heading)
        return {
            "velocity_error": _mean(miss.norm(dim=-1), alive),
            "velocity_error_spring": _mean((self.velocity - self.spring)[:, worlds].norm(dim=-1), alive),
            "velocity_error_1s": _over_a_second(miss, alive, self.fps),
            "velocity_error_falls": float(torch.where(alive, miss.norm(dim=-1), asked).mean()),
            "clips_velocity_error": _mean((self.clips - self.told)[:, worlds].norm(dim=-1), alive),
            "heading_error": _mean(heading, alive),
            "heading_error_spring": math.degrees(_mean(self.heading_spring[:, worlds].abs(), alive)),
            "heading_error_falls": float(torch.where(alive, heading, LOST).mean()),
            "stood_seconds": float(alive.float().sum(0).mean()) / self.fps,
            "stood": 100.0 * float(alive[-1].float().mean()),
            "path_error": _mean(self.distance[:, worlds], alive & self.distance[:, worlds].isfinite()),
        }

    def _asked_speed(self, trial: Trial) -> Tensor:
        """``[T]`` m/s that a script asks for, whatever the character does."""
        if isinstance(trial.source, PathFollower):
            return torch.full((len(self.alive),), trial.source.speed)
        return trial.source.at(torch.arange(len(self.alive)) / self.fps)[0].norm(dim=-1)

    def of_groups(self) -> dict[str, dict[str, float]]:
        """The same per group of scripts: the mean of its scripts, each counting alike."""
        rows = [self.of_script(i) for i in range(len(self.trials))]
        groups: dict[str, list[dict[str, float]]] = {}
        for trial, row in zip(self.trials, rows, strict=True):
            groups.setdefault(trial.group, []).append(row)
        return {group: {name: _average([row[name] for row in of]) for name in COLUMNS} for group, of in groups.items()}

    def response(self, kind: str, group: str | None = None, clips: bool = False) -> Response:
        """Answer to all sudden steps of ``speed`` or ``heading`` in the scripts of ``group`` (or all).

        With ``clips`` that of the clip moments which motion matching plays meanwhile, for the same command and seen
        from the same character: their own speed, and how far they turn.
        """
        before, after = round(response.BEFORE * self.fps), round(response.WATCHED * self.fps)
        pieces, sizes = [], []
        for i, trial in enumerate(self.trials):
            if group is not None and trial.group != group:
                continue
            if clips and self.clips_turn is not None:
                values = self.clips[..., 0] if kind == "speed" else self.clips_turn.cumsum(0) / self.fps
            else:
                values = self.velocity[..., 0] if kind == "speed" else _continuous(self.yaw)
            for time, size in trial.speed_steps if kind == "speed" else trial.heading_steps:
                start = round(time * self.fps) - before
                if start < 0 or start + before + after > len(values):
                    continue
                stood = (self.which == i) & self.alive[start + before + after - 1]
                pieces.append(values[start : start + before + after, stood])
                sizes.append(torch.full((int(stood.sum()),), size))
        if not pieces:
            return response.measure(torch.zeros(before + after, 0), torch.zeros(0), self.fps)
        return response.measure(torch.cat(pieces, dim=1), torch.cat(sizes), self.fps)

    @property
    def accepted(self) -> bool | None:
        """Whether walking and turning, falls included, are within the bounds; None where no such script was played."""
        row = self.of_groups().get(ACCEPTANCE)
        if row is None:
            return None
        return row["velocity_error_falls"] <= VELOCITY_BOUND and row["heading_error_falls"] <= HEADING_BOUND

    # ------------------------------------------------------------------- to be read
    def table(self) -> str:
        """Scripts, groups, responses and the verdict."""
        lines = [
            f"  {'':<16}{'velocity error (m/s)':^40}{'heading error (deg)':^24}{'stood':^14}{'path':>7}",
            "  " + f"{'script':<16}" + "".join(f"{head:>{w}}" for _, head, w, _ in _TABLE),
        ]
        lines += [_line(trial.name, self.of_script(i)) for i, trial in enumerate(self.trials)]
        lines += [_line(f"all of {group}", row) for group, row in self.of_groups().items()]
        ideal = response.spring_time(self.halflife)
        for kind in ("speed", "heading"):
            answer = self.response(kind)
            if answer.count:
                clips = ""
                if self.clips_turn is not None:
                    of = self.response(kind, clips=True)
                    clips = f", clips {_cell(of.time, 2)} s and {_cell(100.0 * of.gain, 0)} %"
                lines.append(
                    f"  a step of {kind}: 90 % after {_cell(answer.time, 2)} s (spring {ideal:.2f} s{clips}), "
                    f"{_cell(100.0 * answer.gain, 0)} % of it made, overshoot {_cell(answer.overshoot, 0)} % "
                    f"({answer.count} steps)"
                )
        if self.accepted is not None:
            row = self.of_groups()[ACCEPTANCE]
            lines.append(
                f"  walking and turning, falls included: velocity error {_cell(row['velocity_error_falls'], 3)} m/s "
                f"(asked: {VELOCITY_BOUND:g}), heading error {_cell(row['heading_error_falls'], 1)} deg "
                f"(asked: {HEADING_BOUND:g}): {'met' if self.accepted else 'not met'}"
            )
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Plain data; missing numbers are null."""
        kinds = ("speed", "heading")
        return {
            "seconds": round(len(self.alive) / self.fps, 3),
            "worlds_per_script": len(self.which) // len(self.trials),
            "scripts": {t.name: {"group": t.group} | _plain(self.of_script(i)) for i, t in enumerate(self.trials)},
            "groups": {group: _plain(row) for group, row in self.of_groups().items()},
            "response": {kind: _plain(vars(self.response(kind))) for kind in kinds},
            **(
                {}
                if self.clips_turn is None
                else {"clips_response": {kind: _plain(vars(self.response(kind, clips=True))) for kind in kinds}}
            ),
            "spring_response": round(response.spring_time(self.halflife), 3),
            "bounds": {"velocity_error": VELOCITY_BOUND, "heading_error": HEADING_BOUND, "group": ACCEPTANCE},
            "accepted": self.accepted,
            "definitions": {name: {"unit": unit, "definition": text} for name, (unit, text) in COLUMNS.items()},
        }


@torch.no_grad()
def obey(
    env: HumanoidMM,
    policy: Policy,
    *,
    trials: Sequence[Trial] | None = None,
    seconds: float = SECONDS,
    seed: int = 1,
    deterministic: bool = True,
    stopped: Callable[[], bool] = lambda: False,
) -> Obeyed:
    """Play scripts with ``policy``: world ``i`` script ``i % S``, from a moment of clips that do what it begins with.

    The environment's own commands and episode length are put aside meanwhile, and so is the leash: what a script says
    is what is asked, however far behind a character may be.

    Args:
        env: with at least as many worlds as scripts.
        policy: what acts.
        trials: the scripts; None takes :func:`~isaacmm.evaluate.scripts.suite`.
        seconds: length.
        seed: of starting moments.
        deterministic: the policy's mean action; False: with its noise.
        stopped: asked before every step; True ends early.

    Raises:
        ConfigError: fewer worlds than scripts, or a policy for other observations.
    """
    if policy.observation_size != env.observation_size:
        raise ConfigError(
            f"the policy takes {policy.observation_size} numbers, the environment gives {env.observation_size}; "
            "they belong to different task settings"
        )
    scripts = list(trials) if trials is not None else suite([mode.name for mode in env.command.modes])
    source = Together([trial.source for trial in scripts], env.num_envs, env.device)
    noise = None if deterministic else torch.Generator(env.device).manual_seed(seed)
    steps, policy = round(seconds / env.dt), policy.to(env.device)
    before = env.command.source, env.command.leash, env.max_steps
    env.command.source, env.command.leash, env.max_steps = source, 0.0, steps + 1
    frames: dict[str, list[Tensor]] = {}
    alive = torch.ones(env.num_envs, dtype=torch.bool, device=env.device)
    try:
        obs, _ = env.reset(seed=seed)
        for _ in range(steps):
            if stopped():
                break
            for name, value in _frame(env, source, scripts).items():
                frames.setdefault(name, []).append(value.cpu())
            frames.setdefault("alive", []).append(alive.cpu())
            obs, _, terminated, _, _ = env.step(policy(obs) if deterministic else policy.sample(obs, noise))
            alive = alive & ~terminated
    finally:
        env.command.source, env.command.leash, env.max_steps = before
    if not frames:
        raise ConfigError("stopped before the first step of the command scripts")
    halflife = env.command.spring.halflife
    return Obeyed(
        1.0 / env.dt, scripts, source.which.cpu(), halflife, **{name: torch.stack(v) for name, v in frames.items()}
    )


def _frame(env: HumanoidMM, source: Together, trials: Sequence[Trial]) -> dict[str, Tensor]:
    """What :class:`Obeyed` keeps of the present moment; the twin's row is that of one control step on."""
    state, command = env.simulator.state(), env.command
    distance = torch.full_like(env.root_yaw, math.nan)
    for trial, ids in zip(trials, source.worlds, strict=True):
        if isinstance(trial.source, PathFollower):
            place = trial.source.on_path(state.root_pos[ids, :2])
            distance[ids] = trial.source.path.distance(place)
    clips = env.table.reset_state(env.reference)
    return {
        "velocity": rewards.local_velocity(state.root_rot, state.root_vel)[:, :2],
        "told": command.velocity.clone(),
        "spring": command.spring.velocity.clone(),
        "heading_told": rotation.wrap_angle(command.yaw - env.root_yaw),
        "heading_spring": rotation.wrap_angle(command.spring.yaw - env.root_yaw),
        "yaw": env.root_yaw.clone(),
        "clips": rewards.local_velocity(clips.root_rot, clips.root_vel)[:, :2],
        "clips_turn": env.database.turn_rate[env.reference],
        "distance": distance,
    }


def _mean(values: Tensor, where: Tensor) -> float:
    chosen = values[where]
    return float(chosen.double().mean()) if chosen.numel() else math.nan


def _over_a_second(miss: Tensor, alive: Tensor, fps: float) -> float:
    """Mean ``|average over 1 s of miss|`` of ``miss [T, n, 2]``."""
    window = round(fps)
    if len(miss) < window:
        return math.nan
    return _mean(miss.unfold(0, window, 1).mean(dim=-1).norm(dim=-1), alive[window - 1 :])


def _continuous(yaw: Tensor) -> Tensor:
    """``[T, N]`` without the jumps at pi."""
    turned = rotation.wrap_angle(yaw[1:] - yaw[:-1])
    return torch.cat((yaw[:1], yaw[:1] + turned.cumsum(0)))


def _average(values: Sequence[float]) -> float:
    found = [v for v in values if math.isfinite(v)]
    return sum(found) / len(found) if found else math.nan


def _cell(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"


#: (column, head, width, digits) of the printed table.
_TABLE = (
    ("velocity_error", "command", 8, 3),
    ("velocity_error_spring", "spring", 8, 3),
    ("velocity_error_1s", "1 s", 8, 3),
    ("velocity_error_falls", "+ falls", 8, 3),
    ("clips_velocity_error", "clips", 8, 3),
    ("heading_error", "command", 8, 1),
    ("heading_error_spring", "spring", 8, 1),
    ("heading_error_falls", "+ falls", 8, 1),
    ("stood_seconds", "s", 7, 1),
    ("stood", "%", 7, 0),
    ("path_error", "m", 7, 2),
)


def _line(name: str, row: dict[str, float]) -> str:
    return f"  {name:<16}" + "".join(f"{_cell(row[key], digits):>{width}}" for key, _, width, digits in _TABLE)


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {k: (round(v, 5) if math.isfinite(v) else None) if isinstance(v, float) else v for k, v in row.items()}
