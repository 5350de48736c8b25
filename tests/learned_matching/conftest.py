"""A small database and networks that hold it, begun but not trained."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from isaacmm.learned_matching.networks import LearnedMM
from isaacmm.learned_matching.rows import Rows
from isaacmm.learned_matching.task import LearnedMMTask
from isaacmm.matching.database import Database
from isaacmm.motion.library import MotionLibrary
from tests import helpers

CONFIG: dict[str, Any] = {
    "name": "LearnedMM",
    "rate": 30,
    "latent": 12,
    "networks": {"compressor": [32], "decompressor": [32], "stepper": [48], "projector": [48, 48]},
    "prototypes": 30,
    "windows": 16,
    "window_seconds": 0.2,
    "queries": 24,
    "pose_every": 2,
}


@pytest.fixture(scope="session")
def database() -> Database:
    """Three walks of different rates: one straight, one turning, one too short for long windows."""
    clips = [
        helpers.made_up_walk(1.0, 0.0, 4.0, 30.0, "straight"),
        helpers.made_up_walk(1.3, 0.6, 3.0, 60.0, "turn"),
        helpers.made_up_walk(0.7, -0.4, 1.2, 24.0, "short"),
    ]
    character = helpers.character()
    return Database(MotionLibrary(clips, character.skeleton), character, rate=30.0)


@pytest.fixture(scope="session")
def rows(database: Database) -> Rows:
    return Rows(database)


@pytest.fixture(scope="session")
def config() -> dict[str, Any]:
    """A ``task`` section."""
    return CONFIG


@pytest.fixture(scope="session")
def task(rows: Rows) -> LearnedMMTask:
    return LearnedMMTask(CONFIG, rows)


@pytest.fixture
def model(task: LearnedMMTask) -> LearnedMM:
    torch.manual_seed(0)
    made = task.build()
    task.begin(made)
    assert isinstance(made, LearnedMM)
    return made.eval()


@pytest.fixture
def calm(model: LearnedMM) -> LearnedMM:
    """Stepper and projector that hardly move; as they begin they would run away."""
    for network in (model.stepper, model.projector):
        for p in network[-1].parameters():
            p.data *= 0.05
    return model


@pytest.fixture
def meta(task: LearnedMMTask, model: LearnedMM) -> dict[str, Any]:
    return task.meta_of(model)
