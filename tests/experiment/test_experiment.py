"""Experiments: cells, a real run that is interrupted and goes on, table and figure."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from isaacmm.errors import ConfigError
from isaacmm.experiment import __main__ as command
from isaacmm.experiment import design, results, runner, settings

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
    for text, said in (("\t- x", "cannot be read"), ("name: x\nfactors: {a: {}}", "no levels"), ("seeds: [", "read")):
        (tmp_path / "bad.yaml").write_text(text)
        assert command.main([f"ablation={tmp_path / 'bad.yaml'}"]) == 1
        assert said in capsys.readouterr().err
    corner = ["ablation=matching", "demos=uniform", "condition=none", "reward=mul", f"out={tmp_path / 'out'}"]
    for word, said in (
        ("report=maybe", "True or False"), ("seed=3", "give seeds="), ("max_iterations=9", "give samples="),
        ("experiment=x", "give out="), ("reword=mul", "Factors of the experiment: demos, condition, reward"),
    ):  # fmt: skip
        assert command.main([*corner, word]) == 1
        assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_level_named_twice_is_one_cell() -> None:
    cells = design.load("matching").cells({"reward": ["mul", "mul"], "demos": ["uniform"]})
    assert [cell.name for cell in cells] == ["uniform-none-mul", "uniform-command-mul"]


def test_runs_of_other_settings_are_told_apart(tmp_path: Path) -> None:
    from isaacmm.cli.compose import compose
    from isaacmm.cli.session import save_config

    cfg, _ = compose(["task=HumanoidMM", "seed=1", "threads=1", "experiment=a", "max_iterations=5"])
    assert settings.changed(tmp_path, cfg) == ""  # nothing there yet
    save_config(cfg, tmp_path)
    assert settings.changed(tmp_path, compose(["seed=2", "threads=2", "experiment=b", "max_iterations=5"])[0]) == ""
    longer = settings.changed(tmp_path, compose(["max_iterations=6"])[0])
    assert longer == "train.params.config.max_epochs=5, not 6"
    other = settings.changed(tmp_path, compose(["motion=run", "max_iterations=5"])[0])
    assert "motion.clips=" in other and "run" in other
    (tmp_path / "config.yaml").write_text("{")
    assert "cannot be read" in settings.changed(tmp_path, cfg)


def test_an_experiment_runs_goes_on_and_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    words = [f"ablation={tmp_path / 'tiny.yaml'}", f"out={tmp_path / 'out'}", "preset=one"]
    assert command.main(words) == 0
    text = (tmp_path / "out" / "results.md").read_text()
    assert "| mul | 1 |" in text and "e-05 M samples" in text.splitlines()[0]
    assert (tmp_path / "out" / "results.png").stat().st_size > 10_000
    survival = json.loads((tmp_path / "out" / "results.json").read_text())["mul"]["policy.survival"]
    assert 0.0 < survival["value"] <= 0.6
    # what is finished is not done again; what lost its result goes on from its checkpoint
    result = tmp_path / "out" / "mul_s1" / runner.RESULT
    before = result.stat().st_mtime_ns
    assert command.main(words) == 0
    assert result.stat().st_mtime_ns == before
    result.unlink()
    tiny = design.load(str(tmp_path / "tiny.yaml"))
    job = runner.Job(tiny.cells(tiny.presets["one"])[0], 1, result.parent)
    assert not job.done and job.share(1) == 1.0 and 0.0 < job.share(1000) < 0.1
    assert command.main(words) == 0
    assert result.exists()
    assert "going on at iteration" in (tmp_path / "out" / "mul_s1.log").read_text()
    # another length is no second helping of the same experiment
    capsys.readouterr()
    assert command.main([*words, "samples=0.001", "report=True"]) == 0
    assert "was made with other settings (train.params.config.max_epochs=" in capsys.readouterr().err


def test_numbers_are_found_by_their_path() -> None:
    assert results.value({"policy": {"survival": 2}}, "policy.survival") == 2.0
    assert results.value({"policy": {}}, "policy.survival") != results.value({}, "x")  # both NaN
    assert results.value({"walk 0.9-1.4, straight": {"policy": {"x": 3}}}, "walk 0.9-1.4, straight.policy.x") == 3.0
    assert results.amount({"a": [{"samples": 1_200_000}], "b": [{"samples": 1_200_100}]}) == "1.2"
    assert results.amount({"a": [{"samples": 1_200_000}, {"samples": 3e6}]}) == "1.2 to 3"
