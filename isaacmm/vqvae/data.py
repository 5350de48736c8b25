"""Clips to learn from: any format, files of many clips too, on the character or on a skeleton of their own."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from isaacmm.character import CharacterModel
from isaacmm.errors import ConfigError, MotionError, nearest
from isaacmm.motion import sources
from isaacmm.motion.clip import Motion
from isaacmm.motion.io import registry
from isaacmm.motion.repair import repair
from isaacmm.motion.retarget import detect, reading, retarget, role_maps
from isaacmm.skeleton import Skeleton

log = logging.getLogger(__name__)

SKELETONS = ("auto", "character", "own")


def load(motion: Mapping[str, Any], character: CharacterModel, skeleton: str = "auto") -> list[Motion]:
    """The clips of a ``motion`` section (:func:`isaacmm.motion.sources.load_clips`), all on one skeleton.

    Args:
        motion: the section; files that hold several clips give all of them.
        character: whose skeleton clips are put onto.
        skeleton: ``character``; ``own``: the clips' own, for robots and other bodies that are no humans; ``auto``:
            the character's where the first clip fits it, or is of a person and can be retargeted.

    Raises:
        ConfigError: nothing listed, or an unknown word.
        MotionError: a clip that cannot be used, or of another skeleton than the first.
    """
    if skeleton not in SKELETONS:
        raise ConfigError(f"skeleton: there is no '{skeleton}'; {nearest(skeleton, SKELETONS)}")
    entries = motion.get("clips")
    if not entries:
        raise ConfigError("motion: 'clips' is empty; list at least one {file: path, weight: 1.0}")
    specs = [
        {"file": entry} if isinstance(entry, str) else {str(k): v for k, v in dict(entry).items()}
        for entry in ([entries] if isinstance(entries, str) else entries)
    ]
    if skeleton == "auto" and "file" in specs[0]:
        first = sources.expand(str(specs[0]["file"]))[0]
        with reading.size_not_settled():
            clip = registry.read(first, **_options(specs[0]))
        robot = clip.skeleton.is_robot and set(clip.skeleton.names) != set(character.skeleton.names)
        skeleton = "character" if _known(clip, character) and not robot else "own"
    clips: list[Motion] = []
    for spec in specs:
        files = sources.expand(str(spec["file"])) if "file" in spec else []
        plain = skeleton != "own" and not any(_holds_many(path) for path in files)
        if plain or not files:  # an entry without a file is refused there
            clips += sources.load_clips({**motion, "clips": [spec]}, character)[0]
        else:
            clips += _read(files, spec, None if skeleton == "own" else character)
    for clip in clips[1:]:
        if clip.skeleton.names != clips[0].skeleton.names:
            raise MotionError(
                f"'{clip.name}' is on another skeleton than '{clips[0].name}'; a tokenizer learns one skeleton. Take "
                "task.skeleton=character to retarget all of them, or leave the others out"
            )
    return clips


def onto(clip: Motion, skeleton: Skeleton, character: CharacterModel) -> Motion:
    """A clip from anywhere on the ``skeleton`` of a tokenizer: as it is, or retargeted if that is the character's.

    Raises:
        MotionError: it fits neither.
    """
    if clip.skeleton.names == skeleton.names:
        return replace(clip, skeleton=skeleton)
    if skeleton.names == character.skeleton.names and _known(clip, character):
        return retarget(clip, character, detect(clip.skeleton.names).name).motion
    raise MotionError(
        f"{clip.name or 'clip'}: is on another skeleton ({len(clip.skeleton.names)} bodies, such as "
        f"'{clip.skeleton.names[0]}') than the tokenizer ({len(skeleton.names)}, such as '{skeleton.names[0]}')"
    )


def read_for(path: Path, skeleton: Skeleton, character: CharacterModel, **options: Any) -> list[Motion]:
    """All clips of a file on the tokenizer's ``skeleton``; character clips repaired and put on the floor."""
    on_character = skeleton.names == character.skeleton.names
    if on_character and not _holds_many(path):
        return [sources.load_one(path, character, {"read": options}, {})]
    found = _read([path], {"read": options}, character if on_character else None)
    return [onto(clip, skeleton, character) for clip in found]


def _read(files: Sequence[Path], spec: Mapping[str, Any], character: CharacterModel | None) -> list[Motion]:
    """Every clip of every file, with what an entry of ``motion.clips`` can ask for."""
    clips: list[Motion] = []
    for path in files:
        options = _options(spec)
        if character is not None and not options:
            names = registry.read(path).skeleton.names
            fits = next((m for m in role_maps() if m.fits(names)), None)
            options = reading.options_for(path, fits) if fits is not None else {}
        for clip in registry.read_all(path, **options):
            fixed, messages = repair(clip)
            for message in messages:
                log.warning(message)
            clips.append(fixed if character is None else onto(fixed, character.skeleton, character))
    if spec.get("fps") is not None:
        clips = [clip.resample(float(spec["fps"])) for clip in clips]
    if spec.get("tags"):
        clips = [replace(clip, tags=tuple(str(tag) for tag in spec["tags"])) for clip in clips]
    if spec.get("mirror"):
        clips += [clip.mirror() for clip in clips]
    return clips


def _options(spec: Mapping[str, Any]) -> dict[str, Any]:
    return {str(k): v for k, v in dict(spec.get("read") or {}).items()}


def _holds_many(path: Path) -> bool:
    return registry.sniff(path).read_all is not None


def _known(clip: Motion, character: CharacterModel) -> bool:
    names = clip.skeleton.names
    return set(names) == set(character.skeleton.names) or any(m.fits(names) for m in role_maps())


# ------------------------------------------------------------------ windows
@dataclass(frozen=True, eq=False)
class Windows:
    """Frames of all clips one after the other, and every place where a window can begin.

    Attributes:
        frames: ``[N, F]`` features.
        last: ``[M]`` int64, last frame of the clip that each possible window is in.
        starts: ``[M]`` int64. A clip shorter than a window is one possibility; its last frame is repeated.
        length: frames of a window.
    """

    frames: Tensor
    starts: Tensor
    last: Tensor
    length: int

    @classmethod
    def of(cls, clips: Sequence[Tensor], length: int) -> Windows:
        """Of features ``[T, F]`` per clip. No window crosses a clip's border."""
        starts, last, offset = [], [], 0
        for clip in clips:
            count = max(1, len(clip) - length + 1)
            starts.append(offset + torch.arange(count))
            last.append(torch.full((count,), offset + len(clip) - 1))
            offset += len(clip)
        return cls(torch.cat(list(clips)), torch.cat(starts), torch.cat(last), length)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """``[count, length, F]``, every possible window as likely as any other."""
        pick = torch.randint(len(self.starts), (count,), generator=generator)
        index = self.starts[pick, None] + torch.arange(self.length)
        return self.frames[torch.minimum(index, self.last[pick, None])]


def statistics(features: Tensor, slices: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor]:
    """Mean and scale ``[F]`` of ``[N, F]``: standard deviations, but at least a tenth of their slice's mean one.

    Numbers that hardly change (a hinge that a joint does not have) would be blown up to noise otherwise.
    """
    mean, scale = features.mean(0), features.std(0)
    for start, stop in slices:
        floor = 0.1 * float(scale[start:stop].mean())
        scale[start:stop] = scale[start:stop].clamp(min=max(floor, 1e-4))
    return mean, scale
