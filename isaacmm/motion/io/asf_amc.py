"""Acclaim ASF/AMC: CMU's motion capture in its own format; y up, degrees, inches times 0.45.

The ``.asf`` holds bones (direction, length, axes of the hinges' frame), the ``.amc`` angles per frame;
``11_01.amc`` belongs to ``11.asf`` beside it. Lengths are metres after ``length / unit * 0.0254``: CMU's
unit of 0.45 makes one of theirs 56.4 mm.

A bone turns by ``C M C^-1`` where ``C`` are its ``axis`` angles and ``M`` its hinges' angles, both about
fixed axes in the order of their letters (``XYZ``: x first, so the matrix is ``Rz Ry Rx``). All is in
the frame of the zero pose with axes parallel to the world, so no rest rotations are needed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from isaacmm import rotation
from isaacmm.errors import MotionError
from isaacmm.motion.io import files
from isaacmm.motion.io.axes import Y_UP_Z_FORWARD
from isaacmm.motion.io.fields import rate

if TYPE_CHECKING:
    from isaacmm.motion.clip import Motion
    from isaacmm.skeleton import Skeleton

_INCH = 0.0254
_MOST_BONES = 500
_KEYWORDS = rb"^\s*(#!OML|:FULLY-SPECIFIED|:bonedata)"


@dataclass
class Bone:
    """A bone of the ``.asf``; lengths in its units, angles in degrees or radians as the file has them."""

    name: str
    direction: tuple[float, ...] = (0.0, 0.0, 0.0)
    length: float = 0.0
    axis: tuple[float, ...] = (0.0, 0.0, 0.0)
    axis_order: str = "XYZ"
    dof: list[str] = field(default_factory=list)


@dataclass
class Figure:
    """What an ``.asf`` says."""

    bones: dict[str, Bone]
    parents: dict[str, str]
    root_order: list[str]
    root_axis_order: str
    root_position: tuple[float, ...]
    root_orientation: tuple[float, ...]
    degrees: bool
    unit: float


def sniff(path: Path) -> bool:
    """True for an ``.amc`` or ``.asf``: keywords at the start of the first lines."""
    with open(path, "rb") as file:
        head = file.read(4000)
    return b"\0" not in head and bool(re.search(_KEYWORDS, head, re.MULTILINE | re.IGNORECASE))


# ---------------------------------------------------------------------------- asf
def _words(path: Path) -> list[list[str]]:
    """Lines as words, comments and blank lines left out."""
    text = path.read_bytes().decode("latin1")
    lines = (line.split("#", 1)[0].replace(",", " ").split() for line in text.splitlines())
    return [line for line in lines if line]


def parse_asf(path: Path) -> Figure:
    """Read a skeleton.

    Raises:
        MotionError: incomplete or no ``.asf``; the message names the section.
    """
    sections: dict[str, list[list[str]]] = {}
    for line in _words(path):
        if line[0].startswith(":"):
            current = sections.setdefault(line[0][1:].lower(), [])
            if len(line) > 1:
                current.append(line[1:])
        elif sections:
            current.append(line)
    for needed in ("units", "root", "bonedata", "hierarchy"):
        if needed not in sections:
            raise MotionError(f"{path}: has no section :{needed}; not a complete .asf.")
    try:
        return _figure(sections, path)
    except (ValueError, IndexError) as error:
        raise MotionError(f"{path}: cannot be read as an .asf ({str(error)[:160]}).") from error


def _figure(sections: dict[str, list[list[str]]], path: Path) -> Figure:
    units = {line[0].lower(): line[1] for line in sections["units"] if len(line) > 1}
    root = {line[0].lower(): line[1:] for line in sections["root"]}
    bones: dict[str, Bone] = {}
    bone: Bone | None = None
    for line in sections["bonedata"]:
        key, rest = line[0].lower(), line[1:]
        if key == "begin":
            bone = Bone("")
        elif key == "end" and bone is not None:
            if not bone.name or bone.name in bones or len(bones) > _MOST_BONES:
                raise ValueError(f"bone {bone.name!r} is nameless or there twice")
            bones[bone.name] = bone
        elif bone is not None:
            _bone_line(bone, key, rest)
    parents: dict[str, str] = {}
    for line in sections["hierarchy"]:
        for child in line[1:] if line[0].lower() not in ("begin", "end") else []:
            if child in parents:
                raise MotionError(f"{path}: bone {child!r} hangs on two others.")
            parents[child] = line[0]
    unknown = [name for name in parents if name not in bones]
    if unknown:
        raise MotionError(f"{path}: the hierarchy names {unknown[0]!r}, which is no bone.")
    return Figure(
        bones=bones,
        parents=parents,
        root_order=[word.lower() for word in root.get("order", ["TX", "TY", "TZ", "RX", "RY", "RZ"])],
        root_axis_order=_order(root.get("axis", ["XYZ"])[0]),
        root_position=_three(root.get("position", ["0"] * 3)),
        root_orientation=_three(root.get("orientation", ["0"] * 3)),
        degrees=units.get("angle", "deg").lower().startswith("deg"),
        unit=float(units.get("length", "1.0")),
    )


def _bone_line(bone: Bone, key: str, rest: list[str]) -> None:
    if key == "name":
        bone.name = rest[0]
    elif key == "direction":
        bone.direction = _three(rest)
    elif key == "length":
        bone.length = float(rest[0])
    elif key == "axis":
        bone.axis, bone.axis_order = _three(rest), _order(rest[3] if len(rest) > 3 else "XYZ")
    elif key == "dof":
        bone.dof = [word.lower() for word in rest]


def _three(words: list[str]) -> tuple[float, ...]:
    if len(words) < 3:
        raise ValueError("three numbers expected")
    return tuple(float(word) for word in words[:3])


def _order(word: str) -> str:
    if sorted(word.upper()) != ["X", "Y", "Z"]:
        raise ValueError(f"{word!r} is no order of axes")
    return word.upper()


def _walk(figure: Figure, path: Path) -> list[str]:
    """Bones from the root outwards."""
    children: dict[str, list[str]] = {}
    for child, parent in figure.parents.items():
        children.setdefault(parent, []).append(child)
    order, stack = [], list(reversed(children.get("root", [])))
    while stack:
        name = stack.pop()
        order.append(name)
        stack.extend(reversed(children.get(name, [])))
    if not order:
        raise MotionError(f"{path}: no bone hangs on the root.")
    return order


# ---------------------------------------------------------------------------- amc
def parse_amc(path: Path) -> tuple[dict[str, np.ndarray], bool]:
    """Values ``[T, n]`` of each bone, and whether they are degrees.

    Raises:
        MotionError: a frame that lacks a bone of the first one, or other columns than it.
    """
    frames: list[dict[str, list[float]]] = []
    degrees = True
    try:
        for line in _words(path):
            if line[0].startswith(":"):
                degrees = line[0].lower() != ":radians" and degrees
            elif len(line) == 1 and line[0].lstrip("-").isdigit():
                frames.append({})
            elif frames:
                frames[-1][line[0]] = [float(word) for word in line[1:]]
    except ValueError as error:
        raise MotionError(
            f"{path}: frame {len(frames)} holds something that is no number ({error})."
        ) from error
    if not frames:
        raise MotionError(f"{path}: holds no frames.")
    columns = {name: len(values) for name, values in frames[0].items()}
    for i, frame in enumerate(frames):
        if {name: len(values) for name, values in frame.items()} != columns:
            odd = next(
                (name for name in [*columns, *frame] if len(frame.get(name, [])) != columns.get(name, 0)),
                "bones",
            )
            raise MotionError(
                f"{path}: frame {i + 1} is not like the first at {odd!r} (the file is damaged or cut short)."
            )
    return {name: np.array([frame[name] for frame in frames]) for name in columns}, degrees


def skeleton_file(path: Path) -> Path:
    """The ``.asf`` that belongs to an ``.amc``: same name, its part before ``_``, or the only one beside it.

    Raises:
        MotionError: none, or several of other names.
    """
    beside = sorted(p for p in path.parent.iterdir() if p.suffix.lower() == ".asf")
    for stem in (path.stem, path.stem.split("_")[0]):
        for candidate in beside:
            if candidate.stem.lower() == stem.lower():
                return candidate
    if len(beside) == 1:
        return beside[0]
    there = ", ".join(p.name for p in beside[:6]) or "none"
    raise MotionError(
        f"{path}: needs its skeleton, {path.stem.split('_')[0]}.asf, beside it (there: {there}); or say asf='path'."
    )


def read(
    path: Path,
    skeleton: Skeleton | None = None,
    *,
    asf: str | Path | None = None,
    fps: float = 120.0,
    unit: float | None = None,
) -> Motion:
    """Read an AMC clip.

    Args:
        path: the ``.amc``; an ``.asf`` is read as its zero pose, two equal frames.
        skeleton: map the bones by name onto this one. None: the ``.asf``'s.
        asf: the skeleton; None: found beside the clip (:func:`skeleton_file`).
        fps: frames per second; the format has none (CMU: 120, some subjects 60).
        unit: metres per unit of length; None: 0.0254 divided by the ``.asf``'s ``length``.
    """
    from isaacmm.skeleton import Skeleton as SkeletonType

    pose = path.suffix.lower() == ".asf"
    source = path if pose else Path(asf) if asf is not None else skeleton_file(path)
    if not source.is_file():
        raise MotionError(f"{path}: there is no skeleton at {source}.")
    figure = parse_asf(source)
    values, degrees = ({"root": np.zeros((2, len(figure.root_order)))}, True) if pose else parse_amc(path)
    order = _walk(figure, source)
    unknown = [name for name in values if name != "root" and name not in order]
    if unknown or "root" not in values:
        what = f"bone {unknown[0]!r}, which {source.name} lacks" if unknown else "no root"
        raise MotionError(f"{path}: has {what}; it belongs to another .asf.")
    if unit is None and not figure.unit > 0.0:
        raise MotionError(f"{source}: a unit of length of {figure.unit}; say unit= in metres.")
    metres = unit if unit is not None else _INCH / figure.unit
    frames = len(values["root"])
    scale = np.pi / 180.0 if degrees else 1.0

    root_pos, root_rot = _root(figure, values["root"], scale, path)
    turned = [
        root_rot,
        *(_bone(figure, figure.bones[name], values.get(name), frames, scale, path) for name in order),
    ]
    names = ["root", *order]
    ends = {name: np.array(figure.bones[name].direction) * figure.bones[name].length for name in order}
    offsets = (
        np.array([np.zeros(3), *(ends.get(figure.parents[name], np.zeros(3)) for name in order)]) * metres
    )
    own = SkeletonType(
        names=tuple(names),
        parents=(-1, *(names.index(figure.parents[name]) for name in order)),
        offsets=Y_UP_Z_FORWARD.vectors(offsets).float(),
        rest_rotations=rotation.identity(len(names)),
        end_sites=_tips(figure, ends, metres),
    )
    local = Y_UP_Z_FORWARD.quaternions(torch.stack(turned, dim=1))
    joint_rot = local[:, 1:]
    place = Y_UP_Z_FORWARD.vectors(root_pos * metres)
    return files.placed(skeleton, own, place, local[:, 0], joint_rot, rate(fps, path), path)


def _fixed(angles: np.ndarray, letters: str) -> Tensor:
    """Turns ``[..., 4]`` about fixed axes, the first letter's first."""
    return rotation.from_euler(torch.as_tensor(angles), letters.lower())


def _root(figure: Figure, values: np.ndarray, scale: float, path: Path) -> tuple[np.ndarray, Tensor]:
    """Position ``[T, 3]`` in the file's units and rotation ``[T, 4]``, in its axes."""
    if values.shape[1] != len(figure.root_order):
        raise MotionError(
            f"{path}: the root has {values.shape[1]} columns, its skeleton says {len(figure.root_order)}."
        )
    place = np.zeros((len(values), 3)) + np.array(figure.root_position)
    letters, columns = "", []
    for i, word in enumerate(figure.root_order):
        if word in ("tx", "ty", "tz"):
            place[:, "xyz".index(word[1])] += values[:, i]
        elif word in ("rx", "ry", "rz"):
            letters += word[1]
            columns.append(i)
        else:
            raise MotionError(f"{path}: its skeleton gives the root a channel {word!r}, which is unknown.")
    # the order of the columns is that of the angles; "axis" is the order of the root's own frame
    frame = _fixed(np.array(figure.root_orientation) * _asf_scale(figure), figure.root_axis_order)
    turn = _fixed(values[:, columns] * scale, letters) if letters else rotation.identity(len(values))
    return place, _conjugated(frame, turn.double())


def _bone(
    figure: Figure, bone: Bone, values: np.ndarray | None, frames: int, scale: float, path: Path
) -> Tensor:
    """Rotation ``[T, 4]`` of a bone against its parent, in the file's axes."""
    if values is None:
        return rotation.identity(frames, dtype=torch.float64)
    turning = [(i, word[1]) for i, word in enumerate(bone.dof) if word in ("rx", "ry", "rz")]
    if values.shape[1] != len(bone.dof):
        raise MotionError(
            f"{path}: bone {bone.name!r} has {values.shape[1]} columns, its skeleton says {len(bone.dof)}."
        )
    if not turning:
        return rotation.identity(frames, dtype=torch.float64)
    frame = _fixed(np.array(bone.axis) * _asf_scale(figure), bone.axis_order)
    turn = _fixed(values[:, [i for i, _ in turning]] * scale, "".join(letter for _, letter in turning))
    return _conjugated(frame, turn)


def _asf_scale(figure: Figure) -> float:
    return np.pi / 180.0 if figure.degrees else 1.0


def _conjugated(frame: Tensor, turn: Tensor) -> Tensor:
    return rotation.multiply(rotation.multiply(frame.expand_as(turn), turn), rotation.inverse(frame))


def _tips(
    figure: Figure, ends: dict[str, np.ndarray], metres: float
) -> dict[str, tuple[float, float, float]]:
    """Ends of the leaf bones (m, our axes)."""
    parents = set(figure.parents.values())
    tips = {}
    for name, end in ends.items():
        if name not in parents:
            x, y, z = Y_UP_Z_FORWARD.vectors(end * metres).tolist()
            tips[name] = (x, y, z)
    return tips
