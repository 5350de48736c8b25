"""A run that was broken off and resumed is the run that was not, bit for bit."""

from __future__ import annotations

import csv
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from isaacmm.learn import checkpoint
from isaacmm.learn.rl_games.agent import AMPAgent
from isaacmm.learn.train import content_of
from tests.helpers import numbers, tiny_run
from tests.launcher import Launcher

# episodes so short that falls, time-outs and new commands all happen within six iterations of eight steps
SHORT = {"task__env__episode_seconds": 0.8, "task__env__command__resample_seconds": "[0.2,0.4]"}


def iterate(agent: AMPAgent, until: int, total: int = 6) -> list[dict[str, float]]:
    rows = []
    while agent.epoch_num < until:
        agent.progress = agent.epoch_num / total
        rows.append(agent.iterate())
    timed = ("seconds", "samples_per_second")
    return [{k: v for k, v in row.items() if k not in timed and not k.startswith("time_")} for row in rows]


def differences(a: Any, b: Any, path: str = "") -> list[str]:
    """Names of everything in two checkpoints that is not the same to the last bit."""
    if isinstance(a, torch.Tensor):
        same = isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
        return [] if same else [path]
    if isinstance(a, dict):
        if set(a) != set(b):
            return [f"{path}: keys {set(a) ^ set(b)}"]
        return [d for key in a for d in differences(a[key], b[key], f"{path}.{key}")]
    if isinstance(a, list | tuple):
        return [
            d for i, (x, y) in enumerate(zip(a, b, strict=True)) for d in differences(x, y, f"{path}[{i}]")
        ]
    return [] if a == b else [f"{path}: {a} != {b}"]


@pytest.mark.parametrize("combine", ["mul", "geo"])
@pytest.mark.parametrize("reference", ["none", "residual"])
def test_in_new_objects(tiny_agent: Any, tmp_path: Path, reference: str, combine: str) -> None:
    changes = {**SHORT, "task__env__reference": reference, "train__params__config__reward_combine": combine}
    straight, cfg = tiny_agent(**changes)
    straight.start()
    first = iterate(straight, 3)
    path = tmp_path / "last.pth"
    checkpoint.save(path, content_of(straight, cfg))
    expected = iterate(straight, 6)
    assert first[0] != first[1] != expected[0]

    resumed, _ = tiny_agent(**changes, seed=1234)  # other weights, other draws: all must come from the file
    resumed.start()
    iterate(resumed, 1)
    torch.manual_seed(5)
    resumed.load_state_dict(checkpoint.load(path))
    assert resumed.epoch_num == 3 and resumed.frame == 3 * 64
    assert iterate(resumed, 6) == expected

    a, b = straight.state_dict(), resumed.state_dict()
    a["counters"].pop("seconds"), b["counters"].pop("seconds")
    assert differences(a, b) == []
    assert straight.episodes.count > 0


def test_differences_are_found(tiny_agent: Any) -> None:
    """The comparison above can fail: other seeds differ in every network."""
    agents = [tiny_agent(seed=seed)[0] for seed in (1, 2)]
    found = differences(agents[0].state_dict()["model"], agents[1].state_dict()["model"])
    assert any("actor_mlp" in name for name in found) and any("critic_mlp" in name for name in found)


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "summaries" / "progress.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_killed_at_any_moment(launcher: Launcher, tmp_path: Path) -> None:
    """SIGKILL again and again, at random moments; the curve is the uninterrupted run's, text for text."""
    words = tiny_run(
        tmp_path / "clip.npz", tmp_path / "runs", **SHORT, max_iterations=24,
        train__params__config__save_frequency=2,
    )  # fmt: skip
    code, said = launcher.run([*words, "experiment=straight"], tmp_path)
    assert code == 0, said
    straight = tmp_path / "runs" / "straight"
    assert [row["iteration"] for row in rows(straight)] == [str(i) for i in range(1, 25)]

    broken, draw = tmp_path / "runs" / "broken", random.Random()
    job = launcher.start([*words, "experiment=broken"], tmp_path)
    job.wait_for_lines(broken / "summaries" / "progress.csv", draw.randint(2, 8))
    outputs = [job.output]
    for _ in range(3):
        time.sleep(draw.uniform(0.0, 0.3))
        job.signal(signal.SIGKILL)
        assert job.wait() in (-signal.SIGKILL, 0)
        job = launcher.start(["resume=True", "experiment=broken", f"runs_dir={tmp_path / 'runs'}"], tmp_path)
        outputs.append(job.output)
        time.sleep(draw.uniform(0.0, 1.0))  # anywhere: while starting, training or saving
    assert job.wait() == 0, job.output.read_text()
    story = "\n".join(path.read_text() for path in outputs)

    assert numbers(rows(broken)) == numbers(rows(straight)), story
    a, b = (checkpoint.load(folder / "nn" / "last.pth") for folder in (straight, broken))
    for content in (a, b):
        content["counters"].pop("seconds")
        content.pop("config")  # the name of the run
    assert differences(a, b) == [], story
    assert [path.name for path in (broken / "nn").iterdir()] == ["last.pth"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop(launcher: Launcher, tmp_path: Path, number: int) -> None:
    """SIGTERM and Ctrl-C: the iteration is finished and saved, the exit code says which, and it can go on."""
    words = tiny_run(
        tmp_path / "clip.npz", tmp_path / "runs", max_iterations=100_000, experiment="asked",
        train__params__config__save_frequency=100_000,
    )  # fmt: skip
    run = tmp_path / "runs" / "asked"
    job = launcher.start(words, tmp_path, artefacts=True)  # artefacts are left out by itself
    job.wait_for_lines(run / "summaries" / "progress.csv", 3)
    job.signal(number)
    assert job.wait() == 128 + number
    said = job.output.read_text()
    assert "Stopping after this iteration; a checkpoint is saved first" in said
    assert "Stopped on request. To go on: resume=True experiment=asked" in said
    assert "Traceback" not in said
    done = int(rows(run)[-1]["iteration"])
    assert checkpoint.load(run / "nn" / "last.pth")["counters"]["iteration"] == done
    assert not (run / "policy.onnx").exists()
    code, said = launcher.run(
        ["resume=True", "experiment=asked", f"runs_dir={tmp_path / 'runs'}", f"max_iterations={done + 2}"],
        tmp_path,
    )
    assert code == 0, said
    assert f"going on at iteration {done}" in said
    assert [row["iteration"] for row in rows(run)] == [str(i) for i in range(1, done + 3)]
