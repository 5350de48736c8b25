"""The main job in little: HumanoidMM trains, goes on, is steered along a path, and leaves what it promises."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from isaacmm.learn import checkpoint
from isaacmm.learn.policy import Policy
from isaacmm.motion.clip import Motion
from tests.helpers import character, made_up_walk, tiny_run
from tests.launcher import Launcher


@pytest.fixture(scope="module")
def folder(launcher: Launcher, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips without tags, walking straight on and in curves; two launches and a steered one."""
    folder = tmp_path_factory.mktemp("matching")
    (folder / "clips").mkdir()
    for turn in (-0.4, 0.0, 0.4):
        made_up_walk(1.0, turn, 2.0).save(folder / "clips" / f"turn_{turn}.npz")
    words = tiny_run(
        folder / "walk.npz", folder / "runs", task="HumanoidMM", motion=str(folder / "clips"), max_iterations=2,
        experiment="mm", task__env__episode_seconds=0.6, export_bvh=True, export_onnx=True, export_video=False,
        train__params__config__disc_cond="proj",
    )  # fmt: skip
    code, said = launcher.run(words, folder, artefacts=True)
    assert code == 0, said
    there = f"runs_dir={folder / 'runs'}"
    for words in (
        [there, "resume=True", "experiment=mm", "max_iterations=4", "export_video=False"],
        [there, "test=True", "checkpoint=mm", "command=figure_eight", "num_envs=2", "task.env.episode_seconds=0.6"],
    ):
        code, said = launcher.run(words, folder, artefacts=True)
        assert code == 0, said
        assert "Traceback" not in said
    return folder / "runs" / "mm"


def test_it_went_on(folder: Path) -> None:
    assert checkpoint.load(folder / "nn" / "last.pth")["counters"]["iteration"] == 4
    rows = (folder / "summaries" / "progress.csv").read_text().splitlines()
    assert len(rows) == 5 and "disc_mismatch_logit" in rows[0] and "time_matching" in rows[0]


def test_the_policy_needs_no_database(folder: Path) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(folder / "policy.onnx"), providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    assert entry.shape[1] == 81 + 12
    policy = Policy.from_checkpoint(checkpoint.load(folder / "nn" / "last.pth"))
    obs = torch.randn(20, 93, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        np.testing.assert_allclose(session.run(None, {entry.name: obs.numpy()})[0], policy(obs).numpy(), atol=1e-5)
    names = [part["name"] for part in json.loads((folder / "policy.json").read_text())["observation"]["slices"]]
    assert {"future_position", "future_facing"} <= set(names)


def test_steered_motion_can_be_read_back(folder: Path) -> None:
    files = sorted((folder / "test_1" / "motions").glob("*.bvh"))
    assert any("figure_eight" in path.name for path in files), files
    (path, *_) = [path for path in files if "figure_eight" in path.name]
    motion = Motion.load(path, skeleton=character().skeleton).validate()
    assert motion.num_frames >= 5 and float(motion.root_pos[:, 2].min()) > 0.3
