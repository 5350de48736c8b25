"""IsaacGymEnvs / ASE poselib files: ``.npy`` around a pickled dictionary, read without running it.

See :mod:`.safe_pickle` for how a pickle is read without running it.

World z up, metres, quaternions xyzw, rotations local to the parent.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from isaacmm import rotation
from isaacmm.errors import MotionError
from isaacmm.motion.io import files, safe_pickle

if TYPE_CHECKING:
    from isaacmm.motion.clip import Motion
    from isaacmm.skeleton import Skeleton


def sniff(path: Path) -> bool:
    """True for an ``.npy`` that holds one pickled object."""
    with open(path, "rb") as file:
        head = file.read(160)
    return head.startswith(b"\x93NUMPY") and b"'|O'" in head


def read(path: Path, skeleton: Skeleton | None = None) -> Motion:
    """Read a poselib SkeletonMotion, or a SkeletonState (a pose: two equal frames at 30 fps)."""
    from isaacmm.motion.clip import Motion

    data = safe_pickle.load_npy(path)
    kind = data.get("__name__") if isinstance(data, dict) else None
    if kind not in ("SkeletonMotion", "SkeletonState"):
        raise MotionError(f"{path}: holds {kind or type(data).__name__}, expected a poselib SkeletonMotion.")
    try:
        tree = data["skeleton_tree"]
        names = [str(name) for name in tree["node_names"]]
        parents = [int(parent) for parent in _numbers(tree["parent_indices"])]
        offsets = files.as_tensor(_numbers(tree["local_translation"]))
        rotations = files.as_tensor(_numbers(data["rotation"]), torch.float64)
        root_pos = files.as_tensor(_numbers(data["root_translation"]))
        fps = float(np.asarray(data.get("fps", 30.0)))
        is_local = bool(data["is_local"])
    except (KeyError, TypeError, ValueError) as error:
        raise MotionError(
            f"{path}: not a complete poselib clip ({type(error).__name__}: {error})."
        ) from error
    if kind == "SkeletonState":
        rotations, root_pos = rotations.expand(2, *rotations.shape), root_pos.expand(2, 3)
    bodies, frames = len(names), len(root_pos)
    if (
        rotations.shape != (frames, bodies, 4)
        or root_pos.shape != (frames, 3)
        or offsets.shape != (bodies, 3)
    ):
        raise MotionError(
            f"{path}: rotations {tuple(rotations.shape)}, root path {tuple(root_pos.shape)} and {bodies} "
            "joints do not belong together; the clip is damaged."
        )
    rotations = rotation.normalize(rotations)
    local = rotations if is_local else _to_local(rotations, parents)
    if skeleton is None:
        skeleton = _own_skeleton(names, parents, offsets)
    local = local[:, files.map_bodies(names, parents, offsets, skeleton, path)]
    return Motion(
        skeleton=skeleton,
        root_pos=root_pos.clone(),
        root_rot=local[:, 0].float(),
        joint_rot=files.local_to_joint(local, skeleton).float(),
        fps=fps,
        name=path.stem,
    )


def _numbers(entry: dict[str, Any]) -> np.ndarray:
    """The array of a poselib tensor entry ``{"arr": ..., "context": {...}}``."""
    array = np.asarray(entry["arr"])
    if array.dtype.kind not in "fiu":
        raise ValueError(f"an array of {array.dtype} where numbers belong")
    return array


def _to_local(world: Tensor, parents: list[int]) -> Tensor:
    """World rotations ``[T, B, 4]`` to rotations in the parent's frame."""
    local = world.clone()
    children = [i for i, parent in enumerate(parents) if parent >= 0]
    above = rotation.inverse(world[:, [parents[i] for i in children]])
    local[:, children] = rotation.multiply(above, world[:, children])
    return local


def _own_skeleton(names: list[str], parents: list[int], offsets: Tensor) -> Skeleton:
    """The file's tree, reordered if need be so that parents precede children; no hinges."""
    from isaacmm.skeleton import Skeleton

    if parents.count(-1) != 1:
        raise MotionError(f"the tree has {parents.count(-1)} roots, expected 1")
    order = [parents.index(-1)]
    for i in order:  # grows while we walk it
        order.extend(child for child, parent in enumerate(parents) if parent == i)
    if sorted(order) == list(range(len(names))) and all(p < i for i, p in enumerate(parents)):
        order = list(range(len(names)))  # already valid: keep the file's order
    place = {body: i for i, body in enumerate(order)}
    return Skeleton(
        names=tuple(names[i] for i in order),
        parents=tuple(place[parents[i]] if parents[i] >= 0 else -1 for i in order),
        offsets=offsets[order],
        rest_rotations=rotation.identity(len(order)),
    )


def write(motion: Motion, path: Path) -> None:
    """Write a SkeletonMotion as poselib does: a pickled dictionary of arrays, rotations local."""
    skeleton = motion.skeleton
    local = torch.cat(
        (
            motion.root_rot[:, None],
            rotation.multiply(skeleton.rest_rotations[1:].to(motion.joint_rot), motion.joint_rot),
        ),
        dim=1,
    ).cpu()
    pos, rot = (part.cpu() for part in motion.fk())
    content: OrderedDict[str, Any] = OrderedDict(
        rotation=_entry(local),
        root_translation=_entry(motion.root_pos.cpu()),
        global_velocity=_entry(_rate_of_change(pos, motion.fps)),
        global_angular_velocity=_entry(rotation.angular_velocity(rot, 1.0 / motion.fps)),
        skeleton_tree=OrderedDict(
            node_names=list(skeleton.names),
            parent_indices=_entry(torch.tensor(skeleton.parents)),
            local_translation=_entry(skeleton.offsets.cpu()),
        ),
        is_local=True,
        fps=float(motion.fps),
        __name__="SkeletonMotion",
    )
    with files.atomic(path) as file:
        np.save(file, content, allow_pickle=True)  # type: ignore[arg-type]


def _entry(tensor: Tensor) -> OrderedDict[str, Any]:
    """How poselib spells a tensor."""
    array = tensor.detach().numpy()
    return OrderedDict(arr=array, context=OrderedDict(dtype=str(array.dtype)))


def _rate_of_change(values: Tensor, fps: float) -> Tensor:
    """Central differences per second along time, one-sided at the ends."""
    if len(values) < 2:
        return torch.zeros_like(values)
    return torch.gradient(values, spacing=1.0 / fps, dim=0)[0]
