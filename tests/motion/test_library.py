"""MotionLibrary: interpolation, velocities, sampling, windows, ends."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from isaacmm import rotation
from isaacmm.character import CharacterModel
from isaacmm.errors import MotionError
from isaacmm.motion.clip import Motion
from isaacmm.motion.library import MotionLibrary

Make = Callable[..., Motion]


@pytest.fixture
def clips(make_motion: Make) -> list[Motion]:
    return [make_motion(frames=40), make_motion(frames=25, fps=60.0, seed=1), make_motion(frames=2, seed=2)]


@pytest.fixture
def library(clips: list[Motion], humanoid: CharacterModel) -> MotionLibrary:
    return MotionLibrary(clips, humanoid.skeleton, weights=[3, 1, 0])


def spinning(humanoid: CharacterModel, frames: int = 61, fps: float = 60.0) -> Motion:
    """A motion with velocities known in closed form: circle, spin, and every hinge on a sine."""
    time = torch.arange(frames, dtype=torch.float64) / fps
    root_pos = torch.stack((2 * torch.cos(1.5 * time), 2 * torch.sin(1.5 * time), 1 + 0.3 * time), dim=1)
    dof = 0.4 * torch.sin(2 * time[:, None] + torch.arange(humanoid.skeleton.num_dofs))
    return Motion.from_dofs(
        humanoid.skeleton,
        root_pos.float(),
        rotation.from_yaw(1.5 * time).float(),
        dof.float(),
        fps,
        "spinning",
    )


# ------------------------------------------------------------------------ interpolation
def test_exact_at_frames(library: MotionLibrary, clips: list[Motion]) -> None:
    for c, clip in enumerate(clips):
        n = clip.num_frames
        state = library.state(torch.full((n,), c), torch.arange(n, dtype=torch.float32) / clip.fps)
        body_pos, body_rot = clip.fk()
        torch.testing.assert_close(state.root_pos, clip.root_pos, atol=1e-5, rtol=0)
        torch.testing.assert_close(state.dof_pos, clip.dof_pos(), atol=1e-4, rtol=0)
        torch.testing.assert_close(state.body_pos, body_pos, atol=1e-4, rtol=0)
        assert rotation.angle_between(state.root_rot, clip.root_rot).max() < 1e-3
        assert rotation.angle_between(state.body_rot, body_rot).max() < 2e-3


def test_between_frames(library: MotionLibrary, clips: list[Motion]) -> None:
    clip = clips[0]
    state = library.state(torch.tensor([0]), torch.tensor([10.25 / clip.fps]))
    torch.testing.assert_close(state.root_pos[0], torch.lerp(clip.root_pos[10], clip.root_pos[11], 0.25))
    turned = float(rotation.angle_between(clip.root_rot[10], state.root_rot[0]))
    whole = float(rotation.angle_between(clip.root_rot[10], clip.root_rot[11]))
    assert turned == pytest.approx(0.25 * whole, abs=1e-4)


def test_bodies_are_the_kinematics_of_the_hinges(library: MotionLibrary, humanoid: CharacterModel) -> None:
    state = library.state(torch.tensor([0, 1, 2]), torch.tensor([0.717, 0.123, 0.01]))
    skeleton = humanoid.skeleton
    pos, rot = skeleton.fk(state.root_pos, state.root_rot, skeleton.dofs_to_joint_rot(state.dof_pos))
    torch.testing.assert_close(state.body_pos, pos)
    torch.testing.assert_close(state.body_rot, rot)


# --------------------------------------------------------------------------- velocities
def test_velocities_are_the_analytic_ones(humanoid: CharacterModel) -> None:
    motion = spinning(humanoid)
    library = MotionLibrary([motion], humanoid.skeleton)
    time = torch.arange(1, 60, dtype=torch.float32) / 60  # inner frames: central differences
    state = library.state(torch.zeros(59, dtype=torch.long), time)
    velocity = torch.stack(
        (-3 * torch.sin(1.5 * time), 3 * torch.cos(1.5 * time), torch.full_like(time, 0.3)), dim=1
    )
    torch.testing.assert_close(state.root_vel, velocity, atol=3e-3, rtol=0)
    spin = torch.tensor([0.0, 0.0, 1.5]).expand(59, 3)
    torch.testing.assert_close(state.root_ang_vel, spin, atol=2e-3, rtol=0)
    phase = 2 * time[:, None] + torch.arange(humanoid.skeleton.num_dofs)
    torch.testing.assert_close(state.dof_vel, 0.8 * torch.cos(phase), atol=3e-3, rtol=0)


def test_body_velocities_move_the_bodies(humanoid: CharacterModel) -> None:
    """Integrated over a short time they carry positions and rotations from one state to the next."""
    library = MotionLibrary([spinning(humanoid, fps=120.0, frames=121)], humanoid.skeleton)
    dt, clip = 1 / 120, torch.zeros(99, dtype=torch.long)
    time = torch.arange(10, 109, dtype=torch.float32) * dt
    before, now, after = (library.state(clip, time + k * dt) for k in (-1, 0, 1))
    torch.testing.assert_close((after.body_pos - before.body_pos) / (2 * dt), now.body_vel, atol=5e-3, rtol=0)
    turn = rotation.multiply(after.body_rot, rotation.inverse(before.body_rot))
    torch.testing.assert_close(rotation.to_rotvec(turn) / (2 * dt), now.body_ang_vel, atol=2e-2, rtol=0)


def test_velocities_do_not_leak_between_clips(humanoid: CharacterModel, make_motion: Make) -> None:
    near, far = make_motion(frames=20), make_motion(frames=20, seed=1)
    far.root_pos += 100.0
    together = MotionLibrary([near, far], humanoid.skeleton)
    alone = MotionLibrary([near], humanoid.skeleton)
    torch.testing.assert_close(together.root_vel[:20], alone.root_vel)
    torch.testing.assert_close(together.body_vel[:20], alone.body_vel)
    assert together.root_vel.norm(dim=-1).max() < 20


# ----------------------------------------------------------------------------- sampling
def test_sampling_follows_the_weights(library: MotionLibrary) -> None:
    clip, time = library.sample(20_000, generator=torch.Generator().manual_seed(0))
    share = torch.bincount(clip, minlength=3) / 20_000
    torch.testing.assert_close(share, torch.tensor([0.75, 0.25, 0.0]), atol=0.02, rtol=0)
    assert (time >= 0).all() and (time <= library.lengths[clip]).all()


def test_times_are_even_and_leave_history(library: MotionLibrary) -> None:
    clip, time = library.sample(20_000, generator=torch.Generator().manual_seed(0), margin=0.3)
    assert float(time.min()) >= 0.3 - 1e-6
    first = time[clip == 0]
    assert float(first.mean()) == pytest.approx((0.3 + float(library.lengths[0])) / 2, abs=0.01)
    only, at = library.sample(5, margin=9.0, clips=torch.full((5,), 2))
    assert (only == 2).all(), "clips may be given"
    torch.testing.assert_close(at, library.lengths[2].expand(5))  # shorter than the margin: its end


def test_sampling_repeats_with_its_generator(library: MotionLibrary) -> None:
    a = library.sample(100, generator=torch.Generator().manual_seed(7))
    b = library.sample(100, generator=torch.Generator().manual_seed(7))
    assert torch.equal(a[0], b[0]) and torch.equal(a[1], b[1])


def test_windows_never_cross_the_end_of_a_clip(library: MotionLibrary) -> None:
    starts = torch.arange(40 + 25)  # every frame of the two longer clips
    frames = library.windows(starts, 10)
    assert frames.shape == (65, 10)
    assert (library.clip_of_frame[frames] == library.clip_of_frame[starts][:, None]).all()
    assert (frames[:, 1:] - frames[:, :-1] == 1).all()
    inside = (
        starts + 10
        <= library.first_frame[library.clip_of_frame[starts]]
        + library.num_frames[library.clip_of_frame[starts]]
    )
    assert (frames[inside, 0] == starts[inside]).all(), "moved only where it must be"
    with pytest.raises(MotionError, match="fewer"):
        library.windows(torch.tensor([65]), 3)


# ---------------------------------------------------------------------------------- ends
def test_clamp_holds_the_last_frame(humanoid: CharacterModel, make_motion: Make) -> None:
    motion = make_motion(frames=20)
    library = MotionLibrary([motion], humanoid.skeleton, end="clamp")
    state = library.state(torch.zeros(3, dtype=torch.long), torch.tensor([-1.0, motion.duration, 99.0]))
    torch.testing.assert_close(state.root_pos, motion.root_pos[[0, 19, 19]])


def test_loop_goes_on_where_and_in_the_direction_it_ended(humanoid: CharacterModel) -> None:
    motion = spinning(humanoid, frames=61)  # turns by 1.5 rad in one second
    library = MotionLibrary([motion], humanoid.skeleton, end="loop")
    clip, eps = torch.zeros(1, dtype=torch.long), 1e-3
    for rounds in (1, 2, 5):
        end = library.state(clip, torch.tensor([rounds * motion.duration - eps]))
        start = library.state(clip, torch.tensor([rounds * motion.duration + eps]))
        ground = (start.root_pos - end.root_pos)[:, :2].norm()
        assert float(ground) < 3.2 * 2 * eps, "no jump on the ground"
        assert float(rotation.angle_between(start.root_rot, end.root_rot)) < 0.01
        assert float((start.root_vel - end.root_vel)[:, :2].norm()) < 0.1
        yaw = rotation.wrap_angle(rotation.yaw(end.root_rot) - 1.5 * rounds)
        assert abs(float(yaw)) < 0.01
    circle = library.state(torch.zeros(50, dtype=torch.long), torch.linspace(0, 7, 50)).root_pos
    torch.testing.assert_close(circle[:, :2].norm(dim=1), torch.full((50,), 2.0), atol=0.01, rtol=0)


def test_a_straight_clip_loops_straight(humanoid: CharacterModel, make_motion: Make) -> None:
    motion = make_motion(frames=31)
    time = torch.arange(31) / 30
    motion.root_pos = torch.stack((1.3 * time, torch.zeros(31), torch.full((31,), 0.9)), dim=1)
    motion.root_rot = rotation.from_yaw(0.02 * torch.sin(2 * math.pi * time))
    library = MotionLibrary([motion], humanoid.skeleton)
    at = library.state(torch.zeros(2, dtype=torch.long), torch.tensor([10.5, 100.25])).root_pos
    torch.testing.assert_close(at[:, 0], torch.tensor([1.3 * 10.5, 1.3 * 100.25]), atol=2e-3, rtol=1e-4)
    assert at[:, 1].abs().max() < 1e-3
    torch.testing.assert_close(at[:, 2], torch.full((2,), 0.9))


# ------------------------------------------------------------------------------ refusals
def test_refusals(humanoid: CharacterModel, make_motion: Make) -> None:
    motion = make_motion(frames=5)
    with pytest.raises(MotionError, match="at least one"):
        MotionLibrary([], humanoid.skeleton)
    with pytest.raises(MotionError, match="weights"):
        MotionLibrary([motion], humanoid.skeleton, weights=[1, 2])
    with pytest.raises(MotionError, match="end mode"):
        MotionLibrary([motion], humanoid.skeleton, end="bounce")  # type: ignore[arg-type]
    motion.root_pos[3, 0] = float("inf")
    with pytest.raises(MotionError, match="frame 3"):
        MotionLibrary([motion], humanoid.skeleton)


def test_facts(library: MotionLibrary, clips: list[Motion]) -> None:
    assert library.num_clips == 3
    assert library.total_frames == 67
    assert library.total_seconds == pytest.approx(sum(c.duration for c in clips))
    speeds = library.mean_speed()
    assert speeds.shape == (3,) and float(speeds[0]) == pytest.approx(1.0, abs=0.1)  # a unit circle, 1 rad/s
