"""DeepMimic ``.txt`` / ``.json``: ``{"Loop": ..., "Frames": [[...44 numbers], ...]}``, y up, metres.

Columns: duration of the frame (s), root position, root quaternion **wxyz**, then chest, neck, right hip,
knee, ankle, shoulder, elbow and the same of the left: quaternions, but one angle (about z, which points
to the right) for knees and elbows. The character is DeepMimic's humanoid, whose lengths and zero pose
are those of our default character; its joints get our names, so its clips load onto it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from isaacmm import rotation
from isaacmm.errors import MotionError
from isaacmm.motion.io import files
from isaacmm.motion.io.axes import Y_UP_X_FORWARD
from isaacmm.motion.io.fields import rate

if TYPE_CHECKING:
    from isaacmm.motion.clip import Motion
    from isaacmm.skeleton import Skeleton

# our name, parent, offset (m; x forward, y up, z right), columns; order of the columns in the file
_BODIES = (
    ("pelvis", None, (0.0, 0.0, 0.0), 4),
    ("torso", "pelvis", (0.0, 0.236151, 0.0), 4),
    ("head", "torso", (0.0, 0.223894, 0.0), 4),
    ("right_thigh", "pelvis", (0.0, 0.0, 0.084887), 4),
    ("right_shin", "right_thigh", (0.0, -0.421546, 0.0), 1),
    ("right_foot", "right_shin", (0.0, -0.40987, 0.0), 4),
    ("right_upper_arm", "torso", (-0.02405, 0.2435, 0.18311), 4),
    ("right_lower_arm", "right_upper_arm", (0.0, -0.274788, 0.0), 1),
    ("right_hand", "right_lower_arm", (0.0, -0.258947, 0.0), 0),
    ("left_thigh", "pelvis", (0.0, 0.0, -0.084887), 4),
    ("left_shin", "left_thigh", (0.0, -0.421546, 0.0), 1),
    ("left_foot", "left_shin", (0.0, -0.40987, 0.0), 4),
    ("left_upper_arm", "torso", (-0.02405, 0.2435, -0.18311), 4),
    ("left_lower_arm", "left_upper_arm", (0.0, -0.274788, 0.0), 1),
    ("left_hand", "left_lower_arm", (0.0, -0.258947, 0.0), 0),
)
_COLUMNS = 4 + sum(row[3] for row in _BODIES)
_RIGHT = (0.0, 0.0, 1.0)  # the axis of knees and elbows


def sniff(path: Path) -> bool:
    """True for a text that begins as JSON and names Frames."""
    with open(path, "rb") as file:
        head = file.read(2000).lstrip(b"\xef\xbb\xbf \t\r\n")
    return head.startswith(b"{") and b'"Frames"' in head


def character() -> Skeleton:
    """DeepMimic's humanoid under our names, 15 bodies, no hinges."""
    from isaacmm.skeleton import Skeleton

    names = [row[0] for row in _BODIES]
    return Skeleton(
        names=tuple(names),
        parents=tuple(-1 if row[1] is None else names.index(row[1]) for row in _BODIES),
        offsets=Y_UP_X_FORWARD.vectors(np.array([row[2] for row in _BODIES])).float(),
        rest_rotations=rotation.identity(len(names)),
    )


def read(path: Path, skeleton: Skeleton | None = None) -> Motion:
    """Read a DeepMimic clip; one that wraps gets the tag ``loop``.

    Frames of different length are put on an even grid.
    """

    content = _json(path)
    table = _table(content.get("Frames"), path)
    own = character()
    world, column = [], 4
    for name, _, _, width in _BODIES:
        part = torch.as_tensor(table[:, column : column + width])
        if width == 4:
            norms = part.norm(dim=-1)
            if bool((norms - 1.0).abs().gt(0.1).any()):
                frame = int((norms - 1.0).abs().argmax())
                raise MotionError(
                    f"{path}: frame {frame}, {name}: a quaternion of length {float(norms[frame]):.2f}; the columns are "
                    "not DeepMimic's, or the file is damaged."
                )
            world.append(rotation.from_wxyz(part / norms[:, None]))
        elif width == 1:
            world.append(rotation.from_axis_angle(part.new_tensor(_RIGHT), part[:, 0]))
        else:
            world.append(rotation.identity(len(table), dtype=torch.float64))
        column += width
    turned = Y_UP_X_FORWARD.quaternions(torch.stack(world, dim=1))
    root_pos = Y_UP_X_FORWARD.vectors(table[:, 1:4])
    root_pos, turned, fps = _evenly(table[:, 0], root_pos, turned, path)
    joint_rot = turned[:, 1:]
    tags = ("loop",) if content.get("Loop") == "wrap" else ()
    return files.placed(skeleton, own, root_pos, turned[:, 0], joint_rot, fps, path, tags=tags)


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes().decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise MotionError(
            f"{path}: not complete JSON ({str(error)[:160]}); copy or download it again."
        ) from error
    if not isinstance(content, dict) or "Frames" not in content:
        raise MotionError(f"{path}: JSON without 'Frames', not a DeepMimic clip.")
    return content


def _table(frames: Any, path: Path) -> np.ndarray:
    """``[T, 44]``."""
    if not isinstance(frames, list) or not frames:
        raise MotionError(f"{path}: 'Frames' is no list of frames.")
    for i, row in enumerate(frames):
        if not isinstance(row, list) or len(row) != _COLUMNS:
            many = len(row) if isinstance(row, list) else 0
            raise MotionError(
                f"{path}: frame {i} has {many} numbers, expected {_COLUMNS} of DeepMimic's humanoid (other characters "
                "are not read)."
            )
    try:
        return np.array(frames, dtype=np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise MotionError(
            f"{path}: a frame holds something that is no number ({str(error)[:120]})."
        ) from error


def _evenly(steps: np.ndarray, root_pos: Tensor, turned: Tensor, path: Path) -> tuple[Tensor, Tensor, float]:
    """Positions and rotations at even times, and the frame rate; the last frame's duration does not count."""
    steps = steps[:-1] if len(steps) > 1 else steps
    if not (np.isfinite(steps).all() and (steps > 0).all()):
        frame = int(np.flatnonzero(~(np.isfinite(steps) & (steps > 0)))[0])
        raise MotionError(
            f"{path}: frame {frame} lasts {steps[frame]} s; the first column must be durations."
        )
    step = float(np.median(steps))
    fps = rate(round(1.0 / step, 2), path)
    if np.abs(steps - step).max() < 0.01 * step:
        return root_pos, turned, fps
    files.log.warning(
        "%s: frames last between %.4g and %.4g s; resampled to %g fps", path, steps.min(), steps.max(), fps
    )
    times = np.concatenate(([0.0], np.cumsum(steps)))
    count = int(min(times[-1] * fps + 1e-6, 100.0 * len(times))) + 1
    wanted = np.arange(count) / fps
    low = np.clip(np.searchsorted(times, wanted, side="right") - 1, 0, len(times) - 2)
    share = torch.as_tensor(np.clip((wanted - times[low]) / (times[low + 1] - times[low]), 0.0, 1.0))
    bodies = share[:, None].expand(-1, turned.shape[1])
    return (
        torch.lerp(root_pos[low], root_pos[low + 1], share[:, None]),
        rotation.slerp(turned[low], turned[low + 1], bodies),
        fps,
    )


def write(motion: Motion, path: Path) -> None:
    """Write a clip of the default character; knees and elbows keep their angle only, hands nothing."""
    names = motion.skeleton.names
    missing = [row[0] for row in _BODIES if row[0] not in names]
    if missing:
        raise MotionError(
            f"{path}: DeepMimic holds the default humanoid, and this motion lacks {missing[0]!r}; retarget it."
        )
    rest = motion.skeleton.rest_rotations[1:].double()
    local = torch.cat(
        (motion.root_rot.double()[:, None], rotation.multiply(rest, motion.joint_rot.double())), dim=1
    )
    theirs = Y_UP_X_FORWARD.quaternions_back(local)
    steps = torch.full((motion.num_frames, 1), 1.0 / motion.fps, dtype=torch.float64)
    columns = [steps, Y_UP_X_FORWARD.vectors_back(motion.root_pos)]
    for name, _, _, width in _BODIES:
        q = theirs[:, names.index(name)]
        if width == 4:
            columns.append(rotation.to_wxyz(rotation.make_continuous(q)))
        elif width == 1:
            columns.append(rotation.wrap_angle(2.0 * torch.atan2(q[:, 2], q[:, 3]))[:, None])
    rows = torch.cat(columns, dim=1).tolist()
    text = ",\n".join("[" + ", ".join(f"{value:.9g}" for value in row) + "]" for row in rows)
    loop = "wrap" if "loop" in motion.tags else "none"
    with files.atomic(path) as file:
        file.write(f'{{\n"Loop": "{loop}",\n"Frames":\n[\n{text}\n]\n}}\n'.encode())
