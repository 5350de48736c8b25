"""Around the Isaac Lab simulator: can it run here, with which physics, and what to say when it cannot."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from importlib import metadata
from typing import Any

import torch

from isaacmm.errors import ConfigError, SimulatorError, nearest

#: ``physics=`` of ``sim=isaaclab``, and what each is.
PHYSICS = {
    "newton": "Newton with MuJoCo Warp",
    "ovphysx": "PhysX without Isaac Sim",
    "physx": "PhysX inside Isaac Sim (Kit); never run by us",
}
DEFAULT_PHYSICS = "newton"
#: Where the commands are that make an environment in which it runs.
DOCS = "docs/simulators.md, 'isaaclab', has the commands"
_PYTHON = (3, 12)

Version = Callable[[str], str | None]


def installed(package: str) -> str | None:
    """The version of an installed package, or None. Imports nothing."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def unavailable(
    physics: str = DEFAULT_PHYSICS, version: Version = installed, python: tuple[int, int] | None = None
) -> str | None:
    """Why Isaac Lab cannot run here with ``physics``, or None. Imports nothing; a GPU is not needed.

    Args:
        physics: a key of :data:`PHYSICS`.
        version: finds the version of a package (for tests).
        python: of the interpreter (for tests).
    """
    python = python or (sys.version_info[0], sys.version_info[1])
    lab = version("isaaclab")
    if lab is None:
        if python != _PYTHON:
            return (
                f"Isaac Lab 3 needs Python {_dotted(_PYTHON)} and an environment of its own, this is Python "
                f"{_dotted(python)}: {DOCS}"
            )
        return f"the package isaaclab is not installed; it wants an environment of its own: {DOCS}"
    if _numbers(lab) < (3,) or _numbers(lab) >= (4,):
        why = "needs all of Isaac Sim" if _numbers(lab) < (3,) else "has another interface"
        return f"isaaclab {lab} {why}; sim=isaaclab is written for 3.x: pip install 'isaaclab>=3.0,<4' ({DOCS})"
    missing = [name for name in _needs(physics) if version(name) is None]
    if missing:
        extra = "[ovphysx]" if physics == "ovphysx" else ""
        what = f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed"
        if physics == "physx":
            return f"physics=physx runs inside Isaac Sim, and {what}: pip install 'isaaclab[isaacsim]=={lab}'"
        return f"physics={physics} cannot run: {what}: pip install 'isaaclab{extra}=={lab}'"
    return mismatch(version)


def _needs(physics: str) -> tuple[str, ...]:
    """Packages besides isaaclab without which ``physics`` cannot run."""
    common = ("usd-exchange", "warp-lang", "mujoco")
    more = {"newton": ("newton", "mujoco-warp"), "ovphysx": ("ovphysx", "ovstage"), "physx": ("isaacsim",)}
    return (*common, *more[physics])


def mismatch(version: Version = installed) -> str | None:
    """Which installed packages are not those that isaaclab and newton were made with, or None.

    What goes together is written in their own metadata, so that this stays right with their next release. MuJoCo may be
    newer than they ask for: the simulators of ours that run beside it need 3.17.
    """
    for owner in ("isaaclab", "newton"):
        for name, wanted in _pins(owner).items():
            have = version(name)
            if have is None or _fits(have, wanted) or (name == "mujoco" and _numbers(have) >= _numbers(wanted)):
                continue
            return (
                f"{owner} {version(owner)} was made for {name} {wanted}, here is {have}: pip install --no-deps "
                f"'{name}{wanted}' ({DOCS})"
            )
    return None


_WATCHED = ("newton", "warp-lang", "mujoco", "mujoco-warp", "ovphysx", "ovstage", "usd-exchange")
_REQUIREMENT = re.compile(r"^\s*([A-Za-z0-9_.-]+)\s*(?:\[[^\]]*\])?\s*\(?\s*((?:==|~=)\s*[0-9][^,;)\s]*)")


def _pins(owner: str) -> dict[str, str]:
    """``package -> '==x'`` or ``'~=x'`` that an installed package asks for, of those that matter here."""
    try:
        lines = metadata.requires(owner) or []
    except metadata.PackageNotFoundError:
        return {}
    found: dict[str, str] = {}
    for line in lines:
        match = _REQUIREMENT.match(line)
        if match and match[1].lower().replace("_", "-") in _WATCHED:
            found.setdefault(match[1].lower().replace("_", "-"), match[2].replace(" ", ""))
    return found


def _fits(have: str, wanted: str) -> bool:
    """Whether version ``have`` satisfies ``==x`` or ``~=x`` (PEP 440: the last number may grow)."""
    numbers, asked = _numbers(have), _numbers(wanted)
    if wanted.startswith("=="):
        return numbers[: len(asked)] == asked
    return numbers >= asked and numbers[: len(asked) - 1] == asked[:-1]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def check_physics(sim: str, physics: str) -> None:
    """Refuse a ``physics=`` that does not exist, or that another simulator does not have.

    Raises:
        ConfigError: naming the valid ones.
    """
    if not physics:
        return
    if sim != "isaaclab":
        raise ConfigError(f"physics={physics}: only sim=isaaclab has a choice of physics, sim={sim} has its own")
    if physics not in PHYSICS:
        raise ConfigError(f"physics={physics}: no such physics; {nearest(physics, PHYSICS)}")


def prepare(physics: str, device: torch.device | str) -> None:
    """Everything that has to be so before Isaac Lab is imported.

    Raises:
        SimulatorError: this physics is not available here, or the device is not.
    """
    reason = unavailable(physics)
    if reason is not None:
        raise SimulatorError(f"sim=isaaclab physics={physics} is not available: {reason}")
    from isaacmm.sim.warp_setup import check_device

    device = torch.device(device)
    check_device(device, "isaaclab")
    import warp as wp

    wp.config.log_level = wp.LOG_ERROR
    if device.type == "cpu" and not torch.cuda.is_available():
        # Isaac Lab's PhysX asks for page-locked memory even without a GPU, which only CUDA can give
        cpu: Any = wp.get_device("cpu")
        cpu.pinned_allocator = cpu.default_allocator


def available_physics() -> dict[str, str | None]:
    """Every physics, with None where it can run here, else one sentence why not."""
    return {physics: unavailable(physics) for physics in PHYSICS}
