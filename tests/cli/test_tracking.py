"""``wandb=PROJECT``, with a stand-in for the package that writes down what it is told."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from isaacmm.cli.compose import compose
from isaacmm.cli.tracking import tracked
from isaacmm.errors import ConfigError

Calls = list[dict[str, Any]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[Calls]:
    made: Calls = []

    def init(**words: Any) -> SimpleNamespace:
        made.append(words)
        return SimpleNamespace(finish=lambda exit_code: made[-1].update(exit_code=exit_code))

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    yield made


def test_nobody_is_told_unless_asked(calls: Calls, tmp_path: Path) -> None:
    with tracked(compose(["task=MotionVQVAE"])[0], tmp_path):
        pass
    assert not calls and not list(tmp_path.iterdir())


def test_curves_and_settings_go_there_and_a_resumed_run_goes_on(calls: Calls, tmp_path: Path) -> None:
    cfg, _ = compose(["task=MotionVQVAE", "wandb=mine"])
    for folder in ("a", "a", "b"):
        with tracked(cfg, tmp_path / folder):
            pass
    assert [call["project"] for call in calls] == ["mine"] * 3 and [call["exit_code"] for call in calls] == [0] * 3
    assert calls[0]["sync_tensorboard"] and calls[0]["config"]["task"]["quantizer"] == "ema_reset"
    assert calls[0]["id"] == calls[1]["id"] != calls[2]["id"] and calls[0]["resume"] == "allow"


def test_a_run_that_fails_is_marked(calls: Calls, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), tracked(compose(["task=MotionVQVAE", "wandb=mine"])[0], tmp_path):
        raise RuntimeError
    assert calls[0]["exit_code"] == 1


def test_without_the_package_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with (
        pytest.raises(ConfigError, match="pip install wandb"),
        tracked(compose(["task=MotionVQVAE", "wandb=mine"])[0], tmp_path),
    ):
        raise AssertionError("never gets here")
