"""Checkpoints: one file with everything, written so that a crash never leaves half of one."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import torch

from isaacmm.errors import CheckpointError

FORMAT = "isaacmm-checkpoint"
VERSION = 1


def save(path: Path, content: dict[str, Any]) -> None:
    """Write ``content`` (tensors, numbers, strings, lists, dicts) to ``path``, or leave it as it was.

    The file is written beside its place, flushed to the disk, and only then moved there.

    Raises:
        CheckpointError: the disk is full or cannot be written; an earlier file is untouched.
    """
    # always the same name: what a killed process left behind is overwritten by the next save
    temporary = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            torch.save({"format": FORMAT, "version": VERSION, **content}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        # torch reports a full disk as a RuntimeError of its zip writer
        with contextlib.suppress(OSError):
            temporary.unlink()
        earlier = " The earlier checkpoint there is untouched." if path.exists() else ""
        raise CheckpointError(
            f"could not write the checkpoint {path}: {error}.{earlier} Free some disk space."
        ) from error


def load(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read a checkpoint without executing code from it.

    Raises:
        CheckpointError: missing, damaged, or not one of ours.
    """
    if not path.exists():
        raise CheckpointError(f"no checkpoint at {path}")
    try:
        content = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:
        raise CheckpointError(
            f"{path} cannot be read as a checkpoint: it is truncated, or was not written by isaacmm "
            f"({type(error).__name__})"
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not an isaacmm checkpoint (it lacks the mark '{FORMAT}')")
    if int(content.get("version", 0)) > VERSION:
        raise CheckpointError(
            f"{path} was written by a newer isaacmm (checkpoint version {content['version']}, this one reads {VERSION})"
        )
    return content
