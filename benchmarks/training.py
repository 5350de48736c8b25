"""What our training costs on top of the arithmetic: samples per second against a bare torch loop.

    python benchmarks/training.py [--worlds 128] [--pairs 6] [--threads 1] [--memory-worlds 1024]

*Ours* is an iteration of ``launch.py`` with the CPU preset: rollout, style reward, PPO, discriminator, and the
row in ``progress.csv`` and TensorBoard. *Bare* is ``bare_loop.py``: the same networks, minibatches, losses,
discriminator steps and the same simulator, in plain torch. They take turns, from the same weights, so that a
busy machine slows both alike; the ratio of a pair is bare time over ours, the figure is the median. Then:
where our time goes, what a checkpoint costs, and peak memory at many worlds (in a process of its own).
The last line is the ratio with physics included.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from bare_loop import BareLoop
from omegaconf import DictConfig

from isaacmm.cli.compose import compose
from isaacmm.learn import checkpoint
from isaacmm.learn.build import make_env
from isaacmm.learn.logging import TrainingLog
from isaacmm.learn.rl_games.agent import AMPAgent
from isaacmm.learn.rl_games.build import make_agent
from isaacmm.learn.train import content_of
from isaacmm.sim import make_simulator


def make(worlds: int, threads: int, folder: Path) -> tuple[AMPAgent, DictConfig]:
    """A fresh agent of the CPU preset."""
    words = [
        "task=HumanoidAMP",
        "preset=cpu",
        f"num_envs={worlds}",
        f"threads={threads}",
        "motion=walk_straight",
    ]
    cfg, _ = compose(words)
    return make_agent(cfg, make_env(cfg), folder), cfg


def measure(worlds: int, threads: int, pairs: int, folder: Path) -> float:
    """Both loops in turn; prints everything but memory and returns the ratio."""
    agent, cfg = make(worlds, threads, folder)
    log = TrainingLog(folder / "summaries")
    agent.start()
    bare = BareLoop(
        agent,
        make_simulator(
            "mujoco", agent.env.character, {"num_envs": worlds, "threads": threads, "contact_force": False}
        ),
    )
    samples = worlds * agent.horizon_length
    ours: list[tuple[float, float]] = []
    theirs: list[tuple[float, float]] = []
    shares: list[tuple[float, float, float]] = []
    for pair in range(pairs + 1):
        for who in ("bare", "ours") if pair % 2 else ("ours", "bare"):
            physics = agent.env.physics_seconds + bare.physics
            begin = time.perf_counter()
            if who == "ours":
                stats = agent.iterate()
                log.write(stats)
                shares.append((stats["time_physics"], stats["time_rollout_rest"], stats["time_learning"]))
            else:
                bare.iterate()
            seconds = time.perf_counter() - begin
            (ours if who == "ours" else theirs).append(
                (seconds, seconds - (agent.env.physics_seconds + bare.physics - physics))
            )
    log.close()
    ours, theirs, shares = ours[1:], theirs[1:], shares[1:]  # the first of each warms up

    print(f"{worlds} worlds x {agent.horizon_length} steps, {threads} thread(s), {pairs} pairs of iterations")
    ratio = 0.0
    for what, i in (("without physics", 1), ("with physics", 0)):
        a, b = (statistics.median(t[i] for t in times) for times in (ours, theirs))
        ratio = statistics.median(y[i] / x[i] for x, y in zip(ours, theirs, strict=True))
        print(f"{what:16} bare {samples / b:7.0f}   ours {samples / a:7.0f} samples/s   ratio {ratio:.3f}")
    physics, rest, learning = (statistics.median(s[i] for s in shares) for i in range(3))
    print(
        f"our time         physics {physics:.0%}   rest of the rollout {rest:.0%}   learning {learning:.0%}"
    )

    begin = time.perf_counter()
    path = folder / "nn" / "last.pth"
    checkpoint.save(path, content_of(agent, cfg))
    seconds = time.perf_counter() - begin
    every = cfg.train.params.config.save_frequency * statistics.median(t[0] for t in ours)
    full = agent.style.replay.data.numel() * 4 / 1e6
    print(
        f"checkpoint       {path.stat().st_size / 1e6:.0f} MB in {seconds:.2f} s, {seconds / every:.1%} of the time "
        f"(the replay buffer grows it to {full:.0f} MB more than the networks)"
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


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--memory-worlds", type=int, default=1024, help="0 leaves it out")
    parser.add_argument("--only-memory", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
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
