"""Tasks that learn from clips alone, through the same door: what differs for them on the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, open_dict

from isaacmm.cli import keys
from isaacmm.errors import ConfigError
from isaacmm.learn.fit_tasks import MODULES

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Keys about simulated worlds, which these tasks do not have.
SIMULATION = (
    *("num_envs", "sim", "physics", "sim_device", "multi_gpu", "ranks", "shard_clips"),
    *("command", "capture_video"),
)


def is_fit(task: Any) -> bool:
    """Whether the task of this name is a supervised fit."""
    return str(task) in MODULES


def groups_for(groups: dict[str, str], options: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """The config groups of a fit, and Hydra overrides besides them.

    Args:
        groups: as chosen by hand, with ``task`` a fit's.
        options: train configs there are.

    Raises:
        ConfigError: a preset, or a train config of another kind.
    """
    task = groups["task"]
    if "preset" in groups:
        raise ConfigError(
            f"preset={groups['preset']}: presets are for simulated characters; task={task} takes rl_device=cuda:0 to "
            "learn on a GPU, and everything else from cfg/train."
        )
    own = groups.get("train", f"{task}Fit")
    if own not in options or not own.endswith("Fit"):
        raise ConfigError(f"train={own}: does not fit task={task}. Nearest: train={task}Fit")
    return {**groups, "train": own}, ["~preset"]


def prepare(cfg: DictConfig) -> None:
    """Take out what these tasks have no use for, so that setting it is refused."""
    with open_dict(cfg):
        for key in SIMULATION:
            cfg.pop(key, None)


def refusal(task: str, key: str) -> str | None:
    """Why a key that other tasks have does not exist for this one."""
    if key in SIMULATION or key.startswith(("task.env.", "train.params.")):
        return f"{key}: task={task} learns from clips alone, without a simulator; it has no such key."
    return None


def settle(cfg: DictConfig, given: set[str], notes: list[str]) -> None:
    """Make the parts of ``cfg`` agree: ``max_iterations`` is the habit's name for ``train.max_steps``."""
    steps = "train.max_steps"
    if cfg.max_iterations != "" and "max_iterations" in given:
        if steps in given and cfg.train.max_steps != cfg.max_iterations:
            raise ConfigError(
                f"max_iterations={cfg.max_iterations} and {steps}={cfg.train.max_steps} disagree; set one of them."
            )
        cfg.train.max_steps = cfg.max_iterations
    cfg.max_iterations = cfg.train.max_steps
    keys.check("rl_device", cfg.rl_device)


def rows(cfg: DictConfig) -> list[tuple[str, str]]:
    """For the banner."""
    train = cfg.train
    length = f"{train.max_steps:,} steps"
    if cfg.max_minutes != "":
        length += f", at most {cfg.max_minutes:g} minutes"
    return [("length", length), ("learning on", str(cfg.rl_device))]
