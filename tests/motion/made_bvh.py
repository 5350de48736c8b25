"""A small BVH figure in any spelling, and where its joints are by an independent plain reading
(scipy rotations, one frame and joint at a time).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from isaacmm.motion.io import registry

FRAMES = 20
JOINTS = [  # name, parent, offset in cm
    ("Hips", -1, (0.0, 0.0, 0.0)),
    ("Spine", 0, (0.0, 12.5, 0.5)),
    ("Head", 1, (0.0, 41.0, 1.0)),
    ("LeftLeg", 0, (9.5, -4.0, 0.0)),
    ("LeftFoot", 3, (0.5, -42.0, 0.3)),
]
TIPS = {"Head": (0.0, 18.0, 0.0), "LeftFoot": (0.0, -3.0, 14.0)}
POSITION = ("Xposition", "Yposition", "Zposition")
ZXY = ("Zrotation", "Xrotation", "Yrotation")


def curves() -> tuple[np.ndarray, np.ndarray]:
    """Root positions ``[T, 3]`` cm and angles ``[T, J, 3]`` degrees about x, y, z."""
    time = np.arange(FRAMES)[:, None] / 30
    position = np.concatenate((20 * np.sin(time), 92 + 3 * np.cos(4 * time), 130 * time), axis=1)
    draw = np.random.default_rng(3)
    angles = 50 * np.sin(3 * time[..., None] + draw.uniform(0, 6, (len(JOINTS), 3)))
    return np.round(position, 4), np.round(angles, 4)


def expected(
    channels: list[tuple[str, ...]], positions: np.ndarray, angles: np.ndarray, offsets: np.ndarray
) -> np.ndarray:
    """World joint positions ``[T, J, 3]`` in metres, z up: the plain reading."""
    world = np.zeros((FRAMES, len(JOINTS), 3))
    for t in range(FRAMES):
        turns: list[Rotation] = []
        for j, (_, parent, _) in enumerate(JOINTS):
            turn = Rotation.identity()
            for name in channels[j]:
                if name.lower().endswith("rotation"):
                    axis = "xyz".index(name[0].lower())
                    turn = turn * Rotation.from_euler(name[0].lower(), angles[t, j, axis], degrees=True)
            place = positions[t] if j == 0 else offsets[j]
            if parent >= 0:
                world[t, j] = world[t, parent] + turns[parent].apply(place)
                turn = turns[parent] * turn
            else:
                world[t, j] = place
            turns.append(turn)
    return 0.01 * world[..., [2, 0, 1]]


def build(
    channels: list[tuple[str, ...]] | None = None,
    positions: np.ndarray | None = None,
    angles: np.ndarray | None = None,
    offsets: dict[int, tuple[float, float, float]] | None = None,
    number: Callable[[float], str] = lambda v: f"{v:.6f}",
    root_offset: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> tuple[str, np.ndarray]:
    """A BVH text and where its joints are."""
    if channels is None:
        channels = [POSITION + ZXY] + [ZXY] * (len(JOINTS) - 1)
    base_positions, base_angles = curves()
    positions = base_positions if positions is None else positions
    angles = base_angles if angles is None else angles
    table = [offsets.get(j, offset) if offsets else offset for j, (_, _, offset) in enumerate(JOINTS)]
    table[0] = root_offset

    def emit(j: int, depth: int) -> list[str]:
        pad = "\t" * depth
        name, parent, _ = JOINTS[j]
        lines = [f"{pad}{'ROOT' if parent < 0 else 'JOINT'} {name}", pad + "{"]
        lines.append(f"{pad}\tOFFSET {' '.join(number(v) for v in table[j])}")
        lines.append(f"{pad}\tCHANNELS {len(channels[j])} {' '.join(channels[j])}".rstrip())
        for child, (_, above, _) in enumerate(JOINTS):
            if above == j:
                lines += emit(child, depth + 1)
        if name in TIPS:
            tip = " ".join(number(v) for v in TIPS[name])
            lines += [f"{pad}\tEnd Site", pad + "\t{", f"{pad}\t\tOFFSET {tip}", pad + "\t}"]
        return [*lines, pad + "}"]

    rows = []
    for t in range(FRAMES):
        row = []
        for j, names in enumerate(channels):
            for name in names:
                axis = "xyz".index(name[0].lower())
                if name.lower().endswith("position"):
                    row.append(positions[t, axis] if j == 0 else JOINTS[j][2][axis])
                else:
                    row.append(angles[t, j, axis])
        rows.append(" ".join(number(v) for v in row))
    text = (
        "\n".join(["HIERARCHY", *emit(0, 0), "MOTION", f"Frames: {FRAMES}", "Frame Time: 0.0333333", *rows])
        + "\n"
    )
    real = np.array([offset for _, _, offset in JOINTS])
    return text, expected(channels, positions, angles, real)


def check(
    folder: Path,
    text: str | bytes,
    where: np.ndarray,
    names: Sequence[str] = tuple(name for name, _, _ in JOINTS),
    **options: object,
) -> None:
    """The text is read as 30 fps with its joints at ``where`` (m), to 0.002 mm."""
    file = folder / "odd.bvh"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    motion = registry.read(file, **options)
    assert motion.skeleton.names == tuple(names)
    assert motion.fps == 30.0
    np.testing.assert_allclose(motion.fk()[0].numpy(), where, atol=2e-6)
