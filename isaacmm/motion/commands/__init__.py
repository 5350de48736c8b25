"""The commands of ``python -m isaacmm.motion``, each a module with ``add(parser)`` and ``run(given)``."""

from isaacmm.motion.commands import (
    convert,
    cut,
    inbetween,
    inspect,
    mirror,
    resample,
    retarget,
    stats,
    upsample,
    view,
)

COMMANDS = (inspect, view, convert, retarget, mirror, cut, resample, upsample, inbetween, stats)

__all__ = ["COMMANDS"]
