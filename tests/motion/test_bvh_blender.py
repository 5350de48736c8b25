"""Our BVH files in Blender: every joint where our own forward kinematics has it.

    python -m pytest -m slow tests/motion/test_bvh_blender.py -rs -s

Blender is, in this order: ``$ISAACMM_BLENDER`` (a ``blender`` program, or a Python that has the ``bpy``
wheel), a ``blender`` on the path, this Python if it has ``bpy``. More files, of a training run for
example, are compared with our reading of them: ``ISAACMM_BLENDER_FILES="runs/*/motions/*.bvh"``.
"""

from __future__ import annotations

import glob
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from isaacmm.motion.clip import Motion
from isaacmm.paths import data_folder

SCRIPT = Path(__file__).with_name("blender_joints.py")
MILLIMETRES = 0.05
STEP = 3  # every third frame


def blender() -> list[str]:
    """The command before ``-- arguments``; the test is skipped where there is none."""
    chosen = os.environ.get("ISAACMM_BLENDER") or shutil.which("blender")
    if chosen is None and importlib.util.find_spec("bpy") is not None:
        chosen = sys.executable
    if chosen is None:
        pytest.skip("no Blender: set ISAACMM_BLENDER to a blender program or to a Python with the bpy wheel")
    if "python" in Path(chosen).name:
        return [chosen, str(SCRIPT)]
    return [chosen, "--background", "--factory-startup", "--python-exit-code", "1", "--python", str(SCRIPT)]


def in_blender(files: list[Path], folder: Path) -> tuple[str, list[tuple[list[str], np.ndarray, np.ndarray]]]:
    """Blender's version and, per file, bone names, head positions ``[T, B, 3]`` in our axes, frame numbers."""
    out = folder / "joints.npz"
    command = [*blender(), "--", str(out), str(STEP), *map(str, files)]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, env=environment)
    assert done.returncode == 0 and out.exists(), done.stdout[-2000:] + done.stderr[-2000:]
    with np.load(out) as found:
        figures = [
            # Blender's x, y, z are the file's x, -z, y; ours are the file's z, x, y
            (found[f"names_{i}"].tolist(), found[f"heads_{i}"][..., [1, 0, 2]] * (-1, 1, 1), found[f"frames_{i}"])
            for i in range(len(files))
        ]
        return str(found["version"]), figures


@pytest.mark.slow
def test_joints_in_blender_are_ours(
    tmp_path: Path, make_motion: Callable[..., Motion], capsys: pytest.CaptureFixture
) -> None:
    blender()
    shipped = data_folder("motions")
    clips = {name: Motion.load(shipped / f"{name}.npz") for name in ("walk_1.4", "run_3.0", "turn_left_180")}
    clips["swing"] = make_motion(frames=120, reach=0.95)
    truth: dict[Path, Motion] = {}
    for name, clip in clips.items():
        for order, root_motion in (("ZXY", False), ("ZXY", True), ("ZYX", False)):
            path = tmp_path / f"{name}_{order}{'_root' if root_motion else ''}.bvh"
            clip.save(path, order=order, root_motion=root_motion)
            truth[path] = clip
    for pattern in os.environ.get("ISAACMM_BLENDER_FILES", "").split(os.pathsep):
        truth |= {Path(found): Motion.load(found) for found in sorted(glob.glob(pattern))}
    version, figures = in_blender(list(truth), tmp_path)
    lines = [f"\nBlender {version}, largest distance of a joint:"]
    worst = 0.0
    for (path, motion), (names, heads, frames) in zip(truth.items(), figures, strict=True):
        ours = motion.fk()[0].numpy()
        last = motion.num_frames
        assert last - STEP < frames[-1] <= last, f"{path.name}: Blender has {frames[-1]} of {last} frames"
        at = [names.index("_".join(name.split())) for name in motion.skeleton.names]
        away = 1000 * np.linalg.norm(heads[:, at] - ours[frames - 1], axis=-1)
        lines.append(f"  {path.name:<36} {len(frames):4d} frames, {len(at)} joints  {away.max():.4f} mm")
        worst = max(worst, float(away.max()))
    with capsys.disabled():
        print("\n".join(lines))
    assert worst < MILLIMETRES
