"""Every simulator that can run here: speed, what our interface costs on top of its bare loop, memory, and the shares
of a training iteration.

    python benchmarks/simulators.py [--simulators mujoco warp isaaclab+newton] [--device cpu] [--worlds 64 256 1024]
        [--seconds 4] [--threads 1] [--training] [--json out.json] [--picture out.png]
    python benchmarks/simulators.py --from out.json [--picture out.png]      # print and draw again

Per simulator, number of worlds and scenario (*contact*: noisy targets, everybody stands up again every 40 steps, most
have fallen by then; *free*: the same in free fall) two loops take turns in blocks of a few control steps:

* *ours*: ``step()``, ``state()``, ``diverged()`` on torch tensors;
* *bare*: targets copied in and four physics steps in the engine's own fastest way (``mujoco.batch.Batch`` with its
  state brought up to date; one captured graph of ``mujoco_warp.step``; for Isaac Lab what its ``DirectRLEnv`` does),
  nothing read.

On a CPU, times are CPU seconds of one thread (``--threads 1``; PhysX has threads of its own, all of which count), which
a busy machine hardly changes; on a GPU they are wall seconds, with a synchronisation around each block.
``--training`` runs iterations of ``launch.py`` and says how much of one is physics, matching, inference and learning;
on a GPU these are taken with synchronisations, and the rollout is watched for operations that wait for the GPU.
The last line is the smallest median ratio bare / ours.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import torch
from simulators_bare import BARE, Step, synchronise  # a neighbour: scripts are run from here

from isaacmm.character import CharacterModel
from isaacmm.errors import SimulatorError
from isaacmm.sim import SimConfig, make_simulator
from isaacmm.sim.contract.reference import resting_states
from isaacmm.sim.registry import flavours
from isaacmm.state import ResetState

EPISODE = 40  # control steps before everybody stands up again; an untrained character falls in about 35
BLOCK = 4
SCENARIOS = ("contact", "free")


# ------------------------------------------------------------------------- speed


def measure(
    name: str, device: str, worlds: int, scenario: str, seconds: float, threads: int
) -> dict[str, Any]:
    """One row of the table."""
    model = CharacterModel.load()
    gc.collect()
    before = _memory(device)
    engine, _, physics = name.partition("+")
    config = SimConfig(num_envs=worlds, threads=threads, device=device, contact_force=False, physics=physics)
    sim = make_simulator(engine, model, config)
    g = torch.Generator().manual_seed(0)
    dofs = model.skeleton.num_dofs
    targets = (0.2 * torch.randn(EPISODE, worlds, dofs, generator=g)).to(sim.device)
    start = resting_states(model, worlds, height=1000.0 if scenario == "free" else None)
    everybody = torch.arange(worlds)

    def ours(k: int) -> None:
        sim.step(targets[k])
        sim.state()
        sim.diverged()

    sim.reset(everybody, start)
    ours(0)
    synchronise(sim.device)
    used = _memory(device) - before
    memory = _bytes_per_world(sim, used)
    loops: dict[str, Step] = {"ours": ours}
    restart: Callable[[ResetState], None] | None = None
    if engine in BARE:
        loops["bare"], restart = BARE[engine](sim, targets)
    clock = time.perf_counter if sim.device.type == "cuda" or threads != 1 else time.process_time
    times: dict[str, list[float]] = {loop: [] for loop in loops}
    end, pair = time.perf_counter() + seconds, 0
    while pair < 4 or time.perf_counter() < end:
        first = pair * BLOCK % EPISODE
        if first == 0:
            sim.reset(everybody, start)
            if restart is not None:
                restart(start)
        for loop in sorted(loops, reverse=bool(pair % 2)):
            synchronise(sim.device)
            begin = clock()
            for k in range(first, first + BLOCK):
                loops[loop](k)
            synchronise(sim.device)
            times[loop].append(clock() - begin)
        pair += 1
    rate = {loop: worlds * BLOCK / statistics.median(taken[1:]) for loop, taken in times.items()}
    ratio = (
        statistics.median(b / o for b, o in zip(times["bare"][1:], times["ours"][1:], strict=True))
        if restart
        else None
    )
    sim.close()
    return {
        "simulator": name, "device": device, "worlds": worlds, "scenario": scenario, "pairs": pair - 1,
        "ours": rate["ours"], "bare": rate.get("bare"), "ratio": ratio,
        "kB_per_world": None if memory is None else memory / 1e3,
        "clock": "wall" if clock is time.perf_counter else "cpu",
    }  # fmt: skip


def _memory(device: str) -> float:
    """Bytes of the GPU in use."""
    free, total = torch.cuda.mem_get_info(device) if device.startswith("cuda") else (0, 0)
    return float(total - free)


def _bytes_per_world(sim: Any, used: float) -> float | None:
    """What the GPU gave, or the size of the engine's arrays; a process's own memory says nothing at these sizes."""
    if sim.device.type == "cuda":
        return used / sim.num_envs
    if not hasattr(sim, "nconmax"):
        return None
    from isaacmm.sim.warp_setup import bytes_per_world

    return float(bytes_per_world(sim.mj_model, sim.nconmax, sim.njmax))


# ---------------------------------------------------------------------- training


def training(
    name: str, device: str, task: str, worlds: int | None, threads: int, iterations: int
) -> dict[str, Any]:
    """Shares of an iteration, samples per second, and what in a rollout waited for the GPU."""
    from isaacmm.cli.compose import compose
    from isaacmm.learn.build import make_env
    from isaacmm.learn.rl_games.build import make_agent

    gpu = device.startswith("cuda")
    engine, _, physics = name.partition("+")
    words = [f"task={task}", f"preset={'gpu' if gpu else 'cpu'}", f"sim={engine}", f"threads={threads}"]
    words += [f"physics={physics}"] if physics else []
    words += [f"sim_device={device}", f"rl_device={device}"] + ([f"num_envs={worlds}"] if worlds else [])
    cfg, _ = compose(words)
    with tempfile.TemporaryDirectory() as folder:
        agent = make_agent(cfg, make_env(cfg), Path(folder) / "run")
        agent.start()
        agent.iterate()  # warms up
        synchronise(torch.device(device))
        begin = time.perf_counter()
        free = [agent.iterate() for _ in range(iterations)]
        synchronise(torch.device(device))
        wall = time.perf_counter() - begin
        waits = count_waits(agent) if gpu else None
        if gpu:
            _time_with_synchronisation(agent, torch.device(device))
            free = [agent.iterate() for _ in range(iterations)]
        shares = {
            part: statistics.mean(s[f"time_{part}"] for s in free)
            for part in ("physics", "matching", "inference", "learning")
        }
        shares["inference"] -= shares["matching"]  # which the trainer counts as part of the rollout
        samples = agent.env.num_envs * agent.horizon_length * iterations
        row = {
            "simulator": name, "device": device, "task": task, "worlds": agent.env.num_envs,
            "samples_per_second": samples / wall, "shares": shares, "waits": waits,
        }  # fmt: skip
        agent.env.close()
        agent.writer.close()
    return row


def count_waits(agent: Any) -> dict[str, int]:
    """Lines of a rollout's steps in which torch waited for the GPU, and how often, in one horizon."""
    before = torch.cuda.get_sync_debug_mode()
    step, counted = agent.env.step, {"steps": 0}
    found: dict[str, int] = {}

    def watched(actions: torch.Tensor) -> Any:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                out = step(actions)
            finally:
                torch.cuda.set_sync_debug_mode(before)
        counted["steps"] += 1
        for warning in caught:
            if "synchroniz" in str(warning.message):
                line = f"{Path(warning.filename).name}:{warning.lineno}"
                found[line] = found.get(line, 0) + 1
        return out

    agent.env.step = watched
    try:
        agent.obs = agent.rollouts.collect(agent.obs).last_obs
    finally:
        del agent.env.step
    return counted | found


def _time_with_synchronisation(agent: Any, device: torch.device) -> None:
    """From now on the agent's clocks tell what the GPU did, and no longer what Python asked for."""
    for thing, method in (
        (agent.env.simulator, "step"),
        (agent.env, "_look_ahead"),
        (agent.rollouts, "collect"),
    ):
        inner = getattr(thing, method)

        def timed(*args: Any, inner: Callable[..., Any] = inner) -> Any:
            torch.cuda.synchronize(device)
            out = inner(*args)
            torch.cuda.synchronize(device)
            return out

        setattr(thing, method, timed)


# ------------------------------------------------------------------------ output


def table(found: dict[str, Any]) -> str:
    """Everything that was measured, as Markdown."""
    lines = [f"{found['machine']}, {found['date']}; {found['versions']}", ""]
    lines += [
        "| simulator | worlds | scenario | ours | bare | bare / ours time | kB per world |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in found["speed"]:
        bare = "" if r["bare"] is None else f"{r['bare']:,.0f}"
        ratio = "" if r["ratio"] is None else f"{r['ratio']:.2f}"
        lines.append(
            f"| {r['simulator']} on {r['device']} | {r['worlds']:,} | {r['scenario']} | {r['ours']:,.0f} | {bare} | "
            f"{ratio} | {'' if r['kB_per_world'] is None else format(r['kB_per_world'], '.0f')} |"
        )
    lines.append("")
    clocks = {r["clock"] for r in found["speed"]}
    lines.append(
        "Control steps per second of "
        + " and ".join({"cpu": "CPU time", "wall": "wall time"}[c] for c in sorted(clocks))
    )
    if found["training"]:
        lines += [
            "",
            "| training | worlds | samples/s (wall) | physics | matching | inference | learning | waits in a horizon |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for r in found["training"]:
            parts = " | ".join(
                f"{r['shares'][p]:.0%}" for p in ("physics", "matching", "inference", "learning")
            )
            waits = "" if r["waits"] is None else ", ".join(f"{k} {v}" for k, v in r["waits"].items())
            lines.append(
                f"| {r['task']}, {r['simulator']} on {r['device']} | {r['worlds']:,} | "
                f"{r['samples_per_second']:,.0f} | {parts} | {waits} |"
            )
    return "\n".join(lines)


def draw(found: dict[str, Any], path: Path) -> None:
    """Speed over worlds, and where an iteration's time goes."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), width_ratios=(3, 2))
    colours = dict(
        zip(
            dict.fromkeys(r["simulator"] for r in found["speed"]),
            ("#c8553d", "#3d7ea6", "#5a9367", "#8d6a9f"),
            strict=False,
        )
    )
    for name, colour in colours.items():
        for scenario, style in (("contact", "o-"), ("free", "s--")):
            rows = [r for r in found["speed"] if r["simulator"] == name and r["scenario"] == scenario]
            left.plot(
                [r["worlds"] for r in rows],
                [r["ours"] for r in rows],
                style,
                color=colour,
                ms=4,
                label=f"{name}, {scenario}",
            )
        rows = [
            r for r in found["speed"] if r["simulator"] == name and r["scenario"] == "contact" and r["bare"]
        ]
        left.plot(
            [r["worlds"] for r in rows],
            [r["bare"] for r in rows],
            ":",
            color=colour,
            alpha=0.7,
            label=f"{name}, contact, bare loop",
        )
    left.set(xscale="log", yscale="log", xlabel="worlds", ylabel="control steps / s")
    ticks = sorted({r["worlds"] for r in found["speed"]})
    left.set_xticks(ticks, [f"{t:,}" for t in ticks], minor=False)
    left.minorticks_off()
    left.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3, frameon=False)
    left.set_title(
        "speed" + (" (CPU seconds of one thread)" if {r["clock"] for r in found["speed"]} == {"cpu"} else ""),
        fontsize=10,
    )
    labels = [f"{r['simulator']}\n{r['worlds']:,} worlds" for r in found["training"]]
    bottom = [0.0] * len(labels)
    for part, colour in zip(
        ("physics", "matching", "inference", "learning"),
        ("#c8553d", "#e0a458", "#5a9367", "#3d7ea6"),
        strict=True,
    ):
        share = [100.0 * r["shares"][part] for r in found["training"]]
        right.bar(labels, share, 0.6, bottom, color=colour, label=part)
        bottom = [b + s for b, s in zip(bottom, share, strict=True)]
    right.set(ylabel="% of a training iteration", ylim=(0, 100))
    right.set_title(found["training"][0]["task"] if found["training"] else "", fontsize=10)
    right.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=4, frameon=False)
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def machine(device: str) -> str:
    """What this ran on."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def versions() -> str:
    """Of everything that decides."""
    from importlib import metadata

    found = []
    for package in ("torch", "mujoco", "mujoco-warp", "warp-lang", "isaaclab", "newton", "ovphysx"):
        try:
            found.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    return ", ".join(found)


def main() -> None:
    """Measure, print, write down."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--simulators", nargs="+", default=[n for n, (_, _, why) in flavours().items() if why is None]
    )
    parser.add_argument("--device", default="cuda:0" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--worlds", type=int, nargs="+", default=[64, 256, 1024])
    parser.add_argument("--scenarios", nargs="+", default=list(SCENARIOS), choices=SCENARIOS)
    parser.add_argument("--seconds", type=float, default=4.0, help="per row")
    parser.add_argument("--threads", type=int, default=1, help="of MuJoCo; 0 = all cores")
    parser.add_argument("--training", action="store_true")
    parser.add_argument("--task", default="HumanoidMM")
    parser.add_argument("--train-worlds", type=int, nargs="+", help="(the preset's)")
    parser.add_argument("--iterations", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--from", dest="earlier", type=Path, help="print or draw an earlier --json")
    args = parser.parse_args()
    if args.earlier:
        found = json.loads(args.earlier.read_text())
    else:
        if args.threads == 1:
            torch.set_num_threads(1)
        found = {
            "machine": machine(args.device),
            "date": f"{date.today()}",
            "versions": versions(),
            "speed": [],
            "training": [],
        }
        for name in args.simulators:
            for worlds in args.worlds:
                for scenario in args.scenarios:
                    try:
                        row = measure(
                            name,
                            args.device if name != "mujoco" else "cpu",
                            worlds,
                            scenario,
                            args.seconds,
                            args.threads,
                        )
                    except SimulatorError as error:  # out of memory: the smaller sizes still count
                        print(f"{name}, {worlds} worlds: {error}", flush=True)
                        break
                    found["speed"].append(row)
                    print(
                        f"{name:18} {worlds:6d} {scenario:8} ours {row['ours']:10,.0f}/s   "
                        f"bare {row['bare'] or 0:10,.0f}/s",
                        flush=True,
                    )
        for name in args.simulators if args.training else ():
            for size in args.train_worlds or [None]:
                found["training"].append(
                    training(name, args.device, args.task, size, args.threads, args.iterations)
                )
    if args.json:
        args.json.write_text(json.dumps(found, indent=1))
    print("\n" + table(found))
    if args.picture:
        draw(found, args.picture)
    ratios = [r["ratio"] for r in found["speed"] if r["ratio"] is not None]
    if ratios:
        print(f"\nratio {min(ratios):.3f}")


if __name__ == "__main__":
    main()
