"""How files of a known library are read: their unit, where the file does not say it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from isaacmm.motion.io import registry
from isaacmm.motion.retarget.anatomy import leg_length
from isaacmm.motion.retarget.roles import RoleMap, load_map

#: Legs of other lengths are in another unit (m).
_LEG = (0.4, 1.4)


def options_for(path: Path, joint_map: str | RoleMap) -> dict[str, Any]:
    """The reader's options that a joint map proposes (``read:``), if without them the legs come out impossible.

    BVH files name no unit: the CMU library's, for example, is 0.45 inch.
    """
    found = joint_map if isinstance(joint_map, RoleMap) else load_map(joint_map)
    if not found.read or registry.sniff(path).name != "bvh":
        return {}
    warnings = logging.getLogger("isaacmm.motion.io.bvh")
    before, warnings.disabled = warnings.disabled, True  # its warning about the size is what is settled here
    try:
        motion = registry.read(path, nan="interpolate")
    finally:
        warnings.disabled = before
    leg = leg_length(motion.skeleton, found.bind(motion.skeleton.names))
    return {} if _LEG[0] < leg < _LEG[1] else dict(found.read)
