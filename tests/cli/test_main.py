"""The command: flags, exit codes, no tracebacks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import isaacmm
from isaacmm import paths
from isaacmm.cli import main as command
from isaacmm.cli.compose import options
from isaacmm.cli.help import first_comment, help_text
from isaacmm.errors import ConfigError


def test_help_names_everything_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--help"]) == 0
    out = capsys.readouterr().out
    for group in ("task", "preset", "motion"):
        for name in options(group):
            assert name in out
    for key in yaml.safe_load((paths.data_folder("cfg") / "config.yaml").read_text()):
        if key != "defaults":
            assert f"  {key}=" in out
    assert "mujoco" in out and "ready" in out
    assert max(map(len, out.splitlines())) <= 118


def test_every_yaml_says_what_it_is() -> None:
    for group in ("task", "preset", "motion"):
        for name in options(group):
            assert first_comment(paths.data_folder("cfg") / group / f"{name}.yaml"), f"{group}/{name}"
    assert "reward_combine" in help_text()


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--version"]) == 0
    assert capsys.readouterr().out == f"isaacmm {isaacmm.__version__}\n"


def test_mistakes_exit_with_two_and_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["task=HumanoidAPM"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: task=HumanoidAPM") and "Traceback" not in err
    assert not Path("runs").exists()


def test_debug_shows_where_it_arose() -> None:
    with pytest.raises(ConfigError):
        command.main(["task=HumanoidAPM", "debug=True"])


def test_cfg_prints_what_would_run(clip: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--cfg", "job", clip, "num_envs=8"]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["num_envs"] == 8 and printed["motion"]["name"] == "my walk"
    assert command.main(["--cfg", "job", "task.env.command", clip]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["task.env.command"]["halflife"] == 0.27
    assert command.main(["--cfg", "job", "task.env.comand", clip]) == 2
    assert not Path("runs").exists()


def test_launch_py_works_from_any_folder() -> None:
    done = subprocess.run(
        [sys.executable, str(paths.CHECKOUT / "launch.py"), "num_envs=-3"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "Nearest: 1" in done.stderr and "Traceback" not in done.stderr


def test_importing_isaacmm_is_quick() -> None:
    code = "import isaacmm, sys; assert 'torch' not in sys.modules and 'hydra' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=paths.CHECKOUT)
