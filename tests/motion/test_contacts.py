"""Foot contacts: against the gait generator's own, on skeletons without soles, filtered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from isaacmm import paths
from isaacmm.character import CharacterModel
from isaacmm.errors import MotionError
from isaacmm.motion import contacts as c
from isaacmm.motion.clip import Motion
from isaacmm.motion.repair import load_clip


@pytest.mark.parametrize("clip", ["idle", "walk_0.6", "walk_1.4", "walk_1.4_left_0.25", "run_2.2", "run_3.4"])
def test_soles_agree_with_the_gait_generator(humanoid: CharacterModel, clip: str) -> None:
    motion = Motion.load(paths.resolve(f"motions/{clip}.npz"))
    assert motion.contacts is not None
    found = c.contacts(motion, humanoid)
    assert float((found == motion.contacts).float().mean()) > 0.95


def test_joints_alone_find_the_stance(humanoid: CharacterModel) -> None:
    """Ankles are on the ground more briefly than soles, but nearly never where no sole is."""
    motion = Motion.load(paths.resolve("motions/walk_1.4.npz"))
    found = c.contacts(motion, motion.skeleton)
    assert 0.35 < float(found.float().mean()) < 0.62
    assert motion.contacts is not None
    assert float((found & ~motion.contacts).float().mean()) < 0.03


def test_median_filter_is_a_majority() -> None:
    flags = torch.tensor([0, 0, 1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0], dtype=torch.bool)[:, None]
    expected = torch.tensor([0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0], dtype=torch.bool)[:, None]
    assert torch.equal(c.median_filter(flags, 3), expected)
    assert torch.equal(c.median_filter(flags, 1), flags)


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("LeftFoot", "left"), ("right_foot", "right"), ("Foot_L", "left"), ("R_Ankle", "right"), ("LHipJoint", "left"),
        ("mixamorig:RightFoot", "right"), ("Hips", ""), ("Lumbar", ""), ("Root", ""), ("l_ankle", "left"),
    ],
)  # fmt: skip
def test_sides_are_read_off_names(name: str, side: str) -> None:
    assert c.side_of(name) == side


def test_a_skeleton_without_feet_is_refused_by_name(make_motion: Callable[..., Motion]) -> None:
    motion = make_motion()
    skeleton = replace(motion.skeleton, names=tuple(n.replace("foot", "tip") for n in motion.skeleton.names))
    with pytest.raises(MotionError, match="called foot or ankle"):
        c.feet_of(skeleton)
    assert c.with_contacts(replace(motion, skeleton=skeleton)).contacts is None


def test_rolling_is_no_slide_and_dragging_is() -> None:
    """A wheel of 16 rim points rolls at 1 m/s; then it is dragged without turning."""
    time = torch.arange(60, dtype=torch.float64) / 60
    radius, rim = 0.1, torch.arange(64) * (2 * torch.pi / 64)
    touching = torch.ones(60, 1, dtype=torch.bool)

    def wheel(turn: torch.Tensor) -> torch.Tensor:
        angle = rim[None] - turn[:, None]
        x = time[:, None] + radius * torch.cos(angle)
        return torch.stack((x, torch.zeros_like(x), radius + radius * torch.sin(angle)), dim=-1)[:, None]

    assert c.mean_slide(wheel(time / radius), touching, 60.0) < 0.1
    assert c.mean_slide(wheel(time * 0), touching, 60.0) == pytest.approx(1.0, abs=1e-6)
    assert c.mean_slide(wheel(time * 0), ~touching, 60.0) == 0.0
    assert float(c.penetration(wheel(time * 0) - torch.tensor([0, 0, 0.02])).max()) == pytest.approx(0.02, abs=1e-3)


def test_loading_fills_contacts_in(
    humanoid: CharacterModel, make_motion: Callable[..., Motion], tmp_path: Path
) -> None:
    make_motion(frames=30).save(tmp_path / "a.npz")
    assert load_clip(tmp_path / "a.npz").contacts is None, "nobody said whose feet"
    filled = load_clip(tmp_path / "a.npz", character=humanoid)
    assert filled.contacts is not None and filled.contacts.shape == (30, 2)


def test_recorded_walks(recorded_motions: Path) -> None:
    for file in sorted((recorded_motions / "bvh_bandai_nc").glob("dataset-2_walk*_001.bvh")):
        motion = Motion.load(file)
        feet = c.feet_of(motion.skeleton)
        assert feet.names == ("Foot_R", "Foot_L")
        touching = c.contacts(motion, feet)
        assert 0.4 < float(touching.float().mean()) < 0.7, file.name
        assert c.mean_slide(feet.points(*motion.fk()), touching, motion.fps) < 0.1
