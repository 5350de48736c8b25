"""Training: from a configuration to a run folder full of results."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from isaacmm.cli.runs import LAST
from isaacmm.errors import CheckpointError, SimulatorError
from isaacmm.export import matching
from isaacmm.learn import (
    checkpoint,
    distributed,
    distributed_launch,
    distributed_rescue,
    distributed_state,
    drives,
)
from isaacmm.learn.build import make_env
from isaacmm.learn.distributed import Team
from isaacmm.learn.logging import ProgressBar, Stats, TrainingLog, Unseen, share_done

if TYPE_CHECKING:
    from isaacmm.cli.runs import Run
    from isaacmm.learn.rl_games.agent import AMPAgent

#: More worlds than this share blowing up in one iteration is no accident any more.
_DIVERGED_SHARE = 0.2


def train(cfg: DictConfig, run: Run) -> None:
    """Train, save, and leave the results that ``cfg`` asks for in ``run.path``.

    Ends after ``max_iterations``, after ``max_minutes`` of training, or when asked to; always with a
    checkpoint, and with exports unless it was asked to stop. Of several processes (:mod:`distributed`) the first
    writes, and goes on alone when training is over.
    """
    from isaacmm.learn.rl_games.build import make_agent

    team = distributed.current()
    own = distributed_launch.own_settings(cfg, team)
    team.open_lanes(str(own.rl_device))
    env = make_env(own)
    try:
        agent = make_agent(own, env, run.path)
        _start(agent, cfg, run, team)
        _loop(agent, cfg, run, team)
    finally:
        env.close()
    team.leave()
    if run.stop or not team.first:
        return
    from isaacmm.learn.artefacts import after_training

    after_training(cfg, run, run.nn / LAST)


def _start(agent: AMPAgent, cfg: DictConfig, run: Run, team: Team) -> None:
    """Fresh, from another run's weights, or exactly where this run stopped."""
    if run.checkpoint is None:
        agent.start()
        return
    content = None
    if team.first:
        content = checkpoint.load(run.checkpoint, str(cfg.rl_device))
        check_fits(agent, content, run.checkpoint)
        if warning := drives.difference(content):
            run.console.warn(warning)
    if run.resume:
        note = distributed_state.resume(agent, content, team, int(cfg.seed))
        run.console.say(f"going on at iteration {agent.epoch_num}, {agent.frame / 1e6:.2f} M samples")
        if note:
            run.console.say(f"  note: {note}")
        return
    if content is not None:
        agent.load_weights(content)
    agent.synchronise()
    agent.start()


def check_fits(agent: AMPAgent, content: dict[str, Any], path: Path) -> None:
    """Refuse a checkpoint whose networks are not this configuration's, saying which number differs.

    Raises:
        CheckpointError: shapes differ.
    """
    style = content.get("style")
    parts = [
        ("policy", agent.model, content.get("model")),
        ("discriminator", agent.style.discriminator, style.get("discriminator") if isinstance(style, dict) else None),
    ]
    for part, network, theirs in parts:
        if not isinstance(theirs, dict):
            raise CheckpointError(f"{path}: holds no {part}")
        for name, tensor in network.state_dict().items():
            other = theirs.get(name)
            if other is None or other.shape != tensor.shape:
                shape = "missing" if other is None else tuple(other.shape)
                raise CheckpointError(
                    f"{path} does not fit this configuration: '{name}' of the {part} is {shape} there and "
                    f"{tuple(tensor.shape)} here. It was trained with another character, observation or network; "
                    "use its own config.yaml settings"
                )


def content_of(agent: AMPAgent, cfg: DictConfig, state: dict[str, Any] | None = None) -> dict[str, Any]:
    """What a checkpoint holds: the agent's whole state (or the given one), and what is needed to understand it."""
    skeleton = agent.env.character.skeleton
    return {
        **(agent.state_dict() if state is None else state),
        "config": OmegaConf.to_container(cfg, resolve=True),
        "observation": [
            {"name": s.name, "start": s.start, "stop": s.stop, "unit": s.unit, "frame": s.frame, "items": list(s.items)}
            for s in agent.env.observation_slices
        ],
        "drives": drives.describe(agent.env.character),
        "matching": matching.describe(agent.env),
        "skeleton": {
            "bodies": list(skeleton.names),
            "parents": list(skeleton.parents),
            "offsets": skeleton.offsets.cpu(),
            "dofs": list(skeleton.dof_names),
            "dof_bodies": list(skeleton.dof_bodies),
            "dof_axes": skeleton.dof_axes.cpu(),
        },
    }


def _loop(agent: AMPAgent, cfg: DictConfig, run: Run, team: Team) -> None:
    iterations = int(cfg.train.params.config.max_epochs)
    minutes = float(cfg.max_minutes) if cfg.max_minutes else None
    log: TrainingLog | Unseen = Unseen()
    bar: ProgressBar | Unseen = Unseen()
    if team.first:
        log = TrainingLog(run.summaries, agent.epoch_num, agent.frame)
        bar = ProgressBar(iterations, minutes, agent.epoch_num, agent.seconds)
    every = int(cfg.train.params.config.save_frequency)
    diverged = agent.diverged
    saved = time.monotonic()
    try:
        with distributed_rescue.watched(agent, cfg, run, team) as watch:
            while agent.epoch_num < iterations:
                if share_done(iterations, minutes, agent.epoch_num, agent.seconds) >= 1.0:
                    break
                agent.progress = agent.epoch_num / iterations
                stats = agent.iterate()
                watch.beat()
                log.write(stats)
                bar.show(stats)
                diverged = _check_divergence(agent, stats, diverged)
                due = bool(every and agent.epoch_num % every == 0) or time.monotonic() - saved > 60.0
                stop, save = distributed_launch.agree(team, run, due)
                if save:
                    _save(agent, cfg, run, team)
                    saved = time.monotonic()
                    watch.beat()
                if stop:
                    break
            _save(agent, cfg, run, team, final=True)
    except SimulatorError:
        if team.count == 1:
            _save(agent, cfg, run, team)
        raise
    finally:
        bar.close()
        log.close()


def _check_divergence(agent: AMPAgent, stats: Stats, before: int) -> int:
    now = agent.diverged
    worlds = agent.worlds * agent.horizon_length
    if now - before > _DIVERGED_SHARE * worlds / 10:
        raise SimulatorError(
            f"the simulation blew up {now - before} times in iteration {agent.epoch_num} of {worlds} steps; "
            "a checkpoint is saved. Raise task.env.physics_hz, or soften the character's gains"
        )
    return now


def _save(agent: AMPAgent, cfg: DictConfig, run: Run, team: Team, final: bool = False) -> None:
    """Save; while training goes on a full disk is a warning, at the end it is an error."""
    state = distributed_state.collect(agent, team)
    if not team.first:
        return
    try:
        checkpoint.save(run.nn / LAST, content_of(agent, cfg, state))
    except CheckpointError as error:
        if final:
            raise
        run.console.warn(f"{error} Training goes on; the next save is tried as usual.")
