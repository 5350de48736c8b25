"""Text and small pictures in the corners of a picture."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont


@lru_cache(maxsize=4)
def _font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib carries in its wheel."""
    import matplotlib

    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size)


@lru_cache(maxsize=256)
def _mask(text: str, size: int) -> np.ndarray:
    font = _font(size)
    box = ImageDraw.Draw(Image.new("L", (1, 1))).multiline_textbbox((0, 0), text, font=font, spacing=4)
    image = Image.new("L", (int(box[2]) + 2, int(box[3]) + 2), 0)
    ImageDraw.Draw(image).multiline_text((0, 0), text, fill=255, font=font, spacing=4)
    return np.asarray(image, dtype=np.float32) / 255.0


def write(image: np.ndarray, text: str, size: int | None = None) -> None:
    """Write ``text`` (lines allowed) into the upper left of ``image`` uint8 ``[H, W, 3]``, in place."""
    if not text:
        return
    height, width = image.shape[:2]
    size = size or max(11, height // 30)
    mask = _mask(text, size)
    pad = size // 2
    rows, cols = min(mask.shape[0], height - 2 * pad), min(mask.shape[1], width - 2 * pad)
    if rows <= 0 or cols <= 0:
        return
    panel = image[: rows + 2 * pad, : cols + 2 * pad].astype(np.float32)
    panel = panel * 0.45 + 255.0 * 0.55  # a pale panel keeps the text readable on anything
    inner = panel[pad : pad + rows, pad : pad + cols]
    inner *= 1.0 - 0.9 * mask[:rows, :cols, None]
    image[: rows + 2 * pad, : cols + 2 * pad] = panel.astype(np.uint8)


def paste(image: np.ndarray, small: np.ndarray) -> None:
    """Put ``small`` into the upper right of ``image``, both uint8 ``[., ., 3]``, in place; the rest is cut off."""
    pad = max(4, image.shape[0] // 60)
    rows, cols = min(small.shape[0], image.shape[0] - pad), min(small.shape[1], image.shape[1] - pad)
    image[pad : pad + rows, image.shape[1] - pad - cols : image.shape[1] - pad] = small[:rows, :cols]
