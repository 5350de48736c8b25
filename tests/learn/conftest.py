"""Agents of the smallest size, and a launcher of whole command lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig

from isaacmm.cli.compose import compose
from isaacmm.learn.build import make_env
from isaacmm.learn.rl_games.agent import AMPAgent
from isaacmm.learn.rl_games.build import make_agent
from tests.helpers import tiny_run
from tests.launcher import Launcher

torch.set_num_threads(1)

MakeAgent = Callable[..., tuple[AMPAgent, DictConfig]]


@pytest.fixture
def tiny_agent(tmp_path: Path) -> Iterator[MakeAgent]:
    """``tiny_agent(**changes) -> agent, cfg``: new process objects every time, closed at the end."""
    made: list[AMPAgent] = []

    def make(**changes: Any) -> tuple[AMPAgent, DictConfig]:
        cfg, _ = compose(tiny_run(tmp_path / "clip.npz", tmp_path / "runs", **changes))
        folder = tmp_path / "runs" / f"run_{len(made)}"
        made.append(make_agent(cfg, make_env(cfg), folder))
        return made[-1], cfg

    yield make
    for agent in made:
        agent.env.close()
        agent.writer.close()


@pytest.fixture(scope="session")
def launcher() -> Iterator[Launcher]:
    """Starts whole command lines in processes of their own."""
    with Launcher() as made:
        yield made
