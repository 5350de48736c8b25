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


def _isaaclab() -> str | None:
    """Why Isaac Lab cannot run here with any physics, or None."""
    if importlib.util.find_spec("mujoco") is None:
        return "the package mujoco is not installed: pip install mujoco"
    from isaacmm.sim import isaaclab_setup

    reasons = isaaclab_setup.available_physics()
    return None if None in reasons.values() else reasons[isaaclab_setup.DEFAULT_PHYSICS]


SIMULATORS: dict[str, _Entry] = {
    "mujoco": _Entry(_mujoco, "isaacmm.sim.mujoco:MujocoSimulator"),
    "warp": _Entry(_warp, "isaacmm.sim.warp:WarpSimulator"),
    "isaaclab": _Entry(_isaaclab, "isaacmm.sim.isaaclab:IsaacLabSimulator"),
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


def unavailable(name: str, physics: str = "") -> str | None:
    """Why ``sim=name physics=physics`` cannot run here, or None.

    Raises:
        ConfigError: no such simulator, no such physics, or a physics for a simulator that has no choice.
    """
    entry = SIMULATORS.get(name)
    if entry is None:
        raise ConfigError(f"no simulator '{name}'; {nearest(name, SIMULATORS)}")
    if physics:
        from isaacmm.sim import isaaclab_setup

        isaaclab_setup.check_physics(name, physics)
        return isaaclab_setup.unavailable(physics)
    return entry.unavailable()


def label(config: Mapping[str, Any]) -> str:
    """Which simulator a configuration (of a run, with ``sim`` and ``physics``) means: ``isaaclab+newton``."""
    name = str(config.get("sim") or "")
    if name != "isaaclab":
        return name
    from isaacmm.sim.isaaclab_setup import DEFAULT_PHYSICS

    return f"{name}+{config.get('physics') or DEFAULT_PHYSICS}"


def flavours() -> dict[str, tuple[str, str, str | None]]:
    """Every simulator with every physics it has: label -> name, physics, why not (None: it can run here)."""
    found: dict[str, tuple[str, str, str | None]] = {}
    for name, entry in SIMULATORS.items():
        if name != "isaaclab":
            found[name] = (name, "", entry.unavailable())
            continue
        from isaacmm.sim import isaaclab_setup

        for physics, reason in isaaclab_setup.available_physics().items():
            found[f"{name}+{physics}"] = (name, physics, reason)
    return found


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
    settings = SimConfig.from_mapping(config)
    reason = unavailable(name, settings.physics)
    entry = SIMULATORS[name]
    if reason is not None or entry.factory is None:
        raise SimulatorError(f"simulator '{name}' is not available: {reason}")
    module, attribute = entry.factory.split(":")
    return getattr(importlib.import_module(module), attribute)(model, settings)
