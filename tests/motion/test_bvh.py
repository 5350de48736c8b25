"""BVH: every way in which files in circulation are odd, writing, and round trips.

The odd files all hold the same motion of the same figure. Where its joints are, an independent
plain reading of the numbers says (scipy rotations, one frame and joint at a time).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from isaacmm import rotation
from isaacmm.character import CharacterModel
from isaacmm.errors import MotionError
from isaacmm.motion.clip import Motion
from isaacmm.motion.io import registry
from isaacmm.motion.io.bvh import root_track
from isaacmm.motion.io.bvh_text import parse
from isaacmm.skeleton import Skeleton

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


def joints_of(file: Path, **options: object) -> np.ndarray:
    motion = registry.read(file, **options)
    assert motion.skeleton.names == tuple(name for name, _, _ in JOINTS)
    assert motion.fps == 30.0
    return motion.fk()[0].numpy()


def check(tmp_path: Path, text: str | bytes, where: np.ndarray, **options: object) -> None:
    file = tmp_path / "odd.bvh"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    np.testing.assert_allclose(joints_of(file, **options), where, atol=2e-6)


# ------------------------------------------------------------------ the eighteen odd files
def test_plain(tmp_path: Path) -> None:
    check(tmp_path, *build())


def test_blank_lines(tmp_path: Path) -> None:
    text, where = build()
    check(tmp_path, "\n\n" + text.replace("\n", "\n\n") + "\n\n", where)


def test_byte_order_mark(tmp_path: Path) -> None:
    text, where = build()
    check(tmp_path, b"\xef\xbb\xbf" + text.encode(), where)
    check(tmp_path, text.encode("utf-16"), where)


def test_brace_on_the_root_line(tmp_path: Path) -> None:
    text, where = build()
    check(tmp_path, text.replace("ROOT Hips\n{", "ROOT Hips {"), where)
    check(tmp_path, text.replace("\n\t{", "{").replace("ROOT Hips\n{", "ROOT Hips{"), where)


def test_carriage_returns(tmp_path: Path) -> None:
    text, where = build()
    check(tmp_path, text.replace("\n", "\r\n"), where)
    check(tmp_path, text.replace("\n", "\r"), where)


def test_frame_split_over_lines(tmp_path: Path) -> None:
    text, where = build()
    head, _, numbers = text.partition("0.0333333\n")
    words = numbers.split()
    broken = "\n".join(" ".join(words[i : i + 7]) for i in range(0, len(words), 7))
    check(tmp_path, head + "0.0333333\n" + broken, where)


def test_frames_without_a_space(tmp_path: Path) -> None:
    text, where = build()
    check(tmp_path, text.replace("Frames: 20", "Frames:20").replace("Frame Time: ", "Frame Time:"), where)
    check(tmp_path, text.replace("Frames: 20", "frames :\t20 ").replace("MOTION", "Motion"), where)


def test_frame_count_too_large_is_said_and_what_is_there_is_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text, where = build()
    with caplog.at_level(logging.WARNING):
        check(tmp_path, text.replace("Frames: 20", "Frames: 200"), where)
    assert "200" in caplog.text and "20 are there" in caplog.text


def test_frame_count_too_small_is_said_and_what_is_there_is_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text, where = build()
    with caplog.at_level(logging.WARNING):
        check(tmp_path, text.replace("Frames: 20", "Frames: 7"), where)
    assert "7 frames" in caplog.text


@pytest.mark.parametrize("side", [90, -90])
def test_gimbal_lock(tmp_path: Path, side: int) -> None:
    _, angles = curves()
    angles[5:, :, 0] = side
    check(tmp_path, *build(angles=angles))


def test_lower_case_channels(tmp_path: Path) -> None:
    text, where = build()
    check(tmp_path, text.replace("rotation", "ROTATION").replace("Xposition", "xposition"), where)


def test_mixed_channel_orders(tmp_path: Path) -> None:
    orders = ["ZXY", "XYZ", "YZX", "ZYX", "XZY"]
    channels = [tuple(f"{letter}rotation" for letter in order) for order in orders]
    channels[0] = POSITION + channels[0]
    check(tmp_path, *build(channels))


def test_positions_on_every_joint(tmp_path: Path) -> None:
    """They replace the OFFSET, which here says something else."""
    channels = [POSITION + ZXY] * len(JOINTS)
    text, where = build(channels, offsets=dict.fromkeys(range(1, len(JOINTS)), (1.0, 2.0, 3.0)))
    check(tmp_path, text, where)


def test_root_offset_is_replaced_by_positions(tmp_path: Path) -> None:
    check(tmp_path, *build(root_offset=(5.0, 90.0, -3.0)))


def test_rotation_before_position(tmp_path: Path) -> None:
    check(tmp_path, *build([ZXY + POSITION] + [ZXY] * (len(JOINTS) - 1)))
    check(tmp_path, *build([("Yposition", *ZXY, "Zposition", "Xposition")] + [ZXY] * (len(JOINTS) - 1)))


def test_scientific_notation(tmp_path: Path) -> None:
    check(tmp_path, *build(number=lambda v: f"{v:.8e}"))
    check(tmp_path, *build(number=lambda v: f"{v:.5E}" if abs(v) < 1 else f"{v:.5f}"))


def test_spaces_in_names(tmp_path: Path) -> None:
    text, where = build()
    file = tmp_path / "odd.bvh"
    file.write_text(text.replace("LeftLeg", "Left Upper Leg").replace("ROOT Hips", "ROOT My Hips "))
    motion = registry.read(file)
    assert motion.skeleton.names[0] == "My Hips"
    assert "Left Upper Leg" in motion.skeleton.names
    np.testing.assert_allclose(motion.fk()[0].numpy(), where, atol=2e-6)


def test_trailing_white_space(tmp_path: Path) -> None:
    text, where = build()
    check(tmp_path, text.replace("\n", " \t \n") + "  \n\t\n", where)


@pytest.mark.parametrize("line", ["CHANNELS 0", ""])
def test_joints_without_channels(tmp_path: Path, line: str) -> None:
    channels = [POSITION + ZXY, (), ZXY, ZXY, ()]
    text, where = build(channels)
    check(tmp_path, text.replace("CHANNELS 0", line), where)


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


# ------------------------------------------------------------------------------- writing
def difference(a: Motion, b: Motion) -> tuple[float, float]:
    """Largest distance (m) and angle (rad) between the bodies of two motions."""
    (pos_a, rot_a), (pos_b, rot_b) = a.fk(), b.fk()
    return float((pos_a - pos_b).norm(dim=-1).max()), float(rotation.angle_between(rot_a, rot_b).max())


@pytest.mark.parametrize("order", ["ZXY", "ZYX", "YXZ", "XYZ"])
@pytest.mark.parametrize("root_motion", [False, True])
def test_round_trip(
    tmp_path: Path, make_motion: Callable, humanoid: CharacterModel, order: str, root_motion: bool
) -> None:
    motion = make_motion(frames=90, reach=0.95)
    file = tmp_path / "clip.bvh"
    registry.write(motion, file, order=order, root_motion=root_motion)
    back = registry.read(file, skeleton=humanoid.skeleton)
    metres, radians = difference(motion, back)
    assert metres < 1e-5 and radians < 2e-5  # 0.01 mm, 0.001 degrees
    assert back.fps == motion.fps and back.num_frames == motion.num_frames
    own = registry.read(file)
    assert own.skeleton.names == humanoid.skeleton.names
    np.testing.assert_allclose(own.fk()[0], motion.fk()[0], atol=1e-5)
    torch.testing.assert_close(back.dof_pos(), motion.dof_pos(), atol=1e-4, rtol=0)


@pytest.mark.parametrize("fps", [16.0, 24.0, 29.97, 30.0, 60.0, 120.0, 500.0])
def test_frame_rate_survives(tmp_path: Path, make_motion: Callable, fps: float) -> None:
    registry.write(make_motion(frames=4, fps=fps), tmp_path / "a.bvh")
    assert registry.read(tmp_path / "a.bvh").fps == pytest.approx(fps, rel=1e-5)


def test_what_a_file_looks_like(tmp_path: Path, make_motion: Callable) -> None:
    """Hips with six channels at the origin, joints with three, end sites on leaves, 30 fps as DCC tools write it."""
    registry.write(make_motion(frames=3), tmp_path / "a.bvh")
    content = (tmp_path / "a.bvh").read_text()
    lines = [line.strip() for line in content.splitlines()]
    assert lines[0] == "HIERARCHY" and lines[1] == "ROOT pelvis"
    assert lines[3] == "OFFSET 0.000000 0.000000 0.000000"
    assert lines[4] == "CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation"
    assert content.count("JOINT") == 14 and content.count("End Site") == 5
    assert content.count("CHANNELS 3 Zrotation Xrotation Yrotation") == 14
    assert "Frames: 3\nFrame Time: 0.03333333\n" in content
    text = parse(tmp_path / "a.bvh")
    head = text.offsets[text.names.index("head")]
    assert head[1] > 20 and abs(head[0]) < 1e-6, "y is up, in centimetres"
    assert text.offsets[text.names.index("left_thigh")][0] > 5, "left is +x, so it faces +z"
    assert text.end_sites["left_foot"][2] > 5, "toes point forwards"


def test_root_motion_track(tmp_path: Path, make_motion: Callable) -> None:
    motion = make_motion(frames=90)
    registry.write(motion, tmp_path / "a.bvh", root_motion=True)
    text = parse(tmp_path / "a.bvh")
    assert text.names[:2] == ["Root", "pelvis"]
    root, hips = text.values[:, :6], text.values[:, 6:12]
    ours = motion.root_pos.numpy() * 100
    np.testing.assert_allclose(root[:, [2, 0]], ours[:, :2], atol=1e-4)  # the path on the ground
    np.testing.assert_allclose(root[:, [1, 3, 4]], 0.0, atol=1e-6)  # no height, no tilt (ZXY: only Y turns)
    np.testing.assert_allclose(hips[:, 1], ours[:, 2], atol=1e-4)
    np.testing.assert_allclose(hips[:, [0, 2]], 0.0, atol=1e-6)
    heading = np.unwrap(rotation.yaw(motion.root_rot).numpy())
    assert np.abs(np.radians(root[:, 5]) - heading).max() < 0.15  # x axis and twist differ by the tilt only
    assert np.abs(np.diff(root[:, 5])).max() < 5


def test_root_track_through_a_somersault(make_motion: Callable) -> None:
    motion = make_motion(frames=61)
    pitch = torch.linspace(0, 2 * torch.pi, 61)
    motion.root_rot = rotation.from_axis_angle(torch.tensor([0.0, 1.0, 0.0]), pitch)
    _, turn = root_track(motion)
    assert float(rotation.angle_between(turn[1:], turn[:-1]).max()) < 0.05


def test_curves_are_smooth(tmp_path: Path, make_motion: Callable) -> None:
    motion = make_motion(frames=300, fps=60)
    spin = rotation.from_yaw(torch.linspace(0, 20, 300))
    motion.root_rot = rotation.multiply(spin, motion.root_rot)
    registry.write(motion, tmp_path / "a.bvh")
    text = parse(tmp_path / "a.bvh")
    columns = [c for channels in text.channels for c in channels]
    angles = text.values[:, [c.endswith("rotation") for c in columns]]
    fastest = float(rotation.angular_velocity(motion.joint_rot, 1 / 60).norm(dim=-1).max()) / 60
    assert np.abs(np.diff(angles, axis=0)).max() < 6 * np.degrees(max(fastest, 20 / 300 + 0.1))
    assert angles[-1, 2] > 360, "a spin goes on past a whole turn"


def turned_skeleton() -> Skeleton:
    """Frames that are turned at rest, bodies not in depth-first order, a name with a space."""
    draw = torch.Generator().manual_seed(4)
    return Skeleton(
        names=("hips", "leg l", "leg r", "foot_l", "foot_r"),
        parents=(-1, 0, 0, 1, 2),
        offsets=torch.randn(5, 3, generator=draw) * 0.2,
        rest_rotations=rotation.normalize(torch.randn(5, 4, generator=draw)),
        end_sites={"foot_l": (0.1, 0.02, 0.0)},
    )


def test_frames_turned_at_rest(tmp_path: Path) -> None:
    skeleton = turned_skeleton()
    draw = torch.Generator().manual_seed(5)
    motion = Motion(
        skeleton,
        torch.randn(12, 3, generator=draw),
        rotation.normalize(torch.randn(12, 4, generator=draw)),
        rotation.normalize(torch.randn(12, 4, 4, generator=draw)),
        fps=25.0,
    )
    registry.write(motion, tmp_path / "a.bvh")
    own = registry.read(tmp_path / "a.bvh")
    assert own.skeleton.names == ("hips", "leg_l", "foot_l", "leg_r", "foot_r")
    order = [own.skeleton.names.index("_".join(name.split())) for name in skeleton.names]
    np.testing.assert_allclose(own.fk()[0][:, order], motion.fk()[0], atol=1e-5)
    (tmp_path / "a.bvh").write_text((tmp_path / "a.bvh").read_text().replace("leg_", "leg "))
    back = registry.read(tmp_path / "a.bvh", skeleton=skeleton)
    metres, radians = difference(motion, back)
    assert metres < 1e-5 and radians < 2e-5


def test_reading_onto_a_character_with_other_joints(tmp_path: Path, humanoid: CharacterModel) -> None:
    file = tmp_path / "bad.bvh"
    file.write_text(build()[0])
    with pytest.raises(MotionError, match="pelvis"):
        registry.read(file, skeleton=humanoid.skeleton)


def test_reading_onto_a_character_with_another_tree(
    tmp_path: Path, make_motion: Callable, humanoid: CharacterModel
) -> None:
    file = tmp_path / "a.bvh"
    registry.write(make_motion(frames=4), file)
    text = (
        file.read_text()
        .replace("right_shin", "?")
        .replace("right_thigh", "right_shin")
        .replace("?", "right_thigh")
    )
    file.write_text(text)
    with pytest.raises(MotionError, match="hangs on"):
        registry.read(file, skeleton=humanoid.skeleton)


def test_writer_refuses(tmp_path: Path, make_motion: Callable) -> None:
    motion = make_motion(frames=5)
    with pytest.raises(MotionError, match="XXY"):
        registry.write(motion, tmp_path / "a.bvh", order="XXY")
    motion.joint_rot[3, 2, 1] = float("nan")
    with pytest.raises(MotionError, match="frame 3"):
        registry.write(motion, tmp_path / "a.bvh")
    assert not list(tmp_path.iterdir()), "nothing half-written is left"
