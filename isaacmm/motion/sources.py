"""From a motion config to clips: globs, reading, repair, retargeting, what to take and how often."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from isaacmm import paths
from isaacmm.character import CharacterModel
from isaacmm.errors import ConfigError, MotionError, nearest
from isaacmm.motion import cache
from isaacmm.motion.clip import Motion

log = logging.getLogger(__name__)

_KEYS = ("file", "weight", "tags", "fps", "mirror", "speed", "map", "read")
#: Endings that only motion files have; other ones are looked into before a folder's files are taken.
_PLAIN = (".bvh", ".npz", ".npy")
#: Skeletons that lie beside clips; by name they can be read, but nobody who names a folder means them.
_NO_CLIPS = (".asf",)
#: ``cache: auto`` keeps sets of at least so many files, and clips that had to be retargeted.
_MANY = 32


def expand(file: str) -> list[Path]:
    """The files that a path, folder (with all below) or glob names; relative paths are the repository's.

    Raises:
        MotionError: nothing is there.
    """
    path = Path(file).expanduser()
    if not path.is_absolute():
        path = Path.cwd() / path if (Path.cwd() / path).exists() else paths.CHECKOUT / path
        if not path.exists() and any((Path.cwd()).glob(file)) and any(c in file for c in "*?["):
            path = Path.cwd() / file
    if path.is_dir():
        found = sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith(".") and _is_clip(p))
    elif path.exists():
        found = [path]
    elif any(c in str(path) for c in "*?["):
        anchor = Path(path.anchor)
        found = sorted(p for p in anchor.glob(str(path.relative_to(anchor))) if p.is_file())
    else:
        found = []
    if not found and path.is_dir():
        raise MotionError(f"no motion file in the folder '{file}'; docs/motion_formats.md lists what is read")
    if not found:
        parent = path.parent
        names = sorted(p.name for p in parent.iterdir()) if parent.is_dir() else []
        hint = f" In that folder: {nearest(path.name, names)}" if names else f" The folder {parent} does not exist."
        raise MotionError(f"no motion file at '{file}'.{hint}")
    return found


def _is_clip(path: Path) -> bool:
    """Whether a file in a folder is a clip: by its ending, in any case, or by its content where others share it."""
    from isaacmm.motion.io import registry

    suffix = path.suffix.lower()
    if suffix in _PLAIN or suffix in _NO_CLIPS:
        return suffix in _PLAIN
    return any(suffix in form.suffixes and form.sniff(path) for form in registry.FORMATS.values())


def load_clips(config: Mapping[str, Any], character: CharacterModel) -> tuple[list[Motion], list[float]]:
    """Clips and weights of a ``cfg/motion`` mapping.

    Keys of the mapping: ``clips`` (list of paths or entries), ``repair``, ``retarget`` (clips of other skeletons
    are put onto the character; default true), ``cache`` (``auto``, true, false). Keys of an entry: ``file`` (path,
    folder or glob), ``weight`` (shared among its files), ``tags``, ``speed: [lowest, highest]`` (m/s; clips with
    another mean speed are left out), ``fps`` (resampled to it), ``mirror`` (the mirrored clips too), ``map`` (joint
    map) and ``read`` (options of the reader).

    Raises:
        ConfigError: nothing listed, an unknown key, or a range that leaves nothing.
        MotionError: a clip that cannot be used.
    """
    entries = config.get("clips")
    if not entries:
        raise ConfigError("motion: 'clips' is empty; list at least one {file: path, weight: 1.0}")
    motions: list[Motion] = []
    weights: list[float] = []
    for entry in [entries] if isinstance(entries, str) else entries:
        spec = {"file": entry} if isinstance(entry, str) else {str(k): v for k, v in dict(entry).items()}
        for key in spec:
            if key not in _KEYS:
                raise ConfigError(f"motion clip '{spec.get('file')}': unknown key '{key}'; {nearest(key, _KEYS)}")
        if "file" not in spec:
            raise ConfigError("motion: an entry of 'clips' names no 'file'")
        clips = [_prepared(motion, spec) for motion in _read_all(spec, config, character)]
        if spec.get("speed") is not None:
            clips = _by_speed(clips, spec)
        if spec.get("mirror", False):
            clips = [m for motion in clips for m in (motion, cache.mirrored(motion))]
        motions.extend(clips)
        weights.extend([float(spec.get("weight", 1.0)) / len(clips)] * len(clips))
    log.info("%d clips, %.1f s of motion", len(motions), sum(m.duration for m in motions))
    return motions, weights


def load_one(path: Path, character: CharacterModel, spec: Mapping[str, Any], config: Mapping[str, Any]) -> Motion:
    """One clip ready for use on the character: repaired, grounded, retargeted if it is another skeleton's."""
    from isaacmm.motion.io import registry
    from isaacmm.motion.repair import load_clip

    options = {str(k): v for k, v in dict(spec.get("read") or {}).items()}
    repair = bool(config.get("repair", True))
    if spec.get("map") is None and bool(config.get("retarget", True)):
        from isaacmm.motion.retarget import detect, reading, role_maps

        with reading.size_not_settled():  # only its names are looked at; read in earnest it may get a scale
            names = registry.read(path, **options).skeleton.names
        foreign = set(names) != set(character.skeleton.names) and any(m.fits(names) for m in role_maps())
        joint_map = detect(names).name if foreign else None
    else:
        joint_map = spec.get("map")
    if joint_map is None:
        return load_clip(path, skeleton=character.skeleton, character=character, repair=repair, **options)
    return _retargeted(path, character, str(joint_map), options, repair)


def _retargeted(
    path: Path, character: CharacterModel, joint_map: str, options: Mapping[str, Any], repair: bool
) -> Motion:
    from isaacmm.motion.repair import load_clip
    from isaacmm.motion.retarget import reading, retarget

    options = dict(options) or reading.options_for(path, joint_map)
    source = load_clip(path, repair=repair, **options)
    done = retarget(source, character, joint_map)
    log.info("%s: %s", path.name, "; ".join(done.residuals.lines()))
    return done.motion


def _read_all(spec: Mapping[str, Any], config: Mapping[str, Any], character: CharacterModel) -> list[Motion]:
    files = expand(str(spec["file"]))
    how = config.get("cache", "auto")
    if how not in ("auto", True, False):
        raise ConfigError(f"motion.cache: '{how}' is not possible; valid: auto, true, false")

    def make(path: Path) -> Motion:
        return load_one(path, character, spec, config)

    if how is False or (how == "auto" and len(files) < _MANY):
        return [make(path) for path in files]
    settings = {
        "repair": bool(config.get("repair", True)), "retarget": bool(config.get("retarget", True)),
        "map": str(spec.get("map")), "read": str(dict(spec.get("read") or {})), "sole": character.sole.tolist(),
    }  # fmt: skip
    return cache.load(files, make, character.skeleton, settings)


def _prepared(motion: Motion, spec: Mapping[str, Any]) -> Motion:
    if spec.get("fps") is not None:
        motion = motion.resample(float(spec["fps"]))
    if spec.get("tags"):
        motion.tags = tuple(str(tag) for tag in spec["tags"])
    return motion


def _by_speed(clips: list[Motion], spec: Mapping[str, Any]) -> list[Motion]:
    """The clips whose mean speed over the ground is within ``speed: [lowest, highest]``."""
    try:
        low, high = (float(x) for x in spec["speed"])
    except (TypeError, ValueError):
        raise ConfigError(f"motion clip '{spec['file']}': speed is [lowest, highest] in m/s") from None
    speeds = [_mean_speed(motion) for motion in clips]
    kept = [m for m, v in zip(clips, speeds, strict=True) if low <= v <= high]
    if not kept:
        raise ConfigError(
            f"motion clip '{spec['file']}': none of its {len(clips)} clips moves at {low:g} to {high:g} m/s on average "
            f"(they do at {min(speeds):.2f} to {max(speeds):.2f})"
        )
    return kept


def _mean_speed(motion: Motion) -> float:
    steps = torch.diff(motion.root_pos[:, :2], dim=0).norm(dim=-1)
    return float(steps.sum()) / max(motion.duration, 1e-6)
