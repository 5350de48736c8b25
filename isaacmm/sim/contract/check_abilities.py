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
    during, after = [], []
    for poison in (True, False):
        sim = bench.make(3)
        start, targets = flying_states(sim.model, 3), targets_for(sim)
        sim.reset(every(sim), start)
        poisoned = targets.clone()
        poisoned[1] = float("nan")
        sim.step(poisoned if poison else targets)
        said = sim.diverged().tolist()
        require(said == [False, poison, False], f"diverged() says {said}")
        during.append(sim.state().clone())
        if poison:
            sim.reset(torch.tensor([1]), start.index(torch.tensor([1])))
            require(not bool(sim.diverged().any()), "diverged() still set after the reset")
        sim.step(targets)
        require(not bool(sim.diverged().any()), "a world that was reset diverged again")
        require(bool(sim.state().is_finite().all()), "the state is not finite after the reset")
        after.append(sim.state().clone())
    bench.same("beside a diverged world", during[0], during[1], rows=(0, 2))
    bench.same("beside a world that was reset", after[0], after[1], rows=(0, 2))


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
    ends = []
    for pushed in (True, False):
        sim = bench.make(3)
        needs(sim, "push")
        body, force = sim.model.skeleton.names[0], torch.tensor([[300.0, -200.0, 100.0]])
        start = flying_states(sim.model, 3)
        golden = PlainMujoco(sim.model)
        golden.reset(start, 1)
        sim.reset(every(sim), start)
        if pushed:
            sim.push(torch.tensor([1]), body, force)
        for k in range(3):
            sim.step(start.dof_pos)
            golden.step(start.dof_pos[1], 4, push=(body, force[0]) if pushed and k == 0 else None)
            if "contact_force" in sim.capabilities:
                contact = sim.state().contact_force
                assert contact is not None
                bench.near("contact_force in the air", contact, torch.zeros_like(contact), 0.1)
        bench.compare_golden("pushed" if pushed else "not pushed", sim.state(), 1, golden)
        ends.append(sim.state().clone())
    bench.same("worlds not pushed", ends[0], ends[1], rows=(0, 2))


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
    file = io.BytesIO()
    starts, ends = [], []
    for restored in (False, True):
        sim = bench.make(4)
        needs(sim, "snapshot")
        if restored:
            sim.reset(every(sim), flying_states(sim.model, 4, seed=5))
            sim.step(targets_for(sim))
            file.seek(0)
            sim.restore(torch.load(file, weights_only=True))
        else:
            if "gains" in sim.capabilities:
                sim.set_gains(sim.model.kp.cpu() * torch.tensor([[1.0], [0.9], [1.1], [1.2]]), None)
            sim.reset(every(sim), flying_states(sim.model, 4, height=0.7))
            for k in range(30):
                sim.step(targets_for(sim, seed=k) * 0.2)
            torch.save(sim.snapshot(), file)
        starts.append(sim.state().clone())
        for k in range(20):
            sim.step(targets_for(sim, seed=100 + k) * 0.2)
            if k == 10:
                sim.reset(torch.tensor([2]), flying_states(sim.model, 1, seed=6, height=1.0))
        ends.append((sim.state().clone(), bench.inside(sim)))
    bench.same("right after restore", starts[0], starts[1])
    bench.same("20 steps after restore", ends[0][0], ends[1][0])
    bench.same_inside("20 steps after restore", ends[0][1], ends[1][1])


@contract
def several_live_side_by_side(bench: Bench) -> None:
    """Two simulators at once, stepped in turns, do what each does alone."""
    alone = bench.make(2)
    needs(alone, "several")
    start = flying_states(alone.model, 2)
    alone.reset(every(alone), start)
    alone.step(targets_for(alone))
    wanted = alone.state().clone()
    other = bench.make(3, beside=True)
    other.reset(every(other), flying_states(other.model, 3, seed=1))
    alone.reset(every(alone), start)
    other.step(targets_for(other))
    alone.step(targets_for(alone))
    other.step(targets_for(other))
    bench.same("beside another simulator", wanted, alone.state())
