"""Networks that learn from clips alone go through the same door as policies."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import isaacmm
from isaacmm.cli import runs
from isaacmm.cli.compose import compose, options
from isaacmm.cli.help import help_text
from isaacmm.errors import CheckpointError, ConfigError
from isaacmm.learn import checkpoint, fit_tasks
from isaacmm.learned_matching.losses import Weights

torch.set_num_threads(1)
TASK = "MotionInbetween"


class Mean:
    """The smallest fit: one number that should become 2."""

    name = TASK
    finished: list[Path] = []  # noqa: RUF012 - shared on purpose: the command line makes the object

    def build(self) -> nn.Module:
        return nn.Linear(1, 1)

    def begin(self, model: nn.Module) -> None:
        nn.init.zeros_(model.get_parameter("bias"))

    def batch(self, step: int, generator: torch.Generator) -> dict[str, Tensor]:
        return {"x": torch.rand(4, 1, generator=generator)}

    def loss(self, model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float | Tensor]]:
        return (model(batch["x"]) - 2 * batch["x"]).square().mean(), {}

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        return {"error": float((model(torch.ones(1, 1)) - 2).abs()), "error_baseline": 2.0}

    def finish(self, model_ema: nn.Module, folder: Path, figures: Mapping[str, float]) -> list[Path]:
        self.finished.append(folder)
        return []

    def meta(self) -> dict[str, Any]:
        return {}


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    Mean.finished = []
    monkeypatch.setattr(fit_tasks, "make", lambda cfg: Mean())


def launch(*words: str) -> int:
    return isaacmm.run(*compose(words))


@pytest.mark.parametrize("task", fit_tasks.MODULES)
def test_every_fit_has_its_files_and_composes(task: str) -> None:
    assert task in options("task") and f"{task}Fit" in options("train")
    assert not {f"{task}PPO"} & set(options("train"))
    cfg, notes = compose([f"task={task}"])
    assert cfg.task.name == task and cfg.max_iterations == cfg.train.max_steps and not notes
    assert "preset" not in cfg and "num_envs" not in cfg and "env" not in cfg.task
    assert task in help_text()


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("num_envs=4", "without a simulator"),
        ("sim=mujoco", "without a simulator"),
        ("capture_video=True", "without a simulator"),
        ("task.env.num_envs=4", "without a simulator"),
        ("train.params.config.gamma=0.9", "without a simulator"),
        ("preset=gpu", "rl_device=cuda:0"),
        ("train=HumanoidMMPPO", "Nearest: train=MotionInbetweenFit"),
        ("train.max_step=3", "'train.max_steps'"),
        ("train.max_steps=0", "Nearest: 1"),
        ("train.learning_rate=2", "Nearest: 1"),
        ("train.evaluate_every=often", "wants a whole number"),
        ("max_minute=3", "'max_minutes'"),
        ("rl_device=cuda:0", "finds no CUDA device"),
        ("resum=True", "'resume'"),
    ],
)
def test_mistakes_are_answered(word: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        compose([f"task={TASK}", word])


@pytest.mark.parametrize(
    ("task", "word", "told"),
    [
        ("MotionVQVAE", "task.codes=-4", "at least 2"),
        ("MotionVQVAE", "task.pose=dof", "'dofs'"),
        ("MotionVQVAE", "task.halvings=60", "from 0 to 6"),
        ("MotionInbetween", "task.batch=0", "at least 1"),
        ("MotionInbetween", "task.network.dropout=1.0", "from 0 to 0.99"),
        ("MotionInbetween", "task.fps=0", "greater than 0"),
        ("LearnedMM", "task.rate=0", "greater than 0"),
        ("LearnedMM", "task.latent=0", "at least 1"),
        ("LearnedMM", "task.pose_steps=0", "at least 1"),
        ("MotionInbetween", "task.loss.feet=-1", "at least 0"),
        ("MotionVQVAE", "task.loss.root=-1", "at least 0"),
        *(("LearnedMM", f"task.weights.{name}=-1", "at least 0") for name in Weights.__dataclass_fields__),
    ],
)
def test_impossible_sizes_are_refused_before_clips_are_read(task: str, word: str, told: str) -> None:
    with pytest.raises(ConfigError) as error:
        compose([f"task={task}", word])
    assert told in str(error.value) and word.partition("=")[0] in str(error.value)


def test_poses_may_learn_to_the_end() -> None:
    assert compose(["task=LearnedMM", "task.pose_steps=null"])[0].task.pose_steps is None


def test_a_policy_does_not_take_the_loop_of_a_fit() -> None:
    with pytest.raises(ConfigError, match="not for a policy"):
        compose(["task=HumanoidMM", "train=Fit"])


def test_clips_are_held_out_by_share_or_by_name() -> None:
    assert compose([f"task={TASK}", "task.held_out=0.3"])[0].task.held_out == 0.3
    assert compose([f"task={TASK}", "task.held_out='*subject5*'"])[0].task.held_out == "*subject5*"
    with pytest.raises(ConfigError, match="wants a word"):
        compose([f"task={TASK}", "task.held_out=[1,2]"])


def test_max_iterations_are_steps() -> None:
    cfg, _ = compose([f"task={TASK}", "max_iterations=7"])
    assert cfg.train.max_steps == 7
    cfg, _ = compose([f"task={TASK}", "train.max_steps=8"])
    assert cfg.max_iterations == 8
    with pytest.raises(ConfigError, match="disagree"):
        compose([f"task={TASK}", "train.max_steps=8", "max_iterations=7"])


def test_train_resume_and_evaluate_again(clip: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert launch(f"task={TASK}", clip, "experiment=a", "max_iterations=30", "train.log_every=5") == 0
    out = capsys.readouterr().out
    assert "training MotionInbetween" in out and "30 steps" in out and "baseline" in out
    content = checkpoint.load(Path("runs/a/nn/last.pth"))
    assert content["step"] == 30 and content["config"]["task"]["name"] == TASK
    assert launch("resume=True", "experiment=a", "max_iterations=50") == 0
    assert checkpoint.load(Path("runs/a/nn/last.pth"))["step"] == 50
    with Path("runs/a/summaries/progress.csv").open(newline="") as file:
        steps = [int(row["iteration"]) for row in csv.DictReader(file)]
    assert steps == [1, *range(5, 51, 5)]
    assert launch("test=True") == 0  # the newest, whatever it is
    assert launch("test=True", f"task={TASK}", "checkpoint=latest") == 0
    assert [folder.name for folder in Mean.finished] == ["a", "a", "test_1", "test_2"]
    assert "trained for 50 steps" in capsys.readouterr().out


def test_the_newest_of_a_task(workplace: Path) -> None:
    for name, task in (("a", TASK), ("b", "HumanoidMM")):
        (workplace / "runs" / name / "nn").mkdir(parents=True)
        (workplace / "runs" / name / "config.yaml").write_text(f"task: {{name: {task}}}\n")
        (workplace / "runs" / name / "nn" / "last.pth").write_bytes(b"")
    assert runs.latest_of_task(TASK, Path("runs")) == Path("runs/a/nn/last.pth")
    with pytest.raises(CheckpointError, match="task=LearnedMM"):
        runs.latest_of_task("LearnedMM", Path("runs"))


def test_weights_of_one_fit_can_start_another(clip: str) -> None:
    launch(f"task={TASK}", clip, "experiment=a", "max_iterations=30")
    launch(f"task={TASK}", clip, "experiment=b", "max_iterations=1", "checkpoint=a", "train.learning_rate=1e-9")
    a, b = (checkpoint.load(Path(f"runs/{name}/nn/last.pth")) for name in "ab")
    assert torch.allclose(a["ema"]["weight"], b["ema"]["weight"]) and b["step"] == 1
