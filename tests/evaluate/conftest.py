"""One untrained run for the whole room."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import DictConfig

from tests.evaluate.made import untrained


@pytest.fixture(scope="session")
def run_with_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> tuple[DictConfig, Path]:
    """Configuration and checkpoint of an untrained run."""
    return untrained(tmp_path_factory.mktemp("runs"))
