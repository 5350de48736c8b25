"""One run from banner to list of artefacts: the part between a configuration and the trainer."""

from __future__ import annotations

import importlib
import shlex
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from isaacmm import __version__
from isaacmm.cli import fits, runs
from isaacmm.cli.console import Console, StopRequest, duration, shown
from isaacmm.cli.runs import Run
from isaacmm.cli.tracking import tracked

Work = Callable[[DictConfig, Run], None]


def run(cfg: DictConfig, notes: Sequence[str] = ()) -> int:
    """Prepare the run folder, train or play, and say what came out of it.

    Returns:
        0, or 128 + the signal's number when a signal asked for an early end.
    """
    folder, said = prepare_folder(cfg)
    with runs.locked(folder):
        console = Console(folder / runs.LOG_FILE)
        console.log(f"{datetime.now():%Y-%m-%d} {shlex.join(sys.argv)}")
        stop = StopRequest()
        checkpoint = Path(cfg.checkpoint) if cfg.checkpoint else None
        work = Run(folder, console, stop, checkpoint, bool(cfg.resume))
        began = time.monotonic()
        try:
            save_config(cfg, folder)
            banner(cfg, work, [*said, *notes])
            with stop.installed(), tracked(cfg, folder):
                (fit_worker if fits.is_fit(cfg.task.name) else worker)(bool(cfg.test))(cfg, work)
            console.say(f"\nDone after {duration(time.monotonic() - began).removeprefix('about ')}.")
            if stop:
                console.say(f"Stopped on request. To go on: resume=True experiment={folder.name}")
            console.artefacts(folder)
        except BaseException as error:
            console.log("".join(traceback.format_exception(error)))
            if runs.checkpoints(folder):
                console.say(f"To go on from the last checkpoint: resume=True experiment={folder.name}")
            raise
        finally:
            console.close()
    return stop.exit_code


def worker(test: bool) -> Work:
    """The function that does the work, imported only now: it brings torch, MuJoCo and rl-games."""
    module, name = ("isaacmm.learn.play", "play") if test else ("isaacmm.learn.train", "train")
    found: Work = getattr(importlib.import_module(module), name)
    return found


def fit_worker(test: bool) -> Work:
    """As :func:`worker`, for networks that learn from clips alone."""
    found: Work = getattr(importlib.import_module("isaacmm.learn.fit_run"), "test" if test else "train")
    return found


def prepare_folder(cfg: DictConfig) -> tuple[Path, list[str]]:
    """Make or find the folder this run writes to; ``cfg.experiment`` becomes its name.

    Training makes ``runs_dir/<experiment>``, resuming goes on in the run's own, and playing makes
    ``test_1``, ``test_2``, ... inside the run of the checkpoint (or a run folder of its own when
    ``experiment=`` says so or the checkpoint belongs to none).
    """
    runs_dir = Path(str(cfg.runs_dir))
    said: list[str] = []
    if cfg.resume:
        return runs_dir / str(cfg.experiment), said
    owner = runs.run_of(Path(cfg.checkpoint)) if cfg.checkpoint else None
    if cfg.test and owner is not None and not cfg.experiment:
        folder = runs.create_numbered(owner, "test")
        cfg.experiment = f"{owner.name}/{folder.name}"
        return folder, said
    name = str(cfg.experiment) or runs.default_name(str(cfg.task.name))
    folder = runs.create(runs_dir, name)
    if folder.name != name:
        said.append(
            f"{runs_dir / name} exists and is left alone; this run is called {folder.name}. "
            "(To go on with the other: resume=True)"
        )
    cfg.experiment = folder.name
    if not fits.is_fit(cfg.task.name):
        OmegaConf.update(cfg, "train.params.config.full_experiment_name", folder.name)
    return folder, said


def save_config(cfg: DictConfig, folder: Path) -> None:
    """Write the resolved configuration, complete or not at all."""
    path = folder / runs.CONFIG_FILE
    partial = path.with_suffix(".yaml.part")
    partial.write_text(OmegaConf.to_yaml(cfg, resolve=True), encoding="utf-8")
    partial.replace(path)


def banner(cfg: DictConfig, run: Run, notes: Sequence[str]) -> None:
    """Say what is about to happen."""
    console, fitted = run.console, fits.is_fit(cfg.task.name)
    play = "evaluating" if fitted else "playing"
    verb = play if cfg.test else "going on with" if run.resume else "training"
    console.say(f"isaacmm {__version__}: {verb} {cfg.task.name}")
    rows = [("motions", _motions(cfg))]
    rows += fits.rows(cfg) if fitted else _simulated(cfg)
    if run.checkpoint:
        rows.append(("starts from", shown(run.checkpoint)))
    rows += [("seed", str(cfg.seed)), ("folder", f"{shown(run.path)}/")]
    console.table(rows)
    for note in notes:
        console.say(f"  note: {note}")
    if not cfg.test:
        console.say("  Ctrl-C stops with a checkpoint; resume=True goes on.")
    console.say()


def _simulated(cfg: DictConfig) -> list[tuple[str, str]]:
    """Rows of the banner about a policy and its worlds."""
    from isaacmm.sim import registry  # brings torch

    ranks = int(cfg.get("ranks", 1))
    each = f" in each of {ranks} processes" if ranks > 1 else ""
    where = f"{registry.label(cfg)} on {cfg.sim_device}"
    rows = [
        ("simulator", f"{where}, {cfg.num_envs} worlds{each}, learning on {cfg.rl_device}"),
        ("preset", str(cfg.preset.name)),
    ]
    if not cfg.test:
        rows += [
            ("reward", _reward(cfg.train.params.config)),
            ("length", length(cfg)),
        ]
    return rows


def length(cfg: DictConfig) -> str:
    """How much is learned from and how long that should take."""
    config = cfg.train.params.config
    ranks = int(cfg.get("ranks", 1))
    samples = ranks * int(cfg.num_envs) * int(config.horizon_length) * int(config.max_epochs)
    # GPUs do not slow each other down; processes on one CPU share it
    speed = float(cfg.preset.samples_per_second) * (ranks if str(cfg.rl_device).startswith("cuda") else 1)
    seconds = samples / speed
    amount = f"{samples / 1e6:.2f} M" if samples >= 1e5 else f"{samples:,}"
    text = f"{config.max_epochs} iterations, {amount} samples"
    if cfg.max_minutes != "" and seconds > 60 * cfg.max_minutes:
        return f"{text}, at most {cfg.max_minutes:g} minutes"
    return f"{text}, {duration(seconds)}"


def _reward(config: DictConfig) -> str:
    names = {
        "mul": "task x style",
        "add": f"{config.task_reward_w:g} task + {config.disc_reward_w:g} style",
        "geo": "task and style, geometric mean",
    }
    return f"{config.reward_combine}: {names[config.reward_combine]}"


def _motions(cfg: DictConfig) -> str:
    clips = cfg.motion.get("clips", [])
    name = str(cfg.motion.get("name", ""))
    first = clips[0] if clips else ""
    files = str(first if isinstance(first, str) else first.get("file", ""))
    more = f" and {len(clips) - 1} more" if len(clips) > 1 else ""
    return f"{name} ({files}{more})" if name else f"{files}{more}"
