"""Experiments: cells, a real run that is interrupted and goes on, table and figure."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from isaacmm.errors import ConfigError
from isaacmm.experiment import __main__ as command
from isaacmm.experiment import design, results, runner

TINY = """
name: tiny
title: A tiny comparison
base: [task=HumanoidAMP, num_envs=4, train.params.config.horizon_length=8,
       train.params.config.minibatch_size=16, task.env.episode_seconds=0.5]
factors:
  reward: {mul: [train.params.config.reward_combine=mul], add: [train.params.config.reward_combine=add]}
presets: {one: {reward: [mul]}}
seeds: 1
samples: 0.0001
"""


def test_every_experiment_of_ours_composes() -> None:
    from isaacmm.cli.compose import compose

    assert {"matching", "imbalance"} <= set(design.names())
    for name in design.names():
        made = design.load(name)
        cells = made.cells()
        assert len({cell.name for cell in cells}) == len(cells) > 1
        for cell in cells:
            compose([*made.base, *cell.words])


def test_the_factorial_and_its_corners() -> None:
    made = design.load("matching")
    assert len(made.cells()) == 2 * 2 * 3
    assert [c.name for c in made.cells(made.presets["corners"])] == [
        "uniform-none-mul", "uniform-command-mul", "matched-none-mul", "matched-command-mul",
    ]  # fmt: skip


def test_mistakes_are_answered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["ablation=matchin"]) == 1
    assert "matching" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="no such level"):
        design.load("matching").cells({"reward": ["mull"]})
    (tmp_path / "bad.yaml").write_text("name: x\n")
    assert command.main([f"ablation={tmp_path / 'bad.yaml'}"]) == 1
    assert "factors" in capsys.readouterr().err


def test_an_experiment_runs_goes_on_and_reports(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    words = [f"ablation={tmp_path / 'tiny.yaml'}", f"out={tmp_path / 'out'}", "preset=one"]
    assert command.main(words) == 0
    assert "| mul | 1 |" in (tmp_path / "out" / "results.md").read_text()
    assert (tmp_path / "out" / "results.png").stat().st_size > 10_000
    survival = json.loads((tmp_path / "out" / "results.json").read_text())["mul"]["policy.survival"]
    assert 0.0 < survival["value"] <= 0.6
    # what is finished is not done again; what lost its result goes on from its checkpoint
    result = tmp_path / "out" / "mul_s1" / runner.RESULT
    before = result.stat().st_mtime_ns
    assert command.main(words) == 0
    assert result.stat().st_mtime_ns == before
    result.unlink()
    assert command.main(words) == 0
    assert result.exists()
    assert "going on at iteration" in (tmp_path / "out" / "mul_s1.log").read_text()


def test_numbers_are_found_by_their_path() -> None:
    assert results.value({"policy": {"survival": 2}}, "policy.survival") == 2.0
    assert results.value({"policy": {}}, "policy.survival") != results.value({}, "x")  # both NaN
