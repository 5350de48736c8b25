"""Simulators by name, and their settings."""

from __future__ import annotations

import subprocess
import sys

import pytest

from isaacmm.character import CharacterModel
from isaacmm.errors import ConfigError, SimulatorError
from isaacmm.sim import SimConfig, Simulator, available, make_simulator

MODEL = CharacterModel.load("humanoid")


def test_available_names_every_simulator_and_says_why_not() -> None:
    assert list(available()) == ["mujoco", "warp", "isaaclab", "isaacgym"]
    for reason in available().values():
        assert reason is None or len(reason) > 20


def test_unknown_simulator() -> None:
    with pytest.raises(ConfigError, match="did you mean 'mujoco'"):
        make_simulator("mujco", MODEL)


@pytest.mark.parametrize("name", [n for n, reason in available().items() if reason is not None])
def test_unavailable_simulator_says_why(name: str) -> None:
    with pytest.raises(SimulatorError, match=f"'{name}' is not available: "):
        make_simulator(name, MODEL)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"num_env": 4}, "did you mean 'num_envs'"),
        ({"num_envs": 0}, "at least one world"),
        ({"control_hz": 50}, "whole multiple"),
        ({"control_hz": 240}, "whole multiple"),
        ({"threads": -1}, "0 for all cores"),
    ],
)
def test_impossible_settings(settings: dict, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        make_simulator("mujoco", MODEL, settings)


def test_settings_come_as_mapping_or_object() -> None:
    for config in (None, {"num_envs": 2}, SimConfig(num_envs=2)):
        sim = make_simulator("mujoco", MODEL, config)
        assert isinstance(sim, Simulator)
        assert sim.num_envs == (64 if config is None else 2)
        sim.close()


def test_importing_the_package_imports_no_engine() -> None:
    code = "import sys, isaacmm.sim; sys.exit('mujoco' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
