"""The commands of ``python -m isaacmm.motion``, each a module with ``add(parser)`` and ``run(given)``."""

from isaacmm.motion.commands import convert, cut, inspect, mirror, resample, retarget, stats, view

COMMANDS = (inspect, view, convert, retarget, mirror, cut, resample, stats)

__all__ = ["COMMANDS"]
