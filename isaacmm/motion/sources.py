"""From a motion config to clips: globs, loading, repair."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from isaacmm import paths
from isaacmm.character import CharacterModel
from isaacmm.errors import ConfigError, MotionError, nearest
from isaacmm.motion.clip import Motion

log = logging.getLogger(__name__)

_KEYS = ("file", "weight", "tags", "fps", "mirror")


def expand(file: str) -> list[Path]:
    """The files that a path, folder or glob names; relative paths are the repository's.

    Raises:
        MotionError: nothing is there.
    """
    path = Path(file).expanduser()
    if not path.is_absolute():
        path = Path.cwd() / path if (Path.cwd() / path).exists() else paths.CHECKOUT / path
    if path.is_dir():
        found = sorted(p for p in path.iterdir() if p.suffix in {".npz", ".npy", ".bvh"})
    elif any(c in str(path) for c in "*?["):
        anchor = Path(path.anchor)
        found = sorted(anchor.glob(str(path.relative_to(anchor))))
    else:
        found = [path] if path.exists() else []
    if not found:
        parent = path.parent
        names = sorted(p.name for p in parent.iterdir()) if parent.is_dir() else []
        hint = f" In that folder: {nearest(path.name, names)}" if names else f" The folder {parent} does not exist."
        raise MotionError(f"no motion file at '{file}'.{hint}")
    return found


def load_clips(config: Mapping[str, Any], character: CharacterModel) -> tuple[list[Motion], list[float]]:
    """Clips and weights of a ``cfg/motion`` mapping; a glob shares its weight among its files."""
    from isaacmm.motion.repair import load_clip

    entries = config.get("clips")
    if not entries:
        raise ConfigError("motion: 'clips' is empty; list at least one {file: path, weight: 1.0}")
    motions: list[Motion] = []
    weights: list[float] = []
    for entry in entries:
        spec = {"file": entry} if isinstance(entry, str) else {str(k): v for k, v in dict(entry).items()}
        for key in spec:
            if key not in _KEYS:
                raise ConfigError(f"motion clip '{spec.get('file')}': unknown key '{key}'; {nearest(key, _KEYS)}")
        files = expand(str(spec["file"]))
        for file in files:
            motion = load_clip(
                file, skeleton=character.skeleton, character=character, repair=bool(config.get("repair", True))
            )
            if spec.get("tags"):
                motion.tags = tuple(spec["tags"])
            share = float(spec.get("weight", 1.0)) / len(files)
            pair = [motion, motion.mirror()] if spec.get("mirror", False) else [motion]
            motions.extend(pair)
            weights.extend([share / len(pair)] * len(pair))
    log.info("%d clips, %.1f s of motion", len(motions), sum(m.duration for m in motions))
    return motions, weights
