"""What leaves with the user: BVH, ONNX, films and a page."""

from __future__ import annotations

from isaacmm.errors import IsaacmmError


class ExportError(IsaacmmError, RuntimeError):
    """An export that was written but does not say what it should."""
