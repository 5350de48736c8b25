"""Every simulator that can run here, against every check of the contract."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from isaacmm.character import CharacterModel
from isaacmm.errors import ConfigError
from isaacmm.sim import SimConfig, contract, make_simulator
from isaacmm.sim.contract.__main__ import main
from isaacmm.sim.registry import flavours
from tests.sim.test_contract_can_fail import ClipsTargets

MODEL = CharacterModel.load("humanoid")
FLAVOURS = flavours()  # isaaclab once per physics
RUNNING = [label for label, (_, _, reason) in FLAVOURS.items() if reason is None]


def factory(label: str) -> contract.Factory:
    name, physics, _ = FLAVOURS[label]
    return lambda config: make_simulator(name, MODEL, replace(config, physics=physics))


@pytest.mark.parametrize("check", contract.CHECKS)
@pytest.mark.parametrize("simulator", RUNNING)
def test_contract(simulator: str, check: str) -> None:
    try:
        contract.run(check, factory(simulator), contract.TOLERANCES.get(simulator))
    except contract.Skip as why:
        pytest.skip(f"{simulator}: {why}")


@pytest.mark.parametrize("simulator", FLAVOURS)
def test_which_simulators_ran(simulator: str) -> None:
    """Shows in the summary, by name and reason, what was not run."""
    reason = FLAVOURS[simulator][2]
    if reason is not None:
        pytest.skip(f"simulator '{simulator}' did NOT run: {reason}")


def test_the_default_simulator_runs_everywhere() -> None:
    assert "mujoco" in RUNNING


def test_whole_contract_in_one_call() -> None:
    report = contract.check(
        lambda config: make_simulator("mujoco", MODEL, config), skip=["same_input_same_bits"]
    )
    assert report.pop("same_input_same_bits") == "skipped: on request"
    assert set(report.values()) == {"passed"}


def test_command_line_writes_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "table.md"
    words = ["mujoco", "--checks", "quaternions_are_xyzw", "empty_reset_does_nothing", "--table", str(table)]
    assert main(words) == 0
    assert "| `quaternions_are_xyzw` | passed |" in table.read_text()
    assert "2 passed, 0 skipped, 0 broken" in table.read_text() and "mujoco 3" in table.read_text()
    assert main(["mojoco"]) == 2 and "did you mean 'mujoco'" in capsys.readouterr().err
    assert main(["mujoco", "--checks", "quaternions"]) == 2 and "quaternions_are_xyzw" in capsys.readouterr().err


def test_command_line_says_what_broke(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def clipping(name: str, model: CharacterModel, config: SimConfig) -> ClipsTargets:
        return ClipsTargets(model, config)

    monkeypatch.setattr("isaacmm.sim.contract.__main__.make_simulator", clipping)
    assert main(["mujoco", "--checks", "targets_are_not_clipped"]) == 1
    said = capsys.readouterr().out
    assert "BROKEN: AssertionError: 'right_shoulder_x' asked for -1.5 rad stopped at" in said
    assert "0 passed, 0 skipped, 1 broken" in said


@pytest.mark.parametrize("label", [label for label in FLAVOURS if label not in RUNNING])
def test_command_line_says_why_not(label: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([label]) == 2
    assert f"{label} is not available: " in capsys.readouterr().err


def test_unknown_check_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="quaternions_are_xyzw"):
        contract.run("quaternions_are_xyz", lambda config: make_simulator("mujoco", MODEL, config))
