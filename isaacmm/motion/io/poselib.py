"""IsaacGymEnvs / ASE poselib files: ``.npy`` around a pickled dictionary, read without running it.

A pickle is a program. Of the programs a pickle can be, these files need three constructors (numpy
arrays, numpy dtypes, OrderedDict); our unpickler knows only those and refuses everything else
before it is executed. Not even numpy sees what the file says (its constructors believe any state they
are given): stand-ins collect type, shape and bytes, which are checked first.

World z up, metres, quaternions xyzw, rotations local to the parent.
"""

from __future__ import annotations

import io
import pickle
import re
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from isaacmm import rotation
from isaacmm.errors import MotionError
from isaacmm.motion.io import files

if TYPE_CHECKING:
    from isaacmm.motion.clip import Motion
    from isaacmm.skeleton import Skeleton


class _Refused(pickle.UnpicklingError):
    """The pickle asks for something that is not on the list."""


class _DType:
    """Stands in for ``numpy.dtype`` while a pickle is read: plain numbers and strings only."""

    def __init__(self, code: str, *_: Any) -> None:
        self.code, self.order = code, "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, self.order, subarray, names, fields = state[:5]
        if subarray is not None or names or fields:
            raise _Refused("a structured array")

    def real(self) -> np.dtype[Any]:
        """The dtype meant."""
        if not re.fullmatch(r"[fiu][1248]|b1|[SU]\d{1,4}", self.code):
            raise _Refused(f"an array of type {self.code}")
        order = self.order if self.order in "<>" else "="
        return np.dtype(order + self.code)


class _Array:
    """Stands in for ``numpy.ndarray``: keeps what the pickle says about one until it has been looked at."""

    state: tuple[tuple[int, ...], _DType, bool, Any] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        shape, dtype, fortran, data = state[-4:]
        self.state = (shape, dtype, bool(fortran), data)

    def real(self) -> Any:
        """The array meant; the object inside, for the 0-d object array that ``np.save`` wraps around it."""
        assert self.state is not None
        shape, dtype, fortran, data = self.state
        if dtype.code.startswith("O"):
            if shape != () or not isinstance(data, list) or len(data) != 1:
                raise _Refused("an array of objects")
            return _real(data[0])
        raw = data.encode("latin1") if isinstance(data, str) else bytes(data)
        return np.frombuffer(raw, dtype=dtype.real()).reshape(shape, order="F" if fortran else "C").copy()


def _real(value: Any, done: dict[int, Any] | None = None) -> Any:
    """``value`` with every stand-in replaced, in plain containers.

    ``done`` keeps what has been replaced, so that a small file full of references to itself stays small.
    """
    done = {} if done is None else done
    if id(value) in done:
        return done[id(value)]
    real = value
    if isinstance(value, _Array):
        real = value.real()
    elif isinstance(value, dict):
        real = {key: _real(item, done) for key, item in value.items()}
    elif isinstance(value, (list, tuple)):
        real = [_real(item, done) for item in value]
    done[id(value)] = real
    return real


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _scalar(dtype: _DType, data: Any) -> Any:
    raw = data.encode("latin1") if isinstance(data, str) else bytes(data)
    return np.frombuffer(raw, dtype=dtype.real(), count=1)[0]


def _latin1(text: str, encoding: str) -> bytes:
    """How old pickle protocols spell bytes; no other codec is let near them."""
    if encoding not in ("latin1", "latin-1"):
        raise _Refused(f"the codec {encoding}")
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _DType,
    ("_codecs", "encode"): _latin1,
    # numpy 2 renamed the module
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
}


class _Unpickler(pickle._Unpickler):
    """Builds dictionaries, and notes about arrays; anything else stops it before it is called.

    On the pure-Python unpickler: these files are some hundred instructions long, and the C one can be
    upset by damaged files.
    """

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise _Refused(f"{module}.{name}") from None

    def persistent_load(self, pid: Any) -> Any:
        raise _Refused("a persistent reference")


def restricted_load(path: Path) -> Any:
    """The object inside a pickled ``.npy``, if numpy arrays and plain containers are all it holds.

    Raises:
        MotionError: not an ``.npy``, cut short, or a pickle that asks for any other class or function.
    """
    with open(path, "rb") as file:
        try:
            version = np.lib.format.read_magic(file)
            reader = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            shape, _, dtype = reader(file)
        except Exception as error:  # numpy parses the header as Python text
            raise MotionError(f"{path}: not an .npy file, or a damaged one ({error}).") from error
        if dtype.kind != "O" or shape != ():
            raise MotionError(
                f"{path}: a plain array {dtype} {shape}, not a poselib clip (one pickled dictionary); "
                "convert it to isaacmm's .npz, see docs/motion_formats.md."
            )
        content = file.read()
    try:
        return _real(_Unpickler(io.BytesIO(content), encoding="latin1").load())
    except _Refused as error:
        raise MotionError(
            f"{path}: refused. Its pickle asks for {error}, and a motion clip needs nothing but numpy "
            "arrays and dictionaries; loading it could run code. Do not open this file elsewhere unless you "
            "trust its source."
        ) from error
    except Exception as error:  # a damaged pickle can fail in almost any way
        raise MotionError(
            f"{path}: the pickle is damaged or cut short ({type(error).__name__}: {error}); "
            "copy or download the file again."
        ) from error


def sniff(path: Path) -> bool:
    """True for an ``.npy`` that holds one pickled object."""
    with open(path, "rb") as file:
        head = file.read(160)
    return head.startswith(b"\x93NUMPY") and b"'|O'" in head


def read(path: Path, skeleton: Skeleton | None = None) -> Motion:
    """Read a poselib SkeletonMotion, or a SkeletonState (a pose: two equal frames at 30 fps)."""
    from isaacmm.motion.clip import Motion

    data = restricted_load(path)
    kind = data.get("__name__") if isinstance(data, dict) else None
    if kind not in ("SkeletonMotion", "SkeletonState"):
        raise MotionError(f"{path}: holds {kind or type(data).__name__}, expected a poselib SkeletonMotion.")
    try:
        tree = data["skeleton_tree"]
        names = [str(name) for name in tree["node_names"]]
        parents = [int(parent) for parent in _numbers(tree["parent_indices"])]
        offsets = files.as_tensor(_numbers(tree["local_translation"]))
        rotations = files.as_tensor(_numbers(data["rotation"]), torch.float64)
        root_pos = files.as_tensor(_numbers(data["root_translation"]))
        fps = float(np.asarray(data.get("fps", 30.0)))
        is_local = bool(data["is_local"])
    except (KeyError, TypeError, ValueError) as error:
        raise MotionError(
            f"{path}: not a complete poselib clip ({type(error).__name__}: {error})."
        ) from error
    if kind == "SkeletonState":
        rotations, root_pos = rotations.expand(2, *rotations.shape), root_pos.expand(2, 3)
    bodies, frames = len(names), len(root_pos)
    if (
        rotations.shape != (frames, bodies, 4)
        or root_pos.shape != (frames, 3)
        or offsets.shape != (bodies, 3)
    ):
        raise MotionError(
            f"{path}: rotations {tuple(rotations.shape)}, root path {tuple(root_pos.shape)} and {bodies} "
            "joints do not belong together; the clip is damaged."
        )
    rotations = rotation.normalize(rotations)
    local = rotations if is_local else _to_local(rotations, parents)
    if skeleton is None:
        skeleton = _own_skeleton(names, parents, offsets)
    local = local[:, files.map_bodies(names, parents, offsets, skeleton, path)]
    return Motion(
        skeleton=skeleton,
        root_pos=root_pos.clone(),
        root_rot=local[:, 0].float(),
        joint_rot=files.local_to_joint(local, skeleton).float(),
        fps=fps,
        name=path.stem,
    )


def _numbers(entry: dict[str, Any]) -> np.ndarray:
    """The array of a poselib tensor entry ``{"arr": ..., "context": {...}}``."""
    array = np.asarray(entry["arr"])
    if array.dtype.kind not in "fiu":
        raise ValueError(f"an array of {array.dtype} where numbers belong")
    return array


def _to_local(world: Tensor, parents: list[int]) -> Tensor:
    """World rotations ``[T, B, 4]`` to rotations in the parent's frame."""
    local = world.clone()
    children = [i for i, parent in enumerate(parents) if parent >= 0]
    above = rotation.inverse(world[:, [parents[i] for i in children]])
    local[:, children] = rotation.multiply(above, world[:, children])
    return local


def _own_skeleton(names: list[str], parents: list[int], offsets: Tensor) -> Skeleton:
    """The file's tree, reordered if need be so that parents precede children; no hinges."""
    from isaacmm.skeleton import Skeleton

    if parents.count(-1) != 1:
        raise MotionError(f"the tree has {parents.count(-1)} roots, expected 1")
    order = [parents.index(-1)]
    for i in order:  # grows while we walk it
        order.extend(child for child, parent in enumerate(parents) if parent == i)
    if sorted(order) == list(range(len(names))) and all(p < i for i, p in enumerate(parents)):
        order = list(range(len(names)))  # already valid: keep the file's order
    place = {body: i for i, body in enumerate(order)}
    return Skeleton(
        names=tuple(names[i] for i in order),
        parents=tuple(place[parents[i]] if parents[i] >= 0 else -1 for i in order),
        offsets=offsets[order],
        rest_rotations=rotation.identity(len(order)),
    )
