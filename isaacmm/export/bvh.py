"""Motion as BVH, read back and compared before anybody relies on it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from isaacmm.evaluate.rollout import Rollout
from isaacmm.export import ExportError
from isaacmm.motion.clip import Motion
from isaacmm.motion.io import registry

#: A file whose bodies come back further than this from where they were is wrong (mm).
TOLERANCE_MM = 0.5
#: Pieces shorter than this are no motion to look at (s).
SHORTEST = 0.2


@dataclass(frozen=True)
class Written:
    """A BVH file.

    Attributes:
        path: where it is.
        frames, fps: of the motion in it.
        error_mm: largest distance of any body in any frame between the motion and the file read back.
    """

    path: Path
    frames: int
    fps: float
    error_mm: float

    @property
    def seconds(self) -> float:
        """Length."""
        return self.frames / self.fps


def write(motion: Motion, path: Path, *, root_motion: bool = True) -> Written:
    """Write ``motion`` and check the file by reading it back.

    Centimetres, y up, facing +z in the zero pose; rotations in ZXY order, angle curves continuous.
    ``root_motion`` puts a joint ``Root`` with the path on the ground and the heading above the hips,
    so that engines find root motion as a track of its own.

    Raises:
        ExportError: bodies in the file are not where they were.
        MotionError: a motion with NaN frames or too few of them.
    """
    motion.validate()
    registry.write(motion, path, format="bvh", root_motion=root_motion)
    again = registry.read(path, skeleton=motion.skeleton.to("cpu"), format="bvh")
    if again.num_frames != motion.num_frames:
        raise ExportError(f"{path}: has {again.num_frames} frames, the motion {motion.num_frames}")
    error = 1000.0 * float((again.fk()[0] - motion.fk()[0]).norm(dim=-1).max())
    if error > TOLERANCE_MM:
        raise ExportError(f"{path}: bodies in the file are up to {error:.1f} mm from where they were")
    return Written(path, motion.num_frames, motion.fps, error)


def write_rollout(
    rollout: Rollout, worlds: Sequence[int], folder: Path, stem: str = "policy"
) -> list[Written]:
    """The longest unbroken piece of each of ``worlds`` as ``<stem>_1.bvh``, ``<stem>_2.bvh``, ...

    Pieces of less than 0.2 s are left out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Written] = []
    for world in worlds:
        motion = rollout.motion(world)
        if motion.num_frames < max(2, round(SHORTEST * rollout.fps)):
            continue
        written.append(write(motion, folder / f"{stem}_{len(written) + 1}.bvh"))
    return written


def write_clips(
    motions: Sequence[Motion], folder: Path, *, most: int = 8, seconds: float = 60.0, stem: str = "clip"
) -> list[Written]:
    """Reference clips as ``<stem>_<name>.bvh``, evenly chosen when there are more than ``most``.

    Clips longer than ``seconds`` are cut.
    """
    folder.mkdir(parents=True, exist_ok=True)
    chosen = list(motions)
    if len(chosen) > most:
        chosen = [chosen[round(i * (len(chosen) - 1) / max(most - 1, 1))] for i in range(most)]
    written: list[Written] = []
    taken: set[str] = set()
    for motion in chosen:
        name = base = f"{stem}_{safe_name(motion.name)}"
        number = 2
        while name in taken:
            name, number = f"{base}_{number}", number + 1
        taken.add(name)
        written.append(write(motion.slice(0, round(seconds * motion.fps) + 1), folder / f"{name}.bvh"))
    return written


def safe_name(name: str) -> str:
    """``name`` as a file name on every system."""
    return re.sub(r"[^\w.+-]+", "_", name).strip("._")[:80] or "clip"


def summary(written: Sequence[Written]) -> str:
    """One line about files of a kind: how many, how long, how exact."""
    if not written:
        return "no BVH: nothing was long enough"
    total, worst = sum(w.seconds for w in written), max(w.error_mm for w in written)
    return f"{len(written)} BVH, {total:.1f} s, read back: bodies within {worst:.4f} mm ({written[0].path.parent})"
