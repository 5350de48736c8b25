"""Clips of one skeleton family as flat tensors, and windows out of them without a loop."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from isaacmm.character import CharacterModel
from isaacmm.errors import ConfigError, MotionError
from isaacmm.inbetween import mirror
from isaacmm.inbetween.keys import Windows, forward_axis
from isaacmm.inbetween.pose import Kinematics, local_rotations
from isaacmm.motion.clip import Motion
from isaacmm.motion.contacts import Feet, contacts, feet_of
from isaacmm.motion.sources import expand, load_clips
from isaacmm.skeleton import Skeleton

log = logging.getLogger(__name__)


class ClipPack:
    """Clips one behind the other.

    Args:
        motions: at one frame rate, with the joints of the first one (bones may differ in length).

    Attributes:
        pos ``[N, 3]``, rot ``[N, B, 4]``: all frames (:mod:`isaacmm.inbetween.pose`).
        offsets: ``[C, B, 3]`` m, of each clip.
        clip: ``[N]`` which clip a frame is of.
        left: ``[N]`` frames from each frame to its clip's end, itself included.
        touching: ``[N, feet]`` bool, or None for a skeleton whose feet are not known by name.
    """

    def __init__(self, motions: Sequence[Motion]) -> None:
        first = motions[0].skeleton
        self.skeleton, self.fps, self.names = first, motions[0].fps, [m.name for m in motions]
        for motion in motions:
            check_skeleton(motion, first)
        self.pos = torch.cat([m.root_pos for m in motions]).float()
        self.rot = torch.cat([local_rotations(m) for m in motions]).float()
        self.offsets = torch.stack([m.skeleton.offsets for m in motions]).float()
        lengths = torch.tensor([m.num_frames for m in motions])
        self.lengths = lengths
        self.clip = torch.repeat_interleave(torch.arange(len(motions)), lengths)
        self.left = torch.cat([torch.arange(int(n), 0, -1) for n in lengths])
        self.forward = forward_axis(self.pos, self.rot[:, 0])
        self.kinematics = Kinematics(first.parents)
        self.feet: Feet | None = None
        self.touching: Tensor | None = None
        try:
            self.feet = feet_of(first)
            self.touching = torch.cat([contacts(m, self.feet) for m in motions])
        except MotionError:
            log.info("no joint is called foot or ankle: foot sliding is not measured")

    @property
    def longest(self) -> int:
        """Frames of the longest clip."""
        return int(self.lengths.max())

    @cached_property
    def _starts(self) -> dict[int, Tensor]:
        return {}

    def starts(self, length: int, every: int = 1) -> Tensor:
        """First frames of all windows of ``length`` that stay in their clip, each ``every``-th of a clip."""
        if every == 1 and length in self._starts:
            return self._starts[length]
        age = self.lengths[self.clip] - self.left
        found = ((self.left >= length) & (age % every == 0)).nonzero().flatten()
        if every == 1:
            self._starts[length] = found
        return found

    def pick(self, n: int, length: int, generator: torch.Generator) -> Tensor:
        """First frames ``[n]`` of windows from anywhere."""
        starts = self.starts(length)
        return starts[torch.randint(len(starts), (n,), generator=generator)]

    def draw(self, n: int, length: int, generator: torch.Generator) -> Windows:
        """``n`` windows from anywhere."""
        return self.windows(self.pick(n, length, generator), length)

    def standing(self, starts: Tensor, length: int) -> Tensor | None:
        """``[n, length, feet]`` bool, which feet stand in windows from ``starts [n]``; None where no feet are known."""
        return None if self.touching is None else self.touching[starts[:, None] + torch.arange(length)]

    def windows(self, starts: Tensor, length: int) -> Windows:
        """Windows of ``length`` frames from ``starts [n]``."""
        frames = starts[:, None] + torch.arange(length)
        return Windows(self.pos[frames], self.rot[frames], self.offsets[self.clip[starts]], self.forward)


def check_skeleton(motion: Motion, skeleton: Skeleton) -> None:
    """Refuse a clip whose joints are not those of ``skeleton``; bones may differ in length.

    Raises:
        MotionError: says which joints differ, and what to do.
    """
    mine, theirs = motion.skeleton, skeleton
    if mine.names == theirs.names and mine.parents == theirs.parents:
        return
    extra = [n for n in mine.names if n not in theirs.names]
    lacking = [n for n in theirs.names if n not in mine.names]
    parts = [f"it has {', '.join(extra[:4])}{' ...' if len(extra) > 4 else ''}"] if extra else []
    parts += [f"it lacks {', '.join(lacking[:4])}{' ...' if len(lacking) > 4 else ''}"] if lacking else []
    why = "; ".join(parts) or "the joints are the same, but in another order or tree"
    raise MotionError(
        f"{motion.name or 'clip'}: another skeleton ({mine.num_bodies} bodies) than the network's "
        f"({theirs.num_bodies}): {why}"
    )


def load(config: Mapping[str, Any], character: CharacterModel, which: str, fps: float) -> tuple[list[Motion], str]:
    """Clips of a ``motion`` section at ``fps``, and whose skeleton they are on: ``own`` or ``character``.

    Args:
        which: ``own``: the files' own skeleton, which must be one and the same; ``character``: put onto the
            character; ``auto``: own where all files share a skeleton, else the character.

    Raises:
        ConfigError: ``own``, and the skeletons differ.
        MotionError: a clip that cannot be used.
    """
    chosen = "character"
    motions: list[Motion] = []
    if which in ("own", "auto"):
        motions = _own(config)
        odd = next((m for m in motions if not _same(m, motions[0])), None)
        if odd is None:
            chosen = "own"
        elif which == "own":
            raise ConfigError(
                f"task.skeleton=own: '{odd.name}' has other joints than '{motions[0].name}'; give clips of one "
                "skeleton, or task.skeleton=character to put all of them onto the character"
            )
        if set(motions[0].skeleton.names) == set(character.skeleton.names):
            chosen = "character"
    if chosen == "character":
        motions, _ = load_clips(config, character)
    return [m if abs(m.fps - fps) < 0.01 * fps else m.resample(fps) for m in motions], chosen


def _same(a: Motion, b: Motion) -> bool:
    return a.skeleton.names == b.skeleton.names and a.skeleton.parents == b.skeleton.parents


def _own(config: Mapping[str, Any]) -> list[Motion]:
    """The files as they are, repeated frames dropped."""
    from isaacmm.motion.io import registry
    from isaacmm.motion.repair import repair

    entries = config.get("clips") or []
    motions: list[Motion] = []
    for entry in [entries] if isinstance(entries, str) else entries:
        spec: dict[str, Any] = {"file": entry} if isinstance(entry, str) else dict(entry)
        for path in expand(str(spec["file"])):
            motion = registry.read(path, **{str(k): v for k, v in dict(spec.get("read") or {}).items()})
            motions.append(repair(motion)[0] if config.get("repair", True) else motion)
    if not motions:
        raise ConfigError("motion: 'clips' is empty; list at least one {file: path, weight: 1.0}")
    return motions


def with_mirrors(motions: Sequence[Motion]) -> list[Motion]:
    """The clips and their mirror images, if the skeleton is symmetric by name and by measure; else the clips."""
    signs = mirror.axis_signs(motions)
    if signs is None:
        log.info("the skeleton's sides have no names or differ: no mirrored clips are learned from")
        return list(motions)
    return [m for motion in motions for m in (motion, mirror.mirror(motion, signs))]
