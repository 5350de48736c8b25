"""The commands of ``python -m isaacmm.motion``: on files, folders and globs, in words and in JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from isaacmm import paths
from isaacmm.motion.__main__ import main
from isaacmm.motion.clip import Motion

Make = Callable[..., Motion]


@pytest.fixture
def clips(make_motion: Make, tmp_path: Path) -> Path:
    """A folder with two sound clips and a file that is none."""
    folder = tmp_path / "clips"
    folder.mkdir()
    make_motion(frames=40, seed=1).save(folder / "one.npz")
    make_motion(frames=30, seed=2).save(folder / "two.npz")
    (folder / "broken.npz").write_bytes(b"PK\x03\x04 cut short")
    return folder


def asked(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, dict]:
    code = main([*map(str, words), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_one_bad_file_fails_and_the_others_go_on(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = asked(capsys, "convert", clips, "--out", tmp_path / "out", "--to", "bvh")
    assert code == 2 and said["failed"] == 1 and len(said["clips"]) == 3
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"one.bvh", "two.bvh"}
    (bad,) = [c for c in said["clips"] if not c["ok"]]
    assert "broken.npz" in bad["error"]
    assert main(["convert", str(clips / "*.npz"), "--out", str(tmp_path / "again")]) == 2
    captured = capsys.readouterr()
    assert "broken.npz" in captured.err and "1 of 3" in captured.err and "wrote" in captured.out


def test_places_to_write_are_checked(clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mirror", str(clips / "one.npz")]) == 2
    assert "--out" in capsys.readouterr().err
    assert main(["mirror", str(clips), "--out", str(tmp_path / "m.npz")]) == 2
    assert "folder" in capsys.readouterr().err
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "one.npz").write_bytes((clips / "one.npz").read_bytes())
    same = [str(clips / "one.npz"), str(tmp_path / "b" / "one.npz")]
    assert main(["resample", *same, "--fps", "20", "--out", str(tmp_path / "c")]) == 2
    assert "both" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["upsample", "resample", "mirror", "cut", "convert"])
def test_a_clip_is_never_written_over_itself(
    command: str, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = clips / "one.npz"
    before = one.read_bytes()
    (tmp_path / "link.npz").symlink_to(one)
    rest = {"resample": ["--fps", "20"], "cut": ["--from", "3"]}.get(command, [])
    for place in (one, tmp_path / "link.npz", *([clips] if command != "mirror" else [])):
        assert main([command, str(one), "--out", str(place), *rest]) == 2
        assert "written over" in capsys.readouterr().err
    assert one.read_bytes() == before


def test_mirror_cut_and_resample(clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = Motion.load(clips / "one.npz")
    assert asked(capsys, "mirror", clips / "one.npz", "--out", tmp_path / "m.npz")[0] == 0
    torch.testing.assert_close(Motion.load(tmp_path / "m.npz").root_pos[:, 1], -one.root_pos[:, 1])
    cut = ["cut", clips / "one.npz", "--from", "0.5s", "--to-time", "-5", "--origin", "--out", tmp_path / "c.npz"]
    assert asked(capsys, *cut)[0] == 0
    part = Motion.load(tmp_path / "c.npz")
    assert part.num_frames == 20
    assert float(part.root_pos[0, :2].abs().max()) < 1e-6
    code, said = asked(capsys, "cut", clips / "one.npz", "--every", "0.5s", "--out", tmp_path / "parts")
    assert code == 0 and [Path(p).stem for p in said["clips"][0]["out"]] == ["one_000", "one_001", "one_002"]
    assert asked(capsys, "cut", clips / "one.npz", "--from", "39", "--out", tmp_path / "x.npz")[0] == 2
    assert asked(capsys, "cut", clips / "one.npz", "--from", "soon", "--out", tmp_path / "x.npz")[0] == 2
    assert asked(capsys, "resample", clips / "one.npz", "--fps", "60", "--out", tmp_path / "r.npz")[0] == 0
    assert (Motion.load(tmp_path / "r.npz").num_frames, Motion.load(tmp_path / "r.npz").fps) == (79, 60.0)
    label = ["resample", clips / "one.npz", "--fps", "60", "--label", "--out", tmp_path / "l.npz"]
    assert asked(capsys, *label)[0] == 0
    assert Motion.load(tmp_path / "l.npz").num_frames == 40
    assert asked(capsys, "resample", clips / "one.npz", "--fps", "0", "--out", tmp_path / "l.npz")[0] == 2


def test_stats_add_up(capsys: pytest.CaptureFixture[str]) -> None:
    pattern = paths.resolve("motions") / "walk_1.[04].npz"
    code, said = asked(capsys, "stats", pattern)
    assert code == 0 and said["all"]["clips"] == 2
    table = torch.tensor(said["all"]["seconds_by_speed_and_turn"])
    assert float(table.sum()) == pytest.approx(said["all"]["seconds"], abs=0.05)
    assert said["clips"][1]["speed"] == pytest.approx(1.4, abs=0.05)
    assert main(["stats", str(pattern)]) == 0
    assert "seconds by speed" in capsys.readouterr().out


def spoiled(motion: Motion) -> Motion:
    """A walk with a fault of every kind that ``--fix`` knows."""
    pos, rot, joint = motion.root_pos.clone(), motion.root_rot.clone(), motion.joint_rot.clone()
    time = torch.arange(len(pos)) / motion.fps
    pos[:, 1] += 0.25 * torch.sin(3.0 * time)  # feet slide
    pos[:, 2] -= 0.06
    pos[100:, 0] += 3.0
    joint[60, 0] = torch.tensor([1.0, 0.0, 0.0, 0.0])
    pos[40] = float("nan")
    pos[80], rot[80], joint[80] = pos[79], rot[79], joint[79]
    rot[120:] *= -1.0
    return replace(motion, root_pos=pos, root_rot=rot, joint_rot=joint, contacts=None, name="spoiled")


def test_inspect_finds_and_fixes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    walk = Motion.load(paths.resolve("motions/walk_1.4.npz")).slice(0, 240)
    code, said = asked(capsys, "inspect", paths.resolve("motions/walk_1.4.npz"), "--strict")
    assert code == 0 and said["clips"][0]["findings"] == []
    spoiled(walk).save(tmp_path / "bad.npz")
    place = ["--fix", "--out", tmp_path / "good.npz", "--picture", tmp_path / "good.png"]
    code, said = asked(capsys, "inspect", tmp_path / "bad.npz", *place)
    (clip,) = said["clips"]
    codes = {f["code"]: f["frames"] for f in clip["findings"]}
    assert {"nan", "stutter", "teleport", "spike", "floor", "flips", "sliding"} <= set(codes), codes
    assert (codes["nan"], codes["stutter"], codes["teleport"], codes["spike"]) == ([40], [80], [100], [60])
    assert code == 0 and clip["left"] == []
    assert (tmp_path / "good.png").read_bytes().startswith(b"\x89PNG")
    good = Motion.load(tmp_path / "good.npz")
    forward = walk.root_pos[:, 0] - walk.root_pos[0, 0]
    assert float((good.root_pos[:, 0] - good.root_pos[0, 0] - forward).abs().max()) < 0.08
    assert asked(capsys, "inspect", tmp_path / "bad.npz", "--strict")[0] == 2
    assert asked(capsys, "inspect", tmp_path / "good.npz", "--strict")[0] == 0


def test_retarget_view_and_pictures(
    recorded_motions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = recorded_motions / "bvh_bandai_nc/dataset-1_run_normal_001.bvh"
    code, said = asked(
        capsys, "retarget", source, "--out", tmp_path / "run.npz", "--mirror", "--picture", tmp_path / "run.png"
    )
    assert code == 0 and said["clips"][0]["residuals"]["joint_map"] == "bandai"
    assert len(said["clips"][0]["out"]) == 2 and (tmp_path / "run_mirrored.npz").exists()
    assert (tmp_path / "run.png").read_bytes().startswith(b"\x89PNG")
    assert asked(capsys, "inspect", tmp_path / "run.npz", "--strict")[0] == 0
    assert asked(capsys, "view", source, "--out", tmp_path / "view.png")[0] == 0
    assert asked(capsys, "retarget", source, "--map", "cmu", "--out", tmp_path / "x.npz")[0] == 2


def test_a_library_in_inches_is_read_in_metres(
    recorded_motions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = recorded_motions / "bvh_cmu/01_01.bvh"
    code, said = asked(capsys, "retarget", source, "--no-feet", "--fps", "10", "--out", tmp_path / "cmu.npz")
    assert code == 0 and 0.9 < said["clips"][0]["residuals"]["scale"] < 1.1
