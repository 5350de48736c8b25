"""What a run leaves behind, and that no failure takes other parts along."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

import isaacmm.export
from isaacmm.cli.console import Console, StopRequest
from isaacmm.cli.runs import Run
from isaacmm.errors import CheckpointError, MotionError
from isaacmm.evaluate.rollout import Rollout
from isaacmm.export import __main__ as cli
from isaacmm.learn import artefacts, play

Made = tuple[DictConfig, Path]


class Camera(types.ModuleType):
    """Stands in for isaacmm.export.video: tests of films are in their own file."""

    def __init__(self) -> None:
        super().__init__("isaacmm.export.video")
        self.filmed: list[list[int]] = []

    def capture(
        self, rollout: Rollout, path: Path, *, worlds: list[int], seconds: float, **_: object
    ) -> Path:
        self.filmed.append(list(worlds))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"film")
        return path

    def film_strip(self, rollout: Rollout, **_: object) -> bytes:
        return b"\x89PNG strip"


@pytest.fixture(autouse=True)
def camera(monkeypatch: pytest.MonkeyPatch) -> Camera:
    fake = Camera()
    monkeypatch.setitem(sys.modules, "isaacmm.export.video", fake)
    monkeypatch.setattr(isaacmm.export, "video", fake, raising=False)
    return fake


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    console = Console(tmp_path / "log.txt")
    yield Run(tmp_path, console, StopRequest())
    console.close()


def settings(made: Made, **changes: object) -> DictConfig:
    cfg = OmegaConf.create(OmegaConf.to_container(made[0], resolve=True))
    assert isinstance(cfg, DictConfig)
    cfg.task.env.episode_seconds = 1.0
    cfg.export_bvh = cfg.export_onnx = True
    for key, value in changes.items():
        OmegaConf.update(cfg, key, value)
    return cfg


def left(run: Run) -> set[str]:
    return {p.relative_to(run.path).as_posix() for p in run.path.rglob("*") if p.is_file()} - {"log.txt"}


ALL = {
    "evaluation.json",
    "policy.onnx",
    "policy.json",
    "motions/clip_made_up.bvh",
    "videos/HumanoidAMP.mp4",
    "report.html",
}


def test_everything_is_left_after_training(run_with_checkpoint: Made, run: Run, camera: Camera) -> None:
    artefacts.after_training(settings(run_with_checkpoint), run, run_with_checkpoint[1])
    assert left(run) >= ALL and "motions/policy_1.bvh" in left(run)
    assert len(camera.filmed) == 1
    assert json.loads((run.path / "evaluation.json").read_text())["num_envs"] == 16
    page = (run.path / "report.html").read_text()
    for text in (
        "survival",
        "policy.onnx",
        "motions/clip_made_up.bvh",
        "data:video/mp4;base64,",
        "foot slide",
    ):
        assert text in page, text
    assert "http" not in page.replace("http-equiv", "")  # nothing is loaded from elsewhere
    said = (run.path / "log.txt").read_text()
    assert "bodies within" in said and "onnxruntime and torch differ" in said and "warning" not in said


def test_what_is_switched_off_is_not_made(run_with_checkpoint: Made, run: Run) -> None:
    cfg = settings(run_with_checkpoint, export_bvh=False, export_onnx=False)
    artefacts.after_training(cfg, run, run_with_checkpoint[1])
    assert not any(name.startswith(("policy.", "motions/")) for name in left(run))
    assert "report.html" in left(run)


@pytest.mark.parametrize(
    ("target", "missing"),
    [
        ("isaacmm.export.onnx.export", {"policy.onnx", "policy.json"}),
        ("isaacmm.export.bvh.write_clips", {"motions/clip_made_up.bvh"}),
        ("isaacmm.export.bvh.write_rollout", set()),
        ("isaacmm.export.curves.draw", set()),
        ("isaacmm.learn.artefacts.evaluate", {"evaluation.json", "videos/HumanoidAMP.mp4"}),
        ("isaacmm.export.report.Page.write", {"report.html"}),
    ],
)
def test_one_failure_costs_one_artefact(
    run_with_checkpoint: Made, run: Run, monkeypatch: pytest.MonkeyPatch, target: str, missing: set[str]
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(target, fails)
    artefacts.after_training(settings(run_with_checkpoint), run, run_with_checkpoint[1])
    assert ALL - left(run) == missing
    said = (run.path / "log.txt").read_text()
    assert said.count("warning:") == 1 and "No space left on device" in said and "Traceback" in said
    if "report.html" not in missing:
        page = (run.path / "report.html").read_text()
        assert "No space left" in page


def test_a_film_that_fails_is_said_in_the_page(run_with_checkpoint: Made, run: Run, camera: Camera) -> None:
    def fails(*_: object, **__: object) -> None:
        raise MotionError("the lens is dirty")

    camera.capture = fails  # type: ignore[method-assign, assignment]
    artefacts.after_training(settings(run_with_checkpoint), run, run_with_checkpoint[1])
    assert ALL - left(run) == {"videos/HumanoidAMP.mp4"}
    assert "the lens is dirty" in (run.path / "report.html").read_text()


def test_asked_to_stop_it_stops_at_the_next_part(
    run_with_checkpoint: Made, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from isaacmm.export import onnx

    real = onnx.export

    def interrupted(*args: object, **options: object) -> object:
        run.stop.request()
        return real(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(onnx, "export", interrupted)
    artefacts.after_training(settings(run_with_checkpoint), run, run_with_checkpoint[1])
    assert left(run) == {"evaluation.json", "policy.onnx", "policy.json"}


# ------------------------------------------------------------------------- play
def test_playing_leaves_what_was_asked_for(run_with_checkpoint: Made, run: Run, camera: Camera) -> None:
    run.checkpoint = run_with_checkpoint[1]
    play.play(settings(run_with_checkpoint, num_envs=3, capture_video=True), run)
    assert ALL - left(run) == {"report.html"}
    assert json.loads((run.path / "evaluation.json").read_text())["num_envs"] == 3
    assert len(camera.filmed) == 1


def test_playing_films_only_when_asked(run_with_checkpoint: Made, run: Run, camera: Camera) -> None:
    run.checkpoint = run_with_checkpoint[1]
    play.play(settings(run_with_checkpoint, num_envs=2, export_onnx=False, export_bvh=False), run)
    assert left(run) == {"evaluation.json"} and camera.filmed == []


def test_playing_nothing_or_something_else_is_refused(
    run_with_checkpoint: Made, run: Run, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match="nothing to play"):
        play.play(settings(run_with_checkpoint), run)
    run.checkpoint = tmp_path / "other.pth"
    run.checkpoint.write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(CheckpointError, match=r"other\.pth"):
        play.play(settings(run_with_checkpoint), run)


# ----------------------------------------------------------- python -m isaacmm.export
def test_the_command_exports_to_a_new_folder_of_the_run(
    run_with_checkpoint: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    _, path = run_with_checkpoint
    words = [f"checkpoint={path.parent.parent}", "worlds=2", "seconds=1", "threads=1"]
    assert cli.main(words) == 0 and cli.main(words) == 0
    for folder in ("export_1", "export_2"):
        made = path.parent.parent / folder
        assert (made / "policy.onnx").is_file() and (made / "policy.json").is_file()
        assert (made / "motions" / "clip_made_up.bvh").is_file()
    text = capsys.readouterr().out
    assert "differ by at most" in text and "bodies within" in text


def test_the_command_exports_to_where_it_is_told(
    run_with_checkpoint: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"checkpoint={run_with_checkpoint[1]}", "threads=1"]
    assert cli.main([*words, f"onnx={tmp_path / 'a' / 'brain.onnx'}"]) == 0
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["brain.json", "brain.onnx"]
    assert json.loads((tmp_path / "a" / "brain.json").read_text())["network"]["file"] == "brain.onnx"
    assert cli.main([*words, f"bvh={tmp_path / 'b'}", "worlds=1", "seconds=1"]) == 0
    assert sorted(p.name for p in (tmp_path / "b").iterdir())[0] == "clip_made_up.bvh"
    (tmp_path / "file").write_text("in the way")
    assert cli.main([*words, f"onnx={tmp_path / 'file' / 'p.onnx'}"]) == 2
    assert "error:" in capsys.readouterr().err
