"""Sets of clips: globs, tags, speed ranges, balance, the cache on disk, velocities derived when asked for."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from isaacmm import rotation
from isaacmm.character import CharacterModel
from isaacmm.errors import ConfigError, MotionError
from isaacmm.motion import balance, cache, library, sources
from isaacmm.motion.clip import Motion
from isaacmm.motion.library import MotionLibrary

Make = Callable[..., Motion]


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("ISAACMM_CACHE", str(folder))
    return folder


def moving(make_motion: Make, speed: float, turn: float, tags: tuple[str, ...], name: str) -> Motion:
    """A clip that travels at ``speed`` m/s and turns at ``turn`` rad/s."""
    motion = make_motion(frames=31)
    time = torch.arange(31) / motion.fps
    heading = turn * time
    step = speed / motion.fps * torch.stack((heading.cos(), heading.sin(), 0 * heading), dim=1)
    pos = torch.cumsum(step, dim=0) + torch.tensor([0.0, 0.0, 0.9])
    return replace(motion, root_pos=pos, root_rot=rotation.from_yaw(heading), tags=tags, name=name)


def test_folders_are_searched_whatever_the_case_of_endings(make_motion: Make, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    make_motion(frames=9).save(tmp_path / "a.npz")
    (tmp_path / "a.npz").rename(tmp_path / "A.NPZ")
    make_motion(frames=9).save(tmp_path / "deep" / "b.bvh")
    for noise in ("LICENSE.txt", "notes.md", ".hidden.npz", "table.csv"):
        (tmp_path / noise).write_text("no clip\n")
    (tmp_path / "11.asf").write_text(":version 1.10\n:name VICON\n")  # a skeleton beside clips
    assert [p.name for p in sources.expand(str(tmp_path))] == ["A.NPZ", "b.bvh"]
    assert [p.name for p in sources.expand(str(tmp_path / "**" / "*.bvh"))] == ["b.bvh"]
    with pytest.raises(MotionError, match="no motion file"):
        sources.expand(str(tmp_path / "*.fbx"))


def test_entries_choose_tag_and_weigh(make_motion: Make, humanoid: CharacterModel, tmp_path: Path) -> None:
    for k, speed in enumerate((0.5, 1.0, 1.5, 3.0)):
        moving(make_motion, speed, 0.0, (), f"c{k}").save(tmp_path / f"c{k}.npz")
    entry = {"file": str(tmp_path / "*.npz"), "weight": 2.0, "speed": [0.8, 2.0], "tags": ["walk"], "mirror": True}
    motions, weights = sources.load_clips({"clips": [entry]}, humanoid)
    assert [m.name for m in motions] == ["c1", "c1_mirrored", "c2", "c2_mirrored"]
    assert sum(weights) == pytest.approx(2.0) and motions[0].tags == ("walk",)
    resampled, _ = sources.load_clips({"clips": [{"file": str(tmp_path / "c0.npz"), "fps": 15}]}, humanoid)
    assert resampled[0].fps == 15.0
    with pytest.raises(ConfigError, match=r"none of its 4 clips moves at 7 to 9 m/s.*0\.5"):
        sources.load_clips({"clips": [{**entry, "speed": [7, 9]}]}, humanoid)
    with pytest.raises(ConfigError, match="names no 'file'"):
        sources.load_clips({"clips": [{"weight": 1}]}, humanoid)
    with pytest.raises(ConfigError, match=r"unknown key 'wieght'.*weight"):
        sources.load_clips({"clips": [{"file": "x", "wieght": 1}]}, humanoid)


def test_balance_gives_groups_the_same_share(make_motion: Make, humanoid: CharacterModel) -> None:
    clips = [moving(make_motion, 1.0, 0.0, ("walk",), f"w{k}") for k in range(8)]
    clips += [moving(make_motion, 3.0, 0.0, ("run",), "r"), moving(make_motion, 1.0, 0.4, ("walk", "turn"), "t")]
    plain = MotionLibrary(clips, humanoid.skeleton)
    assert float(plain.weights[8]) == pytest.approx(0.1)
    by_bin = MotionLibrary(clips, humanoid.skeleton, balance="speed_turn").weights
    torch.testing.assert_close(by_bin[[8, 9]], torch.full((2,), 1 / 3))
    assert float(by_bin[:8].sum()) == pytest.approx(1 / 3)
    by_tag = MotionLibrary(clips, humanoid.skeleton, balance="tag").weights
    assert float(by_tag[8]) == pytest.approx(1 / 3) and float(by_tag[9]) > float(by_tag[0])
    drawn, _ = MotionLibrary(clips, humanoid.skeleton, balance="tag").sample(3000, torch.Generator().manual_seed(0))
    assert 0.28 < float((drawn == 8).float().mean()) < 0.39
    with pytest.raises(ConfigError, match="speed_turn"):
        MotionLibrary(clips, humanoid.skeleton, balance="speedturn")  # type: ignore[arg-type]
    zero = balance.balanced(torch.tensor([0.0, 1.0]), "tag", tags=[("a",), ("b",)], speed=torch.zeros(2),
                            turn=torch.zeros(2))  # fmt: skip
    assert zero.tolist() == [0.0, 1.0], "a clip that was switched off stays off"


def _counting(humanoid: CharacterModel) -> tuple[Callable[[Path], Motion], list[str]]:
    read: list[str] = []

    def make(path: Path) -> Motion:
        read.append(path.name)
        return sources.load_one(path, humanoid, {}, {})

    return make, read


def test_the_cache_gives_back_what_it_got_and_sees_changes(
    make_motion: Make, humanoid: CharacterModel, tmp_path: Path, own_cache: Path
) -> None:
    files = [tmp_path / f"{k}.npz" for k in range(3)]
    for k, file in enumerate(files):
        make_motion(frames=20 + k, seed=k).save(file)
    make, read = _counting(humanoid)
    first = cache.load(files, make, humanoid.skeleton, {"repair": True})
    again = cache.load(files, make, humanoid.skeleton, {"repair": True})
    assert len(read) == 3
    for a, b in zip(first, again, strict=True):
        torch.testing.assert_close(a.root_pos, b.root_pos, rtol=0, atol=1e-6)
        torch.testing.assert_close(a.joint_rot, b.joint_rot, rtol=0, atol=1e-6)
        torch.testing.assert_close(cache.known_dof_pos(b), a.dof_pos(), rtol=0, atol=1e-5)
        assert b.contacts is not None and a.contacts is not None and torch.equal(a.contacts, b.contacts)
        assert (a.name, a.fps, a.tags) == (b.name, b.fps, b.tags)
    os.utime(files[0])  # touched, not changed: hashed, not read
    cache.load(files, make, humanoid.skeleton, {"repair": True})
    assert len(read) == 3
    make_motion(frames=33, seed=9).save(files[1])
    changed = cache.load(files, make, humanoid.skeleton, {"repair": True})
    assert read[3:] == ["1.npz"] and changed[1].num_frames == 33 and changed[2].num_frames == 22
    other = tmp_path / "other.npz"  # put in its place with its size and time, as archives and copies do
    make_motion(frames=22, seed=77).save(other)
    kept = files[2].stat()
    other.write_bytes(other.read_bytes().ljust(kept.st_size, b"\0")[: kept.st_size])
    os.utime(other, ns=(kept.st_atime_ns, kept.st_mtime_ns))
    os.replace(other, files[2])
    assert (files[2].stat().st_size, files[2].stat().st_mtime_ns) == (kept.st_size, kept.st_mtime_ns)
    cache.load(files, make, humanoid.skeleton, {"repair": True})
    assert read[4:] == ["2.npz"]
    cache.load(files, make, humanoid.skeleton, {"repair": False})
    assert len(read) == 8, "other settings, other clips"
    pack = max(own_cache.iterdir(), key=lambda p: p.stat().st_mtime)
    (pack / "index.json").write_text(json.dumps({"frames": 1}))
    cache.load(files, make, humanoid.skeleton, {"repair": False})
    assert len(read) == 11, "a damaged pack is made anew"


def test_changing_a_cached_clip_changes_neither_the_file_nor_its_angles(
    make_motion: Make, humanoid: CharacterModel, tmp_path: Path
) -> None:
    make_motion(frames=20).save(tmp_path / "a.npz")
    make, _ = _counting(humanoid)
    for _ in range(2):
        (clip,) = cache.load([tmp_path / "a.npz"], make, humanoid.skeleton, {})
    clip.root_pos += 1.0
    (other,) = cache.load([tmp_path / "a.npz"], make, humanoid.skeleton, {})
    assert not torch.equal(other.root_pos, clip.root_pos)
    assert cache.known_dof_pos(clip.slice(0, 10)) is None
    mirror = cache.mirrored(other)
    torch.testing.assert_close(cache.known_dof_pos(mirror), other.mirror().dof_pos(), rtol=0, atol=1e-4)


def test_large_libraries_derive_velocities_as_small_ones_do(
    make_motion: Make, humanoid: CharacterModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = [make_motion(frames=20 + k, fps=30.0 + 10 * k, seed=k) for k in range(4)]
    kept = MotionLibrary(clips, humanoid.skeleton)
    clip, time = kept.sample(64, torch.Generator().manual_seed(1))
    expected = kept.state(clip, time)
    monkeypatch.setattr(library, "_TABLE", 10)
    lazy = MotionLibrary(clips, humanoid.skeleton)
    found = lazy.state(clip, time)
    assert lazy._tables is None
    for name in ("root_vel", "root_ang_vel", "dof_vel", "body_vel", "body_ang_vel", "body_pos"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=1e-4, atol=1e-4)
    first = clips[0].dof_pos()
    torch.testing.assert_close(kept.dof_vel[5], (first[6] - first[4]) * 15.0, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(kept.dof_vel[19], (first[19] - first[18]) * 30.0, rtol=1e-4, atol=1e-4)


def test_foreign_clips_are_retargeted_when_loaded(recorded_motions: Path, humanoid: CharacterModel) -> None:
    name = "bvh_bandai_nc/dataset-2_walk_normal_010.bvh"
    config = {"clips": [{"file": str(recorded_motions / name), "tags": ["walk"]}], "balance": "tag", "cache": True}
    for _ in range(2):
        made = MotionLibrary.from_config(config, humanoid)
        assert made.motions[0].skeleton.names == humanoid.skeleton.names
        assert 0.8 < float(made.mean_speed()[0]) < 1.6
    with pytest.raises(MotionError):
        MotionLibrary.from_config({**config, "retarget": False}, humanoid)
