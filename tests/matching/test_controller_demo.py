"""The demo and what it says about wrong words; the example in the docs."""

from __future__ import annotations

import os
import pty
import re
import signal
from pathlib import Path
from typing import cast

import pytest

from isaacmm.matching import demo
from isaacmm.matching.__main__ import main
from isaacmm.matching.controller import Frame
from isaacmm.motion.clip import Motion
from isaacmm.steering import Keyboard

REPOSITORY = Path(__file__).resolve().parent.parent.parent


def test_demo_writes_what_it_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "demo"
    words = ["demo", "command=slalom", "seconds=1", "motion=walk", "film=True", "width=96", "height=72", f"out={out}"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "locked feet slide" in said and "transitions" in said
    for name in ("motion.bvh", "motion.npz", "picture.png", "strip.png", "film.mp4"):
        assert (out / name).stat().st_size > 1000, name
    assert Motion.load(out / "motion.npz").num_frames == 60


def test_database_facts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["database", "motion=walk_straight"]) == 0
    said = capsys.readouterr().out
    assert "7 clips" in said or "clips      7" in said
    assert "right_foot_position" in said and "speed" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["demo", "command=figure_eigt"], "figure_eight"),
        (["demo", "comand=square"], "'command'"),
        (["demo", "path=circl"], "circle"),
        (["demo", "path=circle", "command=square"], "not both"),
        (["demo", "seconds=soon"], "wants a number"),
        (["demo", "motion=nowhere"], "nowhere"),
        (["demo", "out=a.mp4"], "folder"),
        (["demo", "fps=1e9"], "at most 480"),
        (["demo", "seconds=inf"], "at most 3600"),
        (["database", "rate=1e7"], "at most 480"),
        (["data"], "'database'"),
        (["database", "motoin=walk"], "'motion'"),
    ],
)
def test_wrong_words(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert said in capsys.readouterr().err


def test_ctrl_c_ends_the_walk_and_keeps_it() -> None:
    master, slave = pty.openpty()
    keyboard, before = Keyboard(file=slave), signal.getsignal(signal.SIGINT)
    frame = cast(Frame, None)  # read every sixth time only
    with demo._typing(keyboard, 60.0) as watch:
        assert watch(frame)
        signal.raise_signal(signal.SIGINT)
        assert not watch(frame)
    assert signal.getsignal(signal.SIGINT) is before
    os.close(master)
    os.close(slave)


def test_keyboard_without_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    with open("/dev/null") as null:
        monkeypatch.setattr(sys, "stdin", null)
        assert main(["demo", "command=keyboard"]) == 2
    assert "terminal" in capsys.readouterr().err


def test_the_example_of_the_docs_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (REPOSITORY / "docs" / "motion_matching.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.S)
    mine = [block for block in blocks if "Controller" in block]
    assert mine
    monkeypatch.chdir(tmp_path)
    for block in mine:
        exec(compile(block, "docs/motion_matching.md", "exec"), {})
    assert (tmp_path / "walk.bvh").is_file()
