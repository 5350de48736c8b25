"""From words on a command line to a checkpoint and the configuration it was trained with."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from isaacmm.errors import CheckpointError, ConfigError
from isaacmm.learn import checkpoint, drives


def open_checkpoint(words: Sequence[str]) -> tuple[DictConfig, dict[str, Any]]:
    """Compose ``words`` as ``launch.py test=True`` would, and load the checkpoint they name.

    Returns:
        The configuration (``cfg.checkpoint`` is the file) and the checkpoint's content.

    Raises:
        CheckpointError: missing, damaged, or not a policy of ours.
        ConfigError: an unknown key or impossible value.
    """
    from isaacmm.cli.compose import compose

    cfg, notes = compose(["test=True", *(word for word in words if not word.startswith("test="))])
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    if int(cfg.threads or 0) > 0:
        torch.set_num_threads(int(cfg.threads))
    path = Path(str(cfg.checkpoint))
    return cfg, load_policy_checkpoint(path, str(cfg.rl_device))


def load_policy_checkpoint(path: Path, device: str = "cpu") -> dict[str, Any]:
    """:func:`isaacmm.learn.checkpoint.load`, refusing files that hold no policy with its configuration.

    Raises:
        CheckpointError: saying what the file is instead.
    """
    content = checkpoint.load(path, device)
    missing = [key for key in ("model", "config", "observation") if key not in content]
    if missing:
        held = ", ".join(sorted(key for key in content if key not in ("format", "version"))) or "nothing"
        raise CheckpointError(
            f"{path} is not the checkpoint of a policy: it lacks {', '.join(missing)} (it holds {held}). "
            "Give the last.pth of a run folder's nn/, the run folder, or `latest`"
        )
    if warning := drives.difference(content):
        print(f"warning: {path}: {warning}", file=sys.stderr)
    return content


# --- words of the small tools ----------------------------------------------------------------------


def split(words: Sequence[str], names: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Take the words ``name=value`` with ``name`` in ``names`` out of ``words``."""
    own: dict[str, str] = {}
    rest: list[str] = []
    for word in words:
        key, equals, value = word.partition("=")
        if equals and key in names:
            own[key] = value
        else:
            rest.append(word)
    return own, rest


def number(own: dict[str, str], key: str, default: float, low: float, high: float = math.inf) -> float:
    """``own[key]`` as a number.

    Raises:
        ConfigError: not a number, below ``low`` or above ``high``.
    """
    if key not in own:
        return default
    try:
        value = float(own[key])
    except ValueError:
        raise ConfigError(f"{key}={own[key]}: wants a number") from None
    if not value >= low:
        raise ConfigError(f"{key}={own[key]}: must be at least {low:g}")
    if not (value <= high and math.isfinite(value)):
        raise ConfigError(f"{key}={own[key]}: must be at most {high:g}")
    return value


def whole(own: dict[str, str], key: str, default: int, low: int, high: float = math.inf) -> int:
    """``own[key]`` as a whole number.

    Raises:
        ConfigError: not a whole number, below ``low`` or above ``high``.
    """
    value = number(own, key, default, low, high)
    if value != int(value):
        raise ConfigError(f"{key}={own[key]}: wants a whole number")
    return int(value)


def truth(own: dict[str, str], key: str, default: bool) -> bool:
    """``own[key]`` as True or False."""
    text = own.get(key, str(default)).lower()
    if text not in ("true", "false"):
        raise ConfigError(f"{key}={own[key]}: wants True or False")
    return text == "true"
