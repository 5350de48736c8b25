"""BVH: skeleton and animation of DCC tools and motion capture, read and written.

Inside: world z up, x forward, metres, quaternions. In the file: y up, z forward, centimetres, Euler
angles in degrees. The two frames differ by a cyclic exchange of axes (file ``x, y, z`` = our
``y, z, x``), so nothing is lost or mirrored, and a character that faces +x here faces +z there.

A joint's rotation in a BVH file is relative to the zero pose with all frames parallel to the world.
A skeleton of ours may have rotated frames at rest; the writer and, given that skeleton, the reader
convert.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from isaacmm import rotation
from isaacmm.errors import MotionError
from isaacmm.motion.io import bvh_text, files
from isaacmm.motion.io.bvh_text import BvhText
from isaacmm.motion.io.euler import euler_to_quaternion, quaternion_to_euler

if TYPE_CHECKING:
    from isaacmm.motion.clip import Motion
    from isaacmm.skeleton import Skeleton

log = logging.getLogger(__name__)

#: file axis -> our axis, for the two ways a file can stand
_OURS = {"y": {"x": "y", "y": "z", "z": "x"}, "z": {"x": "x", "y": "y", "z": "z"}}
#: A joint whose bone changes its length by less than this is rigid (m).
_RIGID = 1e-3
#: Figures outside these extents are probably in other units (m).
_PLAUSIBLE = (0.6, 4.0)
_STATIC_ROOTS = ("root", "reference", "armature", "scene", "world", "trajectory")


def sniff(path: Path) -> bool:
    """True for a text that starts with HIERARCHY (with or without a byte order mark)."""
    with open(path, "rb") as file:
        return b"HIERARCHY" in file.read(400).replace(b"\0", b"").upper()


def _permutation(up: str) -> list[int]:
    """For each of our axes x, y, z the file's axis index."""
    if up not in _OURS:
        raise MotionError(f"up={up!r} is not possible; a BVH file is read and written with up='y' or up='z'.")
    file_axis = {ours: theirs for theirs, ours in _OURS[up].items()}
    return ["xyz".index(file_axis[axis]) for axis in "xyz"]


def _zero_pose(skeleton: Skeleton) -> Tensor:
    """World rotation ``[B, 4]`` of every body with all joints at zero and the root unturned."""
    world = rotation.identity(skeleton.num_bodies, dtype=torch.float64)
    for i, parent in enumerate(skeleton.parents):
        if parent >= 0:
            world[i] = rotation.multiply(world[parent], skeleton.rest_rotations[i].to(world))
    return world


def _turned_by(frames: Tensor, joint_rot: Tensor) -> Tensor:
    """Rotations ``[T, J, 4]`` seen from frames that are turned by ``frames [J, 4]``: ``f q f^-1``."""
    if bool((frames[:, 3].abs() == 1.0).all()):  # most skeletons; saves a third of the time of writing
        return joint_rot
    return rotation.multiply(rotation.multiply(frames, joint_rot), rotation.inverse(frames))


# ------------------------------------------------------------------------- read
def read(
    path: Path,
    skeleton: Skeleton | None = None,
    *,
    scale: float = 0.01,
    up: str = "y",
    root: str = "auto",
    stretch: str = "error",
    cut_short: str = "error",
) -> Motion:
    """Read a BVH file.

    Args:
        path: the file.
        skeleton: map the joints by name onto this skeleton, whose zero pose must be the file's. None:
            the file's own skeleton.
        scale: metres per unit of the file (0.01: centimetres).
        up: the file's up axis, ``"y"`` or ``"z"`` (then axes are taken as they are).
        root: ``"merge"`` replaces a root that has the hips as its only child by the hips, with their
            motion in the world (root motion tracks, dummy roots); ``"keep"`` leaves it; ``"auto"``
            merges where the child's position is animated or the root is named like a dummy.
        stretch: joints other than the root whose position changes: ``"error"``, or ``"bake"`` their
            mean position.
        cut_short: a file that ends inside a frame: ``"error"``, or ``"keep"`` the frames before.
    """
    from isaacmm.motion.clip import Motion
    from isaacmm.skeleton import Skeleton as SkeletonType

    for name, value, valid in (
        ("root", root, ("auto", "merge", "keep")),
        ("stretch", stretch, ("error", "bake")),
        ("cut_short", cut_short, ("error", "keep")),
    ):
        if value not in valid:
            raise MotionError(f"{path}: {name}={value!r} is not possible; valid: {', '.join(valid)}.")
    text = bvh_text.parse(path, cut_short)
    axes = _permutation(up)
    offsets = np.array(text.offsets)[:, axes] * scale
    rotations = _rotations(text, up)
    positions = _positions(text, offsets, axes, scale)
    names, parents = list(text.names), list(text.parents)
    still = np.broadcast_to(offsets, (len(rotations), *offsets.shape))
    root_pos = torch.as_tensor(positions.pop(0, still[:, 0]).copy())
    root_rot = torch.as_tensor(rotations[:, 0])

    while _is_dummy_root(names, parents, positions, root, skeleton):
        child = torch.as_tensor(positions.get(1, still[:, 1]).copy())
        root_pos = root_pos + rotation.rotate(root_rot, child)
        root_rot = rotation.multiply(root_rot, torch.as_tensor(rotations[:, 1]))
        offsets, still, rotations = offsets[1:], still[:, 1:], rotations[:, 1:]
        names, parents = names[1:], [max(parent - 1, -1) for parent in parents[1:]]
        positions = {joint - 1: value for joint, value in positions.items() if joint > 1}

    for joint, moved in positions.items():
        offsets[joint] = _rigid_offset(moved, names[joint], stretch, path)
    joint_rot = torch.as_tensor(rotations[:, 1:])
    if skeleton is None:
        sites = {
            name: tuple(np.array(site)[axes] * scale)
            for name, site in text.end_sites.items()
            if name in names
        }
        skeleton = SkeletonType(
            names=tuple(names),
            parents=tuple(parents),
            offsets=torch.as_tensor(offsets, dtype=torch.float32),
            rest_rotations=rotation.identity(len(names)),
            end_sites={name: (float(s[0]), float(s[1]), float(s[2])) for name, s in sites.items()},
        )
    else:
        joint_rot = _onto(skeleton, names, parents, torch.as_tensor(offsets), joint_rot, path)
    motion = Motion(
        skeleton=skeleton,
        root_pos=root_pos.float(),
        root_rot=root_rot.float(),
        joint_rot=joint_rot.float(),
        fps=text.fps,
        name=path.stem,
    )
    _check_size(motion, scale, path)
    return motion


def _rotations(text: BvhText, up: str) -> np.ndarray:
    """Joint rotations ``[T, J, 4]`` in our axes, about parents, in float64."""
    frames, joints = len(text.values), len(text.names)
    q = np.zeros((frames, joints, 4))
    q[..., 3] = 1.0
    groups: dict[str, list[tuple[int, list[int]]]] = {}
    column = 0
    for joint, channels in enumerate(text.channels):
        turning = [i for i, name in enumerate(channels) if name.endswith("rotation")]
        order = "".join(_OURS[up][channels[i][0]] for i in turning)
        if order:
            groups.setdefault(order, []).append((joint, [column + i for i in turning]))
        column += len(channels)
    radians = np.pi / 180.0
    for order, members in groups.items():
        joints_of, columns = [joint for joint, _ in members], np.array([column for _, column in members])
        step = max(1, 8_192 // len(members))  # frames at a time, so that the work stays in the cache
        for start in range(0, frames, step):
            angles = text.values[start : start + step].take(columns, axis=1)
            angles *= radians
            q[start : start + step, joints_of] = euler_to_quaternion(angles, order)
    return q


def _positions(text: BvhText, offsets: np.ndarray, axes: list[int], scale: float) -> dict[int, np.ndarray]:
    """Positions ``[T, 3]`` in metres and our axes of the joints that have position channels.

    Position channels replace the offset, axis by axis.
    """
    found: dict[int, np.ndarray] = {}
    column = 0
    for joint, channels in enumerate(text.channels):
        for i, name in enumerate(channels):
            if name.endswith("position"):
                if joint not in found:
                    found[joint] = np.repeat(offsets[joint][None], len(text.values), axis=0)
                ours = axes.index("xyz".index(name[0]))
                found[joint][:, ours] = text.values[:, column + i] * scale
        column += len(channels)
    return found


def _is_dummy_root(
    names: list[str],
    parents: list[int],
    positions: dict[int, np.ndarray],
    root: str,
    skeleton: Skeleton | None,
) -> bool:
    """Whether the root is to be replaced by its only child."""
    if root == "keep" or parents.count(0) != 1 or len(names) < 3:
        return False
    if skeleton is not None:
        return names[0] not in skeleton.names and names[1] == skeleton.names[0]
    if root == "merge":
        return 1 in positions
    if 1 not in positions:
        return False
    animated = float(np.ptp(positions[1], axis=0).max()) > _RIGID
    return animated or any(word in names[0].lower() for word in _STATIC_ROOTS)


def _rigid_offset(positions: np.ndarray, name: str, stretch: str, path: Path) -> np.ndarray:
    """The one offset that a joint's position channels amount to."""
    finite = np.isfinite(positions).all(axis=1)
    spread = np.ptp(positions[finite], axis=0).max() if finite.any() else 0.0
    if spread > _RIGID and stretch != "bake":
        worst = int(np.abs(positions[finite] - np.median(positions[finite], axis=0)).max(axis=1).argmax())
        raise MotionError(
            f"{path}: joint {name!r} moves by {100 * spread:.1f} cm on its parent (most at frame "
            f"{int(np.flatnonzero(finite)[worst])}). Bones here are rigid: export without stretching, or "
            "read with stretch='bake' to keep its mean position."
        )
    if spread > _RIGID:
        log.warning("%s: joint %r moves by %.1f cm on its parent; its mean is kept", path, name, 100 * spread)
    return positions[finite].mean(axis=0) if finite.any() else np.zeros(3)


def _onto(
    skeleton: Skeleton, names: list[str], parents: list[int], offsets: Tensor, joint_rot: Tensor, path: Path
) -> Tensor:
    """Joint rotations of the file in the order and the rest frames of ``skeleton``."""
    zero = _zero_pose(skeleton)
    in_frames = offsets.clone()
    for i, name in enumerate(skeleton.names):
        if name in names and skeleton.parents[i] >= 0:
            f = names.index(name)
            in_frames[f] = rotation.rotate_inverse(zero[skeleton.parents[i]], offsets[f])
    order = files.map_bodies(names, parents, in_frames, skeleton, path)
    turned = joint_rot[:, [f - 1 for f in order[1:]]]
    return _turned_by(rotation.inverse(zero[1:]), turned)


def _check_size(motion: Motion, scale: float, path: Path) -> None:
    """Warn where the figure's size says that the unit is another one."""
    pos, _ = motion.skeleton.fk(motion.root_pos[:1], motion.root_rot[:1], motion.joint_rot[:1])
    size = float((pos[0].amax(dim=0) - pos[0].amin(dim=0)).max())
    if motion.skeleton.num_bodies > 8 and np.isfinite(size) and not _PLAUSIBLE[0] < size < _PLAUSIBLE[1]:
        log.warning(
            "%s: the figure is %.2f m large; its unit is probably not %g m. Read it with scale=..., e.g. "
            "scale=%.2g makes it 1.7 m",
            path, size, scale, scale * 1.7 / size,
        )  # fmt: skip


# ------------------------------------------------------------------------ write
def write(
    motion: Motion,
    path: Path,
    *,
    order: str = "ZXY",
    scale: float = 0.01,
    up: str = "y",
    root_motion: bool = False,
    decimals: int = 6,
) -> None:
    """Write a BVH file: hips with six channels, all other joints with three rotations, end sites on leaves.

    The rest pose is the skeleton's zero pose with the root at the origin. Angle curves are continuous.

    Args:
        motion: any motion.
        path: the file.
        order: rotation channels, intrinsic, e.g. ``"ZXY"`` or ``"YXZ"``.
        scale: metres per unit of the file (0.01: centimetres).
        up: the file's up axis, ``"y"`` or ``"z"``.
        root_motion: put a joint ``Root`` above the hips that carries the path on the ground and the
            heading; the hips move relative to it.
        decimals: of every number, 0 to 6.
    """
    if sorted(order.upper()) != ["X", "Y", "Z"]:
        raise MotionError(
            f"order={order!r} is not possible; a channel order is X, Y and Z once each, e.g. 'ZXY'."
        )
    skeleton = motion.skeleton
    zero = _zero_pose(skeleton)
    depth_first = _depth_first(skeleton.parents)
    place = {body: i for i, body in enumerate(depth_first)}
    names = ["_".join(skeleton.names[body].split()) for body in depth_first]
    parents = [place[skeleton.parents[b]] if skeleton.parents[b] >= 0 else -1 for b in depth_first]
    above = [max(parent, 0) for parent in skeleton.parents]
    offsets = rotation.rotate(zero[above], skeleton.offsets.double().cpu())
    offsets[0] = 0.0
    joints = _turned_by(zero[1:], motion.joint_rot.double().cpu())
    turned = torch.cat((motion.root_rot[:, None].double().cpu(), joints), dim=1)[:, depth_first]
    placed = [motion.root_pos.double().cpu()]
    tips = {names[place[b]]: rotation.rotate(zero[b], tip) for b, tip in _tips(skeleton, offsets).items()}
    offsets = offsets[depth_first]
    if root_motion:
        track_pos, track_rot = root_track(motion)
        placed = [track_pos, rotation.rotate_inverse(track_rot, placed[0] - track_pos)]
        hips = rotation.multiply(rotation.inverse(track_rot), turned[:, 0])
        turned = torch.cat((track_rot[:, None], hips[:, None], turned[:, 1:]), dim=1)
        offsets = torch.cat((torch.zeros(1, 3, dtype=offsets.dtype), offsets))
        names = ["Root" if "Root" not in names else "RootMotion", *names]
        parents = [-1, *(parent + 1 for parent in parents)]

    axes = _permutation(up)
    to_file = [axes.index(i) for i in range(3)]  # for each file axis our axis
    rotations = turned.numpy()[..., [*to_file, 3]]
    angles = quaternion_to_euler(rotations, order.lower()) * (180.0 / np.pi)
    columns = [_to_file_units(p, to_file, scale) for p in placed]
    values = [np.concatenate((p, angles[:, i]), axis=1) for i, p in enumerate(columns)]
    values.append(angles[:, len(columns) :].reshape(len(angles), -1))
    turning = tuple(f"{letter.lower()}rotation" for letter in order)
    moving = ("xposition", "yposition", "zposition")
    text = BvhText(
        names=names,
        parents=parents,
        offsets=[tuple(row) for row in _to_file_units(offsets, to_file, scale).tolist()],
        channels=[(moving if i < len(columns) else ()) + turning for i in range(len(names))],
        end_sites={name: tuple(_to_file_units(tip, to_file, scale).tolist()) for name, tip in tips.items()},
        values=np.concatenate(values, axis=1),
        frame_time=1.0 / motion.fps,
    )
    if not np.isfinite(text.values).all():
        frame = int(np.flatnonzero(~np.isfinite(text.values).all(axis=1))[0])
        raise MotionError(
            f"{motion.name or path}: frame {frame} holds NaN; repair the clip before it is written."
        )
    with files.atomic(path) as file:
        file.writelines(bvh_text.blocks(text, decimals))


def _to_file_units(vectors: Tensor, to_file: list[int], scale: float) -> np.ndarray:
    return np.asarray(vectors.numpy()[..., to_file] / scale)


def _depth_first(parents: tuple[int, ...]) -> list[int]:
    """Bodies in the order in which a BVH hierarchy nests them."""
    children: dict[int, list[int]] = {}
    for body, parent in enumerate(parents):
        children.setdefault(parent, []).append(body)
    order, stack = [], [0]
    while stack:
        body = stack.pop()
        order.append(body)
        stack.extend(reversed(children.get(body, [])))
    return order


def _tips(skeleton: Skeleton, offsets: Tensor) -> dict[int, Tensor]:
    """End site ``[3]`` (m, in the leaf's frame) of every leaf; made up where the skeleton has none.

    DCC tools draw a leaf's bone up to its end site. Without one, a foot gets a sole forwards of its
    ankle, anything else half of its own bone once more.
    """
    zero = _zero_pose(skeleton)
    tips = {}
    for body, name in enumerate(skeleton.names):
        if body in skeleton.parents:
            continue
        if name in skeleton.end_sites:
            tips[body] = torch.tensor(skeleton.end_sites[name], dtype=torch.float64)
            continue
        tip = 0.5 * offsets[body]
        if any(word in name.lower() for word in ("foot", "ankle")):
            length = float(offsets[body].norm())
            tip = torch.tensor([0.4 * length, 0.0, -0.1 * length], dtype=torch.float64)
        tips[body] = rotation.rotate_inverse(zero[body], tip)
    return tips


def root_track(motion: Motion) -> tuple[Tensor, Tensor]:
    """The way over the ground: ``pos [T, 3]`` with z = 0 and ``rot [T, 4]``, a turn about z (float64).

    The heading is the part of the root's rotation about the vertical (its twist), which, unlike the
    direction of the root's x axis, does not jump when a character bends over or rolls. Where even that
    is undefined (upside down), it is carried on from the frames around.
    """
    q = rotation.make_continuous(motion.root_rot.double().cpu())
    z, w = q[:, 2].numpy(), q[:, 3].numpy()
    sure = np.hypot(z, w) > 0.1
    if sure.any():
        angle = np.unwrap(2.0 * np.arctan2(z, w)[sure])
        angle = np.interp(np.arange(len(z)), np.flatnonzero(sure), angle)
    else:
        angle = np.zeros(len(z))
    pos = motion.root_pos.double().cpu().clone()
    pos[:, 2] = 0.0
    return pos, rotation.from_yaw(torch.as_tensor(angle))
