"""BVH: the eighteen ways in which files in circulation are odd, one test each.

All files hold the same motion of the same figure (:mod:`tests.motion.made_bvh`), each spelled in its
own way. Where the joints are, an independent plain reading of the numbers says. What is read is
written again in our own plain way, and has to be the same once more. The table in
``docs/motion_formats.md`` lists these cases by the names of the functions here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from isaacmm.motion.io import registry
from tests.motion.made_bvh import JOINTS, POSITION, ZXY, build, check, curves

DOCS = Path(__file__).parents[2] / "docs" / "motion_formats.md"
Spelling = tuple[str | bytes, np.ndarray]  # a file, and its joint positions [T, J, 3] in metres
CASES: dict[str, Callable[[], Iterator[Spelling]]] = {}


def case(make: Callable[[], Iterator[Spelling]]) -> Callable[[], Iterator[Spelling]]:
    """Collects a case under its function's name."""
    CASES[make.__name__] = make
    return make


@case
def plain() -> Iterator[Spelling]:
    """What all others are compared with."""
    yield build()


@case
def blank_lines() -> Iterator[Spelling]:
    """Between all lines, before and after."""
    text, where = build()
    yield "\n\n" + text.replace("\n", "\n\n") + "\n\n", where


@case
def byte_order_mark() -> Iterator[Spelling]:
    """UTF-8 and both kinds of UTF-16."""
    text, where = build()
    yield b"\xef\xbb\xbf" + text.encode(), where
    yield b"\xff\xfe" + text.encode("utf-16-le"), where
    yield b"\xfe\xff" + text.encode("utf-16-be"), where


@case
def brace_on_the_root_line() -> Iterator[Spelling]:
    """``ROOT Hips {``, with and without a space, and every brace like it."""
    text, where = build()
    yield text.replace("ROOT Hips\n{", "ROOT Hips {"), where
    yield text.replace("\n\t{", "{").replace("ROOT Hips\n{", "ROOT Hips{"), where


@case
def carriage_returns() -> Iterator[Spelling]:
    """Windows' line ends, and old Mac OS's."""
    text, where = build()
    yield text.replace("\n", "\r\n"), where
    yield text.replace("\n", "\r"), where


@case
def frame_split_over_lines() -> Iterator[Spelling]:
    """Seven numbers a line, eighteen a frame; and all frames in one line."""
    text, where = build()
    head, _, numbers = text.partition("0.0333333\n")
    words = numbers.split()
    yield head + "0.0333333\n" + "\n".join(" ".join(words[i : i + 7]) for i in range(0, len(words), 7)), where
    yield head + "0.0333333\n" + " ".join(words), where


@case
def frames_without_a_space() -> Iterator[Spelling]:
    """``Frames:20``; a blank before the colon, a tab behind it, other capitals."""
    text, where = build()
    yield text.replace("Frames: 20", "Frames:20").replace("Frame Time: ", "Frame Time:"), where
    yield text.replace("Frames: 20", "frames :\t20 ").replace("MOTION", "Motion"), where


@case
def frame_count_too_large() -> Iterator[Spelling]:
    """The header announces 200 frames, 20 are there: these are read (and said, see below)."""
    text, where = build()
    yield text.replace("Frames: 20", "Frames: 200"), where


@case
def gimbal_lock() -> Iterator[Spelling]:
    """The middle angle at 90 and at -90 degrees for most of the clip."""
    for side in (90, -90):
        _, angles = curves()
        angles[5:, :, 0] = side
        yield build(angles=angles)


@case
def lower_case_channels() -> Iterator[Spelling]:
    """``xposition``, ``ZROTATION``."""
    text, where = build()
    yield text.replace("rotation", "ROTATION").replace("Xposition", "xposition"), where
    yield text.replace("Zrotation", "zrotation").replace("Xrotation", "xrotation"), where


@case
def mixed_channel_orders() -> Iterator[Spelling]:
    """Another order of rotations in every joint."""
    orders = ["ZXY", "XYZ", "YZX", "ZYX", "XZY"]
    channels = [tuple(f"{letter}rotation" for letter in order) for order in orders]
    channels[0] = POSITION + channels[0]
    yield build(channels)


@case
def positions_on_every_joint() -> Iterator[Spelling]:
    """Six channels everywhere; they replace the OFFSET, which here says something else."""
    channels = [POSITION + ZXY] * len(JOINTS)
    yield build(channels)
    yield build(channels, offsets=dict.fromkeys(range(1, len(JOINTS)), (1.0, 2.0, 3.0)))


@case
def root_offset() -> Iterator[Spelling]:
    """An OFFSET of the root that is not zero: its positions replace it."""
    yield build(root_offset=(5.0, 90.0, -3.0))


@case
def rotation_before_position() -> Iterator[Spelling]:
    """Root channels in another order, even mixed."""
    yield build([ZXY + POSITION] + [ZXY] * (len(JOINTS) - 1))
    yield build([("Yposition", *ZXY, "Zposition", "Xposition")] + [ZXY] * (len(JOINTS) - 1))


@case
def scientific_notation() -> Iterator[Spelling]:
    """All numbers, or the small ones only."""
    yield build(number=lambda v: f"{v:.8e}")
    yield build(number=lambda v: f"{v:.5E}" if abs(v) < 1 else f"{v:.5f}")


@case
def spaces_in_names() -> Iterator[Spelling]:
    """``JOINT Left Upper Leg`` (the names themselves: see below)."""
    text, where = build()
    yield text.replace("LeftLeg", "Left Upper Leg").replace("ROOT Hips", "ROOT My Hips "), where


@case
def trailing_white_space() -> Iterator[Spelling]:
    """Blanks and tabs behind every line and at the end."""
    text, where = build()
    yield text.replace("\n", " \t \n") + "  \n\t\n", where


@case
def joints_without_channels() -> Iterator[Spelling]:
    """``CHANNELS 0``, or no such line at all."""
    text, where = build([POSITION + ZXY, (), ZXY, ZXY, ()])
    yield text, where
    yield text.replace("CHANNELS 0", ""), where


NAMES = {"spaces_in_names": ("My Hips", "Spine", "Head", "Left Upper Leg", "LeftFoot")}
PLAIN = tuple(name for name, _, _ in JOINTS)


@pytest.mark.parametrize("name", CASES)
def test_edge_case(name: str, tmp_path: Path) -> None:
    names = NAMES.get(name, PLAIN)
    for text, where in CASES[name]():
        check(tmp_path, text, where, names)
        again = tmp_path / "again.bvh"
        registry.write(registry.read(tmp_path / "odd.bvh"), again)
        check(tmp_path, again.read_bytes(), where, ["_".join(part.split()) for part in names])


def test_there_are_eighteen_and_the_page_lists_them() -> None:
    assert len(CASES) == 18
    rows = [line.split("|")[1].strip() for line in DOCS.read_text().split("\n") if line.startswith("| `")]
    assert [row for row in rows if row.strip("`") in CASES] == [f"`{name}`" for name in CASES]


@pytest.mark.parametrize(("announced", "said"), [("200", "20 are there"), ("7", "7 frames")])
def test_a_wrong_frame_count_is_said(
    announced: str, said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text, where = build()
    with caplog.at_level(logging.WARNING):
        check(tmp_path, text.replace("Frames: 20", f"Frames: {announced}"), where)
    assert said in caplog.text and announced in caplog.text
