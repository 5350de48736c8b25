"""Each fault put into a sound walk and a sound run: found by its name, and put right so that nothing is left."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from isaacmm import paths, rotation
from isaacmm.character import CharacterModel
from isaacmm.motion import findings, fixes
from isaacmm.motion.cadence import mislabelled, steps
from isaacmm.motion.clip import Motion
from isaacmm.motion.retarget import retarget

CHARACTER = CharacterModel.load("humanoid")
CLIPS = {"walk": "motions/walk_1.2.npz", "run": "motions/run_3.0.npz"}


@pytest.fixture(scope="module", params=sorted(CLIPS))
def sound(request: pytest.FixtureRequest) -> Motion:
    clip = Motion.load(paths.resolve(CLIPS[request.param]), skeleton=CHARACTER.skeleton)
    return replace(clip.slice(0, 220), contacts=None)


def picked(motion: Motion, frames: torch.Tensor, times: int = 1) -> Motion:
    return replace(
        motion, root_pos=motion.root_pos[frames], root_rot=motion.root_rot[frames], joint_rot=motion.joint_rot[frames],
        fps=motion.fps * times,
    )  # fmt: skip


def moved(motion: Motion, *where: object) -> Motion:
    """Shifted by functions of time or numbers, x, y, z in m; NaN allowed."""
    t = torch.arange(motion.num_frames) / motion.fps
    shift = torch.stack([torch.as_tensor(w(t) if callable(w) else float(w)) + 0 * t for w in where], dim=1)
    return replace(motion, root_pos=motion.root_pos + shift)


def bent(motion: Motion, hinge: str, frames: slice, by: float) -> Motion:
    dof = motion.dof_pos().clone()
    dof[frames, CHARACTER.skeleton.dof(hinge)] += by
    return replace(motion, joint_rot=CHARACTER.skeleton.dofs_to_joint_rot(dof))


def turned_away(motion: Motion) -> Motion:
    """From the middle on the clip goes another way, from another place."""
    turn, half = rotation.from_yaw(torch.tensor(1.4)), motion.num_frames // 2
    pos, rot = motion.root_pos.clone(), motion.root_rot.clone()
    pos[half:] = rotation.rotate(turn, pos[half:] - pos[half]) + pos[half] + torch.tensor([0.5, 1.0, 0.0])
    rot[half:] = rotation.multiply(turn, rot[half:])
    return replace(motion, root_pos=pos, root_rot=rot)


def trembling(motion: Motion) -> Motion:
    noise = torch.randn(motion.num_frames, 28, generator=torch.Generator().manual_seed(0))
    return replace(motion, joint_rot=CHARACTER.skeleton.dofs_to_joint_rot(motion.dof_pos() + 0.03 * noise))


def sign_changed(motion: Motion) -> Motion:
    rot = motion.joint_rot.clone()
    rot[50:90] *= -1.0
    return replace(motion, joint_rot=rot)


def paused(motion: Motion, count: int) -> Motion:
    frames = torch.arange(motion.num_frames)
    frames[100 : 100 + count] = 99
    return picked(motion, frames)


#: fault -> the findings one of which must be there, how to make it, mean distance of joints after the repair (mm)
FAULTS: dict[str, tuple[str, Callable[[Motion], Motion], float]] = {
    "doubled": ("repeated", lambda m: picked(m, torch.arange(m.num_frames).repeat_interleave(2), 2), 0.1),
    "tripled": ("repeated", lambda m: picked(m, torch.arange(m.num_frames).repeat_interleave(3), 3), 0.1),
    "nan": ("nan", lambda m: moved(m, 0, 0, lambda t: torch.where((t > 1) & (t < 1.05), float("nan"), 0.0)), 1.0),
    "flips": ("flips", sign_changed, 0.1),
    "units": ("units", lambda m: replace(m, joint_rot=1.02 * m.joint_rot), 0.1),
    "teleport": ("teleport", lambda m: moved(m, lambda t: 1.5 * (t > 2), 0, 0), 3.0),
    "other way": ("teleport", turned_away, 50.0),
    "one frame repeated": ("stutter", lambda m: paused(m, 1), 0.1),
    "recording paused": ("stutter", lambda m: paused(m, 6), 2.0),
    "arm sticks out": ("spike", lambda m: bent(m, "right_shoulder_y", slice(111, 112), -0.8), 0.1),
    "leg sticks out": ("spike", lambda m: bent(m, "left_knee", slice(60, 61), 0.6), 0.1),
    "trembling": ("jitter", trembling, 25.0),
    "floor too low": ("floor", lambda m: moved(m, 0, 0, -0.08), 0.1),
    "floor too high": ("floor", lambda m: moved(m, 0, 0, 0.06), 0.1),
    "sinking": ("sinking", lambda m: moved(m, 0, 0, lambda t: -0.02 + 0.02 * torch.sin(3 * t)), 15.0),
    "swaying feet": ("sliding", lambda m: moved(m, 0, lambda t: 0.04 * torch.sin(7 * t), 0), 25.0),
    "wrong speed": ("sliding", lambda m: moved(m, lambda t: 0.6 * t, 0, 0), 25.0),
    "in place": ("sliding", lambda m: replace(m, root_pos=m.root_pos * torch.tensor([0.0, 0.0, 1.0])), 300.0),
    "limits": ("limits", lambda m: bent(m, "right_shoulder_x", slice(40, 90), 1.2), 90.0),
}  # fmt: skip


def test_sound_clips_are_left_alone(sound: Motion) -> None:
    assert findings.find(sound, CHARACTER) == []
    same, said = fixes.fix(sound, CHARACTER)
    assert said == []
    torch.testing.assert_close(same.joint_rot, sound.joint_rot, atol=1e-6, rtol=0)
    torch.testing.assert_close(same.root_pos, sound.root_pos, atol=1e-6, rtol=0)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_and_put_right(sound: Motion, fault: str) -> None:
    code, spoil, off = FAULTS[fault]
    faulty = spoil(sound)
    found = {f.code for f in findings.find(faulty, CHARACTER)}
    assert code in found
    fixed, said = fixes.fix(faulty, CHARACTER)
    assert said, "what was done is told"
    assert findings.find(fixed, CHARACTER) == []
    assert fixed.fps == sound.fps and fixed.num_frames == sound.num_frames
    ours, theirs = (m.fk()[0] - m.root_pos[:1, None] * torch.tensor([1.0, 1.0, 0.0]) for m in (fixed, sound))
    if fault == "other way":  # where it went before is not in the file any more: the pose is compared
        ours, theirs = (x - x[:, :1] for x in (ours, theirs))
        turn = rotation.multiply(sound.root_rot, rotation.inverse(fixed.root_rot))
        ours = rotation.rotate(turn[:, None], ours)
    assert 1000 * float((ours - theirs).norm(dim=-1).mean()) < off


def test_wrong_rates_are_told_by_steps(sound: Motion) -> None:
    """No repair: nobody but the user knows the true rate."""
    for factor in (2.0, 0.5):
        (found,) = [f for f in findings.find(replace(sound, fps=factor * sound.fps), CHARACTER) if f.code == "rate"]
        assert not found.fixable and "fps" in found.text
        taken = steps(replace(sound, fps=factor * sound.fps), CHARACTER)
        assert taken is not None and abs(math.log(taken.fps / sound.fps)) < math.log(1.25), "a guess near the truth"
    robot = CharacterModel.load("g1")
    smaller = retarget(sound, robot).motion
    assert mislabelled(smaller, robot) is None
    assert mislabelled(replace(smaller, fps=2 * smaller.fps), robot) is not None


@pytest.mark.slow
def test_no_recorded_clip_is_called_mislabelled_by_its_steps(recorded_motions: Path) -> None:
    """Brisk, tired, old, turning: as filmed none is; twice as fast (half as fast) nearly all are."""
    judged = fast = slow = 0
    for file in sorted((recorded_motions / "bvh_bandai_nc").glob("*walk*.bvh")):
        motion = retarget(Motion.load(file), CHARACTER, feet=False).motion
        if steps(motion, CHARACTER) is None:
            continue
        judged += 1
        assert mislabelled(motion, CHARACTER) is None, file.name
        fast += mislabelled(replace(motion, fps=2 * motion.fps), CHARACTER) is not None
        slow += mislabelled(replace(motion, fps=0.5 * motion.fps), CHARACTER) is not None
    assert judged >= 16 and fast >= judged - 1 and slow >= judged - 5, (judged, fast, slow)


@pytest.mark.parametrize("clip", ["side_left_0.3", "back_0.4", "turn_left_90", "idle"])
def test_steps_that_tell_nothing_are_not_judged(clip: str) -> None:
    motion = Motion.load(paths.resolve(f"motions/{clip}.npz"), skeleton=CHARACTER.skeleton)
    assert steps(motion, CHARACTER) is None and steps(replace(motion, fps=3 * motion.fps), CHARACTER) is None
