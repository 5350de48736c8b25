"""The contract every simulator signs, as checks anybody can run on theirs.

    from isaacmm.sim import contract, make_simulator
    contract.check(lambda config: make_simulator("mujoco", model, config))

Each check comes from a fault really met in some engine or adapter: permuted quaternions, centre of
mass velocities under a link's name, targets clipped at 1 rad, gains silently dropped, poses that
are stale after a reset, joints in another order. A check that a simulator has no capability for
is skipped and says so.
"""

from __future__ import annotations

from collections.abc import Iterable

from isaacmm.errors import ConfigError, nearest
from isaacmm.sim.contract import check_abilities, check_motion, check_reset
from isaacmm.sim.contract.bench import CHECKS, Bench, Factory, Skip, Tolerance

__all__ = ["CHECKS", "TOLERANCES", "Factory", "Skip", "Tolerance", "check", "run"]

_ = (check_reset, check_motion, check_abilities)  # importing them filled CHECKS

#: How near the simulators come that are not MuJoCo's own engine, by the names of ``isaacmm.sim.registry.flavours``.
#: PhysX integrates finer within a step: of two MuJoCos, at 120 Hz and 1,920 Hz, it is nearer to the second than the
#: first is (docs/simulators.md). Its worlds lie side by side, so that positions are rounded differently in each.
_PHYSX = Tolerance(trajectory=0.06, exact=False, drift=5e-3, same_contacts=False)
TOLERANCES: dict[str, Tolerance] = {"isaaclab+ovphysx": _PHYSX, "isaaclab+physx": _PHYSX}


def run(name: str, factory: Factory, tolerance: Tolerance | None = None) -> None:
    """One check by name.

    Raises:
        AssertionError: the simulator breaks the contract; the message says how.
        Skip: the check is about a capability the simulator does not claim.
        ConfigError: no such check.
    """
    if name not in CHECKS:
        raise ConfigError(f"no contract check '{name}'; {nearest(name, CHECKS)}")
    bench = Bench(factory, tolerance or Tolerance())
    try:
        CHECKS[name](bench)
    finally:
        bench.close()


def check(factory: Factory, tolerance: Tolerance | None = None, skip: Iterable[str] = ()) -> dict[str, str]:
    """Run the whole contract.

    Args:
        factory: makes a simulator from a :class:`SimConfig`.
        tolerance: for engines that are not MuJoCo in float64.
        skip: names of checks not to run.

    Returns:
        What became of each check: ``"passed"`` or ``"skipped: why"``.

    Raises:
        AssertionError: every broken check, with how.
    """
    report: dict[str, str] = {}
    broken: list[str] = []
    for name in CHECKS:
        if name in set(skip):
            report[name] = "skipped: on request"
            continue
        try:
            run(name, factory, tolerance)
            report[name] = "passed"
        except Skip as reason:
            report[name] = f"skipped: {reason}"
        except AssertionError as error:
            broken.append(f"{name}: {error}")
    if broken:
        raise AssertionError("the simulator breaks its contract:\n  " + "\n  ".join(broken))
    return report
