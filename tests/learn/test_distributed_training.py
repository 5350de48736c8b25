"""Two real processes: as one with all worlds, alike to the last bit, and no waiting for the dead."""

from __future__ import annotations

import copy
import csv
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from isaacmm.learn import checkpoint
from tests.helpers import numbers, tiny_run
from tests.launcher import ROOT, Job, Launcher
from tests.learn import distributed_children as children
from tests.learn.test_resume import SHORT, differences

STEPS, WORLDS, MINIBATCH, BATCH = 8, 16, 64, 128


def words_for(tmp_path: Path, **changes: Any) -> list[str]:
    return tiny_run(tmp_path / "clip.npz", tmp_path / "runs", **{**SHORT, **changes})


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "summaries" / "progress.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def all_done(jobs: list[Job], code: int = 0) -> str:
    said = ""
    for job in jobs:
        found = job.wait(100.0)
        said += job.output.read_text()
        assert found == code, said
    return said


def test_half_the_worlds_each_is_all_the_worlds(launcher: Launcher, tmp_path: Path) -> None:
    """The same transitions, minibatch for minibatch: gradients, statistics, advantages and rate agree to rounding."""
    sizes = {
        "train__params__config__amp_replay_buffer_size": 1000,
        "train__params__config__kl_threshold": 1e-6,  # so that the rate really moves
        "train__params__config__truncate_grads": True,
        "train__params__config__grad_norm": 0.05,  # and clipping really clips
    }
    half = {"num_envs": WORLDS // 2, "train__params__config__minibatch_size": MINIBATCH // 2}
    whole = {"num_envs": WORLDS, "train__params__config__minibatch_size": MINIBATCH}
    agent = children.make(
        words_for(tmp_path, **sizes, **whole, train__params__config__amp_minibatch_size=BATCH)
    )
    agent.start()
    batches = []
    for _ in range(children.ITERATIONS):
        agent.model.eval()
        batches.append(copy.deepcopy(agent.rollouts.collect(agent.obs)))
        agent.obs = batches[-1].last_obs
    start = copy.deepcopy({"model": agent.model.state_dict(), "style": agent.style.state_dict()})
    clips = agent.env.demo_obs(BATCH)
    torch.save({"batches": batches, "start": start, "clips": clips}, tmp_path / "given.pt")

    jobs = launcher.team(
        words_for(tmp_path, **sizes, **half, train__params__config__amp_minibatch_size=BATCH // 2),
        tmp_path,
        call="tests.learn.distributed_children:half_of_the_worlds",
    )
    children.learn(
        agent, start, batches, clips, lambda epoch: children.order_of_all(epoch, STEPS, WORLDS, 2, MINIBATCH)
    )
    alone = children.learned(agent)
    agent.env.close()
    all_done(jobs)
    (first, first_apart), (second, _) = (
        torch.load(tmp_path / f"half_{rank}.pt", weights_only=True) for rank in range(2)
    )

    assert differences(first, second) == []
    weights = [name for name in alone if name.startswith(("model.a2c", "discriminator"))]
    moved = {name: (alone[name] - begin(start, name)).abs().max() for name in weights if "sigma" not in name}
    assert min(moved.values()) > 1e-5 and max(moved.values()) > 3e-4
    for name in alone:
        torch.testing.assert_close(first[name], alone[name], atol=1e-5, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")
    assert float(alone["learning_rate"]) != 1e-4
    # each process by itself learns something else, so the comparison can fail
    assert max(float((first_apart[name] - alone[name]).abs().max()) for name in weights) > 1e-4


def begin(start: dict[str, Any], name: str) -> torch.Tensor:
    part, _, key = name.partition(".")
    tensor = start["model"][key] if part == "model" else start["style"][part][key]
    assert isinstance(tensor, torch.Tensor)
    return tensor


@pytest.mark.parametrize("task", ["HumanoidAMP", "HumanoidMM"])
def test_weights_are_alike_and_worlds_are_not(launcher: Launcher, tmp_path: Path, task: str) -> None:
    changes: dict[str, Any] = {"train__params__config__parallel_update": True, "multi_gpu": True, "max_iterations": 4}
    changes["shard_clips"] = task == "HumanoidAMP"
    words = words_for(tmp_path, task=task, **changes, experiment="both")
    if task == "HumanoidMM":
        words = [word for word in words if "resample_seconds" not in word]
    said = all_done(
        launcher.team(words, tmp_path, call="tests.learn.distributed_children:train_and_tell")
    )
    one, two = (torch.load(tmp_path / f"learned_{rank}.pt", weights_only=True) for rank in range(2))
    assert differences(one["learned"], two["learned"]) == []
    assert not torch.equal(one["obs"], two["obs"]) and not torch.equal(one["replay"], two["replay"])
    assert len(one["replay"]) == 100  # of 200 in all

    run = tmp_path / "runs" / "both"
    table = rows(run)
    assert [row["samples"] for row in table] == ["128", "256", "384", "512"]
    content = checkpoint.load(run / "nn" / "last.pth")
    assert content["counters"]["samples"] == 512 and len(content["ranks"]) == 1
    assert float(content["model"]["running_mean_std.count"]) == 1 + 512
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["both"]  # one folder, one writer
    assert len(list((run / "summaries").glob("events*"))) == 1
    assert said.count("isaacmm 0.") == 1 and "8 worlds in each of 2 processes" in said


def test_resumed_by_as_many_processes_bit_for_bit_and_by_one(launcher: Launcher, tmp_path: Path) -> None:
    words = words_for(tmp_path, multi_gpu=True, train__params__config__save_frequency=2)
    jobs = launcher.team([*words, "experiment=straight", "max_iterations=5"], tmp_path)
    all_done(jobs)
    all_done(launcher.team([*words, "experiment=broken", "max_iterations=2"], tmp_path))
    again = ["resume=True", "experiment=broken", f"runs_dir={tmp_path / 'runs'}"]
    said = all_done(launcher.team([*again, "max_iterations=5", "multi_gpu=True"], tmp_path))
    assert "going on at iteration 2" in said and "fresh episodes" not in said
    straight, broken = tmp_path / "runs" / "straight", tmp_path / "runs" / "broken"
    assert numbers(rows(broken)) == numbers(rows(straight))
    a, b = (checkpoint.load(folder / "nn" / "last.pth") for folder in (straight, broken))
    for content in (a, b):
        content["counters"].pop("seconds")
        content.pop("config")
    assert differences(a, b) == []

    code, said = launcher.run([*again, "max_iterations=7"], tmp_path)
    assert code == 0, said
    assert "made by 2 processes, now there is 1" in said and "16 worlds as before: 16 in each of 1 process" in said
    content = checkpoint.load(broken / "nn" / "last.pth")
    assert content["counters"] | {"seconds": 0} == {
        "iteration": 7, "samples": 7 * 128, "seconds": 0, "learning_rate": content["counters"]["learning_rate"],
    }  # fmt: skip
    assert "ranks" not in content and len(content["style"]["replay"]["data"]) == 200
    code, said = launcher.run([*again, "num_envs=4", "max_iterations=8", "multi_gpu=True"], tmp_path)
    assert code == 2 and "torchrun --standalone" in said


def test_a_killed_process_ends_the_run_with_a_checkpoint(launcher: Launcher, tmp_path: Path) -> None:
    words = words_for(
        tmp_path, multi_gpu=True, max_iterations=100_000, experiment="killed",
        train__params__config__save_frequency=0,
    )  # fmt: skip
    run = tmp_path / "runs" / "killed"
    first, second = launcher.team(words, tmp_path)
    first.wait_for_lines(run / "summaries" / "progress.csv", 4)
    assert not (run / "nn" / "last.pth").exists()
    second.signal(signal.SIGKILL)
    assert second.wait() == -signal.SIGKILL
    begin = time.monotonic()
    assert first.wait(60.0) == 1
    assert time.monotonic() - begin < 20.0
    said = first.output.read_text()
    assert "lost contact with another of the 2 processes" in said and "Traceback" not in said, said
    content = checkpoint.load(run / "nn" / "last.pth")
    done = int(rows(run)[-1]["iteration"])
    assert content["counters"]["iteration"] == done >= 3
    assert f"Saved what the processes shared after iteration {done}" in said
    assert "env" not in content

    again = ["resume=True", "experiment=killed", f"runs_dir={tmp_path / 'runs'}", "multi_gpu=True"]
    said = all_done(launcher.team([*again, f"max_iterations={done + 2}"], tmp_path))
    assert "saved when a process was lost" in said
    assert [row["iteration"] for row in rows(run)] == [str(i) for i in range(1, done + 3)]


def test_a_process_that_hangs_is_not_waited_for(launcher: Launcher, tmp_path: Path) -> None:
    words = words_for(tmp_path, multi_gpu=True, max_iterations=100_000, experiment="hung")
    run = tmp_path / "runs" / "hung"
    first, second = launcher.team(words, tmp_path, environment={"ISAACMM_RANK_TIMEOUT": "6"})
    first.wait_for_lines(run / "summaries" / "progress.csv", 3)
    second.signal(signal.SIGSTOP)
    try:
        assert first.wait(60.0) == 1
    finally:
        second.signal(signal.SIGKILL)
        second.wait()
    said = first.output.read_text()
    assert "did not answer in time" in said and "the last complete one" in said, said
    assert checkpoint.load(run / "nn" / "last.pth")["counters"]["iteration"] == int(rows(run)[-1]["iteration"])


def test_asked_to_stop_while_another_hangs(launcher: Launcher, tmp_path: Path) -> None:
    """Blocked in an exchange, no handler of Python's runs; the watch hears the signal, saves and ends the process."""
    words = words_for(tmp_path, multi_gpu=True, max_iterations=100_000, experiment="blocked")
    run = tmp_path / "runs" / "blocked"
    first, second = launcher.team(words, tmp_path, call="tests.learn.distributed_children:impatient")
    first.wait_for_lines(run / "summaries" / "progress.csv", 3)
    second.signal(signal.SIGSTOP)
    try:
        time.sleep(1.0)
        first.signal(signal.SIGTERM)
        assert first.wait(60.0) == 1
    finally:
        second.signal(signal.SIGKILL)
        second.wait()
    said = first.output.read_text()
    assert "process 0 was asked to stop and cannot" in said and "the last complete one" in said, said
    assert checkpoint.load(run / "nn" / "last.pth")["counters"]["iteration"] == int(rows(run)[-1]["iteration"])


def test_whoever_is_asked_to_stop_stops_all(launcher: Launcher, tmp_path: Path) -> None:
    words = words_for(tmp_path, multi_gpu=True, max_iterations=100_000, experiment="asked")
    run = tmp_path / "runs" / "asked"
    jobs = launcher.team(words, tmp_path)
    jobs[0].wait_for_lines(run / "summaries" / "progress.csv", 3)
    jobs[1].signal(signal.SIGTERM)
    said = all_done(jobs, 128 + signal.SIGTERM)
    assert "Stopped on request. To go on" in said
    content = checkpoint.load(run / "nn" / "last.pth")
    assert content["counters"]["iteration"] == int(rows(run)[-1]["iteration"]) and len(content["ranks"]) == 1


def test_one_process_s_trouble_is_told_by_the_other(launcher: Launcher, tmp_path: Path) -> None:
    words = words_for(tmp_path, multi_gpu=True, experiment="trouble")
    jobs = launcher.team(words, tmp_path, call="tests.learn.distributed_children:fail_in_the_second")
    assert [job.wait(60.0) for job in jobs] == [1, 2]
    said = [job.output.read_text() for job in jobs]
    assert "error: process 1 of this run ended: the simulation is broken on purpose" in said[0]
    assert "error: process 1: the simulation is broken on purpose" in said[1]
    assert "Saved what the processes shared after iteration" in said[0]
    assert (tmp_path / "runs" / "trouble" / "nn" / "last.pth").exists()


def test_a_mistake_is_said_once(launcher: Launcher, tmp_path: Path) -> None:
    jobs = launcher.team(["task=HumanoidAPM", "multi_gpu=True"], tmp_path)
    codes = [job.wait(60.0) for job in jobs]
    said = [job.output.read_text() for job in jobs]
    assert codes == [2, 1] and said[0].startswith("error: task=HumanoidAPM") and said[1] == ""
    assert not (tmp_path / "runs").exists()


def torchrun(words: list[str], folder: Path) -> subprocess.Popen[str]:
    """The real one, on this machine."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(
        [*command, str(ROOT / "launch.py"), *words], cwd=folder, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


@pytest.mark.slow
def test_torchrun_from_one_end_to_the_other(tmp_path: Path) -> None:
    """Two processes train; the first one alone evaluates and exports."""
    words = words_for(
        tmp_path, multi_gpu=True, experiment="whole", max_iterations=3, export_onnx=True, export_bvh=True,
        export_video=False, task__env__episode_seconds=1.0,
    )  # fmt: skip
    process = torchrun(words, tmp_path)
    said, _ = process.communicate(timeout=400)
    assert process.returncode == 0, said
    run = tmp_path / "runs" / "whole"
    made = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    assert {"config.yaml", "policy.onnx", "policy.json", "report.html", "evaluation.json", "nn/last.pth"} <= made
    assert any(name.startswith("motions/") for name in made)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["whole"]
    assert said.count("Training is over") == 1 and "warning" not in said


@pytest.mark.slow
@pytest.mark.parametrize("death", ["kill", "stop"])
def test_torchrun_and_a_lost_process(tmp_path: Path, death: str) -> None:
    """torchrun itself signals those who are left; what they shared is saved before its patience ends."""
    words = words_for(tmp_path, multi_gpu=True, experiment="lost", max_iterations=100_000)
    process = torchrun(words, tmp_path)
    progress = tmp_path / "runs" / "lost" / "summaries" / "progress.csv"
    deadline = time.monotonic() + 200.0
    while not (progress.exists() and progress.read_bytes().count(b"\n") >= 4):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    children_of = subprocess.run(["ps", "--ppid", str(process.pid), "-o", "pid="], capture_output=True, text=True)
    pids = sorted(int(pid) for pid in children_of.stdout.split())
    ranks = {int(re.search(rb"(?:^|\0)RANK=(\d)", Path(f"/proc/{pid}/environ").read_bytes())[1]): pid for pid in pids}
    if death == "kill":
        os.kill(ranks[1], signal.SIGKILL)
    else:
        process.send_signal(signal.SIGINT)  # Ctrl-C reaches torchrun only; it passes it on
    said, _ = process.communicate(timeout=200)
    assert process.returncode != 0
    content = checkpoint.load(tmp_path / "runs" / "lost" / "nn" / "last.pth")
    assert content["counters"]["iteration"] >= 3
    if death == "kill":
        assert "Saved what the processes shared after iteration" in said, said
    else:
        assert "Stopped on request" in said and "Stopping after this iteration" in said, said
        assert len(content["ranks"]) == 1
