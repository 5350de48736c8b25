"""Training: from a configuration to a run folder full of results."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from isaacmm.errors import CheckpointError, SimulatorError
from isaacmm.export import matching
from isaacmm.learn import checkpoint, drives
from isaacmm.learn.build import make_env
from isaacmm.learn.logging import ProgressBar, Stats, TrainingLog

if TYPE_CHECKING:
    from isaacmm.cli.runs import Run
    from isaacmm.learn.rl_games.agent import AMPAgent

#: More worlds than this share blowing up in one iteration is no accident any more.
_DIVERGED_SHARE = 0.2


def train(cfg: DictConfig, run: Run) -> None:
    """Train, save, and leave the results that ``cfg`` asks for in ``run.path``.

    Ends after ``max_iterations``, after ``max_minutes`` of training, or when asked to; always with a
    checkpoint, and with exports unless it was asked to stop.
    """
    from isaacmm.learn.rl_games.build import make_agent

    env = make_env(cfg)
    try:
        agent = make_agent(cfg, env, run.path)
        _start(agent, cfg, run)
        _loop(agent, cfg, run)
    finally:
        env.close()
    if run.stop:
        return
    from isaacmm.learn.artefacts import after_training

    after_training(cfg, run, run.nn / "last.pth")


def _start(agent: AMPAgent, cfg: DictConfig, run: Run) -> None:
    """Fresh, from another run's weights, or exactly where this run stopped."""
    if run.checkpoint is None:
        agent.start()
        return
    content = checkpoint.load(run.checkpoint, str(cfg.rl_device))
    check_fits(agent, content, run.checkpoint)
    if warning := drives.difference(content):
        run.console.warn(warning)
    if run.resume:
        agent.load_state_dict(content)
        run.console.say(f"going on at iteration {agent.epoch_num}, {agent.frame / 1e6:.2f} M samples")
    else:
        agent.load_weights(content)
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


def content_of(agent: AMPAgent, cfg: DictConfig) -> dict[str, Any]:
    """What a checkpoint holds: the agent's whole state, and what is needed to understand it."""
    skeleton = agent.env.character.skeleton
    return {
        **agent.state_dict(),
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


def _loop(agent: AMPAgent, cfg: DictConfig, run: Run) -> None:
    config = cfg.train.params.config
    iterations = int(config.max_epochs)
    minutes = float(cfg.max_minutes) if cfg.max_minutes else None
    every = int(config.save_frequency)
    last = run.nn / "last.pth"
    log = TrainingLog(run.summaries, agent.epoch_num, agent.frame)
    bar = ProgressBar(iterations, minutes, agent.epoch_num, agent.seconds)
    diverged = agent.env.diverged_total
    saved = time.monotonic()
    try:
        while agent.epoch_num < iterations:
            if bar.share(agent.epoch_num, agent.seconds) >= 1.0:
                break
            agent.progress = agent.epoch_num / iterations
            stats = agent.iterate()
            log.write(stats)
            bar.show(stats)
            diverged = _check_divergence(agent, stats, diverged)
            if (every and agent.epoch_num % every == 0) or time.monotonic() - saved > 60.0:
                _save(agent, cfg, run, last)
                saved = time.monotonic()
            if run.stop:
                break
    except SimulatorError:
        _save(agent, cfg, run, last)
        raise
    finally:
        bar.close()
        log.close()
    _save(agent, cfg, run, last, final=True)


def _check_divergence(agent: AMPAgent, stats: Stats, before: int) -> int:
    now = agent.env.diverged_total
    worlds = agent.env.num_envs * agent.horizon_length
    if now - before > _DIVERGED_SHARE * worlds / 10:
        raise SimulatorError(
            f"the simulation blew up {now - before} times in iteration {agent.epoch_num} of {worlds} steps; "
            "a checkpoint is saved. Raise task.env.physics_hz, or soften the character's gains"
        )
    return now


def _save(agent: AMPAgent, cfg: DictConfig, run: Run, path: Path, final: bool = False) -> None:
    """Save; while training goes on a full disk is a warning, at the end it is an error."""
    try:
        checkpoint.save(path, content_of(agent, cfg))
    except CheckpointError as error:
        if final:
            raise
        run.console.warn(f"{error} Training goes on; the next save is tried as usual.")
