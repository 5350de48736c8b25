"""Clips as they come out of reading, repairing and retargeting, kept on disk for the next run.

One pack per set of files: flat arrays that are mapped into memory, and an index. A file whose size and times are
unchanged (the time of its last change of any kind too, which nobody can set) is taken to be the same; otherwise its
content is hashed, and only clips whose content changed are read again. A pack that cannot be read is made anew.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from isaacmm.motion.clip import Motion
from isaacmm.skeleton import Skeleton

log = logging.getLogger(__name__)

#: Change it whenever reading, repairing or retargeting gives other results: all packs are then made anew.
VERSION = 2
_ARRAYS = ("root_pos", "root_rot", "joint_rot", "dof_pos", "contacts")
#: Hinge angles of clips that came with them; a clip changed by ``replace`` is another object and has none.
_KNOWN: weakref.WeakKeyDictionary[Motion, Tensor] = weakref.WeakKeyDictionary()


def folder() -> Path:
    """``$ISAACMM_CACHE``, else ``isaacmm/clips`` in the user's cache folder."""
    given = os.environ.get("ISAACMM_CACHE")
    if given:
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "isaacmm" / "clips"


def known_dof_pos(motion: Motion) -> Tensor | None:
    """Hinge angles ``[T, D]`` rad that a clip from a pack came with."""
    return _KNOWN.get(motion)


def mirrored(motion: Motion) -> Motion:
    """:meth:`Motion.mirror`, hinge angles too where they are known."""
    other = motion.mirror()
    dof = known_dof_pos(motion)
    if dof is not None:
        order, signs = motion.skeleton.mirror_dofs
        _KNOWN[other] = dof[:, list(order)] * signs
    return other


def load(
    files: Sequence[Path],
    make: Callable[[Path], Motion],
    skeleton: Skeleton,
    settings: Mapping[str, Any],
    *,
    where: Path | None = None,
) -> list[Motion]:
    """The clips of ``files``, from the pack as far as it is current.

    Args:
        files: which.
        make: reads one, ready for use, on ``skeleton``.
        skeleton: of all clips.
        settings: everything that ``make`` depends on besides the file's content (plain values).
        where: folder of packs; default :func:`folder`.
    """
    names = [str(Path(f).resolve()) for f in files]
    key = _digest(json.dumps([VERSION, names, dict(settings), _shape_of(skeleton)], default=str).encode())[:24]
    pack = (where or folder()) / key
    old = _open(pack)
    entries: list[dict[str, Any]] = []
    clips: list[Motion] = []
    fresh, touched = 0, False
    known = {e["path"]: e for e in old[0]} if old else {}
    shared = skeleton.to("cpu")
    for name in tqdm(names, desc="clips", unit="clip", leave=False, disable=len(names) < 64, mininterval=0.5):
        stat = os.stat(name)
        entry = known.get(name)
        seen = {"size": stat.st_size, "time": stat.st_mtime_ns, "changed": stat.st_ctime_ns}
        if entry and any(entry.get(key) != value for key, value in seen.items()):
            entry = entry if entry["sha"] == _digest(Path(name).read_bytes()) else None
            touched = True
        if entry and old:
            clips.append(_clip(entry, old[1], shared))
            entries.append({**entry, **seen})
            continue
        motion = make(Path(name))
        fresh += 1
        clips.append(motion)
        entries.append({"path": name, **seen, "sha": _digest(Path(name).read_bytes())})
    if fresh or touched:
        try:
            _write(pack, entries, clips)
        except OSError as error:
            log.warning("the clips could not be kept for the next run in %s: %s", pack, error)
        if fresh:
            log.info("%d of %d clips were read anew", fresh, len(names))
    return clips


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _shape_of(skeleton: Skeleton) -> str:
    """What a skeleton is, as text: a character that was changed has other clips."""
    numbers = torch.cat([skeleton.offsets.flatten().cpu(), skeleton.rest_rotations.flatten().cpu(),
                         skeleton.dof_axes.flatten().cpu(), skeleton.dof_limits.flatten().cpu()])  # fmt: skip
    return _digest(repr((skeleton.names, skeleton.parents, skeleton.dof_names)).encode() + numbers.numpy().tobytes())


def _open(pack: Path) -> tuple[list[dict[str, Any]], dict[str, Tensor]] | None:
    """Index and arrays of a pack; None where there is none, or none that can be used."""
    try:
        index = json.loads((pack / "index.json").read_text())
        # copy-on-write: whoever changes a clip changes neither the file nor other clips
        arrays = {
            name: torch.from_numpy(np.load(pack / f"{name}.npy", mmap_mode="c", allow_pickle=False)) for name in _ARRAYS
        }
        if index["frames"] != len(arrays["root_pos"]):
            return None
        return index["clips"], arrays
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _clip(entry: Mapping[str, Any], arrays: Mapping[str, Tensor], skeleton: Skeleton) -> Motion:
    part = slice(entry["start"], entry["start"] + entry["frames"])
    motion = Motion(
        skeleton, arrays["root_pos"][part], arrays["root_rot"][part], arrays["joint_rot"][part], entry["fps"],
        entry["name"], arrays["contacts"][part].bool() if entry["contacts"] else None, tuple(entry["tags"]),
    )  # fmt: skip
    _KNOWN[motion] = arrays["dof_pos"][part]
    return motion


def _write(pack: Path, entries: Sequence[dict[str, Any]], clips: Sequence[Motion]) -> None:
    """Write a pack beside its place and move it there."""
    pack.parent.mkdir(parents=True, exist_ok=True)
    start = 0
    columns: dict[str, list[np.ndarray]] = {name: [] for name in _ARRAYS}
    for entry, motion in zip(entries, clips, strict=True):
        dof = known_dof_pos(motion)
        if dof is None:
            dof = replace(motion, joint_rot=motion.joint_rot.float()).dof_pos()
            _KNOWN[motion] = dof
        contacts = motion.contacts
        entry.update(start=start, frames=motion.num_frames, fps=float(motion.fps), name=motion.name,
                     tags=list(motion.tags), contacts=contacts is not None)  # fmt: skip
        start += motion.num_frames
        if contacts is None:
            contacts = torch.zeros(motion.num_frames, 2, dtype=torch.bool)
        for name, values in zip(
            _ARRAYS, (motion.root_pos, motion.root_rot, motion.joint_rot, dof, contacts), strict=True
        ):
            columns[name].append(values.numpy().astype(np.uint8 if name == "contacts" else np.float32))
    beside = Path(tempfile.mkdtemp(dir=pack.parent, prefix=f".{pack.name}."))
    try:
        for name, parts in columns.items():
            np.save(beside / f"{name}.npy", np.concatenate(parts))
        (beside / "index.json").write_text(json.dumps({"frames": start, "clips": list(entries)}))
        if pack.exists():
            shutil.rmtree(pack)
        os.replace(beside, pack)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
