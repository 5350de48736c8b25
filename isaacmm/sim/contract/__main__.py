"""The contract from the command line, one line per check, and a table with versions and the date.

    python -m isaacmm.sim.contract                            # every simulator that can run here
    python -m isaacmm.sim.contract warp isaaclab+ovphysx      # these
    python -m isaacmm.sim.contract warp --device cuda:0 --table contract.md

On a GPU the same input need not give the same bits (sums of many threads), so nearness is asked for instead.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from dataclasses import replace
from datetime import date
from importlib import metadata
from pathlib import Path

from isaacmm.character import CharacterModel
from isaacmm.errors import ConfigError, IsaacmmError, nearest
from isaacmm.sim import contract, make_simulator
from isaacmm.sim.registry import flavours
from isaacmm.sim.simulator import SimConfig, Simulator

_ENGINES = ("mujoco", "mujoco-warp", "warp-lang", "isaaclab", "newton", "ovphysx", "ovstage", "torch")


def main(arguments: list[str] | None = None) -> int:
    """Run it. Returns the process's exit code: 0 when nothing was broken."""
    parser = argparse.ArgumentParser(prog="python -m isaacmm.sim.contract", description=__doc__.splitlines()[0])
    parser.add_argument("simulators", nargs="*", help="names, with the physics behind a plus: isaaclab+newton")
    parser.add_argument("--device", default="cpu", help="cpu, cuda:0, ...")
    parser.add_argument("--checks", nargs="*", help="these checks only")
    parser.add_argument("--table", type=Path, help="also write a Markdown table here")
    given = parser.parse_args(arguments)
    try:
        chosen, left_out = _choose(given.simulators)
        for name in given.checks or ():
            if name not in contract.CHECKS:
                raise ConfigError(f"no contract check '{name}'; {nearest(name, contract.CHECKS)}")
        results = {label: _check(label, given.device, given.checks or list(contract.CHECKS)) for label in chosen}
    except IsaacmmError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    text = table(results, given.device, left_out)
    print("\n" + text)
    if given.table:
        given.table.write_text(text + "\n", encoding="utf-8")
    return int(any(r.startswith("BROKEN") for checks in results.values() for r in checks.values()))


def _choose(names: list[str]) -> tuple[list[str], dict[str, str]]:
    """Labels to run, and why the others are not.

    Raises:
        ConfigError: an unknown name.
        IsaacmmError: one that was asked for and cannot run.
    """
    known = flavours()
    for name in names:
        if name not in known:
            raise ConfigError(f"no simulator '{name}'; {nearest(name, known)}")
        if known[name][2] is not None:
            raise IsaacmmError(f"{name} is not available: {known[name][2]}")
    reasons = {label: reason for label, (_, _, reason) in known.items() if reason is not None}
    return names or [label for label in known if label not in reasons], {} if names else reasons


def _check(label: str, device: str, names: list[str]) -> dict[str, str]:
    """Every check of one simulator: ``passed``, ``skipped: why`` or ``BROKEN: how``; goes on after failures."""
    name, physics, _ = flavours()[label]
    model = CharacterModel.load()
    tolerance = contract.TOLERANCES.get(label, contract.Tolerance())
    if device != "cpu":
        # float32 and sums in any order: as far from MuJoCo as MuJoCo is from itself a micrometre away
        tolerance = replace(tolerance, exact=False, trajectory=max(tolerance.trajectory, 1e-4))

    def make(config: SimConfig) -> Simulator:
        return make_simulator(name, model, replace(config, device=device, physics=physics))

    results = {}
    for check in names:
        begin = time.perf_counter()
        try:
            contract.run(check, make, tolerance)
            results[check] = "passed"
        except contract.Skip as reason:
            results[check] = f"skipped: {reason}"
        except (AssertionError, IsaacmmError, RuntimeError, ValueError) as error:
            results[check] = f"BROKEN: {type(error).__name__}: {error}"
        print(f"{label:18} {check:40} {time.perf_counter() - begin:6.1f} s  {results[check]}", flush=True)
    return results


def table(results: dict[str, dict[str, str]], device: str, left_out: dict[str, str]) -> str:
    """What ran, as Markdown: checks down, simulators across, with versions, tolerances and the date."""
    versions = {package: _version(package) for package in _ENGINES}
    labels = list(results)
    checks = list(next(iter(results.values()), {}))
    lines = [
        f"{date.today()}, {platform.system()} {platform.machine()} ({device}), Python {platform.python_version()}, "
        + ", ".join(f"{package} {version}" for package, version in versions.items() if version),
        "",
        "| check | " + " | ".join(labels) + " |",
        "|---" * (len(labels) + 1) + "|",
    ]
    for check in checks:
        words = (results[label][check].replace("|", "/") for label in labels)
        lines.append(f"| `{check}` | " + " | ".join(words) + " |")
    counts = []
    for label in labels:
        got = [r.split(":")[0] for r in results[label].values()]
        counts.append(f"{got.count('passed')} passed, {got.count('skipped')} skipped, {got.count('BROKEN')} broken")
    lines.append("| **in all** | " + " | ".join(counts) + " |")
    tolerances = (contract.TOLERANCES.get(label, contract.Tolerance()) for label in labels)
    lines.append("| trajectory may be off by (m, rad) | " + " | ".join(f"{t.trajectory:g}" for t in tolerances) + " |")
    for label, reason in left_out.items():
        lines += ["", f"`{label}` did not run: {reason}"]
    return "\n".join(lines)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    sys.exit(main())
