"""Clips and networks of the smallest size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from isaacmm.inbetween.model import Inbetweener
from isaacmm.inbetween.network import Network
from isaacmm.inbetween.task import InbetweenTask
from isaacmm.learn import checkpoint
from isaacmm.motion.clip import Motion
from tests.helpers import made_up_walk

torch.set_num_threads(1)
CONFIG: dict[str, Any] = {
    "fps": 30, "held_out": 0.3, "mirror": False, "batch": 8,
    "network": {"width": 32, "layers": 2, "heads": 2, "dropout": 0.0},
    "loss": {"rotation": 3.0, "position": 1.0, "velocity": 0.05, "feet": 0.2},
}  # fmt: skip


def walks(count: int = 3) -> list[Motion]:
    """Made-up clips of different speed and turn, 2.5 s each."""
    return [made_up_walk(0.8 + 0.3 * i, 0.3 - 0.2 * i, 2.5, name=f"walk_{i}") for i in range(count)]


@pytest.fixture
def tiny_task() -> InbetweenTask:
    return InbetweenTask(walks(), CONFIG, seed=0)


@pytest.fixture
def wild_network() -> Network:
    """Of the humanoid, with weights that make a difference everywhere."""
    torch.manual_seed(0)
    skeleton = walks(1)[0].skeleton
    model = Inbetweener(3 + 6 * skeleton.num_bodies, width=32, layers=2, heads=2)
    torch.nn.init.normal_(model.out[1].weight, std=0.05)
    return Network(model.eval().requires_grad_(False), skeleton, 30.0, {}, Path("runs/wild/nn/last.pth"))


@pytest.fixture
def make_run(tmp_path: Path, tiny_task: InbetweenTask) -> Callable[..., Path]:
    """``make_run(evaluation, zero=True) -> runs folder`` with a run whose figures on held-out clips are these."""

    def make(evaluation: dict[str, float], zero: bool = True, name: str = "made") -> Path:
        torch.manual_seed(1)
        model = tiny_task.build()
        if not zero:
            torch.nn.init.normal_(model.get_submodule("out.1").weight, std=0.2)
        folder = tmp_path / "runs" / name
        content = {"kind": "fit", "task": tiny_task.name, "ema": model.state_dict(), "meta": tiny_task.meta()}
        checkpoint.save(folder / "nn" / "last.pth", {**content, "evaluation": evaluation})
        (folder / "config.yaml").write_text("task: {name: MotionInbetween}\n")
        return folder.parent

    return make
