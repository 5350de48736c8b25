"""The contract every simulator signs, as checks anybody can run on theirs.

    from isaacmm.sim import contract, make_simulator
    contract.check(lambda config: make_simulator("mujoco", model, config))

Each check comes from a fault really met in some engine or adapter: permuted quaternions, centre of
mass velocities under a link's name, targets clipped at 1 rad, gains silently dropped, poses that
are stale after a reset, joints in another order. A check that a simulator has no capability for
is skipped and says so.
"""

from __future__ import annotations

import io
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from unittest import mock

import torch
from torch import Tensor

from isaacmm import rotation
from isaacmm.errors import ConfigError, IsaacmmError, nearest
from isaacmm.sim.reference import PlainMujoco, body_motion, flying_states, resting_states
from isaacmm.sim.simulator import SimConfig, Simulator
from isaacmm.state import MotionState, ResetState

Factory = Callable[[SimConfig], Simulator]


@dataclass(frozen=True)
class Tolerance:
    """How far a simulator may be from exact kinematics and from MuJoCo's trajectory.

    Attributes:
        kinematics: m, rad; velocities (m/s, rad/s) get ten times as much.
        trajectory: m, rad after a third of a second of flight; velocities get fifty times as much.
        force: fraction of the weight.
        exact: whether the same input gives the same bits (not so on a GPU).
    """

    kinematics: float = 2e-5
    trajectory: float = 2e-5
    force: float = 0.03
    exact: bool = True


class Skip(Exception):
    """This simulator does not claim what the check is about."""


class Bench:
    """What a check gets: simulators to order, the tolerance, and comparisons that explain themselves."""

    def __init__(self, factory: Factory, tolerance: Tolerance) -> None:
        self.factory = factory
        self.tol = tolerance
        self._made: list[Simulator] = []

    def make(self, num_envs: int, **settings: object) -> Simulator:
        """A simulator with ``num_envs`` worlds; closed when the check ends."""
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
                self.near(f"{what}: {name}", value[pick], other[name][pick], 50 * self.tol.trajectory)

    def same_inside(self, what: str, a: Simulator, b: Simulator) -> None:
        """Fail unless both simulators, where they can tell, would go on with the same bits."""
        if "snapshot" in a.capabilities and self.tol.exact:
            other = b.snapshot()
            for name, value in a.snapshot().items():
                require(torch.equal(value, other[name]), f"{what}: '{name}' of the snapshots differs")

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


def _all(sim: Simulator) -> Tensor:
    return torch.arange(sim.num_envs)


def _needs(sim: Simulator, capability: str) -> None:
    if capability not in sim.capabilities:
        raise Skip(f"no capability '{capability}'")


def _targets(sim: Simulator, seed: int = 7) -> Tensor:
    """Targets within the joint limits, different in every world and dof."""
    g = torch.Generator().manual_seed(seed)
    low, high = sim.model.skeleton.dof_limits.unbind(-1)
    return low + (high - low) * (0.1 + 0.8 * torch.rand(sim.num_envs, len(low), generator=g))


# ------------------------------------------------------------------- shape of things
@contract
def shapes_and_units(bench: Bench) -> None:
    """Float32 tensors of the promised shapes, unit quaternions, root = first body, honest control_dt."""
    sim = bench.make(3, control_hz=30, physics_hz=120)
    bodies, dofs = sim.model.skeleton.num_bodies, sim.model.skeleton.num_dofs
    require(abs(sim.control_dt - 1 / 30) < 1e-12, f"control_dt is {sim.control_dt}, not 1/30 s")
    sim.reset(_all(sim), flying_states(sim.model, 3))
    state = sim.state()
    shapes = {"root_rot": (3, 4), "dof_pos": (3, dofs), "dof_vel": (3, dofs), "body_rot": (3, bodies, 4)}
    for name, value in state.items():
        default = (3, 3) if name.startswith("root") else (3, bodies, 3)
        wanted = shapes.get(name, default)
        require(tuple(value.shape) == wanted, f"{name} has shape {list(value.shape)}, not {list(wanted)}")
        require(value.dtype == torch.float32, f"{name} is {value.dtype}, not float32")
        require(value.device.type == sim.device.type, f"{name} is on {value.device}, not {sim.device}")
    bench.near("|body_rot|", state.body_rot.norm(dim=-1), torch.ones(3, bodies), 1e-5)
    for part in ("pos", "rot", "vel", "ang_vel"):
        root, body = getattr(state, f"root_{part}"), getattr(state, f"body_{part}")[:, 0]
        bench.near(f"root_{part} against the first body", root, body, 10 * bench.tol.kinematics)
    has_forces = state.contact_force is not None
    require(
        has_forces == ("contact_force" in sim.capabilities),
        f"contact_force is {'there' if has_forces else 'missing'}, capabilities say otherwise",
    )


@contract
def any_number_of_worlds(bench: Bench) -> None:
    """1, 3 and 64 worlds; what a world does depends neither on its number nor on its neighbours."""
    results = []
    for n in (1, 3, 64):
        sim = bench.make(n)
        one = flying_states(sim.model, 1)
        first = ResetState(**{k: getattr(one, k).expand(n, -1).clone() for k in one.__dataclass_fields__})
        sim.reset(_all(sim), first)
        for _ in range(5):
            sim.step(_targets(sim)[:1].expand(n, -1))
        state = sim.state().clone()
        require(state.num_envs == n, f"asked for {n} worlds, got {state.num_envs}")
        bench.same(
            f"world 0 and world {n - 1} of {n}",
            state.index(torch.tensor([0])),
            state.index(torch.tensor([n - 1])),
        )
        results.append(state.index(torch.tensor([0])))
    bench.same("world 0 among 1 and among 3", results[0], results[1])
    bench.same("world 0 among 1 and among 64", results[0], results[2])


@contract
def building_stays_offline(bench: Bench) -> None:
    """Making a simulator and taking a step opens no network connection."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError(f"network access while building: {args}")

    with (
        mock.patch.object(socket.socket, "connect", refuse),
        mock.patch.object(socket, "getaddrinfo", refuse),
    ):
        sim = bench.make(1)
        sim.reset(_all(sim), resting_states(sim.model, 1))
        sim.step(torch.zeros(1, sim.model.skeleton.num_dofs))


# ---------------------------------------------------------------------------- reset
@contract
def reset_is_exact_before_any_step(bench: Bench) -> None:
    """Root, dofs, and the kinematics of every body, velocities included, right after the reset."""
    sim = bench.make(8)
    wanted = flying_states(sim.model, 8)
    sim.reset(_all(sim), wanted)
    state = sim.state()
    for name in ("root_pos", "root_vel", "root_ang_vel", "dof_pos", "dof_vel"):
        bench.near(name, getattr(state, name), getattr(wanted, name), bench.tol.kinematics)
    bench.compare_kinematics("after reset", state, body_motion(sim.model, wanted))


@contract
def quaternions_are_xyzw(bench: Bench) -> None:
    """An asymmetric rotation comes back component by component, and up points where it should."""
    sim = bench.make(1)
    state = resting_states(sim.model, 1, height=3.0)
    state.root_rot = rotation.from_rotvec(torch.tensor([[0.3, -0.7, 1.1]]))
    sim.reset(_all(sim), state)
    got = sim.state().root_rot.cpu()
    bench.near("root_rot", got * got[..., 3:].sign(), state.root_rot, 1e-5)
    up = torch.tensor([[0.0, 0.0, 1.0]])
    bench.near("up vector", rotation.rotate(got, up), rotation.rotate(state.root_rot, up), 1e-5)


@contract
def partial_reset_leaves_others_alone(bench: Bench) -> None:
    """Worlds that are not named keep every bit, now and later; order of names does not matter."""
    sim, twin = bench.make(6), bench.make(6)
    start, other = flying_states(sim.model, 6), flying_states(sim.model, 3, seed=1)
    for s in (sim, twin):
        s.reset(_all(s), start)
        s.step(_targets(s))
    before = sim.state().clone()
    sim.reset(torch.tensor([4, 0, 3]), other)
    after = sim.state().clone()
    bench.same("right after a partial reset", before, after, rows=(1, 2, 5))
    bench.near(
        "dof_pos of the worlds reset as 4, 0, 3",
        after.dof_pos[[4, 0, 3]],
        other.dof_pos,
        bench.tol.kinematics,
    )
    wanted = body_motion(sim.model, other)
    bench.compare_kinematics("worlds reset as 4, 0, 3", after.index(torch.tensor([4, 0, 3])), wanted)
    for s in (sim, twin):
        s.step(_targets(s, seed=8))
    bench.same("a step after a partial reset", sim.state(), twin.state(), rows=(1, 2, 5))


@contract
def empty_reset_does_nothing(bench: Bench) -> None:
    """An empty list of worlds is a no-op, in the middle of a run as well."""
    sim = bench.make(3)
    sim.reset(_all(sim), flying_states(sim.model, 3))
    sim.step(_targets(sim))
    before = sim.state().clone()
    sim.reset(torch.zeros(0, dtype=torch.int64), flying_states(sim.model, 0))
    bench.same("after an empty reset", before, sim.state())


@contract
def reset_forgets_the_past(bench: Bench) -> None:
    """A world that was reset behaves like a new one: no warm start, force or target left over."""
    sim, fresh = bench.make(2), bench.make(2)
    start = resting_states(sim.model, 2)
    start.root_pos[:, 2] -= 0.002  # pressed into the floor: the solver has something to start from
    sim.reset(_all(sim), flying_states(sim.model, 2, height=0.7))
    for _ in range(10):
        sim.step(_targets(sim))
    for s in (sim, fresh):
        s.reset(_all(s), start)
        for _ in range(5):
            s.step(torch.zeros(2, s.model.skeleton.num_dofs))
    bench.same("used and new", sim.state(), fresh.state())
    bench.same_inside("used and new", sim, fresh)


@contract
def arguments_are_left_alone(bench: Bench) -> None:
    """Inputs are neither changed nor kept, and reading the state twice gives the same."""
    sim = bench.make(2)
    start, targets = flying_states(sim.model, 2), _targets(sim)
    copy, targets_copy = start.index(torch.arange(2)), targets.clone()
    sim.reset(_all(sim), start)
    for name in copy.__dataclass_fields__:
        require(
            torch.equal(getattr(start, name), getattr(copy, name)), f"reset() changed its argument {name}"
        )
        getattr(start, name).fill_(0.123)
    bench.near("dof_pos after its source changed", sim.state().dof_pos, copy.dof_pos, bench.tol.kinematics)
    sim.step(targets)
    require(torch.equal(targets, targets_copy), "step() changed its argument")
    first = sim.state().clone()
    bench.same("reading twice", first, sim.state())


# ------------------------------------------------------------------------------ drives
@contract
def every_dof_moves_by_name(bench: Bench) -> None:
    """World i pulls hinge i only: that hinge leads the way, in the direction asked for."""
    dofs = len(bench.make(1).model.skeleton.dof_names)
    sim = bench.make(dofs)
    start = resting_states(sim.model, dofs, height=3.0)
    low, high = sim.model.skeleton.dof_limits.unbind(-1)
    start.dof_pos = (low + high).expand(dofs, -1) / 2
    sim.reset(_all(sim), start)
    pull = torch.diag(torch.minimum((high - low) / 4, torch.full_like(low, 0.3)))
    for _ in range(6):
        sim.step(start.dof_pos + pull)
    moved = sim.state().dof_pos.cpu() - start.dof_pos
    for d, name in enumerate(sim.model.skeleton.dof_names):
        leader = sim.model.skeleton.dof_names[int(moved[d].abs().argmax())]
        require(leader == name, f"pulling '{name}' moved '{leader}' most")
        share = float(moved[d, d] / pull[d, d])
        require(share > 0.3, f"'{name}' went {share:.0%} of the way in 0.2 s")


@contract
def drive_matches_mujoco(bench: Bench) -> None:
    """Free flight with moving limbs follows plain MuJoCo: gains, damping, limits, masses, gravity."""
    sim = bench.make(4)
    start = flying_states(sim.model, 4)
    golden = [PlainMujoco(sim.model) for _ in range(4)]
    sim.reset(_all(sim), start)
    for row, world in enumerate(golden):
        world.reset(start, row)
    for k in range(10):
        targets = _targets(sim, seed=k)
        sim.step(targets)
        for row, world in enumerate(golden):
            world.step(targets[row], 4)
    for row, world in enumerate(golden):
        bench.compare_golden("flight of 1/3 s", sim.state(), row, world)


@contract
def ground_contact_matches_mujoco(bench: Bench) -> None:
    """A drop onto the feet and the first 0.3 s of what follows, against plain MuJoCo."""
    sim = bench.make(1)
    start = resting_states(sim.model, 1)
    start.root_pos[:, 2] += 0.05
    start.root_vel[:, 0] = 0.5
    golden = PlainMujoco(sim.model)
    sim.reset(_all(sim), start)
    golden.reset(start, 0)
    targets = torch.zeros(1, sim.model.skeleton.num_dofs)
    for _ in range(10):
        sim.step(targets)
        golden.step(targets[0], 4)
    bench.compare_golden("landing", sim.state(), 0, golden)


@contract
def targets_are_not_clipped(bench: Bench) -> None:
    """A hinge whose limits allow it reaches a target beyond 1 rad."""
    probe = bench.make(1).model.skeleton
    wide = [(d, s) for d in range(probe.num_dofs) for s in (0, 1) if abs(float(probe.dof_limits[d, s])) > 1.7]
    if not wide:
        raise Skip("no hinge of this character may turn beyond 1.7 rad")
    sim = bench.make(len(wide))
    start = resting_states(sim.model, len(wide), height=30.0)
    sim.reset(_all(sim), start)
    targets = torch.zeros_like(start.dof_pos)
    for row, (d, side) in enumerate(wide):
        targets[row, d] = 1.5 if side else -1.5
    for _ in range(45):
        sim.step(targets)
    reached = sim.state().dof_pos.cpu()
    for row, (d, _) in enumerate(wide):
        got, wanted = float(reached[row, d]), float(targets[row, d])
        require(
            abs(got - wanted) < 0.15, f"'{probe.dof_names[d]}' asked for {wanted} rad stopped at {got:.3f}"
        )


@contract
def targets_hold_for_a_control_step(bench: Bench) -> None:
    """Other rates: 8 substeps at 240 Hz and 1 at 60 Hz follow plain MuJoCo at the same rates."""
    for control_hz, physics_hz in ((30, 240), (60, 60)):
        sim = bench.make(1, control_hz=control_hz, physics_hz=physics_hz)
        golden = PlainMujoco(sim.model, physics_hz=physics_hz)
        start = flying_states(sim.model, 1, seed=3)
        sim.reset(_all(sim), start)
        golden.reset(start, 0)
        for k in range(4):
            targets = _targets(sim, seed=k)
            sim.step(targets)
            golden.step(targets[0], physics_hz // control_hz)
        bench.compare_golden(f"{control_hz} Hz control, {physics_hz} Hz physics", sim.state(), 0, golden)


# ---------------------------------------------------------------------------- physics
@contract
def free_fall_obeys_gravity(bench: Bench) -> None:
    """A still pose in the air falls like a stone and keeps its horizontal speed."""
    sim = bench.make(1)
    start = resting_states(sim.model, 1, height=10.0)
    start.root_vel = torch.tensor([[1.0, -2.0, 3.0]])
    sim.reset(_all(sim), start)
    for _ in range(15):
        sim.step(start.dof_pos)
    t = 15 * sim.control_dt
    wanted = start.root_pos + start.root_vel * t + torch.tensor([[0.0, 0.0, -9.81 * t * t / 2]])
    # one half step of the integrator's order in z, nothing sideways
    bench.near("root_pos[:2] after 0.5 s", sim.state().root_pos[:, :2], wanted[:, :2], 2e-3)
    bench.near("root_pos[2] after 0.5 s", sim.state().root_pos[:, 2], wanted[:, 2], 9.81 * t / 120)
    bench.near("root_vel", sim.state().root_vel[:, 2], torch.tensor([3.0 - 9.81 * t]), 5e-3)


@contract
def velocities_are_those_of_links(bench: Bench) -> None:
    """Velocities are differences of link positions, not of centres of mass, in world axes."""
    sim = bench.make(4, control_hz=480, physics_hz=480)
    start = flying_states(sim.model, 4, seed=2)
    sim.reset(_all(sim), start)
    sim.step(start.dof_pos)
    before = sim.state().clone()
    sim.step(start.dof_pos)
    after = sim.state()
    speed = (after.body_pos - before.body_pos) / sim.control_dt
    turn = (
        rotation.to_rotvec(rotation.multiply(after.body_rot, rotation.inverse(before.body_rot)))
        / sim.control_dt
    )
    # within what can change during one step of 1/480 s
    change = (after.body_vel - before.body_vel).abs().amax() + 0.02
    bench.near("body_vel against differences", after.body_vel, speed, float(change))
    change = (after.body_ang_vel - before.body_ang_vel).abs().amax() + 0.02
    bench.near("body_ang_vel against differences", after.body_ang_vel, turn, float(change))


@contract
def self_collision_is_as_asked(bench: Bench) -> None:
    """Limbs pass through each other exactly when ``self_collision`` is off."""
    probe = bench.make(1).model
    candidates = flying_states(probe, 64, seed=4)
    golden = PlainMujoco(probe, self_collision=True)
    overlap = []
    for row in range(64):
        golden.reset(candidates, row)
        overlap.append(golden.self_overlap())
    if max(overlap) < 0.02:
        raise Skip("no pose of this character was found in which it touches itself")
    start = candidates.index(torch.tensor([overlap.index(max(overlap))]))
    for on in (False, True):
        sim = bench.make(1, self_collision=on)
        golden = PlainMujoco(sim.model, self_collision=on)
        sim.reset(_all(sim), start)
        golden.reset(start, 0)
        for _ in range(2):
            sim.step(start.dof_pos)
            golden.step(start.dof_pos[0], 4)
        bench.compare_golden(f"self_collision={on}", sim.state(), 0, golden)


@contract
def standing_forces_carry_the_weight(bench: Bench) -> None:
    """At rest the floor pushes up with the weight, on the feet and on nothing else."""
    sim = bench.make(2)
    _needs(sim, "contact_force")
    start = resting_states(sim.model, 2)
    sim.reset(_all(sim), start)
    first = sim.state().contact_force
    require(first is not None and not bool(first.any()), "contact forces right after a reset are not zero")
    for _ in range(15):
        sim.step(start.dof_pos)
    force = sim.state().contact_force
    assert force is not None
    weight = float(sim.model.body_mass.sum()) * 9.81
    total = force.sum(dim=1).cpu()
    bench.near("sum of contact forces", total[:, 2], torch.full((2,), weight), bench.tol.force * weight)
    feet = sim.model.foot_ids
    others = [b for b in range(sim.model.skeleton.num_bodies) if b not in feet]
    require(float(force[:, feet, 2].min()) > 0.2 * weight, "one foot carries nothing")
    bench.near("forces on other bodies", force[:, others], torch.zeros(2, len(others), 3), 0.1)
    sim.reset(torch.tensor([1]), resting_states(sim.model, 1, height=3.0))
    kept = sim.state().contact_force
    assert kept is not None
    bench.near("forces of world 0 after a reset of world 1", kept[0].sum(0)[2], total[0, 2], 0.1)
    require(not bool(kept[1].any()), "a world that was reset still has contact forces")


@contract
def same_input_same_bits(bench: Bench) -> None:
    """Two simulators, same input, same trajectory; the number of threads does not matter."""
    finals = []
    for threads in (1, 1, 2):
        sim = bench.make(16, threads=threads)
        sim.reset(_all(sim), flying_states(sim.model, 16, height=1.0))
        for k in range(10):
            sim.step(_targets(sim, seed=k))
        finals.append(sim.state().clone())
    bench.same("twice", finals[0], finals[1])
    bench.same("one thread and two", finals[0], finals[2])


@contract
def divergence_is_contained(bench: Bench) -> None:
    """NaN in one world is reported for that world, harms no other, and ends with a reset."""
    sim, twin = bench.make(3), bench.make(3)
    start = flying_states(sim.model, 3)
    for s in (sim, twin):
        s.reset(_all(s), start)
    targets = _targets(sim)
    poisoned = targets.clone()
    poisoned[1] = float("nan")
    sim.step(poisoned)
    twin.step(targets)
    require(sim.diverged().tolist() == [False, True, False], f"diverged() says {sim.diverged().tolist()}")
    bench.same("beside a diverged world", sim.state(), twin.state(), rows=(0, 2))
    sim.reset(torch.tensor([1]), start.index(torch.tensor([1])))
    require(not bool(sim.diverged().any()), "diverged() still set after the reset")
    for s in (sim, twin):
        s.step(targets)
    require(not bool(sim.diverged().any()), "a world that was reset diverged again")
    require(bool(sim.state().is_finite().all()), "the state is not finite after the reset")
    bench.same("beside a world that was reset", sim.state(), twin.state(), rows=(0, 2))


@contract
def impossible_input_is_refused(bench: Bench) -> None:
    """NaN states, unknown or repeated worlds and wrong shapes are errors of ours, not crashes."""
    sim = bench.make(2)
    good = flying_states(sim.model, 2)
    bad = replace(good, dof_pos=good.dof_pos.clone())
    bad.dof_pos[1, 0] = float("nan")
    attempts = {
        "a NaN pose": lambda: sim.reset(_all(sim), bad),
        "world 2 of 2": lambda: sim.reset(torch.tensor([0, 2]), good),
        "a world twice": lambda: sim.reset(torch.tensor([1, 1]), good),
        "too few states": lambda: sim.reset(_all(sim), good.index(torch.tensor([0]))),
        "targets of the wrong shape": lambda: sim.step(torch.zeros(2, 3)),
    }
    for what, attempt in attempts.items():
        try:
            attempt()
        except IsaacmmError:
            continue
        raise AssertionError(f"{what} was accepted")


# ------------------------------------------------------------------------ capabilities
@contract
def push_acts_once_where_asked(bench: Bench) -> None:
    """A push follows plain MuJoCo, acts during one step, and on the named worlds only."""
    sim, twin = bench.make(3), bench.make(3)
    _needs(sim, "push")
    body, force = sim.model.skeleton.names[0], torch.tensor([[300.0, -200.0, 100.0]])
    start = flying_states(sim.model, 3)
    golden = PlainMujoco(sim.model)
    golden.reset(start, 1)
    for s in (sim, twin):
        s.reset(_all(s), start)
    sim.push(torch.tensor([1]), body, force)
    for k in range(3):
        sim.step(start.dof_pos)
        twin.step(start.dof_pos)
        golden.step(start.dof_pos[1], 4, push=(body, force[0]) if k == 0 else None)
        if "contact_force" in sim.capabilities:
            contact = sim.state().contact_force
            assert contact is not None
            bench.near("contact_force in the air", contact, torch.zeros_like(contact), 0.1)
    bench.compare_golden("pushed", sim.state(), 1, golden)
    bench.same("worlds not pushed", sim.state(), twin.state(), rows=(0, 2))


@contract
def gains_can_differ_by_world(bench: Bench) -> None:
    """Per-world stiffness and damping follow plain MuJoCo with the same gains."""
    sim = bench.make(3)
    _needs(sim, "gains")
    kp, kd = sim.model.kp.cpu().repeat(3, 1), sim.model.kd.cpu().repeat(3, 1)
    kp[1] *= 0.5
    kd[2] *= 2.0
    sim.set_gains(kp, kd)
    start = flying_states(sim.model, 3)
    golden = [PlainMujoco(sim.model, kp=kp[row], kd=kd[row]) for row in range(3)]
    sim.reset(_all(sim), start)
    for row, world in enumerate(golden):
        world.reset(start, row)
    for k in range(5):
        targets = _targets(sim, seed=k)
        sim.step(targets)
        for row, world in enumerate(golden):
            world.step(targets[row], 4)
    for row, world in enumerate(golden):
        bench.compare_golden("own gains", sim.state(), row, world)


@contract
def snapshot_continues_bit_exactly(bench: Bench) -> None:
    """Saved to a file and restored in another simulator, a run in full contact goes on with the same bits."""
    sim, other = bench.make(4), bench.make(4)
    _needs(sim, "snapshot")
    if "gains" in sim.capabilities:
        sim.set_gains(sim.model.kp.cpu() * torch.tensor([[1.0], [0.9], [1.1], [1.2]]), None)
    sim.reset(_all(sim), flying_states(sim.model, 4, height=0.7))
    for k in range(30):
        sim.step(_targets(sim, seed=k) * 0.2)
    file = io.BytesIO()
    torch.save(sim.snapshot(), file)
    at_snapshot = sim.state().clone()
    other.reset(_all(other), flying_states(sim.model, 4, seed=5))
    other.step(_targets(other))
    file.seek(0)
    other.restore(torch.load(file, weights_only=True))
    bench.same("right after restore", at_snapshot, other.state())
    for k in range(20):
        for s in (sim, other):
            s.step(_targets(s, seed=100 + k) * 0.2)
        if k == 10:
            for s in (sim, other):
                s.reset(torch.tensor([2]), flying_states(s.model, 1, seed=6, height=1.0))
    bench.same("20 steps after restore", sim.state(), other.state())
    bench.same_inside("20 steps after restore", sim, other)
