"""Contract: drives and physics, against plain MuJoCo and against arithmetic."""

from __future__ import annotations

import torch

from isaacmm import rotation
from isaacmm.sim.contract.bench import Bench, Skip, contract, every, needs, require, targets_for
from isaacmm.sim.contract.reference import PlainMujoco, flying_states, resting_states


@contract
def every_dof_moves_by_name(bench: Bench) -> None:
    """World i pulls hinge i only: that hinge leads the way, in the direction asked for."""
    dofs = len(bench.make(1).model.skeleton.dof_names)
    sim = bench.make(dofs)
    start = resting_states(sim.model, dofs, height=3.0)
    low, high = sim.model.skeleton.dof_limits.unbind(-1)
    start.dof_pos = (low + high).expand(dofs, -1) / 2
    sim.reset(every(sim), start)
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
    sim.reset(every(sim), start)
    for row, world in enumerate(golden):
        world.reset(start, row)
    for k in range(10):
        targets = targets_for(sim, seed=k)
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
    sim.reset(every(sim), start)
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
    sim.reset(every(sim), start)
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
        sim.reset(every(sim), start)
        golden.reset(start, 0)
        for k in range(4):
            targets = targets_for(sim, seed=k)
            sim.step(targets)
            golden.step(targets[0], physics_hz // control_hz)
        bench.compare_golden(f"{control_hz} Hz control, {physics_hz} Hz physics", sim.state(), 0, golden)


@contract
def free_fall_obeys_gravity(bench: Bench) -> None:
    """A still pose in the air falls like a stone and keeps its horizontal speed."""
    sim = bench.make(1)
    start = resting_states(sim.model, 1, height=10.0)
    start.root_vel = torch.tensor([[1.0, -2.0, 3.0]])
    sim.reset(every(sim), start)
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
    sim.reset(every(sim), start)
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
    # an engine of its own mind gets a pose that any can mend: some push bodies deep in each other out the wrong way
    chosen = max(overlap) if bench.tol.same_contacts else min(o for o in overlap if o >= 0.02)
    start = candidates.index(torch.tensor([overlap.index(chosen)]))
    left = {}
    for on in (False, True):
        sim = bench.make(1, self_collision=on)
        golden = PlainMujoco(sim.model, self_collision=on)
        sim.reset(every(sim), start)
        golden.reset(start, 0)
        for _ in range(2 if bench.tol.same_contacts else 6):
            sim.step(start.dof_pos)
            golden.step(start.dof_pos[0], 4)
        if bench.tol.same_contacts or not on:
            bench.compare_golden(f"self_collision={on}", sim.state(), 0, golden)
        judge = PlainMujoco(sim.model, self_collision=True)
        judge.reset(sim.state().to("cpu").reset_state(), 0)
        left[on] = judge.self_overlap()
    require(
        left[True] < 0.5 * left[False],
        f"bodies {chosen:.3f} m inside each other are so by {left[True]:.3f} m after some steps with "
        f"self_collision, by {left[False]:.3f} m without",
    )


@contract
def standing_forces_carry_the_weight(bench: Bench) -> None:
    """At rest the floor pushes up with the weight, on the feet and on nothing else."""
    sim = bench.make(2)
    needs(sim, "contact_force")
    start = resting_states(sim.model, 2)
    sim.reset(every(sim), start)
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
