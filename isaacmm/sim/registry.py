"""Simulators by name. Nothing is imported before it is asked for."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from isaacmm.character import CharacterModel
from isaacmm.errors import ConfigError, SimulatorError, nearest
from isaacmm.sim.simulator import SimConfig, Simulator


@dataclass(frozen=True)
class _Entry:
    """A known simulator: where it is built, and the sentence that says why it cannot be."""

    unavailable: Callable[[], str | None]
    factory: str | None = None  # "module:Class"


def _mujoco() -> str | None:
    """Why MuJoCo cannot run here, or None."""
    if importlib.util.find_spec("mujoco") is None:
        return "the package mujoco is not installed: pip install 'mujoco>=3.17,<4'"
    if importlib.util.find_spec("mujoco.batch") is None:
        import mujoco

        return (
            f"mujoco {mujoco.__version__} has no mujoco.batch, which came with 3.17: "
            "pip install 'mujoco>=3.17,<4'"
        )
    return None


def _warp() -> str | None:
    """Why MuJoCo Warp cannot run here, or None; it runs without a GPU, slowly."""
    reason = _mujoco()
    if reason is None:
        from isaacmm.sim import warp_setup  # imports MuJoCo, so only when it is there

        reason = warp_setup.unavailable()
    return reason


def _not_built(what: str) -> Callable[[], str]:
    return lambda: f"{what} is planned but not built yet; use sim=mujoco"


SIMULATORS: dict[str, _Entry] = {
    "mujoco": _Entry(_mujoco, "isaacmm.sim.mujoco:MujocoSimulator"),
    "warp": _Entry(_warp, "isaacmm.sim.warp:WarpSimulator"),
    "isaaclab": _Entry(_not_built("the Isaac Lab 3 simulator")),
    "isaacgym": _Entry(
        lambda: (
            "Isaac Gym is a discontinued Python 3.8 binary that cannot share a process with this "
            "package, and no adapter to it is built yet; use sim=mujoco"
        )
    ),
}


def available() -> dict[str, str | None]:
    """Every known simulator; ``None`` where it can run here, else one sentence that says why not."""
    return {name: entry.unavailable() for name, entry in SIMULATORS.items()}


def make_simulator(
    name: str, model: CharacterModel, config: SimConfig | Mapping[str, Any] | None = None
) -> Simulator:
    """Build a simulator.

    Args:
        name: a key of :func:`available`.
        model: the character.
        config: settings; a mapping is checked for unknown keys.

    Raises:
        ConfigError: an unknown name or setting.
        SimulatorError: a simulator that is not available here.
    """
    entry = SIMULATORS.get(name)
    if entry is None:
        raise ConfigError(f"no simulator '{name}'; {nearest(name, SIMULATORS)}")
    reason = entry.unavailable()
    if reason is not None or entry.factory is None:
        raise SimulatorError(f"simulator '{name}' is not available: {reason}")
    module, attribute = entry.factory.split(":")
    return getattr(importlib.import_module(module), attribute)(model, SimConfig.from_mapping(config))
