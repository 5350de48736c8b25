"""What the readers and writers share: npz without pickles, atomic files, mapping onto a skeleton."""

from __future__ import annotations

import logging
import os
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from isaacmm import rotation
from isaacmm.errors import MotionError, nearest
from isaacmm.motion.clip import Motion
from isaacmm.motion.io import arrays

if TYPE_CHECKING:
    from isaacmm.skeleton import Skeleton

log = logging.getLogger(__name__)

#: Bones that differ by more than this between a clip and the character are worth a warning (m).
OFFSET_TOLERANCE = 0.01


def open_npz(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an ``.npz``; object arrays (pickles) are refused.

    Raises:
        MotionError: damaged archive, or an array that would need unpickling.
    """
    try:
        if arrays.npy_shape(path) is not None:
            raise MotionError(f"{path}: a single array, not an .npz archive; rename it to .npy.")
        return arrays.read_npz(path)
    except MotionError:
        raise
    except arrays.PickledArray as error:
        raise MotionError(
            f"{path}: holds pickled objects. Pickles can run code, so they are not read; save the clip again "
            "with plain arrays."
        ) from error
    except Exception as error:  # a damaged archive can fail in almost any way
        raise MotionError(
            f"{path}: the archive is damaged or cut short ({str(error)[:200]}); copy or download it again."
        ) from error


def npz_keys(path: Path) -> set[str]:
    """Array names of an ``.npz`` without reading the arrays; empty if it is none."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {name.removesuffix(".npy") for name in archive.namelist()}
    except Exception:  # a damaged archive can fail in almost any way
        return set()


@contextmanager
def atomic(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file beside ``path`` and rename it into place when all went well."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)  # mkstemp makes private files
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def match_names(found: Sequence[str], wanted: Sequence[str], what: str, path: Path) -> list[int]:
    """Index into ``found`` of every name in ``wanted``.

    Raises:
        MotionError: names are missing or left over; the message gives the nearest ones.
    """
    missing = [name for name in wanted if name not in found]
    unknown = [name for name in found if name not in wanted]
    if missing or unknown:
        parts = []
        if missing:
            parts.append(
                f"the clip lacks {what} {_few(missing)} of the character ({nearest(missing[0], found)})"
            )
        if unknown:
            parts.append(f"the character has no {what} {_few(unknown)} ({nearest(unknown[0], wanted)})")
        raise MotionError(
            f"{path}: {'; '.join(parts)}. Rename the joints, load the character that the clip belongs to, "
            "or read the clip on its own skeleton (skeleton=None)."
        )
    return [found.index(name) for name in wanted]


def _few(names: Sequence[str], count: int = 4) -> str:
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(repr(name) for name in names[:count]) + more


def map_bodies(
    names: Sequence[str], parents: Sequence[int], offsets: Tensor, skeleton: Skeleton, path: Path
) -> list[int]:
    """For every body of ``skeleton`` its index in the file; trees must agree.

    Bones of another length are allowed (the clip's angles are put on the character) with a warning.

    Raises:
        MotionError: names or parents differ.
    """
    order = match_names(list(names), skeleton.names, "joints", path)
    for i, source in enumerate(order):
        theirs = None if parents[source] < 0 else names[parents[source]]
        ours = None if skeleton.parents[i] < 0 else skeleton.names[skeleton.parents[i]]
        if theirs != ours:
            raise MotionError(
                f"{path}: joint {names[source]!r} hangs on {theirs!r} in the clip but on {ours!r} in the "
                "character. The trees must agree; retarget the clip first."
            )
    difference = (offsets[order][1:] - skeleton.offsets[1:].to(offsets)).norm(dim=-1)
    if len(difference) and float(difference.max()) > OFFSET_TOLERANCE:
        worst = int(difference.argmax())
        log.warning(
            "%s: bones differ from the character's, at most %.1f cm at %r; joint angles and root path are "
            "kept as they are, so feet may float or sink",
            path,
            100 * float(difference[worst]),
            skeleton.names[worst + 1],
        )
    return order


def local_to_joint(local: Tensor, skeleton: Skeleton) -> Tensor:
    """Local body rotations ``[T, B, 4]`` in the skeleton's order to joint rotations ``[T, B-1, 4]``.

    The rest rotation is taken out: local = rest * joint.
    """
    rest = skeleton.rest_rotations[1:].to(local)
    return rotation.multiply(rotation.inverse(rest), local[:, 1:])


def onto(skeleton: Skeleton, own: Skeleton, root_rot: Tensor, joint_rot: Tensor, path: Path) -> Tensor:
    """Joint rotations of a clip on its ``own`` skeleton for the bodies of ``skeleton``, by name.

    Raises:
        MotionError: names or trees differ.
    """
    order = map_bodies(own.names, own.parents, own.offsets, skeleton, path)
    rest = own.rest_rotations[1:].to(joint_rot)
    local = torch.cat((root_rot.to(joint_rot)[:, None], rotation.multiply(rest, joint_rot)), dim=1)
    return local_to_joint(local[:, order], skeleton)


def placed(
    skeleton: Skeleton | None,
    own: Skeleton,
    root_pos: Tensor,
    root_rot: Tensor,
    joint_rot: Tensor,
    fps: float,
    path: Path,
    name: str | None = None,
    tags: tuple[str, ...] = (),
) -> Motion:
    """The clip that a reader found on the file's ``own`` skeleton, put onto ``skeleton`` where one is given.

    Raises:
        MotionError: names or trees differ.
    """
    if skeleton is not None and own is not skeleton:
        joint_rot = onto(skeleton, own, root_rot, joint_rot, path)
    name = path.stem if name is None else name
    return Motion(
        skeleton or own, root_pos.float(), root_rot.float(), joint_rot.float(), fps, name, tags=tags
    )


def as_tensor(array: np.ndarray, dtype: torch.dtype = torch.float32) -> Tensor:
    """A copy of ``array`` as a tensor (numbers only)."""
    return torch.as_tensor(np.ascontiguousarray(array)).to(dtype)


def frame_list(frames: Sequence[int]) -> str:
    """``[3, 4, 5, 9]`` as ``"3-5, 9"``."""
    runs: list[list[int]] = []
    for frame in frames:
        if runs and frame == runs[-1][1] + 1:
            runs[-1][1] = frame
        else:
            runs.append([frame, frame])
    text = [f"{a}" if a == b else f"{a}-{b}" for a, b in runs[:8]]
    return ", ".join(text) + (f", ... ({len(frames)} in all)" if len(runs) > 8 else "")
