"""How files of a known library are read: their unit, where the file does not say it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from isaacmm.motion.io import registry
from isaacmm.motion.retarget.anatomy import leg_length
from isaacmm.motion.retarget.roles import RoleMap, load_map

#: Legs of other lengths are in another unit (m).
_LEG = (0.4, 1.4)


@contextmanager
def size_not_settled() -> Iterator[None]:
    """Without the reader's warning about a figure's size, where that is only going to be settled."""
    warnings = logging.getLogger("isaacmm.motion.io.bvh")
    before, warnings.disabled = warnings.disabled, True
    try:
        yield
    finally:
        warnings.disabled = before


def options_for(path: Path, joint_map: str | RoleMap) -> dict[str, Any]:
    """The reader's options that a joint map proposes (``read:``), if without them the legs come out impossible.

    BVH files name no unit: the CMU library's, for example, is 0.45 inch.
    """
    found = joint_map if isinstance(joint_map, RoleMap) else load_map(joint_map)
    if not found.read or registry.sniff(path).name != "bvh":
        return {}
    with size_not_settled():
        motion = registry.read(path, nan="interpolate")
    leg = leg_length(motion.skeleton, found.bind(motion.skeleton.names))
    return {} if _LEG[0] < leg < _LEG[1] else dict(found.read)
