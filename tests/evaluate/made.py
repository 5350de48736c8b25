"""Untrained checkpoints and recordings, made in a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import nn

from isaacmm import rotation
from isaacmm.cli import session
from isaacmm.cli.compose import compose
from isaacmm.evaluate.rollout import Rollout
from isaacmm.learn import checkpoint
from isaacmm.learn.build import make_env
from isaacmm.learn.policy import Policy
from isaacmm.learn.rl_games.build import make_agent
from isaacmm.learn.train import content_of
from isaacmm.motion.clip import Motion
from tests.helpers import character, tiny_run


def untrained(folder: Path, **changes: Any) -> tuple[DictConfig, Path]:
    """A run folder ``folder/run`` with a configuration and a checkpoint of random networks.

    Returns:
        The configuration it was made with, and the checkpoint.
    """
    words = tiny_run(folder / "clip.npz", folder, experiment="run", **changes)
    cfg, _ = compose(words)
    run = folder / "run"
    run.mkdir(parents=True)
    session.save_config(cfg, run)
    env = make_env(cfg)
    try:
        agent = make_agent(cfg, env, run)
        agent.start()
        path = run / "nn" / "last.pth"
        checkpoint.save(path, content_of(agent, cfg))
    finally:
        env.close()
    return cfg, path


def still_policy(observations: int, actions: int = 28) -> Policy:
    """A policy that always wants the zero pose."""
    layer = nn.Linear(observations, actions)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return Policy([layer], torch.zeros(observations), torch.ones(observations), torch.full((actions,), 0.1))


def statue(
    velocity: tuple[float, float] = (1.0, 0.0),
    yaw: float = 0.0,
    height: float = 0.0,
    seconds: float = 3.0,
    fps: float = 30.0,
) -> Motion:
    """The character in its zero pose, pushed along the floor; ``height`` is that of its soles."""
    model = character()
    frames = round(seconds * fps) + 1
    t = torch.arange(frames) / fps
    standing = model.skeleton.fk(torch.zeros(1, 3), rotation.identity(1), rotation.identity(1, 14))
    z = height - float(model.sole_points(*standing)[..., 2].min())
    root_pos = torch.stack((velocity[0] * t, velocity[1] * t, torch.full_like(t, z)), dim=-1)
    root_rot = rotation.from_yaw(torch.full((frames,), yaw))
    return Motion.from_dofs(model.skeleton, root_pos, root_rot, torch.zeros(frames, 28), fps, "statue")


def as_rollout(motions: list[Motion], direction: tuple[float, float], speed: float) -> Rollout:
    """Clips of equal length as if they had been recorded, with this command."""
    shape = (motions[0].num_frames, len(motions))
    return Rollout(
        character=character(),
        fps=motions[0].fps,
        root_pos=torch.stack([m.root_pos for m in motions], dim=1),
        root_rot=torch.stack([m.root_rot for m in motions], dim=1),
        dof_pos=torch.stack([m.dof_pos() for m in motions], dim=1),
        command={
            "direction": torch.tensor(direction).expand(*shape, 2).clone(),
            "speed": torch.full(shape, speed),
        },
        done=torch.zeros(shape, dtype=torch.bool),
        contact=torch.zeros(*shape, 2, dtype=torch.bool),
        survival=torch.full((len(motions),), shape[0] / motions[0].fps),
    )
