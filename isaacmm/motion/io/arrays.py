"""Arrays out of files that may be damaged or hostile: sizes are checked before memory is taken.

numpy's own readers believe what a header says: an ``.npy`` of 100 bytes may ask for terabytes, and an
``.npz`` of a megabyte unpack to a gigabyte. Here a header is compared with the bytes that are there,
and unpacked sizes with the size of the file.
"""

from __future__ import annotations

import bz2
import lzma
import math
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np

from isaacmm.errors import MotionError

#: Unpacked data may have this size in any case (bytes) ...
FLOOR = 64 << 20
#: ... and beyond that so many times the size of the file. Motion packs to a third at best, padded with
#: zeros (hands that do not move) to a tenth.
RATIO = 40
#: More arrays than this in one archive are no motion clip.
_MOST_ARRAYS = 2000
_KINDS = "biufSU"


class PickledArray(ValueError):
    """An array of Python objects, which would have to be unpickled."""


def allowance(size: int) -> int:
    """How many bytes may come out of a file of ``size`` bytes."""
    return max(FLOOR, RATIO * size)


def npy_header(file: IO[bytes]) -> tuple[np.dtype[Any], tuple[int, ...], bool]:
    """Type, shape and whether in Fortran order; leaves ``file`` at the first byte of data.

    Raises:
        ValueError: not an ``.npy``, or a damaged header.
    """
    version = np.lib.format.read_magic(file)
    reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    try:
        shape, fortran, dtype = reader(file)
    except Exception as error:  # numpy parses the header as Python text
        raise ValueError(f"its header cannot be read: {str(error)[:200]}") from error
    return dtype, shape, fortran


def npy_array(file: IO[bytes], size: int) -> np.ndarray:
    """The array of an ``.npy`` stream of ``size`` bytes.

    Raises:
        PickledArray: it holds objects.
        ValueError: a type that motion does not have, or not as many bytes as the header promises.
    """
    dtype, shape, fortran = npy_header(file)
    if dtype.hasobject:
        raise PickledArray("an array of objects")
    if dtype.kind not in _KINDS or dtype.itemsize == 0:
        raise ValueError(f"an array of type {str(dtype)[:60]}, expected plain numbers or strings")
    if any(n < 0 for n in shape) or len(shape) > 8:
        raise ValueError(f"the shape {str(shape)[:60]} is not possible")
    wanted = math.prod(shape) * dtype.itemsize
    if wanted > size:
        raise ValueError(f"the header promises {wanted:,} bytes {str(shape)[:60]}, the file holds {size:,}")
    data = file.read(wanted)
    if len(data) < wanted:
        raise ValueError(f"it ends after {len(data):,} of {wanted:,} bytes")
    return np.frombuffer(data, dtype=dtype).reshape(shape, order="F" if fortran else "C").copy()


def read_npy(path: Path) -> np.ndarray:
    """The one array of an ``.npy``.

    Raises:
        MotionError: pickled objects, a damaged header, or an incomplete file.
    """
    with open(path, "rb") as file:
        try:
            return npy_array(file, path.stat().st_size)
        except PickledArray:
            raise MotionError(
                f"{path}: holds pickled objects, expected a plain array. Pickles can run code; save plain numbers."
            ) from None
        except ValueError as error:
            raise MotionError(
                f"{path}: the array is damaged or cut short ({error}); copy or download it again."
            ) from error


def npy_shape(path: Path) -> tuple[int, ...] | None:
    """Shape of a plain numeric ``.npy`` without reading it; None for anything else."""
    try:
        with open(path, "rb") as file:
            if file.read(6) != b"\x93NUMPY":
                return None
            file.seek(0)
            dtype, shape, _ = npy_header(file)
    except (OSError, ValueError):
        return None
    return shape if dtype.kind in "iuf" and not dtype.hasobject else None


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an ``.npz``.

    Raises:
        PickledArray: one of them holds objects.
        ValueError: too much for the size of the file, or packed in an unusual way.
        zipfile.BadZipFile, zlib.error, ...: damaged.
    """
    arrays: dict[str, np.ndarray] = {}
    with zipfile.ZipFile(path) as archive:
        for info in checked_members(archive, path):
            with archive.open(info) as member:
                name = info.filename.removesuffix(".npy")
                try:
                    arrays[name] = npy_array(member, info.file_size)
                except PickledArray:
                    raise
                except ValueError as error:
                    raise ValueError(f"array {name[:60]!r}: {error}") from error
                member.read(1)  # the last byte read makes zipfile compare the check sum
    return arrays


def checked_members(archive: zipfile.ZipFile, path: Path) -> list[zipfile.ZipInfo]:
    """The members of an archive, if it is no bomb: few enough, plainly packed, not too large in all.

    ``zipfile`` never hands out more bytes of a member than its directory entry says.
    """
    members = archive.infolist()
    if len(members) > _MOST_ARRAYS:
        raise ValueError(f"it holds {len(members)} arrays, no motion clip")
    total = sum(info.file_size for info in members)
    most = allowance(path.stat().st_size)
    if total > most:
        raise ValueError(f"it would unpack to {total:,} bytes, over {most:,} that a file of its size may")
    for info in members:
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError("it is packed with a method that numpy does not write")
    return members


# ------------------------------------------------------------------- packed streams
def _zlib(data: bytes, most: int) -> bytes:
    """zlib or gzip, told apart by the header."""
    unpack = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    out = unpack.decompress(data, most)
    if not unpack.eof and len(out) < most:
        raise ValueError("the packed data are cut short")
    if unpack.unconsumed_tail or len(out) >= most:
        raise ValueError(f"it unpacks to more than {most:,} bytes, too much for a file of its size")
    return out


def _other(make: Callable[[], Any]) -> Callable[[bytes, int], bytes]:
    def unpack(data: bytes, most: int) -> bytes:
        stream = make()
        out = bytes(stream.decompress(data, most))
        if not stream.eof:
            raise ValueError("the packed data are cut short, or too large for a file of their size")
        return out

    return unpack


_PACKED: tuple[tuple[bytes, Callable[[bytes, int], bytes]], ...] = (
    (b"\x78", _zlib),
    (b"\x1f\x8b", _zlib),
    (b"BZh", _other(bz2.BZ2Decompressor)),
    (b"\xfd7zXZ", _other(lambda: lzma.LZMADecompressor(memlimit=256 << 20))),
)


def unpack(data: bytes, most: int | None = None) -> bytes:
    """``data`` unpacked if it is a zlib, gzip, bz2 or xz stream, else as it is.

    Args:
        data: a whole file.
        most: refuse to make more bytes than this; default :func:`allowance`.

    Raises:
        ValueError: damaged, cut short or too large.
    """
    for magic, method in _PACKED:
        if data.startswith(magic):
            try:
                return method(data, allowance(len(data)) if most is None else most)
            except (zlib.error, OSError, EOFError, lzma.LZMAError) as error:
                raise ValueError(f"the packed data are damaged ({error})") from error
    return data


def unpacked_head(path: Path, size: int = 1 << 20) -> bytes:
    """The first bytes of a file, unpacked if it is packed; for sniffing, so damage gives fewer bytes."""
    with open(path, "rb") as file:
        data = file.read(size)
    try:
        if data.startswith((b"\x78", b"\x1f\x8b")):
            return zlib.decompressobj(wbits=zlib.MAX_WBITS | 32).decompress(data, size)
        if data.startswith(b"BZh"):
            return bz2.BZ2Decompressor().decompress(data, size)
        if data.startswith(b"\xfd7zXZ"):
            return lzma.LZMADecompressor(memlimit=256 << 20).decompress(data, size)
    except (zlib.error, OSError, EOFError, lzma.LZMAError):
        pass
    return data
