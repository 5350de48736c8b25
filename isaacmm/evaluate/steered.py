"""Steered play: all worlds do what one script, path or person says."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from isaacmm import paths, rotation, steering
from isaacmm.envs.humanoid_amp import HumanoidAMP
from isaacmm.envs.humanoid_mm import HumanoidMM
from isaacmm.errors import ConfigError, nearest
from isaacmm.evaluate.live import Live
from isaacmm.evaluate.rollout import Rollout, record
from isaacmm.learn.build import make_env
from isaacmm.learn.policy import Policy
from isaacmm.steering import Keyboard, PathFollower, Source

KEYBOARD = "keyboard"
#: What asks for a built-in path to be followed instead of the script of the same name.
FOLLOW = "path:"
#: Corners are gone through more slowly than the rest of a path (share of its time at full speed, and s to stop).
PATH_SLACK, PATH_STOP = 1.2, 2.0
#: A person at the keyboard stops by a key; recording stops here (s).
LONGEST_LIVE = 1800.0
#: Longer scripts and paths (s) are played in pieces, by whoever wants to: all frames are kept in memory.
LONGEST = 3600.0
#: Frames of so many worlds are kept; survival is measured in all.
KEEP = 64


def open_source(word: str) -> Source:
    """What ``command=`` names: a built-in script, ``path:`` and a built-in path, a file, or the keyboard.

    Raises:
        ConfigError: nothing is called so; the message names the nearest.
        IsaacmmError: the keyboard without a terminal.
    """
    if word == KEYBOARD:
        return Keyboard()
    if word.startswith(FOLLOW):
        return steering.follow(word.removeprefix(FOLLOW))
    if word in steering.BUILTIN or Path(word).suffix:
        return steering.named(word)
    folder = paths.data_folder("cfg") / "commands"
    files = sorted(path.stem for path in folder.glob("*.*")) if folder.is_dir() else []
    if word in files:
        return steering.named(word)
    ways = [*steering.BUILTIN, *(FOLLOW + name for name in steering.PATHS), *files, KEYBOARD]
    raise ConfigError(
        f"command={word}: there is no such script; {nearest(word, ways)} "
        "A path to a command file (.yaml, .json, .csv) works too."
    )


def check(word: str) -> None:
    """Raise what is wrong with ``command=word`` before anything else is done.

    Raises:
        ConfigError: see :func:`open_source`.
    """
    if word != KEYBOARD:
        _playable(open_source(word), word)
    elif sys.stdin is None or not sys.stdin.isatty():
        raise ConfigError(
            "command=keyboard wants a terminal to type in, and standard input is none (a pipe, a file or a service). "
            "Run it in a terminal, or give a script: command=figure_eight"
        )


def _playable(source: Source, word: str) -> None:
    if (seconds := length(source)) > LONGEST:
        raise ConfigError(
            f"command={word}: takes {seconds:g} s; a policy is played for {LONGEST:g} s at most: give it a shorter "
            "duration, or a shorter path"
        )


def name_of(word: str) -> str:
    """A word for file names: ``path:circle`` is ``path_circle``, ``my/errand.yaml`` is ``errand``."""
    return Path(word).stem.replace(":", "_") or "command"


def length(source: Source) -> float:
    """How long the source has something to say, s."""
    if isinstance(source, PathFollower):
        return PATH_SLACK * source.duration + PATH_STOP
    return float(getattr(source, "duration", LONGEST_LIVE))


def steer(env: HumanoidAMP, source: Source) -> None:
    """Put ``source`` in charge of all worlds of ``env``; effective from its next reset.

    Raises:
        ConfigError: the task has no commands that can be steered.
    """
    if not isinstance(env, HumanoidMM):
        raise ConfigError(f"{type(env).__name__} cannot be steered by command=; task=HumanoidMM can")
    env.command.source = source
    env.command.leash = 0.0  # a script that is not followed is not softened


def line_of(source: Source, num_envs: int) -> Tensor | None:
    """The line ``[N, M, 2]`` m that worlds are to follow, as ``source`` laid it where they last began."""
    if not isinstance(source, PathFollower):
        return None
    line = source.line(torch.zeros(num_envs, 2), torch.zeros(num_envs))[:, :: max(1, round(0.1 / source.path.step))]
    return torch.cat((line, line[:, :1]), dim=1).cpu() if source.path.closed else line.cpu()


def play(
    cfg: DictConfig,
    content: Mapping[str, Any],
    source: Source,
    *,
    name: str,
    num_envs: int = 16,
    seed: int = 1,
    keep: int = KEEP,
    stopped: Callable[[], bool] = lambda: False,
) -> tuple[Rollout, Steering]:
    """Play the checkpoint ``content`` as ``source`` says, from its first command to its end or every world's fall.

    With a :class:`~isaacmm.steering.Keyboard` one world is played in real time until the person has had enough; who
    falls is put back on the feet, and the longest piece is what is returned.

    Args:
        cfg: composed configuration that the checkpoint was trained with.
        content: of the checkpoint (:func:`isaacmm.learn.checkpoint.load`).
        source: who says what to do.
        name: of the source, for messages and files.
        num_envs: worlds.
        seed: of starting moments.
        keep: worlds whose frames are kept.
        stopped: asked at every step; True ends early with what there is.

    Raises:
        ConfigError: the script takes longer than an hour.
    """
    policy = Policy.from_checkpoint(content)
    seconds = length(source)
    _playable(source, name)
    played = OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))
    assert isinstance(played, DictConfig)
    played.task.env.episode_seconds, played.seed = seconds + 1.0, seed  # only a fall ends an episode
    live = isinstance(source, Keyboard)
    env = make_env(played, num_envs=1 if live else num_envs, contact_force=True)
    try:
        steer(env, source)
        if isinstance(source, Keyboard):
            with Live(env, source, stopped) as session:
                rollout = record(env, policy, seconds, seed=seed, stopped=session)
            rollout = rollout.piece(*rollout.segment(0))
            seconds = rollout.seconds
            rollout.survival = torch.tensor([seconds])
        else:
            lines: list[Tensor | None] = []
            cut = False

            def asked() -> bool:
                nonlocal cut
                if not lines:  # now: who falls begins anew elsewhere
                    lines.append(line_of(source, env.num_envs))
                cut = stopped()
                return cut

            rollout = record(env, policy, seconds, keep=keep, seed=seed, stopped=asked, once=True)
            if cut:  # what was never played is nobody's fall
                seconds = min(seconds, rollout.seconds)
            rollout.path = None if lines[0] is None else lines[0][: rollout.num_worlds]
        rollout.script = name
        return rollout, judge(rollout, seconds)
    finally:
        env.close()


# ------------------------------------------------------------------------------------------- how it went
@dataclass(frozen=True)
class Steering:
    """How well the worlds did what a script said; every number counts each world until its first fall.

    Attributes:
        name: of the script.
        seconds: how long it is.
        worlds: how many.
        survived: share of worlds that never fell.
        survival: mean s until the first fall (or the end).
        velocity_error: m/s, mean length of the average over a second of (velocity - commanded velocity), velocities
            in the frame of the heading and of the facing.
        heading_error: rad, mean angle between the heading and the commanded facing.
        off_path: m, mean distance from the line of a path, or else from where the commanded velocity would have led.
    """

    name: str
    seconds: float
    worlds: int
    survived: float
    survival: float
    velocity_error: float
    heading_error: float
    off_path: float

    def table(self) -> str:
        """With units."""
        rows = [
            ("never fell", f"{100 * self.survived:.0f} %", f"of {self.worlds} worlds"),
            ("time to a fall", f"{self.survival:.1f} s", f"of {self.seconds:.1f} s"),
            ("velocity error", f"{self.velocity_error:.2f} m/s", "from the commanded velocity, averaged over a second"),
            ("heading error", f"{math.degrees(self.heading_error):.0f} deg", "from the commanded facing"),
            ("off the way", f"{self.off_path:.2f} m", "from the line that the commands drew"),
        ]
        return "\n".join(f"  {a:<18}{b:>10}  {c}".rstrip() for a, b, c in rows)

    def to_json(self) -> dict[str, Any]:
        """Plain data; missing numbers are null."""
        plain = {k: _plain(v) if isinstance(v, float) else v for k, v in vars(self).items()}
        return {"format": "isaacmm-steering", "version": 1, **plain}


def judge(rollout: Rollout, seconds: float) -> Steering:
    """Numbers of a steered ``rollout`` of a script that takes ``seconds``."""
    alive = rollout.episode == 0
    miss = local_velocity(rollout) - rollout.command["goal_velocity"]
    window = max(1, min(round(rollout.fps), rollout.num_frames))
    over = miss.unfold(0, window, 1).mean(dim=-1).norm(dim=-1)
    heading = rotation.wrap_angle(rollout.command["goal_facing"] - rotation.yaw(rollout.root_rot)).abs()
    return Steering(
        name=rollout.script,
        seconds=seconds,
        worlds=len(rollout.survival),
        survived=float((rollout.survival >= seconds - 0.5 / rollout.fps).float().mean()),
        survival=float(rollout.survival.mean()),
        velocity_error=_mean(over, alive[window - 1 :]),
        heading_error=_mean(heading, alive),
        off_path=_mean(off_path(rollout), alive),
    )


def local_velocity(rollout: Rollout) -> Tensor:
    """Ground velocity ``[T, N, 2]`` m/s in the heading frame, from one frame to the next."""
    pos, yaw = rollout.root_pos[..., :2], rotation.yaw(rollout.root_rot)
    speed = torch.zeros_like(pos)
    speed[:-1] = (pos[1:] - pos[:-1]) * rollout.fps
    speed[-1:] = speed[-2:-1]
    speed = torch.where(rollout.done[..., None], torch.roll(speed, 1, 0), speed)  # the next frame is another episode's
    return _turned(speed, -yaw)


def commanded_path(rollout: Rollout) -> Tensor:
    """``[T, N, 2]`` m: where the commanded velocity would have led, from where each world began."""
    along = _turned(rollout.command["velocity"], rollout.command["facing"])
    return rollout.root_pos[:1, :, :2] + torch.cumsum(along, dim=0) / rollout.fps


def off_path(rollout: Rollout) -> Tensor:
    """``[T, N]`` m from the path; without one, from where the commanded velocity would have led."""
    here = rollout.root_pos[..., :2]
    if rollout.path is None:
        return (here - commanded_path(rollout)).norm(dim=-1)
    return torch.stack([torch.cdist(here[:, i], line).amin(dim=1) for i, line in enumerate(rollout.path)], dim=1)


def _turned(vector: Tensor, angle: Tensor) -> Tensor:
    cos, sin = torch.cos(angle), torch.sin(angle)
    x, y = vector.unbind(-1)
    return torch.stack((cos * x - sin * y, sin * x + cos * y), dim=-1)


def _mean(values: Tensor, where: Tensor) -> float:
    chosen = values[where]
    return float(chosen.double().mean()) if chosen.numel() else math.nan


def _plain(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None
