"""The errors a user can meet.

Every message says what was wrong, where, and what to do about it. The command line prints these
without a traceback; anything else that escapes is a bug of ours and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class IsaacmmError(Exception):
    """Base of every error that is the user's to act on."""


class MotionError(IsaacmmError, ValueError):
    """A motion file or clip that cannot be used as it is."""


class ConfigError(IsaacmmError, ValueError):
    """A setting that does not exist or has an impossible value."""


class CheckpointError(IsaacmmError, ValueError):
    """A checkpoint that is missing, damaged, or belongs to something else."""


class SimulatorError(IsaacmmError, RuntimeError):
    """A simulator that is not available, or that diverged."""


def nearest(word: str, choices: Iterable[str], count: int = 3) -> str:
    """A sentence fragment that names the valid choices closest to ``word``.

    Returns ``"did you mean 'a' or 'b'?"`` when something is close, else ``"valid: a, b, c"``.
    """
    names = list(choices)
    close = difflib.get_close_matches(word, names, n=count, cutoff=0.5)
    if close:
        return "did you mean " + " or ".join(repr(name) for name in close) + "?"
    return "valid: " + ", ".join(names)
