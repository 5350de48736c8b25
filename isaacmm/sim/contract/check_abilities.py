"""Contract: reproducibility, robustness, and what simulators may offer beyond stepping."""

from __future__ import annotations

import io
from dataclasses import replace

import torch

from isaacmm.errors import IsaacmmError
from isaacmm.sim.contract.bench import Bench, contract, every, needs, require, targets_for
from isaacmm.sim.contract.reference import PlainMujoco, flying_states


@contract
def same_input_same_bits(bench: Bench) -> None:
    """Two simulators, same input, same trajectory; the number of threads does not matter."""
    finals = []
    for threads in (1, 1, 2):
        sim = bench.make(16, threads=threads)
        sim.reset(every(sim), flying_states(sim.model, 16, height=1.0))
        for k in range(10):
            sim.step(targets_for(sim, seed=k))
        finals.append(sim.state().clone())
    bench.same("twice", finals[0], finals[1])
    bench.same("one thread and two", finals[0], finals[2])


@contract
def divergence_is_contained(bench: Bench) -> None:
    """NaN in one world is reported for that world, harms no other, and ends with a reset."""
    sim, twin = bench.make(3), bench.make(3)
    start = flying_states(sim.model, 3)
    for s in (sim, twin):
        s.reset(every(s), start)
    targets = targets_for(sim)
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
        "a NaN pose": lambda: sim.reset(every(sim), bad),
        "world 2 of 2": lambda: sim.reset(torch.tensor([0, 2]), good),
        "a world twice": lambda: sim.reset(torch.tensor([1, 1]), good),
        "too few states": lambda: sim.reset(every(sim), good.index(torch.tensor([0]))),
        "targets of the wrong shape": lambda: sim.step(torch.zeros(2, 3)),
    }
    for what, attempt in attempts.items():
        try:
            attempt()
        except IsaacmmError:
            continue
        raise AssertionError(f"{what} was accepted")


@contract
def push_acts_once_where_asked(bench: Bench) -> None:
    """A push follows plain MuJoCo, acts during one step, and on the named worlds only."""
    sim, twin = bench.make(3), bench.make(3)
    needs(sim, "push")
    body, force = sim.model.skeleton.names[0], torch.tensor([[300.0, -200.0, 100.0]])
    start = flying_states(sim.model, 3)
    golden = PlainMujoco(sim.model)
    golden.reset(start, 1)
    for s in (sim, twin):
        s.reset(every(s), start)
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
    needs(sim, "gains")
    kp, kd = sim.model.kp.cpu().repeat(3, 1), sim.model.kd.cpu().repeat(3, 1)
    kp[1] *= 0.5
    kd[2] *= 2.0
    sim.set_gains(kp, kd)
    start = flying_states(sim.model, 3)
    golden = [PlainMujoco(sim.model, kp=kp[row], kd=kd[row]) for row in range(3)]
    sim.reset(every(sim), start)
    for row, world in enumerate(golden):
        world.reset(start, row)
    for k in range(5):
        targets = targets_for(sim, seed=k)
        sim.step(targets)
        for row, world in enumerate(golden):
            world.step(targets[row], 4)
    for row, world in enumerate(golden):
        bench.compare_golden("own gains", sim.state(), row, world)


@contract
def snapshot_continues_bit_exactly(bench: Bench) -> None:
    """Saved to a file and restored in another simulator, a run in full contact goes on with the same bits."""
    sim, other = bench.make(4), bench.make(4)
    needs(sim, "snapshot")
    if "gains" in sim.capabilities:
        sim.set_gains(sim.model.kp.cpu() * torch.tensor([[1.0], [0.9], [1.1], [1.2]]), None)
    sim.reset(every(sim), flying_states(sim.model, 4, height=0.7))
    for k in range(30):
        sim.step(targets_for(sim, seed=k) * 0.2)
    file = io.BytesIO()
    torch.save(sim.snapshot(), file)
    at_snapshot = sim.state().clone()
    other.reset(every(other), flying_states(sim.model, 4, seed=5))
    other.step(targets_for(other))
    file.seek(0)
    other.restore(torch.load(file, weights_only=True))
    bench.same("right after restore", at_snapshot, other.state())
    for k in range(20):
        for s in (sim, other):
            s.step(targets_for(s, seed=100 + k) * 0.2)
        if k == 10:
            for s in (sim, other):
                s.reset(torch.tensor([2]), flying_states(s.model, 1, seed=6, height=1.0))
    bench.same("20 steps after restore", sim.state(), other.state())
    bench.same_inside("20 steps after restore", sim, other)
