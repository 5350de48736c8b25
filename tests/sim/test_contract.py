"""Every simulator that can run here, against every check of the contract."""

from __future__ import annotations

import pytest

from isaacmm.character import CharacterModel
from isaacmm.errors import ConfigError
from isaacmm.sim import available, contract, make_simulator

MODEL = CharacterModel.load("humanoid")
RUNNING = [name for name, reason in available().items() if reason is None]


@pytest.mark.parametrize("check", contract.CHECKS)
@pytest.mark.parametrize("simulator", RUNNING)
def test_contract(simulator: str, check: str) -> None:
    try:
        contract.run(check, lambda config: make_simulator(simulator, MODEL, config))
    except contract.Skip as why:
        pytest.skip(f"{simulator}: {why}")


@pytest.mark.parametrize("simulator", available())
def test_which_simulators_ran(simulator: str) -> None:
    """Shows in the summary, by name and reason, what was not run."""
    reason = available()[simulator]
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


def test_unknown_check_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="quaternions_are_xyzw"):
        contract.run("quaternions_are_xyz", lambda config: make_simulator("mujoco", MODEL, config))
