"""``-m``: several runs, one after the other or at a time, and a polite end of all of them."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from isaacmm.cli import main as command
from isaacmm.cli import sweep
from isaacmm.errors import ConfigError

# stands in for `python -m isaacmm`: waits, notes when and with what it ran, ends by the code its seed asks for
RUN = """
import json, os, signal, sys, time
seed = next(word.split("=")[1] for word in sys.argv if word.startswith("seed="))
def stop(number, frame):
    print("stopping", seed, flush=True)
    time.sleep(0.3)
    note(128 + number)
def note(code):
    facts = dict(words=sys.argv[3:], begin=begin, end=time.time(), gpu=os.environ.get("CUDA_VISIBLE_DEVICES"))
    open(f"ran_{seed}.json", "w").write(json.dumps(facts))
    os._exit(code)
signal.signal(signal.SIGINT, stop)
signal.signal(signal.SIGTERM, stop)
begin = time.time()
print("10%|#  \\r20%|##", seed, flush=True)
time.sleep(float(os.environ.get("SECONDS_TO_RUN", "0.1")))
note(130 if seed == "13" else int(os.environ.get("CODE_OF_" + seed, "0")))
"""


@pytest.fixture
def stand_in(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (workplace / "run.py").write_text(RUN)
    program = workplace / "python"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} run.py "$@"\n')
    program.chmod(0o755)
    monkeypatch.setattr(sweep.sys, "executable", str(program))


def ran(folder: Path) -> dict[str, dict]:
    import json

    return {path.stem.removeprefix("ran_"): json.loads(path.read_text()) for path in folder.glob("ran_*.json")}


def test_become_one_command_each(clip: str) -> None:
    commands = sweep.sweep([clip, "seed=1,2", "train.params.config.reward_combine=mul,geo", "experiment=x"])
    assert len(commands) == 4
    assert commands[0] == [clip, "seed=1", "train.params.config.reward_combine=mul", "experiment=x_1"]
    assert commands[3] == [clip, "seed=2", "train.params.config.reward_combine=geo", "experiment=x_4"]
    assert [c[1] for c in sweep.sweep([clip, "seed=range(1,4)"])] == ["seed=1", "seed=2", "seed=3"]
    with pytest.raises(ConfigError):
        sweep.sweep([clip, "seed=1,two"])


@pytest.mark.usefixtures("stand_in")
def test_one_after_the_other_until_interrupted(clip: str, workplace: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert command.main(["-m", clip, "seed=1,13,3"]) == 130
    runs = ran(workplace)
    assert set(runs) == {"1", "13"} and runs["1"]["end"] <= runs["13"]["begin"]
    assert runs["1"]["words"] == [clip, "seed=1"]
    out = capfd.readouterr().out
    assert "[2/3] " in out and "exit codes: 0, 130, not begun" in out


@pytest.mark.usefixtures("stand_in")
def test_some_at_a_time(
    clip: str, workplace: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sweep, "_cores", lambda: 5)
    monkeypatch.setattr(sweep, "_gpus", lambda words: ["4", "6"])
    monkeypatch.setenv("SECONDS_TO_RUN", "1.0")
    monkeypatch.setenv("CODE_OF_2", "3")
    assert command.main(["-m", clip, "jobs=2", "seed=1,2,3"]) == 3
    runs = ran(workplace)
    assert runs["1"]["begin"] < runs["2"]["end"] and runs["2"]["begin"] < runs["1"]["end"]
    assert runs["3"]["begin"] >= min(runs["1"]["end"], runs["2"]["end"])
    assert all(run["words"][-1] == "threads=2" for run in runs.values())
    assert {runs["1"]["gpu"], runs["2"]["gpu"]} == {"4", "6"}
    out = capfd.readouterr().out
    assert "[2/3] 20%|## 2" in out and "exit codes: 0, 3, 0" in out


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_reach_every_run_once(
    clip: str, workplace: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], number: int
) -> None:
    monkeypatch.setenv("SECONDS_TO_RUN", "60")
    out = ""

    def ask() -> None:
        nonlocal out
        deadline = time.monotonic() + 30.0
        while out.count("20%|##") < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
            out += capfd.readouterr().out
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=ask)
    thread.start()
    assert command.main(["-m", clip, "jobs=2", "seed=1,2,3,4"]) == 128 + number
    thread.join()
    out += capfd.readouterr().out
    assert set(ran(workplace)) == {"1", "2"}
    assert out.count("stopping") == 2
    assert f"exit codes: {128 + number}, {128 + number}, not begun, not begun" in out


@pytest.mark.parametrize(
    ("word", "answer"),
    [
        ("jobs=0", "at least 1"),
        ("jobs=two", "whole number"),
        ("hydra/launcher=joblib", "jobs=N"),
        ("multi_gpu=True", "a torchrun of its own"),
    ],
)
def test_mistakes(clip: str, word: str, answer: str) -> None:
    with pytest.raises(ConfigError, match=answer):
        sweep.several([clip, "seed=1,2", word])


def test_gpus_are_shared_out_unless_devices_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert sweep._gpus([]) == ["0", "1", "2"] and sweep._gpus(["rl_device=cuda:1"]) == []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5,7")
    assert sweep._gpus([]) == ["2", "5", "7"]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert sweep._gpus([]) == []
