"""The networks beside the search that they replace, after a fit of a few minutes on the clips that come along."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from isaacmm import paths
from isaacmm.learn.fit import FitConfig, fit
from isaacmm.learned_matching.comparison import UNITS, compare
from isaacmm.learned_matching.controller import load
from isaacmm.learned_matching.evaluation import SCRIPTS
from isaacmm.learned_matching.rows import Rows
from isaacmm.learned_matching.task import LearnedMMTask
from isaacmm.matching.opening import open_database


@pytest.mark.slow
def test_a_fit_of_minutes_moves_as_the_search_does(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    config = OmegaConf.load(paths.data_folder("cfg") / "task" / "LearnedMM.yaml")
    train = OmegaConf.load(paths.data_folder("cfg") / "train" / "LearnedMMFit.yaml")
    database = open_database("full", rate=float(config["rate"]))
    task = LearnedMMTask(config, Rows(database))  # type: ignore[arg-type]
    settings = FitConfig.from_mapping({str(k): v for k, v in train.items()}, max_steps=3000)
    fit(task, settings, tmp_path, say=lambda text: None)
    model, meta = load(tmp_path)
    told = compare(model, meta, lambda rate: database, SCRIPTS, 20.0, float(config["rate"]))
    for name in UNITS:
        if name != "jumps":  # a stepper is not left alone for long
            assert told[name]["ratio"] <= 1.2, name
    # a glider whose feet never stand does not slide either
    assert told["stands"]["ratio"] > 0.9
    memory = told["memory_mb"]
    assert memory["networks_float32"] < 0.1 * memory["database_of_400000"]
    assert told["milliseconds"]["per_frame"] < 0.5
