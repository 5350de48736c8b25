"""What the contract's checks are made with: simulators to order, comparisons, and the register."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from isaacmm import rotation
from isaacmm.sim.contract.reference import PlainMujoco
from isaacmm.sim.simulator import SimConfig, Simulator
from isaacmm.state import MotionState

Factory = Callable[[SimConfig], Simulator]


@dataclass(frozen=True)
class Tolerance:
    """How far a simulator may be from exact kinematics and from MuJoCo's trajectory.

    Attributes:
        kinematics: m, rad; velocities (m/s, rad/s) get ten times as much.
        trajectory: m, rad after a third of a second of flight; velocities get fifty times as much.
        force: fraction of the weight.
        exact: whether the same input gives the same bits (not so on a GPU).
        drift: how far what should be the same may be apart where bits are not promised.
        same_contacts: whether bodies that touch each other are pushed apart as MuJoCo does it; else it has to be seen
            only that they are.
    """

    kinematics: float = 2e-5
    trajectory: float = 2e-5
    force: float = 0.03
    exact: bool = True
    drift: float = 1e-3
    same_contacts: bool = True


class Skip(Exception):
    """This simulator does not claim what the check is about."""


class Bench:
    """What a check gets: simulators to order, the tolerance, and comparisons that explain themselves."""

    def __init__(self, factory: Factory, tolerance: Tolerance) -> None:
        self.factory = factory
        self.tol = tolerance
        self._made: list[Simulator] = []

    def make(self, num_envs: int, *, beside: bool = False, **settings: object) -> Simulator:
        """A simulator with ``num_envs`` worlds; closed when the check ends, or makes another.

        One after the other, since some engines have only one simulation per process: whoever compares two plays the
        same story twice. ``beside=True`` keeps those made before.
        """
        if not beside:
            self.close()
        sim = self.factory(replace(SimConfig(num_envs=num_envs), **settings))  # type: ignore[arg-type]
        self._made.append(sim)
        return sim

    def close(self) -> None:
        """Close what was made."""
        while self._made:
            self._made.pop().close()

    def near(self, what: str, got: Tensor, wanted: Tensor, tolerance: float) -> None:
        """Fail when ``got`` is further than ``tolerance`` from ``wanted`` anywhere, and say where."""
        require(got.shape == wanted.shape, f"{what} has shape {list(got.shape)}, not {list(wanted.shape)}")
        error = (got.cpu().double() - wanted.cpu().double()).abs()
        worst = float(error.nan_to_num(nan=float("inf")).max())
        where = [
            int(i) for i in torch.unravel_index(error.nan_to_num(nan=float("inf")).argmax(), error.shape)
        ]
        require(worst <= tolerance, f"{what} is off by {worst:.3g} at {where}, allowed {tolerance:.3g}")

    def same(self, what: str, a: MotionState, b: MotionState, rows: Iterable[int] | None = None) -> None:
        """Fail unless both states have the same bits (or are near, where bits are not promised)."""
        pick = slice(None) if rows is None else list(rows)
        other = dict(b.items())
        for name, value in a.items():
            if self.tol.exact:
                require(torch.equal(value[pick], other[name][pick]), f"{what}: {name} differs")
            else:
                self.near(f"{what}: {name}", value[pick], other[name][pick], self.tol.drift)

    def inside(self, sim: Simulator) -> dict[str, Tensor]:
        """What a simulator would go on from, where it can tell and bits are promised; else nothing."""
        return sim.snapshot() if "snapshot" in sim.capabilities and self.tol.exact else {}

    def same_inside(self, what: str, a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
        """Fail unless both would go on with the same bits; from :meth:`inside`."""
        for name, value in a.items():
            require(torch.equal(value, b[name]), f"{what}: '{name}' of the snapshots differs")

    def compare_kinematics(self, what: str, state: MotionState, wanted: dict[str, Tensor]) -> None:
        """Body poses and velocities against our own kinematics."""
        tol = self.tol.kinematics
        self.near(f"{what}: body_pos", state.body_pos, wanted["body_pos"], tol)
        angle = rotation.angle_between(state.body_rot.cpu().double(), wanted["body_rot"])
        self.near(f"{what}: body_rot (angle)", angle, torch.zeros_like(angle), max(tol, 1e-3))
        self.near(f"{what}: body_vel", state.body_vel, wanted["body_vel"], 10 * tol)
        self.near(f"{what}: body_ang_vel", state.body_ang_vel, wanted["body_ang_vel"], 10 * tol)

    def compare_golden(self, what: str, state: MotionState, row: int, golden: PlainMujoco) -> None:
        """One world against plain MuJoCo."""
        wanted, tol = golden.read(), self.tol.trajectory
        for name in ("dof_pos", "body_pos"):
            self.near(f"{what}: {name} of world {row}", getattr(state, name)[row], wanted[name], tol)
        for name in ("dof_vel", "body_vel", "body_ang_vel"):
            self.near(f"{what}: {name} of world {row}", getattr(state, name)[row], wanted[name], 50 * tol)


def require(condition: bool, message: str) -> None:
    """Fail the check. Not ``assert``, which ``python -O`` removes."""
    if not condition:
        raise AssertionError(message)


CHECKS: dict[str, Callable[[Bench], None]] = {}


def contract(function: Callable[[Bench], None]) -> Callable[[Bench], None]:
    """Register a check under its own name."""
    CHECKS[function.__name__] = function
    return function


def every(sim: Simulator) -> Tensor:
    """Ids of all worlds."""
    return torch.arange(sim.num_envs)


def needs(sim: Simulator, capability: str) -> None:
    """Skip the check unless the simulator claims ``capability``."""
    if capability not in sim.capabilities:
        raise Skip(f"no capability '{capability}'")


def targets_for(sim: Simulator, seed: int = 7) -> Tensor:
    """Targets within the joint limits, different in every world and dof."""
    g = torch.Generator().manual_seed(seed)
    low, high = sim.model.skeleton.dof_limits.unbind(-1)
    return low + (high - low) * (0.1 + 0.8 * torch.rand(sim.num_envs, len(low), generator=g))
