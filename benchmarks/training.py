"""What our training costs on top of the arithmetic: samples per second against a bare torch loop.

    python benchmarks/training.py [--worlds 128] [--pairs 6] [--threads 1] [--memory-worlds 1024]
    python benchmarks/training.py --side-by-side [--pairs 6]

*Ours* is an iteration of ``launch.py`` with the CPU preset: rollout, style reward, PPO, discriminator, and the
row in ``progress.csv`` and TensorBoard. *Bare* is ``bare_loop.py``: the same networks, minibatches, losses,
discriminator steps and the same simulator, in plain torch. They take turns, from the same weights; the ratio
of a pair is bare time over ours, the figure is the median. With one thread times are CPU seconds, which a busy
machine hardly changes. Then: where our time goes, what a checkpoint costs, and peak memory at many worlds (in
a process of its own). The last line is the ratio with physics included.

``--side-by-side`` instead: what ``parallel_update`` gains on two cores. Three agents of one seed take turns: one
thread; two threads inside torch's operations; actor, critic and discriminator in threads of their own. Physics has
two threads in the last two. Medians and minima of wall times, and CPU seconds, which tell what was spent on waiting
and switching. Ends with whether the first and the last agent are still the same to the last bit.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from bare_loop import BareLoop
from omegaconf import DictConfig

from isaacmm.cli.compose import compose
from isaacmm.learn import checkpoint
from isaacmm.learn.build import make_env
from isaacmm.learn.logging import TrainingLog
from isaacmm.learn.rl_games.agent import AMPAgent
from isaacmm.learn.rl_games.build import make_agent
from isaacmm.learn.rl_games.rollout import Batch
from isaacmm.learn.train import content_of
from isaacmm.sim import Simulator, make_simulator


def make(worlds: int, threads: int, folder: Path, *more: str) -> tuple[AMPAgent, DictConfig]:
    """A fresh agent of the CPU preset."""
    words = [
        *more,
        "task=HumanoidAMP",
        "preset=cpu",
        f"num_envs={worlds}",
        f"threads={threads}",
        "motion=walk_straight",
    ]
    cfg, _ = compose(words)
    return make_agent(cfg, make_env(cfg), folder), cfg


class Stopwatch:
    """A simulator's own time, taken at its two calls."""

    def __init__(self, simulator: Simulator, clock: Callable[[], float]) -> None:
        self.seconds = 0.0
        for name in ("step", "state"):
            setattr(simulator, name, self._timed(getattr(simulator, name), clock))

    def _timed(self, call: Callable[..., Any], clock: Callable[[], float]) -> Callable[..., Any]:
        def timed(*args: Any) -> Any:
            begin = clock()
            result = call(*args)
            self.seconds += clock() - begin
            return result

        return timed


def measure(worlds: int, threads: int, pairs: int, folder: Path) -> float:
    """Both loops in turn; prints everything but memory and returns the ratio."""
    clock = time.process_time if threads == 1 else time.perf_counter
    agent, cfg = make(worlds, threads, folder)
    log = TrainingLog(folder / "summaries")
    agent.start()
    settings = {"num_envs": worlds, "threads": threads, "contact_force": False}
    bare = BareLoop(agent, make_simulator("mujoco", agent.env.character, settings))
    watches = {"ours": Stopwatch(agent.env.simulator, clock), "bare": Stopwatch(bare.sim, clock)}
    times: dict[str, list[tuple[float, float, float]]] = {"ours": [], "bare": []}  # all, physics, rollout
    collect, collected = agent.rollouts.collect, [0.0]

    def timed_collect(obs: torch.Tensor) -> Batch:
        begin = clock()
        batch = collect(obs)
        collected[0] = clock() - begin
        return batch

    agent.rollouts.collect = timed_collect  # type: ignore[method-assign]
    for pair in range(pairs + 1):
        for who in ("bare", "ours") if pair % 2 else ("ours", "bare"):
            before, begin = watches[who].seconds, clock()
            if who == "ours":
                log.write(agent.iterate())
            else:
                bare.iterate()
            times[who].append((clock() - begin, watches[who].seconds - before, collected[0]))
    log.close()
    ours, theirs = times["ours"][1:], times["bare"][1:]  # the first of each warms up

    samples = worlds * agent.horizon_length
    unit = "samples per CPU second" if threads == 1 else "samples/s"
    print(f"{worlds} worlds x {agent.horizon_length} steps, {threads} thread(s), {pairs} pairs of iterations")
    ratio = 0.0
    for what, share in (("without physics", 1.0), ("with physics", 0.0)):
        a, b = ([total - share * physics for total, physics, _ in rows] for rows in (ours, theirs))
        ratio = statistics.median(y / x for x, y in zip(a, b, strict=True))
        rates = [samples / statistics.median(rows) for rows in (b, a)]
        print(f"{what:16} bare {rates[0]:6.0f}   ours {rates[1]:6.0f} {unit}   ratio {ratio:.3f}")
    parts = (
        ("physics", [physics / total for total, physics, _ in ours]),
        ("rest of the rollout", [(rollout - physics) / total for total, physics, rollout in ours]),
        ("learning", [(total - rollout) / total for total, _, rollout in ours]),
    )
    print("our time         " + "   ".join(f"{name} {statistics.median(rows):.0%}" for name, rows in parts))

    path = folder / "nn" / "last.pth"
    agent.style.replay.filled = agent.style.replay.capacity  # as large as it becomes
    begin = time.process_time()
    checkpoint.save(path, content_of(agent, cfg))
    seconds = time.process_time() - begin
    every = int(cfg.train.params.config.save_frequency) * statistics.median(total for total, _, _ in ours)
    print(
        f"checkpoint       {path.stat().st_size / 1e6:.0f} MB in {seconds:.2f} CPU seconds, {seconds / every:.1%} of "
        "the time at the preset's save_frequency"
    )
    agent.env.close()
    return ratio


def memory(worlds: int, threads: int, folder: Path) -> None:
    """Two iterations at many worlds; prints the most memory this process ever held."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    agent, _ = make(worlds, threads, folder)
    agent.start()
    for _ in range(2):
        agent.iterate()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"memory           {worlds} worlds: {peak:.0f} MiB at most, {before:.0f} MiB of it Python and its packages"
    )


def side_by_side(worlds: int, rounds: int, folder: Path) -> None:
    """Agents that share two cores in different ways, in turn; prints their times and whether they agree."""
    ways = {"one thread": (1, False), "in operations": (2, False), "side by side": (2, True)}
    agents, drawn = {}, {}
    times: dict[str, list[tuple[float, float, float]]] = {name: [] for name in ways}  # wall, CPU, learning
    for name, (threads, on) in ways.items():
        word = f"train.params.config.parallel_update={on}"
        agents[name], _ = make(worlds, threads, folder / name.replace(" ", "_"), word)
        agents[name].start()
        drawn[name] = torch.get_rng_state()
    for _ in range(rounds + 1):
        for name, (threads, on) in ways.items():
            torch.set_num_threads(1 if on else threads)
            torch.set_rng_state(drawn[name])  # actions come from the process's generator
            wall, cpu = time.perf_counter(), time.process_time()
            stats = agents[name].iterate()
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            times[name].append((wall, cpu, stats["time_learning"] * wall))
            drawn[name] = torch.get_rng_state()
    samples = worlds * agents["one thread"].horizon_length
    middle = {}
    for name, rows in times.items():
        wall, cpu, learning = (statistics.median(column) for column in zip(*rows[1:], strict=True))
        best = min(row[0] for row in rows[1:])
        least = min(row[2] for row in rows[1:])
        middle[name] = (wall, best, least)
        print(
            f"{name:14} {wall:.3f} s, best {best:.3f} s ({samples / best:.0f} samples/s), {cpu:.3f} CPU s; "
            f"learning {learning:.3f} s, best {least:.3f} s"
        )
    for name in ("one thread", "in operations"):
        ratios = [a[0] / b[0] for a, b in zip(times[name][1:], times["side by side"][1:], strict=True)]
        bests = [a / b for a, b in zip(middle[name], middle["side by side"], strict=True)]
        print(
            f"side by side is {statistics.median(ratios):.2f} times as fast as {name} (median of {rounds} rounds), "
            f"{bests[1]:.2f} by the best iteration, {bests[2]:.2f} by its learning alone"
        )
    a, b = (
        [*agents[name].model.state_dict().values(), *agents[name].style.discriminator.state_dict().values()]
        for name in ("one thread", "side by side")
    )
    same = all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    print(f"weights after {rounds + 1} iterations: {'the same to the last bit' if same else 'DIFFERENT'}")
    for agent in agents.values():
        agent.env.close()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--memory-worlds", type=int, default=1024, help="0 leaves it out")
    parser.add_argument("--side-by-side", action="store_true", help="what parallel_update gains, instead")
    parser.add_argument("--only-memory", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if args.side_by_side:
            side_by_side(args.worlds, args.pairs, Path(folder))
            return
        if args.only_memory:
            memory(args.memory_worlds, args.threads, Path(folder) / "run")
            return
        ratio = measure(args.worlds, args.threads, args.pairs, Path(folder) / "run")
        torch.set_num_threads(1)
    if args.memory_worlds:
        subprocess.run([sys.executable, __file__, *sys.argv[1:], "--only-memory"], check=True)
    print(f"ratio {ratio:.3f}")


if __name__ == "__main__":
    main()
