"""The whole way of a user: train for seconds, kill, resume, play and film, and open what was left."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from isaacmm.learn import checkpoint
from isaacmm.learn.policy import Policy
from isaacmm.motion.clip import Motion
from tests.helpers import character, made_up_walk, tiny_run
from tests.launcher import ROOT, Launcher

FILMS = importlib.util.find_spec("isaacmm.export.video") is not None
needs_films = pytest.mark.skipif(not FILMS, reason="isaacmm.export.video is not there yet")


@dataclass
class Story:
    """What happened."""

    folder: Path
    run: Path
    killed_at: int = 0
    said: dict[str, str] = field(default_factory=dict)
    codes: dict[str, int] = field(default_factory=dict)

    @property
    def played(self) -> Path:
        """Folder of the test run."""
        return self.run / "test_1"


@pytest.fixture(scope="module")
def story(launcher: Launcher, tmp_path_factory: pytest.TempPathFactory) -> Story:
    """Train with a real launch.py, SIGKILL it, resume to the end with everything that follows, then play."""
    folder = tmp_path_factory.mktemp("story")
    words = tiny_run(
        folder / "walk.npz", folder / "runs", max_iterations=100_000, experiment="first",
        train__params__config__save_frequency=2, task__env__episode_seconds=0.6, export_bvh=True, export_onnx=True,
    )  # fmt: skip
    told = Story(folder, folder / "runs" / "first")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    with (folder / "output.txt").open("w") as output:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "launch.py"), *words],
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=output,
        )
        progress, deadline = told.run / "summaries" / "progress.csv", time.monotonic() + 300
        while not (progress.exists() and progress.read_bytes().count(b"\n") > 6):
            assert process.poll() is None and time.monotonic() < deadline, (folder / "output.txt").read_text()
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        told.codes["train"] = process.wait(60)
    told.said["train"] = (folder / "output.txt").read_text()
    told.killed_at = int(checkpoint.load(told.run / "nn" / "last.pth")["counters"]["iteration"])

    there = f"runs_dir={folder / 'runs'}"
    for name, more in (
        ("resume", ["resume=True", "experiment=first", f"max_iterations={told.killed_at + 3}"]),
        ("play", ["test=True", "checkpoint=first", "capture_video=True", "num_envs=4"]),
    ):
        told.codes[name], told.said[name] = launcher.run([there, *more], folder, artefacts=True)
        assert told.codes[name] == 0, told.said[name]
    return told


def test_it_was_killed_and_went_on(story: Story) -> None:
    assert story.codes == {"train": -signal.SIGKILL, "resume": 0, "play": 0}
    assert "training HumanoidAMP" in story.said["train"]
    assert f"going on at iteration {story.killed_at}" in story.said["resume"]
    with (story.run / "summaries" / "progress.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["iteration"] for row in rows] == [str(i) for i in range(1, story.killed_at + 4)]
    content = checkpoint.load(story.run / "nn" / "last.pth")
    assert content["counters"]["iteration"] == story.killed_at + 3
    assert content["counters"]["samples"] == 64 * (story.killed_at + 3)


def expected_files(films: bool) -> list[str]:
    files = [
        "config.yaml", "evaluation.json", "log.txt", "motions/clip_made_up.bvh", "motions/policy_1.bvh", "nn/last.pth",
        "policy.json", "policy.onnx", "report.html", "summaries/progress.csv",
    ]  # fmt: skip
    return files + (["videos/HumanoidAMP.mp4"] if films else [])


def test_everything_is_there_and_listed(story: Story) -> None:
    listed = story.said["resume"].split("In ", 1)[-1]
    for name in expected_files(FILMS):
        path = story.run / name
        assert path.is_file() and path.stat().st_size > 0, name
        shown = "motions/*.bvh (5 files)" if name.startswith("motions/") else name
        assert shown in listed, story.said["resume"]
    for name in ("motions/clip_made_up.bvh", "motions/policy_1.bvh", "policy.onnx", "evaluation.json"):
        assert (story.played / name).is_file(), name
        assert name.split("/")[0] in story.said["play"]
    assert not list(story.run.rglob("*.part")) and not list(story.run.rglob(".*"))
    events = list((story.run / "summaries").glob("events.*"))
    assert len(events) == 2 and all(path.stat().st_size > 1000 for path in events)  # one a start, none empty
    assert "Traceback" not in story.said["resume"] + story.said["play"]
    warnings = [line for line in story.said["resume"].splitlines() if line.startswith("warning")]
    assert [line for line in warnings if FILMS or "film" not in line] == []


def test_playing_leaves_the_run_as_it_was(story: Story) -> None:
    assert OmegaConf.load(story.run / "config.yaml").test is False
    assert OmegaConf.load(story.played / "config.yaml").test is True
    assert OmegaConf.load(story.run / "config.yaml").num_envs == 8


def test_reference_bvh_is_the_clip(story: Story) -> None:
    """Through our own reader, the exported clip is the one that went in (lifted onto the floor at most)."""
    again = Motion.load(story.run / "motions" / "clip_made_up.bvh", skeleton=character().skeleton)
    clip = made_up_walk(1.0, 0.0, 2.0)
    assert again.num_frames == clip.num_frames and again.fps == pytest.approx(clip.fps, rel=1e-5)
    there, here = again.fk()[0], clip.fk()[0]
    offset = (there - here).mean(dim=(0, 1))
    assert float(offset[:2].norm()) < 1e-3
    torch.testing.assert_close(there - offset, here, atol=1e-3, rtol=0)


@pytest.mark.parametrize("where", ["trained", "played"])
def test_simulated_bvh_is_a_motion_of_the_character(story: Story, where: str) -> None:
    folder = story.run if where == "trained" else story.played
    motion = Motion.load(folder / "motions" / "policy_1.bvh", skeleton=character().skeleton).validate()
    assert 6 <= motion.num_frames <= 19  # 0.2 to 0.6 s of 30 Hz
    body_pos, _ = motion.fk()
    height = motion.root_pos[:, 2]
    assert float(height.min()) > 0.3 and float(height.max()) < 1.1
    assert float(body_pos[..., 2].min()) > -0.1
    step = (motion.root_pos[1:] - motion.root_pos[:-1]).norm(dim=1)
    assert 0.0 < float(step.max()) < 0.3  # it moves, and never faster than 9 m/s


def test_onnx_is_the_policy(story: Story) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(story.run / "policy.onnx"), providers=["CPUExecutionProvider"])
    (entry,), (out,) = session.get_inputs(), session.get_outputs()
    assert entry.shape[1] == 84 and out.shape[1] == 28
    policy = Policy.from_checkpoint(checkpoint.load(story.run / "nn" / "last.pth"))
    obs = torch.randn(50, 84, generator=torch.Generator().manual_seed(0)) * 3
    (action,) = session.run(None, {entry.name: obs.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(action, policy(obs).numpy(), atol=1e-5)
    assert float(np.std(action)) > 1e-5
    assert session.run(None, {entry.name: obs[:1].numpy()})[0].shape == (1, 28)  # any number of rows


def test_sidecar_says_what_the_numbers_are(story: Story) -> None:
    sidecar = json.loads((story.run / "policy.json").read_text())
    text = json.dumps(sidecar)
    assert "xyzw" in text
    dofs = sidecar["dofs"]
    names = [d["name"] if isinstance(d, dict) else d for d in dofs]
    assert tuple(names) == character().skeleton.dof_names
    assert "root_height" in text and "command_speed" in text
    assert (story.played / "policy.json").exists()


@needs_films
@pytest.mark.parametrize("where", ["trained", "played"])
def test_film_can_be_watched(story: Story, where: str) -> None:
    import av

    folder = story.run if where == "trained" else story.played
    (path,) = (folder / "videos").glob("*.mp4")
    with av.open(str(path)) as film:
        frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    assert len(frames) >= 5
    assert frames[0].shape[0] >= 240 and frames[0].shape[1] >= 320
    assert float(np.std(frames[0])) > 5  # a picture, not one colour
    assert any((frames[0] != frame).any() for frame in frames[1:])


def test_page_opens_by_itself(story: Story) -> None:
    html = (story.run / "report.html").read_text()
    assert "HumanoidAMP" in html and "</html>" in html
    assert "http://" not in html.replace("http://www.w3.org", "") and 'src="http' not in html


def test_evaluation_has_numbers(story: Story) -> None:
    text = (story.run / "evaluation.json").read_text()
    assert json.loads(text)
    assert "survival" in text


def test_the_newest_is_found_by_itself(story: Story, launcher: Launcher) -> None:
    code, said = launcher.run(
        ["test=True", "checkpoint=latest", f"runs_dir={story.folder / 'runs'}", "num_envs=2",
         "export_bvh=False", "export_onnx=False"], story.folder,
    )  # fmt: skip
    assert code == 0, said
    assert (story.run / "test_2" / "evaluation.json").is_file()


def test_fine_tuning_starts_from_the_weights(story: Story, launcher: Launcher) -> None:
    code, said = launcher.run(
        ["checkpoint=first", f"runs_dir={story.folder / 'runs'}", "experiment=second", "max_iterations=2",
         "train.params.config.learning_rate=1e-9", "train.params.config.lr_schedule=constant"], story.folder,
    )  # fmt: skip
    assert code == 0, said
    first, second = (
        checkpoint.load(story.run.parent / name / "nn" / "last.pth") for name in ("first", "second")
    )
    assert second["counters"]["iteration"] == 2
    name = "a2c_network.actor_mlp.0.weight"
    torch.testing.assert_close(first["model"][name], second["model"][name], atol=1e-6, rtol=0)
