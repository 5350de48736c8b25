"""Pelvis, trunk, arms and legs of clips beside what was recorded of people, and what is published.

The figures follow from the poses alone, so any clip of the humanoid can be measured, a recorded one too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from isaacmm import rotation
from isaacmm.errors import MotionError
from isaacmm.gait.body import ASSET, Body, euler_xyz
from isaacmm.motion.clip import Motion
from isaacmm.motion.contacts import with_contacts
from isaacmm.motion.io import registry
from isaacmm.skeleton import Skeleton

#: The clips of the table in docs/gait.md
WALKING, RUNNING = ("walk_1.2", "walk_1.4"), ("run_2.6", "run_3.0", "run_3.4")
#: Share of the samples (percent) left out at either end of a range
TAIL = 1.0


@dataclass(frozen=True)
class Quantity:
    """A figure, the interval recorded people cover walking at 1.2 to 1.5 m/s and running at 2.6 to 3.8 m/s, and what
    textbooks say; None: nothing known."""

    name: str
    walk: tuple[float, float] | None
    run: tuple[float, float] | None
    walk_published: str = ""
    run_published: str = ""


#: Recorded: clips of Bandai-Namco (walking at 1.2 to 1.5, running at 2.6 to 3.8 m/s; some put onto the humanoid), a
#: laboratory walk of loco-mujoco at 1.35 m/s, the walk and the run (3.45 m/s) of CMU that come with AMP. Their ranges
#: are all that is kept.
QUANTITIES = (
    Quantity("pelvis up and down, cm", (3.2, 8.3), (9.9, 17.9), "2.7-4.8, centre of mass", "7-10"),
    Quantity("pelvis yaw, range", (9, 21), (14, 26), "8", "16-18"),
    Quantity("pelvis list, range", (6, 15), (6, 15), "8-10", "10"),
    Quantity("chest yaw, range", (5, 24), (22, 31)),
    Quantity("trunk pitch, mean", None, (10, 19), "1-5", "5-10"),
    Quantity("upper arm back", (-44, -22), (-89, -43)),
    Quantity("upper arm forward", (9, 27), (-3, 23)),
    Quantity("elbow, mean", (13, 52), (42, 88), "", "90"),
    Quantity("thigh back", (-28, -15), (-38, -17), "-20", "-13"),
    Quantity("thigh forward", (21, 38), (32, 49), "22", "45"),
    Quantity("knee, least", (2, 14), (1, 21), "3", "17"),
    Quantity("knee, most", (55, 75), (81, 136), "62", "100"),
    Quantity("ankle, toes down", (-27, -17), (-38, -14), "-15", "-22"),
    Quantity("ankle, toes up", (18, 23), (16, 46), "10", "24"),
    Quantity("steps per minute", (109, 132), (150, 161), "100-120", "162-177"),
    Quantity("stance, %", None, None, "60-62", "36-39"),
)


def path_heading(root_pos: np.ndarray, fps: float) -> np.ndarray:
    """Direction `[T]` (rad) in which the root moves, averaged over about a second: sway and yaw do not count."""
    span = max(1, min(round(fps), len(root_pos) // 2))
    way = root_pos[span:, :2] - root_pos[:-span, :2]
    heading = np.unwrap(np.arctan2(way[:, 1], way[:, 0]))
    return np.pad(heading, (span // 2, span - span // 2), mode="edge")


def _range(values: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(values, (TAIL, 100 - TAIL))
    return float(low), float(high)


def figures(motion: Motion, body: Body) -> dict[str, float]:
    """Every quantity (deg where nothing else is said) of a clip of the humanoid; the right side stands for both."""
    if tuple(motion.skeleton.names) != body.names:
        raise MotionError(f"{motion.name}: not a clip of the humanoid; python -m isaacmm.motion retarget makes one")
    pos_t, rot_t = motion.fk()
    pos = pos_t.double().numpy()
    heading = path_heading(pos[:, 0], motion.fps)
    c, s = np.cos(heading), np.sin(heading)
    zero, one = 0 * c, 0 * c + 1
    to_path = np.stack([np.stack([c, s, zero], -1), np.stack([-s, c, zero], -1), np.stack([zero, zero, one], -1)], -2)
    rot = to_path[:, None] @ rotation.to_matrix(rot_t.double()).numpy()
    local = (to_path[:, None] @ pos[..., None])[..., 0]
    deg = np.rad2deg

    def turned(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Yaw, pitch, roll of R = Rz Ry Rx."""
        m = rot[:, body.body(name)]
        return (np.unwrap(np.arctan2(m[:, 1, 0], m[:, 0, 0])), -np.arcsin(np.clip(m[:, 2, 0], -1, 1)),
                np.arctan2(m[:, 2, 1], m[:, 2, 2]))  # fmt: skip

    def forward(upper: str, lower: str) -> tuple[float, float]:
        line = local[:, body.body(lower)] - local[:, body.body(upper)]
        return _range(deg(np.arctan2(line[:, 0], -line[:, 2])))

    def bend(*names: str) -> np.ndarray:
        a, b, d = (local[:, body.body(n)] for n in names)
        u, w = b - a, d - b
        cosine = (u * w).sum(-1) / np.linalg.norm(u, axis=-1) / np.linalg.norm(w, axis=-1)
        return deg(np.arccos(np.clip(cosine, -1, 1)))

    yaw, _, roll = turned("pelvis")
    chest, pitch, _ = turned("torso")
    arm, thigh = forward("right_upper_arm", "right_lower_arm"), forward("right_thigh", "right_shin")
    knee = _range(bend("right_thigh", "right_shin", "right_foot"))
    shin, foot = rot[:, body.body("right_shin")], rot[:, body.body("right_foot")]
    ankle = _range(-deg(euler_xyz(np.swapaxes(shin, -1, -2) @ foot)[:, 1]))
    found = with_contacts(motion).contacts
    contacts = np.zeros((len(pos), 2), bool) if found is None else found.numpy().astype(bool)
    landings = int((contacts[1:] & ~contacts[:-1]).sum())
    values = (
        100 * np.ptp(pos[:, 0, 2]), np.ptp(_range(deg(yaw))), np.ptp(_range(deg(roll))), np.ptp(_range(deg(chest))),
        deg(pitch).mean(), *arm, bend("right_upper_arm", "right_lower_arm", "right_hand").mean(), *thigh, *knee, *ankle,
        60 * landings / motion.duration, 100 * contacts[:-1].mean(),
    )  # fmt: skip
    return {q.name: float(v) for q, v in zip(QUANTITIES, values, strict=True)}


def read(folder: Path, names: Sequence[str], skeleton: Skeleton) -> list[Motion]:
    """Clips of the set by name."""
    return [Motion.load(folder / f"{n}.npz", skeleton=skeleton) for n in names]


def table(folder: Path, others: Sequence[str | Path] = ()) -> str:
    """Markdown tables of walking and running clips of the set in `folder` beside recorded and published figures;
    clips from the files `others` join the table whose speed is theirs."""
    body, skeleton = Body.load(), Skeleton.from_mjcf(ASSET)
    more = [registry.read(path, skeleton=skeleton) for path in others]
    fast = [float(np.linalg.norm(np.diff(m.root_pos.numpy()[:, :2], axis=0), axis=-1).mean() * m.fps) > 2 for m in more]
    text = []
    for title, names, running in (("walking", WALKING, False), ("running", RUNNING, True)):
        clips = read(folder, names, skeleton) + [m for m, f in zip(more, fast, strict=True) if f == running]
        found = [figures(m, body) for m in clips]
        text += [f"| {title} | " + " | ".join(m.name for m in clips) + " | recorded | published |",
                 "|---" * (len(clips) + 3) + "|"]  # fmt: skip
        for q in QUANTITIES:
            interval, published = (q.run, q.run_published) if running else (q.walk, q.walk_published)
            digits = 1 if "cm" in q.name else 0
            cells = [f"{f[q.name]:.{digits}f}" for f in found]
            cells += ["-" if interval is None else f"{interval[0]:g} to {interval[1]:g}", published or "-"]
            text.append(f"| {q.name} | " + " | ".join(cells) + " |")
        text.append("")
    return "\n".join(text)
