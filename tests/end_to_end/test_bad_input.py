"""Whatever is wrong with what a user gives: one clear sentence, exit code 2, nothing lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from isaacmm.learn import checkpoint
from tests.helpers import made_up_walk, tiny_run
from tests.launcher import Launcher


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a good clip and several bad ones."""
    made = tmp_path_factory.mktemp("bad")
    walk = made_up_walk(1.0, 0.0, 2.0)
    walk.save(made / "walk.npz")
    whole = (made / "walk.npz").read_bytes()
    (made / "cut.npz").write_bytes(whole[: len(whole) // 2])
    with np.load(made / "walk.npz") as file:
        values = {key: file[key] for key in file.files}
    broken = {**values, "root_pos": values["root_pos"].copy()}
    broken["root_pos"][7, 1] = np.nan
    np.savez(made / "nan.npz", **broken)
    names = values["body_names"].astype("<U40")
    names[names == "right_thigh"] = "right_thihg"
    np.savez(made / "joint.npz", **{**values, "body_names": names})
    walk.save(made / "walk.bvh")
    text = (made / "walk.bvh").read_text()
    (made / "joint.bvh").write_text(text.replace("right_thigh", "right_thihg"))
    (made / "cut.bvh").write_text(text[: len(text) * 2 // 3])
    (made / "empty.npz").write_bytes(b"")
    (made / "text.pth").write_text("not a checkpoint")
    torch.save({"model": {}}, made / "other.pth")
    return made


@pytest.mark.parametrize(
    ("word", "answers"),
    [
        ("motion={}/wolk.npz", ["wolk.npz", "walk.npz"]),
        ("motion={}/cut.npz", ["cut.npz", "cut short"]),
        ("motion={}/empty.npz", ["empty.npz"]),
        ("motion={}/nan.npz", ["nan.npz", "NaN", "7"]),
        ("motion={}/joint.npz", ["joint.npz", "right_thigh", "right_thihg"]),
        ("motion={}/joint.bvh", ["joint.bvh", "right_thigh", "right_thihg"]),
        ("motion={}/cut.bvh", ["cut.bvh", "frame"]),
        ("checkpoint={}/text.pth", ["text.pth", "not written by isaacmm"]),
        ("checkpoint={}/other.pth", ["other.pth", "not an isaacmm checkpoint"]),
        ("checkpoint={}/none.pth", ["none.pth", "no such file"]),
        ("num_env=3", ["num_env", "did you mean", "num_envs"]),
        ("task.env.refrence=none", ["task.env.reference"]),
        ("train.params.config.reward_combine=mult", ["did you mean 'mul'"]),
        ("task=HumanoidAPM", ["did you mean 'HumanoidAMP'"]),
        ("sim=mojoco", ["mojoco", "mujoco"]),
        ("num_envs=0", ["num_envs"]),
        ("train.params.config.minibatch_size=33", ["does not divide", "32"]),
    ],
)
def test_one_clear_sentence(launcher: Launcher, folder: Path, word: str, answers: list[str]) -> None:
    word = word.format(folder)
    key = word.partition("=")[0]
    words = [w for w in tiny_run(folder / "walk.npz", folder / "runs") if not w.startswith(f"{key}=")]
    code, said = launcher.run([*words, word], folder)
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    assert code == 2, said
    assert len(errors) == 1 and "Traceback" not in said, said
    for answer in answers:
        assert answer in errors[0], said


def test_checkpoint_of_another_network(launcher: Launcher, folder: Path) -> None:
    there = f"runs_dir={folder / 'runs'}"
    code, said = launcher.run(
        [*tiny_run(folder / "walk.npz", folder / "runs"), "experiment=small", "max_iterations=1"], folder
    )
    assert code == 0, said
    before = (folder / "runs" / "small" / "nn" / "last.pth").read_bytes()
    for start in (["checkpoint=small"], ["resume=True", "experiment=small"]):
        code, said = launcher.run(
            [there, *start, "max_iterations=5", "train.params.network.mlp.units=[48,16]"], folder
        )
        assert code == 2, said
        assert "does not fit this configuration" in said and "Traceback" not in said
    assert (folder / "runs" / "small" / "nn" / "last.pth").read_bytes() == before


def test_full_disk_while_saving(launcher: Launcher, folder: Path) -> None:
    """Training goes on with a warning, the end is an error, and what was saved before is still there."""
    words = tiny_run(folder / "walk.npz", folder / "runs", experiment="full", max_iterations=3)
    assert launcher.run(words, folder)[0] == 0
    path = folder / "runs" / "full" / "nn" / "last.pth"
    resume = [f"runs_dir={folder / 'runs'}", "resume=True", "experiment=full"]
    code, said = launcher.run([*resume, "max_iterations=6"], folder, largest_file=path.stat().st_size // 2)
    assert code == 2, said
    assert said.count("warning: could not write the checkpoint") == 3
    assert "Training goes on" in said and "Free some disk space" in said
    assert "To go on from the last checkpoint: resume=True experiment=full" in said
    assert "Traceback" not in said
    assert checkpoint.load(path)["counters"]["iteration"] == 3
    assert [p.name for p in path.parent.iterdir()] == ["last.pth"]
    # with room again, it goes on
    code, said = launcher.run([*resume, "max_iterations=6"], folder)
    assert code == 0, said
    assert checkpoint.load(path)["counters"]["iteration"] == 6


def test_a_run_in_use_is_left_alone(launcher: Launcher, folder: Path) -> None:
    words = tiny_run(folder / "walk.npz", folder / "runs", experiment="busy", max_iterations=100_000)
    job = launcher.start(words, folder)
    job.wait_for_lines(folder / "runs" / "busy" / "summaries" / "progress.csv", 3)
    code, said = launcher.run([f"runs_dir={folder / 'runs'}", "resume=True", "experiment=busy"], folder)
    job.signal(15)
    assert code == 2 and "in use by another process" in said, said
    assert job.wait() == 143
