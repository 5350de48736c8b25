"""The formats on recorded clips, where these are at hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from isaacmm import rotation
from isaacmm.character import CharacterModel
from isaacmm.motion.io import registry
from isaacmm.motion.library import MotionLibrary
from isaacmm.motion.repair import detect_doubled_frames, load_clip, repair, sole_height

CLASSIC = {
    "walk": (154, 77),
    "run": (82, 41),
    "dance": (902, 451),
    "hop": (297, 149),
    "cartwheel": (287, 144),
}


def test_every_poselib_file_loads(recorded_motions: Path, humanoid: CharacterModel) -> None:
    files = sorted((recorded_motions / "poselib_npy_cmu").glob("*.npy"))
    assert len(files) >= 9
    for file in files:
        own = registry.read(file)
        assert own.skeleton.num_bodies in (15, 30, 38)
        if file.name.startswith("amp_humanoid"):
            onto = registry.read(file, skeleton=humanoid.skeleton)
            assert float((onto.fk()[0] - own.fk()[0]).norm(dim=-1).max()) < 1e-4
            again = onto.skeleton.dofs_to_joint_rot(onto.skeleton.joint_rot_to_dofs(onto.joint_rot))
            assert float(rotation.angle_between(again, onto.joint_rot).max()) < 2e-3


@pytest.mark.parametrize("clip", CLASSIC)
def test_the_classic_clips_are_doubled(recorded_motions: Path, humanoid: CharacterModel, clip: str) -> None:
    before, after = CLASSIC[clip]
    motion = registry.read(recorded_motions / f"poselib_npy_cmu/amp_humanoid_{clip}.npy", humanoid.skeleton)
    assert (motion.num_frames, motion.fps, detect_doubled_frames(motion)) == (before, 60.0, 2)
    fixed, messages = repair(motion)
    assert (fixed.num_frames, fixed.fps) == (after, 30.0)
    assert "stored twice" in messages[0]
    assert detect_doubled_frames(fixed) == 1


def test_a_backflip_is_not(recorded_motions: Path) -> None:
    motion = registry.read(recorded_motions / "poselib_npy_cmu/amp_humanoid_backflip.npy")
    assert (motion.fps, detect_doubled_frames(motion)) == (16.0, 1)


def test_the_classic_walk_ends_up_on_a_level_floor(recorded_motions: Path, humanoid: CharacterModel) -> None:
    motion = load_clip(recorded_motions / "poselib_npy_cmu/amp_humanoid_walk.npy", character=humanoid)
    heights = sole_height(motion, humanoid)
    assert float(heights.min()) > -0.04 and abs(float(heights.median())) < 0.02
    library = MotionLibrary([motion], humanoid.skeleton)
    assert float(library.mean_speed()[0]) == pytest.approx(1.53, abs=0.05)


@pytest.mark.parametrize("clip", ["walk", "run", "dance"])
def test_isaaclab_and_poselib_agree(recorded_motions: Path, humanoid: CharacterModel, clip: str) -> None:
    """The same clips in both formats; the Isaac Lab one through its quaternions and names."""
    a = registry.read(recorded_motions / f"isaaclab_npz/humanoid_{clip}.npz", humanoid.skeleton)
    b = registry.read(recorded_motions / f"poselib_npy_cmu/amp_humanoid_{clip}.npy", humanoid.skeleton)
    assert (a.num_frames, a.fps) == (b.num_frames, b.fps)
    assert detect_doubled_frames(a) == 2
    (pos_a, rot_a), (pos_b, rot_b) = a.fk(), b.fk()
    assert float((pos_a - pos_b).norm(dim=-1).max()) < 1e-4
    assert float(rotation.angle_between(rot_a, rot_b).max()) < 1e-3


def test_every_bvh_file_loads(recorded_motions: Path) -> None:
    files = sorted(recorded_motions.glob("bvh_*/*.bvh"))
    assert len(files) >= 31
    for file in files:
        cmu = file.parent.name == "bvh_cmu"
        motion = registry.read(file, scale=0.05644) if cmu else registry.read(file)
        assert motion.fps == (120.0 if cmu else 30.0)
        assert motion.skeleton.names[0] == "Hips"
        bodies = motion.fk()[0]
        assert -0.02 < float(bodies[..., 2].min()) < 0.1, file.name
        assert 1.1 < float(bodies[..., 2].max()) < 2.6, file.name
        assert detect_doubled_frames(motion) == 1, file.name


@pytest.mark.parametrize(
    ("file", "speed"), [("dataset-1_dash_normal_001", 4.31), ("dataset-1_walk_normal_001", 1.25)]
)
def test_bvh_speeds(recorded_motions: Path, file: str, speed: float) -> None:
    motion = registry.read(recorded_motions / "bvh_bandai_nc" / f"{file}.bvh")
    steps = (motion.root_pos[1:, :2] - motion.root_pos[:-1, :2]).norm(dim=-1)
    assert float(steps.mean() * motion.fps) == pytest.approx(speed, abs=0.02)


def test_bvh_faces_where_it_walks(recorded_motions: Path) -> None:
    """Left is left: with the walking direction as x, the left foot lies at larger y than the right."""
    motion = registry.read(recorded_motions / "bvh_bandai_nc/dataset-1_walk_normal_001.bvh")
    names = motion.skeleton.names
    left, right = (motion.fk()[0][:, names.index(f"UpperLeg_{side}")] for side in "LR")
    step = motion.root_pos[1:] - motion.root_pos[:-1]
    side = torch.linalg.cross(torch.tensor([0.0, 0.0, 1.0]).expand(len(step), 3), step)
    assert float(((left - right)[1:] * side).sum(-1).mean()) > 0


@pytest.mark.parametrize("clip", ["run", "cartwheel", "backflip"])
def test_bvh_round_trip_of_acrobatics(
    recorded_motions: Path, humanoid: CharacterModel, clip: str, tmp_path: Path
) -> None:
    motion = registry.read(recorded_motions / f"poselib_npy_cmu/amp_humanoid_{clip}.npy", humanoid.skeleton)
    for root_motion in (False, True):
        registry.write(motion, tmp_path / "a.bvh", root_motion=root_motion)
        back = registry.read(tmp_path / "a.bvh", humanoid.skeleton)
        (pos_a, rot_a), (pos_b, rot_b) = motion.fk(), back.fk()
        assert float((pos_a - pos_b).norm(dim=-1).max()) < 1e-5
        assert float(rotation.angle_between(rot_a, rot_b).max()) < 2e-5
