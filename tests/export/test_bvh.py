"""BVH of clips and of simulated motion: what an independent reading of the file finds in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from isaacmm.errors import MotionError
from isaacmm.export import ExportError, bvh
from isaacmm.motion.clip import Motion
from isaacmm.motion.io import registry
from tests.evaluate.made import as_rollout, statue
from tests.helpers import made_up_walk


def text_parts(path: Path) -> tuple[list[str], np.ndarray, str]:
    """Joint names in order, the table of numbers, and the header, by plain text handling."""
    text = path.read_text()
    header, _, motion = text.partition("MOTION")
    names = [line.split()[1] for line in header.splitlines() if line.split()[:1] in (["ROOT"], ["JOINT"])]
    rows = [line.split() for line in motion.splitlines() if line and line[0] in "-0123456789"]
    return names, np.array(rows, dtype=float), text


def test_a_written_clip_is_where_it_was(tmp_path: Path) -> None:
    written = bvh.write(made_up_walk(), tmp_path / "walk.bvh")
    assert written.error_mm < 0.01
    assert written.frames == 61 and written.seconds == pytest.approx(61 / 30)


def test_root_motion_is_a_track_of_its_own(tmp_path: Path) -> None:
    motion = made_up_walk(1.2, 0.6, 2.0)
    bvh.write(motion, tmp_path / "walk.bvh")
    names, rows, text = text_parts(tmp_path / "walk.bvh")
    assert names[:2] == ["Root", "pelvis"]
    # Root: on the ground, where the hips are; centimetres; file x, y, z = our y, z, x
    assert np.allclose(rows[:, 1], 0.0)
    assert np.allclose(rows[:, [2, 0]], 100 * motion.root_pos[:, :2].numpy(), atol=1e-3)
    # the hips stay above it
    assert np.allclose(rows[:, [6, 8]], 0.0, atol=1e-3)
    assert np.allclose(rows[:, 7], 100 * motion.root_pos[:, 2].numpy(), atol=1e-3)
    # Root's rotation together with that of the hips is the pelvis', seen in the file's axes
    whole = Rotation.from_euler("ZXY", rows[:, 3:6], degrees=True) * Rotation.from_euler(
        "ZXY", rows[:, 9:12], degrees=True
    )
    x, y, z, w = motion.root_rot.numpy().T
    wanted = Rotation.from_quat(np.stack((y, z, x, w), axis=1))
    assert (whole.inv() * wanted).magnitude().max() < 1e-4
    assert "Frame Time: 0.0333333" in text


def test_curves_have_no_jumps(tmp_path: Path) -> None:
    spin = made_up_walk(0.5, 4.0, 6.0)  # the heading passes pi several times
    bvh.write(spin, tmp_path / "spin.bvh")
    _, rows, _ = text_parts(tmp_path / "spin.bvh")
    assert np.abs(np.diff(rows, axis=0)).max() < 40.0


def test_a_rollout_becomes_its_longest_pieces(tmp_path: Path) -> None:
    rollout = as_rollout([made_up_walk(1.0, 0.0, 2.0)] * 3, (1.0, 0.0), 1.0)
    rollout.done[20, 0] = True
    rollout.done[::3, 2] = True  # nothing longer than three frames
    written = bvh.write_rollout(rollout, [0, 1, 2], tmp_path)
    assert [(w.path.name, w.frames) for w in written] == [("policy_1.bvh", 40), ("policy_2.bvh", 61)]
    again = registry.read(written[0].path)
    assert again.num_frames == 40
    assert torch.allclose(again.root_pos, rollout.root_pos[21:, 0], atol=1e-5)
    assert "2 BVH" in bvh.summary(written) and "nothing" in bvh.summary([])


def test_many_clips_are_represented_evenly_and_names_are_made_safe(tmp_path: Path) -> None:
    clips = [made_up_walk(1.0, 0.0, 0.3, name=f"walk {i}/a") for i in range(20)]
    names = [w.path.name for w in bvh.write_clips(clips, tmp_path, most=3)]
    assert names == ["clip_walk_0_a.bvh", "clip_walk_10_a.bvh", "clip_walk_19_a.bvh"]
    same = [w.path.name for w in bvh.write_clips(clips[:1] * 3, tmp_path / "same")]
    assert same == ["clip_walk_0_a.bvh", "clip_walk_0_a_2.bvh", "clip_walk_0_a_3.bvh"]


def test_long_clips_are_cut(tmp_path: Path) -> None:
    (written,) = bvh.write_clips([made_up_walk(seconds=3.0)], tmp_path, seconds=1.0)
    assert written.frames == 31


@pytest.mark.parametrize("name", ["..", "", "con/../../etc", "ünïcode läuft", "a" * 300])
def test_safe_names(name: str) -> None:
    safe = bvh.safe_name(name)
    assert safe and "/" not in safe and not safe.startswith(".") and len(safe) <= 80


def test_a_file_that_says_something_else_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = registry.read

    def shifted(*args: object, **options: object) -> Motion:
        motion = real(*args, **options)  # type: ignore[arg-type]
        motion.root_pos = motion.root_pos + torch.tensor([0.0, 0.002, 0.0])
        return motion

    monkeypatch.setattr(registry, "read", shifted)
    with pytest.raises(ExportError, match=r"walk.bvh.*2.0 mm"):
        bvh.write(made_up_walk(), tmp_path / "walk.bvh")


def test_broken_motion_is_refused_before_a_file_appears(tmp_path: Path) -> None:
    motion = statue()
    motion.root_pos[7, 1] = float("nan")
    with pytest.raises(MotionError, match="frame 7"):
        bvh.write(motion, tmp_path / "broken.bvh")
    assert list(tmp_path.iterdir()) == []
