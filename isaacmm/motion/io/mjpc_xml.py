"""Keyframes of MuJoCo MPC's humanoid tracking task: 16 marker positions per frame, z up, metres, 30 fps.

``<key mpos="...">`` hold points on the body, no rotations and no tree. Read as a stick figure through
:mod:`.points`: hips and the middle of the shoulders turn the pelvis, shoulders and head the chest.
Points on a moving trunk are not rigid, so its joints are some centimetres off; legs and arms keep their
mean lengths.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import numpy as np
import torch

from isaacmm import rotation
from isaacmm.errors import MotionError
from isaacmm.motion.io import files, points
from isaacmm.motion.io.fields import rate

if TYPE_CHECKING:
    from isaacmm.motion.clip import Motion
    from isaacmm.skeleton import Skeleton

#: Markers in the order of the file.
MARKERS = (
    *("pelvis", "head", "left_toe", "right_toe", "left_heel", "right_heel", "left_knee", "right_knee"),
    *("left_hand", "right_hand", "left_elbow", "right_elbow", "left_shoulder", "right_shoulder"),
    *("left_hip", "right_hip"),
)
# body, parent, bone at rest (m): only its direction counts; chest is the middle of the shoulders
_TREE = (
    ("pelvis", None, (0.0, 0.0, 0.0)),
    ("chest", "pelvis", (0.0, 0.0, 0.45)),
    ("head", "chest", (0.03, 0.0, 0.2)),
    *((f"{side}_hip", "pelvis", (0.0, y, -0.1)) for side, y in (("left", 0.07), ("right", -0.07))),
    *((f"{side}_knee", f"{side}_hip", (0.0, 0.0, -0.4)) for side in ("left", "right")),
    *((f"{side}_heel", f"{side}_knee", (0.0, 0.0, -0.4)) for side in ("left", "right")),
    *((f"{side}_toe", f"{side}_heel", (0.2, 0.0, 0.0)) for side in ("left", "right")),
    *((f"{side}_shoulder", "chest", (0.0, y, 0.0)) for side, y in (("left", 0.17), ("right", -0.17))),
    *((f"{side}_elbow", f"{side}_shoulder", (0.0, 0.0, -0.28)) for side in ("left", "right")),
    *((f"{side}_hand", f"{side}_elbow", (0.0, 0.0, -0.26)) for side in ("left", "right")),
)


def sniff(path: Path) -> bool:
    """True for an XML text with keyframes of markers."""
    with open(path, "rb") as file:
        head = file.read(4000)
    return head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<") and b"<key" in head and b"mpos=" in head


def read(path: Path, skeleton: Skeleton | None = None, *, fps: float = 30.0) -> Motion:
    """Read a clip of keyframes; ``skeleton`` maps the figure's bodies by name, None is the figure."""
    from isaacmm.skeleton import Skeleton as SkeletonType

    placed = torch.as_tensor(_markers(path))
    if not bool(torch.isfinite(placed).all()):
        raise MotionError(f"{path}: a marker holds NaN or infinity.")
    at = {name: placed[:, i] for i, name in enumerate(MARKERS)}
    at["chest"] = 0.5 * (at["left_shoulder"] + at["right_shoulder"])
    names = [row[0] for row in _TREE]
    parents = tuple(-1 if row[1] is None else names.index(row[1]) for row in _TREE)
    where = torch.stack([at[name] for name in names], dim=1)
    offsets, world = points.rotations(
        where, parents, torch.tensor([row[2] for row in _TREE], dtype=torch.float64)
    )
    above = list(parents[1:])
    joint_rot = rotation.multiply(rotation.inverse(world[:, above]), world[:, 1:])
    own = SkeletonType(tuple(names), parents, offsets.float(), rotation.identity(len(names)))
    return files.placed(skeleton, own, where[:, 0], world[:, 0], joint_rot, rate(fps, path), path)


def _markers(path: Path) -> np.ndarray:
    """``[T, 16, 3]`` m."""
    content = path.read_bytes()
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise MotionError(
            f"{path}: refused: keyframes need no document type, and entities can blow up memory."
        )
    try:
        keys = [key.get("mpos") for key in ElementTree.fromstring(content).iter("key")]
        rows = [[float(word) for word in key.split()] for key in keys if key]
    except (ElementTree.ParseError, ValueError) as error:
        raise MotionError(f"{path}: not complete XML of keyframes ({str(error)[:120]}).") from error
    if not rows:
        raise MotionError(f"{path}: holds no keyframes with markers (mpos).")
    for i, row in enumerate(rows):
        if len(row) != 3 * len(MARKERS):
            raise MotionError(
                f"{path}: keyframe {i} has {len(row)} numbers, expected {3 * len(MARKERS)} (16 markers)."
            )
    return np.array(rows).reshape(len(rows), -1, 3)
