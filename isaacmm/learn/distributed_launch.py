"""From torchrun's processes to a run: who composes, who speaks, who takes which device, worlds and random numbers."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import torch
from omegaconf import DictConfig, OmegaConf

from isaacmm.amp.trainer import StyleConfig
from isaacmm.errors import ConfigError, IsaacmmError
from isaacmm.learn import distributed
from isaacmm.learn.distributed import LostContact, Place, Team
from isaacmm.learn.distributed_state import rank_seed
from isaacmm.sim.mujoco import cores

if TYPE_CHECKING:
    from isaacmm.cli.runs import Run

#: What a process counts for itself and what therefore changes when a run goes on with another number of them.
_PER_PROCESS = ("num_envs", "train.params.config.minibatch_size", "train.params.config.amp_minibatch_size")
_WORLDS = {"num_envs", "task.env.num_envs", "train.params.config.num_actors"}


# --- composing (in the first process) -----------------------------------------------------------------


def settle_ranks(cfg: DictConfig, given: set[str], notes: list[str]) -> None:
    """Count the processes, and when a run goes on with another number of them, let them share its worlds.

    Raises:
        ConfigError: several processes are wanted and torchrun has not started them, or worlds cannot be shared.
    """
    place = Place.from_environment()
    if "ranks" in given:
        raise ConfigError(f"ranks={cfg.ranks}: is counted, not set; torchrun --nproc-per-node says how many.")
    if cfg.multi_gpu:
        if place is None:
            raise ConfigError(f"multi_gpu=True: torchrun starts the processes, one per GPU: {command_line()}")
        if cfg.test:
            raise ConfigError("multi_gpu=True: a checkpoint is played by one process; leave it out, and torchrun too.")
    elif place is not None and place.ranks > 1:
        notes.append(
            f"warning: torchrun started {place.ranks} processes, and without multi_gpu=True each of them trains alone."
        )
    count = place.ranks if place is not None and cfg.multi_gpu else 1
    if cfg.resume and not given & _WORLDS:
        _share_worlds(cfg, given, int(cfg.ranks), count, notes)
    cfg.ranks = count


def _share_worlds(cfg: DictConfig, given: set[str], before: int, now: int, notes: list[str]) -> None:
    """Worlds and minibatches of all processes together stay as many as they were."""
    if before == now:
        return
    worlds = before * int(cfg.num_envs)
    if worlds % now:
        raise ConfigError(
            f"{worlds} worlds ({before} x {cfg.num_envs}) cannot be shared evenly by {now} processes; say how many "
            f"each of them gets with num_envs=, for example num_envs={max(round(worlds / now), 1)}."
        )
    for key in _PER_PROCESS:
        if key not in given:
            OmegaConf.update(cfg, key, max(before * int(OmegaConf.select(cfg, key)) // now, 1))
    notes.append(f"{worlds} worlds as before: {cfg.num_envs} in each of {now} process{'es' * (now > 1)}.")


def command_line() -> str:
    """What to type for several processes on this machine."""
    count = torch.cuda.device_count()
    return f"torchrun --standalone --nproc-per-node {max(count, 2)} launch.py multi_gpu=True ..."


# --- running ------------------------------------------------------------------------------------------


def run(words: Sequence[str], place: Place) -> int:
    """Compose in the first process, train in all; returns the exit code."""
    import isaacmm
    from isaacmm.cli.compose import compose

    team = distributed.join(place)
    try:
        composed: tuple[Any, list[str]] | None = None
        if team.first:
            cfg, notes = compose(words)
            composed = OmegaConf.to_container(cfg), notes
        composed = team.broadcast(composed)
        assert composed is not None
        cfg = OmegaConf.create(composed[0])
        return isaacmm.run(cfg, composed[1]) if team.first else _follow(cfg)
    except LostContact as error:
        told = team.reason()
        if team.first or told is None:
            who = "" if team.first else f"process {team.rank}: "
            print(f"error: {who}{error}", file=sys.stderr, flush=True)
        if team.device.type == "cuda":  # what still runs on the GPU would be waited for
            os._exit(1)
        return 1
    except IsaacmmError as error:
        team.tell(str(error))
        if team.first:
            raise
        print(f"error: process {team.rank}: {error}", file=sys.stderr, flush=True)
        return 2
    except BaseException as error:
        team.tell(f"{type(error).__name__}: {error}")
        raise


def _follow(cfg: DictConfig) -> int:
    """Train without a word and without a file."""
    from isaacmm.cli.runs import Run
    from isaacmm.learn.train import train

    logging.getLogger("isaacmm").setLevel(logging.ERROR)  # the first process says it
    stop = _quiet_stop()
    folder = Path(str(cfg.runs_dir)) / (str(cfg.experiment) or "unnamed")
    checkpoint = Path(cfg.checkpoint) if cfg.checkpoint else None
    with stop.installed():
        train(cfg, Run(folder, _silence(), stop, checkpoint, bool(cfg.resume)))
    return int(stop.exit_code)


def _silence() -> Any:
    from isaacmm.cli.console import Console

    class Silence(Console):
        """Says nothing: the first process speaks."""

        def say(self, text: str = "") -> None:
            pass

    return Silence()


def _quiet_stop() -> Any:
    from isaacmm.cli.console import StopRequest

    class QuietStop(StopRequest):
        """Notes the wish to stop; that it was heard is said by the first process."""

        def _handle(self, number: int, _frame: FrameType | None) -> None:
            self.request(number)

    return QuietStop()


def own_settings(cfg: DictConfig, team: Team) -> DictConfig:
    """``cfg`` with this process's seed, GPU and share of the CPU cores.

    Raises:
        ConfigError: the machine has fewer GPUs than processes.
    """
    if not isinstance(team, distributed.TorchTeam):
        return cfg
    own, place = deepcopy(cfg), team.place
    own.seed = own.train.params.seed = rank_seed(int(cfg.seed), place.rank)
    own.train.params.config.multi_gpu = False  # rl-games' own way needs nccl
    for key in ("sim_device", "rl_device"):
        if str(own[key]).startswith("cuda"):
            if place.local_rank >= torch.cuda.device_count():
                raise ConfigError(
                    f"{key}: process {place.local_rank} of this machine wants cuda:{place.local_rank} and there are "
                    f"{torch.cuda.device_count()} CUDA devices; start as many processes with --nproc-per-node."
                )
            own[key] = f"cuda:{place.local_rank}"
            torch.cuda.set_device(place.local_rank)
    own.train.params.config.device = own.rl_device
    if not int(own.threads):
        own.threads = own.train.params.torch_threads = max(cores() // place.local_ranks, 1)
    return own


def share_buffers(style: StyleConfig, team: Team) -> StyleConfig:
    """Buffers hold as many rows in all processes together as one process would hold."""
    count = team.count
    return replace(style, replay=-(-style.replay // count), demo_buffer=-(-style.demo_buffer // count))


def agree(team: Team, run: Run, due: bool) -> tuple[bool, bool]:
    """After an iteration, in all processes alike: whether to stop and whether to save.

    Whoever is asked to stop stops all. A signal that arrives later than this exchange counts in the next.
    """
    number, save = team.highest((float(run.stop.signal or 0), float(due)))
    if number and not run.stop:
        run.stop.request(int(number))
    return bool(number), bool(save)
