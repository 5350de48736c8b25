"""isaacmm trains physically simulated characters that follow commands in the style of motion clips.

``launch.py`` composes a configuration and calls :func:`run` with it; that is all it does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omegaconf import DictConfig

__version__ = "0.1.0"


def run(cfg: DictConfig, notes: Sequence[str] = ()) -> int:
    """Train or play what ``cfg`` (composed by :func:`isaacmm.cli.compose.compose`) describes.

    Args:
        cfg: the complete configuration.
        notes: sentences about choices made while composing, shown in the banner.

    Returns:
        0, or 128 + the signal's number when a signal asked for an early end.
    """
    from isaacmm.cli.session import run as run_session  # only here: importing isaacmm stays quick

    return run_session(cfg, notes)
