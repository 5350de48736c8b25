"""BVH: units, axes, rates, roots, and what is refused. The eighteen odd files: test_bvh_edge_cases.py."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from isaacmm.errors import MotionError
from isaacmm.motion.io import registry
from tests.motion.made_bvh import FRAMES, JOINTS, POSITION, ZXY, build, check


def test_few_channels(tmp_path: Path) -> None:
    """Hinges and partial positions."""
    check(
        tmp_path,
        *build([POSITION + ZXY, ("Xrotation",), ("Zrotation", "Yrotation"), ZXY, ("Yposition", *ZXY)]),
    )


def test_lines_broken_in_the_hierarchy(tmp_path: Path) -> None:
    text, where = build()
    check(
        tmp_path,
        text.replace("Zrotation Xrotation", "Zrotation\n Xrotation").replace("OFFSET ", "OFFSET\n\t"),
        where,
    )


# --------------------------------------------------------------- axes, units, frame rates
def test_a_figure_that_faces_z_there_faces_x_here(tmp_path: Path) -> None:
    text, _ = build(angles=np.zeros((FRAMES, len(JOINTS), 3)))
    file = tmp_path / "a.bvh"
    file.write_text(text)
    motion = registry.read(file)
    foot = motion.skeleton.end_sites["LeftFoot"]
    np.testing.assert_allclose(foot, (0.14, 0.0, -0.03), atol=1e-7)
    left = motion.skeleton.offsets[motion.skeleton.body("LeftLeg")]
    np.testing.assert_allclose(left, (0.0, 0.095, -0.04), atol=1e-7)
    assert float(motion.root_pos[-1, 0]) == pytest.approx(1.3 * 19 / 30, abs=1e-5), "it walks along +x"


def test_z_up_and_other_units(tmp_path: Path) -> None:
    text, where = build()
    y_up = where[..., [1, 2, 0]]  # the file's own axes, in metres
    check(tmp_path, text, 2 * y_up, up="z", scale=0.02)
    with pytest.raises(MotionError, match="up='x'"):
        registry.read(tmp_path / "odd.bvh", up="x")
    with pytest.raises(MotionError, match="no such option"):
        registry.read(tmp_path / "odd.bvh", unit="cm")


@pytest.mark.parametrize(
    ("time", "fps"),
    [
        ("0.0333333", 30), ("0.033333", 30), ("0.03333", 30), (".0083333", 120), ("0.016667", 60), ("0.01", 100),
        ("0.0333667", 29.97), ("0.0417083", 23.976), ("3.33333e-02", 30), ("0,0333333", 30),
    ],
)  # fmt: skip
def test_frame_rate(tmp_path: Path, time: str, fps: float) -> None:
    file = tmp_path / "a.bvh"
    file.write_text(build()[0].replace("0.0333333", time))
    got = registry.read(file).fps
    assert got == fps if fps == int(fps) else got == pytest.approx(fps, abs=1e-3)


def test_other_units_are_noticed(
    tmp_path: Path, make_motion: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "inches.bvh"
    registry.write(make_motion(frames=5), file, scale=0.0254)
    with caplog.at_level(logging.WARNING):
        registry.read(file)
    assert "scale=" in caplog.text


# ------------------------------------------------------------------------- dummy roots
def with_dummy(still: bool) -> tuple[str, np.ndarray]:
    """The plain file below a root that stands still or carries the path (then the hips bob above it)."""
    text, where = build()
    head, tail = text.split("Frame Time: 0.0333333\n")
    body, motion = head.split("MOTION")
    body = body.replace("ROOT Hips", "JOINT Hips").removeprefix("HIERARCHY\n")
    body = f"HIERARCHY\nROOT Reference\n{{\nOFFSET 0 0 0\nCHANNELS 6 {' '.join(POSITION + ZXY)}\n{body}}}\n"
    rows = []
    for line in tail.strip().split("\n"):
        x, y, z, *rest = line.split()
        rows.append(f"0 0 0 0 0 0 {line}" if still else f"{x} 0 {z} 0 0 0 0 {y} 0 {' '.join(rest)}")
    return body + "MOTION" + motion + "Frame Time: 0.0333333\n" + "\n".join(rows), where


@pytest.mark.parametrize("still", [True, False])
def test_dummy_root_is_merged_into_the_hips(tmp_path: Path, still: bool) -> None:
    check(tmp_path, *with_dummy(still))


def test_dummy_root_can_be_kept(tmp_path: Path) -> None:
    file = tmp_path / "a.bvh"
    file.write_text(with_dummy(True)[0])
    with pytest.raises(MotionError, match="'Hips'"):
        registry.read(file, root="keep")  # then the hips would be a stretching joint
    assert registry.read(file, root="keep", stretch="bake").skeleton.names[0] == "Reference"


# ---------------------------------------------------------------------------- refusals
def refuse(tmp_path: Path, text: str | bytes, *words: str, **options: object) -> None:
    file = tmp_path / "bad.bvh"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(MotionError) as caught:
        registry.read(file, **options)
    for word in ("bad.bvh", *words):
        assert word in str(caught.value), str(caught.value)


def test_a_stretching_joint_is_named(tmp_path: Path) -> None:
    channels = [POSITION + ZXY, POSITION + ZXY, ZXY, ZXY, ZXY]
    text, _ = build(channels)
    head, _, numbers = text.partition("0.0333333\n")
    rows = [line.split() for line in numbers.strip().split("\n")]
    rows[7][6] = "9.5"
    text = head + "0.0333333\n" + "\n".join(" ".join(row) for row in rows)
    refuse(tmp_path, text, "'Spine'", "9.5 cm", "frame 7", "stretch='bake'")
    motion = registry.read(tmp_path / "bad.bvh", stretch="bake")
    assert float(motion.skeleton.offsets[1, 1]) == pytest.approx(0.095 / FRAMES, abs=1e-6)


def test_cut_short_inside_a_frame(tmp_path: Path) -> None:
    text, where = build()
    lines = text.rstrip().split("\n")
    cut = "\n".join([*lines[:-3], lines[-3][: len(lines[-3]) // 2]])
    refuse(tmp_path, cut, "ends inside frame 17 of 20", "cut_short='keep'")
    motion = registry.read(tmp_path / "bad.bvh", cut_short="keep")
    np.testing.assert_allclose(motion.fk()[0].numpy(), where[:17], atol=2e-6)


def test_cut_short_before_the_frames(tmp_path: Path) -> None:
    text, _ = build()
    refuse(tmp_path, text[: text.index("MOTION") + 9], "cut short")
    refuse(tmp_path, text[: text.index("0.0333333") + 9], "no frames")
    refuse(tmp_path, "\n".join(["nothing", "to see"]), "HIERARCHY")


def test_numbers_that_do_not_fit_the_joints(tmp_path: Path) -> None:
    text, _ = build()
    lines = [line + " 1.0" if line[:1] in "-0123456789" else line for line in text.split("\n") if line]
    refuse(tmp_path, "\n".join(lines), "19 numbers each", "18 channels")


def test_words_among_the_numbers(tmp_path: Path) -> None:
    text, _ = build()
    lines = text.split("\n")
    row = lines.index(next(line for line in lines if line.startswith("Frame Time"))) + 4
    words = lines[row].split()
    words[7] = "oops"
    lines[row] = " ".join(words)
    refuse(tmp_path, "\n".join(lines), "'oops'", "frame 3", "Spine xrotation")


def test_frames_with_nan_are_listed(tmp_path: Path) -> None:
    text, where = build()
    lines = text.split("\n")
    row = lines.index(next(line for line in lines if line.startswith("Frame Time"))) + 1
    for frame in (4, 5, 9):
        words = lines[row + frame].split()
        words[10] = "-1.#IND00"
        lines[row + frame] = " ".join(words)
    refuse(tmp_path, "\n".join(lines), "3 of 20 frames", "4-5, 9", "nan='interpolate'")
    filled = registry.read(tmp_path / "bad.bvh", nan="interpolate").fk()[0].numpy()
    assert np.abs(filled - where).max() < 0.01
    assert np.abs(filled - where)[[3, 6, 8, 10]].max() < 2e-6


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("JOINT Spine", "JOITN Spine", "JOITN"),
        ("CHANNELS 3", "CHANNELS three", "three"),
        ("Xrotation Yrotation", "Wrotation Yrotation", "wrotation"),
        ("OFFSET 0.000000 12", "OFFSET nowhere 12", "three numbers"),
        ("MOTION", "}\nMOTION", "too many"),
        ("Frame Time: 0.0333333", "Frame Time: 0", "frame time"),
        ("ROOT Hips\n{", "ROOT Hips", "OFFSET outside"),
        ("JOINT LeftLeg", "}\nROOT Other", "second ROOT"),
    ],
)
def test_damaged_hierarchy(tmp_path: Path, old: str, new: str, message: str) -> None:
    text, _ = build()
    assert old in text
    refuse(tmp_path, text.replace(old, new, 1), message)


def test_two_joints_of_one_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "a.bvh"
    file.write_text(build()[0].replace("LeftFoot", "Head"))
    with caplog.at_level(logging.WARNING):
        assert registry.read(file).skeleton.names[-1] == "Head_2"
    assert "Head_2" in caplog.text
