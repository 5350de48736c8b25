"""What the commands share: the tokenizer, clips on its skeleton, where results go."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

from isaacmm.character import CharacterModel
from isaacmm.errors import MotionError
from isaacmm.motion.clip import Motion
from isaacmm.motion.commands import batch
from isaacmm.vqvae import data
from isaacmm.vqvae.features import MotionFeatures
from isaacmm.vqvae.tokenizer import Tokenizer

log = logging.getLogger(__name__)


def open_tokenizer(given: argparse.Namespace) -> Tokenizer:
    """What RUN names."""
    return Tokenizer.load(given.tokenizer, Path(given.runs_dir))


def character_of(tokenizer: Tokenizer) -> CharacterModel:
    """The character that it was trained with, onto which human clips are put."""
    held = tokenizer.config.get("character")
    return CharacterModel.load(dict(held) if held else "humanoid")


def read(path: Path, given: argparse.Namespace, tokenizer: Tokenizer, character: CharacterModel) -> list[Motion]:
    """The clips of a file on the tokenizer's skeleton."""
    return data.read_for(path, tokenizer.spec.skeleton, character, **batch.options(given))


def clips_of(given: argparse.Namespace, tokenizer: Tokenizer) -> list[Motion]:
    """The clips that were named, else those that the tokenizer was trained with."""
    character = character_of(tokenizer)
    if given.clips:
        clips: list[Motion] = []
        for path in batch.files(given):
            try:
                clips += read(path, given, tokenizer, character)
            except MotionError as error:
                log.warning("left out: %s", error)
        if not clips:
            raise MotionError("none of the clips named can be used")
        return clips
    return data.load(tokenizer.config["motion"], character, str(tokenizer.config["task"]["skeleton"]))


def place(given: argparse.Namespace, name: str, several: bool, suffix: str, source: Path) -> Path:
    """Where the result called ``name`` goes: ``--out`` itself if it has an ending, else into the folder ``--out``.

    Args:
        given: the command line; it is told which places are taken.
        name: of the result.
        several: whether there are other results.
        suffix: of files in a folder.
        source: what it is made from, which must not be written over.

    Raises:
        MotionError: one file for several results, another result's place, or the source's.
    """
    out: Path = given.out
    if out.suffix and not out.is_dir():
        if several:
            raise MotionError(f"--out {out} is one file, but there are several results; give a folder")
        found = out
    else:
        found = out / f"{name}.{suffix.lstrip('.')}"
    if found.resolve() == source.resolve():
        raise MotionError(f"{found} would be written over what is read; give another name or folder")
    taken: set[Path] = given.__dict__.setdefault("taken", set())
    if found in taken:
        raise MotionError(f"{source}: {found} was just written from another file; rename one, or give each a folder")
    taken.add(found)
    return found


def write_robot(path: Path, spec: MotionFeatures, motion: Motion) -> None:
    """CSV of what the tokenizer's hinges do: time, root position, root rotation (xyzw), angles in their order.

    Raises:
        MotionError: this tokenizer does not describe hinges.
    """
    if spec.pose != "dofs":
        raise MotionError(
            f"--robot: this tokenizer learned joints as {spec.pose}, not hinges; train it with task.pose=dofs, or with "
            "a map to the robot (task.apply_sim_to_real_map)"
        )
    names = [spec.skeleton.dof_names[i] for i in spec.hinges]
    head = ["time", "x", "y", "z", "qx", "qy", "qz", "qw", *names]
    angles = motion.dof_pos()[:, list(spec.hinges)]
    rows = [",".join(head)]
    for frame in range(motion.num_frames):
        values: list[Any] = [frame / motion.fps, *motion.root_pos[frame].tolist(), *motion.root_rot[frame].tolist()]
        rows.append(",".join(f"{value:.6f}" for value in (*values, *angles[frame].tolist())))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
