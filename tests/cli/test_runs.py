"""Run folders: never overwritten, always found again."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

from isaacmm import paths
from isaacmm.cli import runs
from isaacmm.errors import CheckpointError, ConfigError


def make_run(runs_dir: Path, name: str, *checkpoints: str, age: float = 0.0) -> Path:
    """A run folder with empty checkpoints that were written ``age`` seconds ago."""
    folder = runs_dir / name
    (folder / "nn").mkdir(parents=True)
    (folder / runs.CONFIG_FILE).write_text("task: {name: HumanoidAMP}\n")
    for file in (folder / runs.CONFIG_FILE, *(folder / "nn" / name for name in checkpoints)):
        file.touch()
        os.utime(file, (1e9 - age, 1e9 - age))
    return folder


def test_default_name_is_task_and_time() -> None:
    assert (
        runs.default_name("HumanoidAMP", datetime(2025, 1, 2, 3, 4, 5)) == "HumanoidAMP_2025-01-02_03-04-05"
    )


def test_a_taken_name_gets_a_number(tmp_path: Path) -> None:
    names = [runs.create(tmp_path / "runs", "walk").name for _ in range(3)]
    assert names == ["walk", "walk_2", "walk_3"]


@pytest.mark.parametrize("name", ["walk", "walk 1.5", "läuft", "a=b,c", "HumanoidAMP_2025-01-02"])
def test_names_people_use_are_fine(name: str) -> None:
    runs.check_name(name)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/tmp/x", "a\\b", "-x", ".hidden", "trailing."])
def test_names_that_are_no_folder_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="Nearest: experiment="):
        runs.check_name(name)


def test_checkpoint_may_be_a_file_a_run_or_its_name(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "runs", "walk", "ep_25.pth", "last.pth")
    last = folder / "nn" / "last.pth"
    for text in (str(last), str(folder), "walk", str(folder / "nn"), "latest"):
        assert runs.find_checkpoint(text, tmp_path / "runs").resolve() == last
    file = folder / "nn" / "ep_25.pth"
    assert runs.find_checkpoint(str(file), tmp_path / "runs") == file
    assert runs.run_of(file) == folder
    assert runs.run_of(tmp_path / "lone.pth") is None


def test_without_last_the_newest_checkpoint_counts(tmp_path: Path) -> None:
    folder = make_run(tmp_path, "walk", "ep_25.pth", "ep_50.pth")
    os.utime(folder / "nn" / "ep_25.pth", (2e9, 2e9))
    assert runs.find_checkpoint("walk", tmp_path).name == "ep_25.pth"


def test_latest_is_the_newest_run_that_has_a_checkpoint(tmp_path: Path) -> None:
    make_run(tmp_path, "old", "last.pth", age=100)
    make_run(tmp_path, "new", "last.pth", age=10)
    make_run(tmp_path, "empty", age=0)
    assert runs.find_checkpoint("latest", tmp_path).parent.parent.name == "new"
    assert [folder.name for folder in runs.list_runs(tmp_path)] == ["empty", "new", "old"]
    assert runs.find_run("latest", tmp_path).name == "empty"


def test_what_exists_is_listed_when_nothing_fits(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="has a checkpoint yet"):
        runs.find_checkpoint("latest", tmp_path / "none")
    make_run(tmp_path, "walk", "last.pth")
    make_run(tmp_path, "empty")
    with pytest.raises(CheckpointError, match="Did you mean 'walk'"):
        runs.find_checkpoint("walc", tmp_path)
    with pytest.raises(CheckpointError, match="newest first: walk; or checkpoint=latest"):
        runs.find_checkpoint("/some/where/xyz.pth", tmp_path)
    with pytest.raises(CheckpointError, match=r"holds no \.pth file"):
        runs.find_checkpoint("empty", tmp_path)
    with pytest.raises(CheckpointError, match="there is no run 'zzz'"):
        runs.find_run("zzz", tmp_path)


def test_two_processes_never_share_a_run(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    code = (
        "import sys; from pathlib import Path; from isaacmm.cli import runs\n"
        "from isaacmm.errors import ConfigError\n"
        "try:\n"
        "    with runs.locked(Path(sys.argv[1])): print('free')\n"
        "except ConfigError as error: print(error)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(paths.CHECKOUT)}
    with runs.locked(tmp_path):
        assert "in use" in subprocess.check_output(command, text=True, env=environment)
    assert subprocess.check_output(command, text=True, env=environment) == "free\n"


def test_folders_of_a_run_appear_when_asked_for(tmp_path: Path) -> None:
    from isaacmm.cli.console import Console, StopRequest

    run = runs.Run(tmp_path, Console(), StopRequest())
    assert not list(tmp_path.iterdir())
    for folder in (run.nn, run.summaries, run.motions, run.videos):
        assert folder.is_dir() and folder.parent == tmp_path
