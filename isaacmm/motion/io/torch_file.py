"""Tensors in files that torch wrote, read without torch.

``torch.save`` writes a pickle with the numbers beside it: in a zip archive, or (storages inside other
pickles) one after the other in a stream. Read here by :mod:`.safe_pickle` with stand-ins for torch's
names, and bounds checked before a view on a storage is made: a tensor may not reach outside its
storage, and no storage is larger than the bytes that are there.
"""

from __future__ import annotations

import io
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from isaacmm.errors import MotionError
from isaacmm.motion.io import arrays, safe_pickle
from isaacmm.motion.io.safe_pickle import Budget, Refused, Unpickler

_TYPES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_DEPTH = 4


class StorageType:
    """Stands in for ``torch.FloatStorage`` and its siblings."""

    def __init__(self, code: str) -> None:
        self.dtype = np.dtype(code)


class Tensor:
    """Stands in for a tensor: a view on a storage that is made when it has been checked."""

    def __init__(self, storage: Any, offset: Any, size: Any, stride: Any) -> None:
        self.parts = storage, offset, size, stride

    def torch_array(self, spend: Budget) -> np.ndarray:
        """The numbers."""
        storage, offset, size, stride = self.parts
        storage = storage.values if isinstance(storage, Storage) else storage
        if not isinstance(storage, np.ndarray) or len(size) != len(stride):
            raise Refused("a tensor without a storage")
        start, *lengths = (safe_pickle._index(n) for n in (offset, *size))
        steps = [safe_pickle._index(n) for n in stride]
        if math.prod(lengths) == 0:
            return np.zeros(lengths, dtype=storage.dtype)
        last = start + sum((n - 1) * step for n, step in zip(lengths, steps, strict=True))
        if last >= len(storage) or math.prod(lengths) > len(storage):
            raise ValueError(f"a tensor {lengths} that reaches outside its storage of {len(storage)}")
        spend(math.prod(lengths) * storage.itemsize)
        width = storage.itemsize
        view = np.lib.stride_tricks.as_strided(storage[start:], lengths, [step * width for step in steps])
        return view.copy()


class Storage:
    """Numbers that tensors share; in a stream they come after the tensors that use them."""

    def __init__(self, values: np.ndarray | None = None, dtype: Any = None) -> None:
        self.values, self.dtype = values, dtype

    def torch_array(self, spend: Budget) -> np.ndarray:
        """A bare storage, as an array."""
        if self.values is None:
            raise Refused("a storage without numbers")
        return self.values


class Tools(safe_pickle.Tools):
    """The constructors of plain motion pickles and those of torch's tensors."""

    def __init__(self, most: int, depth: int = 0) -> None:
        super().__init__(most)
        self.depth = depth
        self.allowed["torch._utils", "_rebuild_tensor_v2"] = self.tensor
        self.allowed["torch.storage", "_load_from_bytes"] = self.from_bytes
        self.allowed["torch.serialization", "_get_layout"] = self.layout
        for name, code in _TYPES.items():
            self.allowed["torch", name] = StorageType(code)

    @staticmethod
    def tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
        """A view, not made yet."""
        return Tensor(storage, offset, size, stride)

    @staticmethod
    def layout(name: Any) -> str:
        """Only the plain layout."""
        if name != "torch.strided":
            raise Refused(f"a tensor of layout {str(name)[:30]}")
        return "strided"

    def from_bytes(self, data: Any) -> Any:
        """A storage inside another pickle: torch's stream format once more."""
        if not isinstance(data, bytes) or self.depth >= _DEPTH:
            raise Refused("a storage without bytes")
        self.spend(len(data))
        return _stream(data, Tools(self.spend.left, self.depth + 1))


class _Torch(Unpickler):
    """The unpickler, with the persistent references through which torch names storages."""

    def __init__(self, file: io.BytesIO, tools: Tools, storages: dict[str, Storage]) -> None:
        super().__init__(file, tools)
        self.storages = storages

    def persistent_load(self, pid: Any) -> Storage:
        """``("storage", type, key, device, count[, view])``."""
        if (
            not isinstance(pid, tuple)
            or len(pid) < 5
            or pid[0] != "storage"
            or not isinstance(pid[1], StorageType)
        ):
            raise Refused("a persistent reference that is no storage")
        key = str(pid[2])[:80]
        storage = self.storages.setdefault(key, Storage())
        if len(pid) > 5 and pid[5] is not None:
            raise Refused("a view of a storage")
        storage.dtype = pid[1].dtype
        return storage


def _stream(data: bytes, tools: Tools) -> Any:
    """torch's older format: magic, version, machine, the object, names of storages, storages."""
    file = io.BytesIO(data)
    if Unpickler(file, tools).load() != _LEGACY_MAGIC:
        raise Refused("a storage of unknown make")
    Unpickler(file, tools).load()
    Unpickler(file, tools).load()
    storages: dict[str, Storage] = {}
    content = _Torch(file, tools, storages).load()
    for key in Unpickler(file, tools).load():
        storage = storages.get(str(key)[:80])
        if storage is None or storage.dtype is None:
            raise Refused("a storage that nothing uses")
        count = int.from_bytes(file.read(8), "little")
        raw = file.read(count * storage.dtype.itemsize) if count <= len(data) else b""
        if len(raw) < count * storage.dtype.itemsize:
            raise ValueError(f"a storage of {count} numbers, but the file ends")
        storage.values = np.frombuffer(raw, dtype=storage.dtype)
    return content


def is_torch_zip(path: Path) -> bool:
    """True for an archive as ``torch.save`` makes it."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.count("/") == 1 and name.endswith("/data.pkl") for name in archive.namelist())
    except Exception:  # a damaged archive can fail in almost any way
        return False


def load(path: Path) -> Any:
    """What ``torch.save`` put into ``path``, tensors as numpy arrays.

    Raises:
        MotionError: damaged, or it needs more than tensors, numbers, lists and dictionaries.
    """
    return safe_pickle.guarded(lambda: _load_zip(path), path)


def _load_zip(path: Path) -> Any:
    if not zipfile.is_zipfile(path):
        raise MotionError(
            f"{path}: not an archive as torch.save writes it since version 1.6; save the file again with a newer torch."
        )
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: info for info in arrays.checked_members(archive, path)}
        programs = [name for name in members if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(programs) != 1:
            raise ValueError("not one data.pkl in the archive")
        folder = programs[0].removesuffix("data.pkl")
        if f"{folder}byteorder" in members and archive.read(f"{folder}byteorder").strip() != b"little":
            raise Refused("numbers in big-endian order")
        tools = Tools(2 * sum(info.file_size for info in members.values()) + (1 << 20))
        storages: dict[str, Storage] = {}
        content = _Torch(io.BytesIO(archive.read(programs[0])), tools, storages).load()
        for key, storage in storages.items():
            raw = archive.read(f"{folder}data/{key}")
            width = storage.dtype.itemsize
            storage.values = np.frombuffer(raw[: len(raw) // width * width], dtype=storage.dtype)
        return safe_pickle.real(content, tools.spend)
