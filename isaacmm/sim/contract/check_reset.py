"""Contract: shapes, numbers of worlds, and resets."""

from __future__ import annotations

import socket
from unittest import mock

import torch

from isaacmm import rotation
from isaacmm.sim.contract.bench import Bench, contract, every, require, targets_for
from isaacmm.sim.contract.reference import body_motion, flying_states, resting_states
from isaacmm.state import ResetState


@contract
def shapes_and_units(bench: Bench) -> None:
    """Float32 tensors of the promised shapes, unit quaternions, root = first body, honest control_dt."""
    sim = bench.make(3, control_hz=30, physics_hz=120)
    bodies, dofs = sim.model.skeleton.num_bodies, sim.model.skeleton.num_dofs
    require(abs(sim.control_dt - 1 / 30) < 1e-12, f"control_dt is {sim.control_dt}, not 1/30 s")
    sim.reset(every(sim), flying_states(sim.model, 3))
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
        sim.reset(every(sim), first)
        for _ in range(5):
            sim.step(targets_for(sim)[:1].expand(n, -1))
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
        sim.reset(every(sim), resting_states(sim.model, 1))
        sim.step(torch.zeros(1, sim.model.skeleton.num_dofs))


@contract
def reset_is_exact_before_any_step(bench: Bench) -> None:
    """Root, dofs, and the kinematics of every body, velocities included, right after the reset."""
    sim = bench.make(8)
    wanted = flying_states(sim.model, 8)
    sim.reset(every(sim), wanted)
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
    sim.reset(every(sim), state)
    got = sim.state().root_rot.cpu()
    bench.near("root_rot", got * got[..., 3:].sign(), state.root_rot, 1e-5)
    up = torch.tensor([[0.0, 0.0, 1.0]])
    bench.near("up vector", rotation.rotate(got, up), rotation.rotate(state.root_rot, up), 1e-5)


@contract
def partial_reset_leaves_others_alone(bench: Bench) -> None:
    """Worlds that are not named keep every bit, now and later; order of names does not matter."""
    ends = []
    for disturbed in (True, False):
        sim = bench.make(6)
        start, other = flying_states(sim.model, 6), flying_states(sim.model, 3, seed=1)
        sim.reset(every(sim), start)
        sim.step(targets_for(sim))
        if disturbed:
            before = sim.state().clone()
            sim.reset(torch.tensor([4, 0, 3]), other)
            after = sim.state().clone()
            bench.same("right after a partial reset", before, after, rows=(1, 2, 5))
            got, wanted = after.index(torch.tensor([4, 0, 3])), body_motion(sim.model, other)
            bench.near("dof_pos of the worlds reset as 4, 0, 3", got.dof_pos, other.dof_pos, bench.tol.kinematics)
            bench.compare_kinematics("worlds reset as 4, 0, 3", got, wanted)
        sim.step(targets_for(sim, seed=8))
        ends.append(sim.state().clone())
    bench.same("a step after a partial reset", ends[0], ends[1], rows=(1, 2, 5))


@contract
def empty_reset_does_nothing(bench: Bench) -> None:
    """An empty list of worlds is a no-op, in the middle of a run as well."""
    sim = bench.make(3)
    sim.reset(every(sim), flying_states(sim.model, 3))
    sim.step(targets_for(sim))
    before = sim.state().clone()
    sim.reset(torch.zeros(0, dtype=torch.int64), flying_states(sim.model, 0))
    bench.same("after an empty reset", before, sim.state())


@contract
def reset_forgets_the_past(bench: Bench) -> None:
    """A world that was reset behaves like a new one: no warm start, force or target left over."""
    ends = []
    for used in (True, False):
        sim = bench.make(2)
        start = resting_states(sim.model, 2)
        start.root_pos[:, 2] -= 0.002  # pressed into the floor: the solver has something to start from
        if used:
            sim.reset(every(sim), flying_states(sim.model, 2, height=0.7))
            for _ in range(10):
                sim.step(targets_for(sim))
        sim.reset(every(sim), start)
        for _ in range(5):
            sim.step(torch.zeros(2, sim.model.skeleton.num_dofs))
        ends.append((sim.state().clone(), bench.inside(sim)))
    bench.same("used and new", ends[0][0], ends[1][0])
    bench.same_inside("used and new", ends[0][1], ends[1][1])


@contract
def arguments_are_left_alone(bench: Bench) -> None:
    """Inputs are neither changed nor kept, and reading the state twice gives the same."""
    sim = bench.make(2)
    start, targets = flying_states(sim.model, 2), targets_for(sim)
    copy, targets_copy = start.index(torch.arange(2)), targets.clone()
    sim.reset(every(sim), start)
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
