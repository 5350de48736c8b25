"""PNG files without an imaging library (zlib only)."""

from __future__ import annotations

import os
import struct
import tempfile
import zlib
from pathlib import Path

import numpy as np


def encode_png(image: np.ndarray, level: int = 6) -> bytes:
    """PNG bytes of uint8 [H,W,3] (RGB), [H,W,4] (RGBA) or [H,W] (grey)."""
    image = np.ascontiguousarray(image)
    kinds = {2: 0, 3: 2, 4: 6}
    channels = 2 if image.ndim == 2 else image.shape[2]
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or channels not in kinds:
        raise ValueError(f"a PNG needs uint8 [H,W], [H,W,3] or [H,W,4], not {image.dtype} {image.shape}")
    height, width = image.shape[:2]
    rows = image.reshape(height, -1)
    # Filter 2 (difference to the row above) suits flat skies and floors and is one subtraction in numpy.
    lines = np.empty((height, rows.shape[1] + 1), dtype=np.uint8)
    lines[:, 0] = 2
    lines[0, 1:] = rows[0]
    lines[1:, 1:] = rows[1:] - rows[:-1]

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, kinds[channels], 0, 0, 0)
    body = zlib.compress(lines.tobytes(), level)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def write_png(path: str | Path, image: np.ndarray) -> Path:
    """Writes a PNG atomically: a temporary file beside it, then a rename."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    data = encode_png(image)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return path
