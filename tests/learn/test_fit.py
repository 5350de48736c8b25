"""The supervised loop: same seed, same bits; a resumed fit is the fit that was never stopped."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from isaacmm.errors import CheckpointError, ConfigError, IsaacmmError
from isaacmm.learn import checkpoint
from isaacmm.learn.fit import FitConfig, fit, load_fitted, shipped, shipped_figures, shipped_step
from isaacmm.learn.fit_log import table
from isaacmm.learn.fit_split import family, split_clips

torch.set_num_threads(1)


class Line:
    """y = 3 x + 1 with a little net that has dropout, so that every kind of random number is used."""

    name = "Line"

    def __init__(self, width: int = 16, poison: int = -1) -> None:
        self.width, self.poison = width, poison
        self.finished: list[Path] = []
        self.evaluated = self.begun = 0

    def build(self) -> nn.Module:
        model = nn.Sequential(nn.Linear(1, self.width), nn.ReLU(), nn.Dropout(0.1), nn.Linear(self.width, 1))
        model.register_buffer("count", torch.zeros(1))
        return model

    def begin(self, model: nn.Module) -> None:
        self.begun += 1
        model.get_parameter("3.bias").data.fill_(1.0)

    def batch(self, step: int, generator: torch.Generator) -> dict[str, Tensor]:
        x = torch.rand(32, 1, generator=generator) * 2 - 1
        if 0 <= self.poison <= step:
            x = x * torch.nan
        return {"x": x, "y": 3 * x + 1}

    def loss(self, model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float | Tensor]]:
        model.get_buffer("count").add_(1)
        error = (model(batch["x"]) - batch["y"]).square().mean()
        return error, {"rmse": error.detach().sqrt(), "constant": 1.0}

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        torch.rand(7)  # must not disturb the training
        self.evaluated += 1
        assert not model.training
        x = torch.linspace(-1, 1, 21)[:, None]
        mse = (model(x) - 3 * x - 1).square().mean()
        return {"mse": float(mse), "mse_baseline": float((3 * x).square().mean())}

    def finish(self, model_ema: nn.Module, folder: Path, figures: Mapping[str, float]) -> list[Path]:
        assert self.evaluate(model_ema) == dict(figures), "figures beside a network are its own"
        self.finished.append(folder)
        return []

    def meta(self) -> dict[str, Any]:
        return {"features": ["x"], "mean": torch.zeros(1)}


FAST = FitConfig(max_steps=60, warmup_steps=5, learning_rate=0.02, evaluate_every=20, log_every=10, ema_decay=0.9)


def weights(path: Path) -> dict[str, Tensor]:
    content = checkpoint.load(path)
    return {f"{part}.{k}": v for part in ("model", "ema") for k, v in content[part].items()}


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "summaries" / "progress.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_it_learns_and_beats_its_baseline(tmp_path: Path) -> None:
    task, said = Line(), []
    path = fit(task, replace(FAST, max_steps=200), tmp_path, say=said.append)
    got = checkpoint.load(path)["evaluation"]
    assert got["mse"] < 0.1 * got["mse_baseline"]
    assert task.finished == [tmp_path]
    assert any("mse" in text and "baseline" in text for text in said)


def test_same_seed_same_bits(tmp_path: Path) -> None:
    a, b, c = (
        weights(fit(Line(), replace(FAST, seed=seed), tmp_path / name))
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert same(a, b) and not same(a, c)
    assert rows(tmp_path / "a") == rows(tmp_path / "b")


def test_evaluations_do_not_disturb_the_training(tmp_path: Path) -> None:
    a = weights(fit(Line(), FAST, tmp_path / "a"))
    b = weights(fit(Line(), replace(FAST, evaluate_every=7), tmp_path / "b"))
    assert same(a, b)


def test_a_resumed_fit_is_the_one_that_never_stopped(tmp_path: Path) -> None:
    whole = weights(fit(Line(), FAST, tmp_path / "whole"))
    task, steps = Line(), iter(range(10_000))
    path = fit(task, FAST, tmp_path / "parts", stop=lambda: next(steps) >= 25)
    assert 20 <= checkpoint.load(path)["step"] < 40 and not task.finished
    torch.manual_seed(999)  # another process would have other global random numbers
    task = Line()
    assert same(whole, weights(fit(task, FAST, tmp_path / "parts", resume=True)))
    assert rows(tmp_path / "whole") == rows(tmp_path / "parts")
    assert task.finished


def test_a_stopped_fit_that_is_to_go_no_further_is_judged_and_shipped(tmp_path: Path) -> None:
    steps = iter(range(10_000))
    path = fit(Line(), FAST, tmp_path, stop=lambda: next(steps) >= 25)
    step = int(checkpoint.load(path)["step"])
    task = Line()  # its finish() compares the figures it is given
    fit(task, replace(FAST, max_steps=step), tmp_path, resume=True)
    assert task.finished and checkpoint.load(path)["judged"] == step


def test_only_a_fresh_fit_begins(tmp_path: Path) -> None:
    """Where a checkpoint replaces everything, principal components and the like would be worked out for nothing."""
    task = Line()
    path = fit(task, replace(FAST, max_steps=0), tmp_path / "a")
    assert task.begun == 1
    for part in ("model", "ema"):  # the average begins with it, too
        assert float(checkpoint.load(path)[part]["3.bias"]) == 1.0
    task = Line()
    fit(task, FAST, tmp_path / "a", resume=True)
    fit(task, replace(FAST, max_steps=1), tmp_path / "b", start=path)
    assert task.begun == 0


def test_the_average_and_the_buffers(tmp_path: Path) -> None:
    content = checkpoint.load(fit(Line(), FAST, tmp_path))
    assert content["ema"]["count"] == content["model"]["count"] == 60  # statistics are copied, not averaged
    assert not torch.equal(content["ema"]["0.weight"], content["model"]["0.weight"])


class Grumpy(Line):
    """Finds every step after the 20th worse, however well the line fits."""

    def __init__(self) -> None:
        super().__init__()
        self.given: dict[str, Tensor] = {}

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        return {**super().evaluate(model), "count": float(model.get_buffer("count"))}

    def score(self, values: dict[str, float]) -> float:
        return abs(values["count"] - 20.0)

    def finish(self, model_ema: nn.Module, folder: Path, figures: Mapping[str, float]) -> list[Path]:
        self.given = {k: v.clone() for k, v in model_ema.state_dict().items()}
        return super().finish(model_ema, folder, figures)


def test_the_best_average_is_shipped_where_a_task_has_a_score(tmp_path: Path) -> None:
    task, said = Grumpy(), []
    content = checkpoint.load(fit(task, FAST, tmp_path / "whole", say=said.append))
    assert content["best"]["step"] == 20 and content["step"] == 60
    assert task.given["count"] == 20 and any("step 20" in text for text in said)
    assert all(torch.equal(task.given[k], v) for k, v in shipped(content).items())
    assert shipped_step(content) == 20
    assert content["ema"]["count"] == 60  # to go on from
    # a fit that was stopped remembers which was the best
    steps = iter(range(10_000))
    fit(Grumpy(), FAST, tmp_path / "parts", stop=lambda: next(steps) >= 35)
    again = Grumpy()
    fit(again, FAST, tmp_path / "parts", resume=True)
    assert all(torch.equal(task.given[k], v) for k, v in again.given.items())
    assert same(weights(tmp_path / "whole" / "nn" / "last.pth"), weights(tmp_path / "parts" / "nn" / "last.pth"))
    # another fit begins with the best
    other = fit(Line(), replace(FAST, max_steps=0), tmp_path / "next", start=tmp_path / "whole" / "nn" / "last.pth")
    assert torch.equal(checkpoint.load(other)["model"]["0.weight"], task.given["0.weight"])


def test_weights_from_before_the_first_step_are_never_shipped(tmp_path: Path) -> None:
    class Early(Grumpy):
        def score(self, values: dict[str, float]) -> float:
            return values["count"]  # the untrained ones would be best

    steps = iter(range(10_000))
    stopped = checkpoint.load(fit(Early(), FAST, tmp_path / "stopped", stop=lambda: next(steps) >= 15))
    assert stopped["step"] == 15 and shipped(stopped)["count"] == 15
    assert stopped["evaluation"] and not shipped_figures(stopped)  # they are of step 0
    done = checkpoint.load(fit(Early(), FAST, tmp_path / "done"))
    assert shipped(done)["count"] == 20 == shipped_figures(done)["count"]
    # where a fit begins with another's weights, these may well be the best
    again = fit(Early(), FAST, tmp_path / "again", start=tmp_path / "done" / "nn" / "last.pth")
    assert checkpoint.load(again)["best"]["step"] == 0


def test_the_checkpoint_explains_itself(tmp_path: Path) -> None:
    path = fit(Line(), FAST, tmp_path, settings={"task": {"name": "Line"}})
    content = load_fitted(path, Line())
    assert content["meta"]["features"] == ["x"] and content["config"]["task"]["name"] == "Line"


def test_the_schedule() -> None:
    config = FitConfig(max_steps=1000, learning_rate=1.0, warmup_steps=10, final_rate=0.1)
    assert config.rate(0, 0.0) == pytest.approx(0.1)
    assert config.rate(10, 0.0) == pytest.approx(1.0)
    assert config.rate(500, 0.5) == pytest.approx(0.55)
    assert config.rate(999, 1.0) == pytest.approx(0.1)


def test_minutes_end_it(tmp_path: Path) -> None:
    said: list[str] = []
    config = replace(FAST, max_steps=10**9, max_minutes=0.005)
    path = fit(Line(), config, tmp_path, say=said.append)
    content = checkpoint.load(path)
    assert 1 < content["step"] < 10**6 and content["seconds"] == pytest.approx(0.3, abs=0.2)
    assert content["evaluation"]
    # it has cooled down, whatever the clock left of the steps
    assert float(rows(tmp_path)[-1]["learning_rate"]) < 0.2 * config.learning_rate
    assert 0.0 < content["cpu_seconds"] < 10.0 and "of CPU time" in said[-1]


def test_numbers_that_are_none_end_it_with_advice(tmp_path: Path) -> None:
    with pytest.raises(IsaacmmError, match=r"learning_rate"):
        fit(Line(poison=30), replace(FAST, save_seconds=0.0), tmp_path)
    assert checkpoint.load(tmp_path / "nn" / "last.pth")["step"] >= 30


def test_a_few_bad_steps_are_skipped(tmp_path: Path) -> None:
    class Hiccup(Line):
        def batch(self, step: int, generator: torch.Generator) -> dict[str, Tensor]:
            batch = super().batch(step, generator)
            return {k: v * (torch.nan if step == 10 else 1.0) for k, v in batch.items()}

    assert all(torch.isfinite(v).all() for v in weights(fit(Hiccup(), FAST, tmp_path)).values())


def test_other_checkpoints_are_refused(tmp_path: Path) -> None:
    path = fit(Line(), FAST, tmp_path / "a")
    with pytest.raises(CheckpointError, match=r"0\.weight.*\(16, 1\).*\(8, 1\)"):
        fit(Line(width=8), FAST, tmp_path / "b", start=path)

    class Other(Line):
        name = "Other"

    with pytest.raises(CheckpointError, match="one of Line"):
        fit(Other(), FAST, tmp_path / "c", start=path)
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        fit(Line(), FAST, tmp_path / "d", resume=True)


def test_meta_that_could_not_be_read_again_is_refused_at_once(tmp_path: Path) -> None:
    class Careless(Line):
        def meta(self) -> dict[str, Any]:
            return {"where": [tmp_path]}

    with pytest.raises(TypeError, match=r"meta\(\)\['where'\]\[0\]"):
        fit(Careless(), FAST, tmp_path)


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="learning_rate"):
        FitConfig.from_mapping({"learning_rat": 1.0})
    assert FitConfig.from_mapping({"betas": [0.9, 0.95]}).betas == (0.9, 0.95)


def test_table_puts_baselines_beside() -> None:
    text = table({"l2p": 0.5, "l2p_baseline": 1.0, "skate": 2.0})
    assert "0.50x" in text and text.count("\n") == 2


NAMES = [f"walk_{v}{side}" for v in ("0.6", "0.8", "1.0", "1.2") for side in ("", "_left", "_right", "_mirrored")]


@pytest.mark.parametrize("seed", range(5))
def test_split_keeps_mirror_images_together(seed: int) -> None:
    train, held = split_clips(NAMES, 0.25, seed)
    assert sorted(train + held) == list(range(len(NAMES))) and held
    assert not {family(NAMES[i]) for i in train} & {family(NAMES[i]) for i in held}
    assert len(held) <= 6


def test_split_depends_on_names_not_on_order() -> None:
    _, a = split_clips(NAMES, 0.3, 3)
    _, b = split_clips(NAMES[::-1], 0.3, 3)
    assert {NAMES[i] for i in a} == {NAMES[::-1][i] for i in b}


def test_split_by_name() -> None:
    assert split_clips(["a_s1", "b_s5", "c_s1", "d_s5"], "*s5", 0) == ([0, 2], [1, 3])
    for pattern in ("*s9", "*"):
        with pytest.raises(ConfigError, match="held_out"):
            split_clips(["a_s1", "b_s5"], pattern, 0)


def test_split_of_too_little() -> None:
    assert split_clips(["only"], 0.2, 0) == ([0], [])
    assert split_clips(["walk_left", "walk_right"], 0.5, 0) == ([0, 1], [])
    assert len(split_clips(["a", "b"], 0.1, 0)[1]) == 1
    assert split_clips(["a", "b"], 0.0, 0)[1] == []
    with pytest.raises(ConfigError):
        split_clips(["a"], 1.0, 0)
