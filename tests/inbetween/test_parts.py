"""Poses as numbers, keys and gaps, masks, mirror images, figures, the network itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from isaacmm import rotation
from isaacmm.inbetween import masks, metrics, mirror
from isaacmm.inbetween.keys import Gaps, Windows, disturb, forward_axis, interpolate
from isaacmm.inbetween.model import Inbetweener
from isaacmm.inbetween.pose import Kinematics, decode, encode, local_rotations, matrices, to_motion
from isaacmm.motion.clip import Motion
from tests.helpers import made_up_walk

WALK = made_up_walk(1.2, 0.4, 2.5)


def windows(n: int = 3, length: int = 21, motion: Motion = WALK) -> Windows:
    rot = local_rotations(motion)
    frames = torch.arange(n)[:, None] * 10 + torch.arange(length)
    return Windows(motion.root_pos[frames], rot[frames], motion.skeleton.offsets.expand(n, -1, -1))


def gaps_of(*rows: str, fps: float = 30.0) -> Gaps:
    known = torch.tensor([[c == "k" for c in row] for row in rows])
    return Gaps.of(known, (torch.arange(known.shape[1]) / fps).expand(known.shape))


# ------------------------------------------------------------------------- poses
def test_poses_survive_the_round_trip() -> None:
    pos, rot = decode(encode(WALK.root_pos, local_rotations(WALK)))
    back = to_motion(WALK.skeleton, pos, rot, WALK.fps)
    for mine, theirs in zip(back.fk(), WALK.fk(), strict=True):
        assert (mine - theirs).abs().max() < 1e-4 or (mine.abs() - theirs.abs()).abs().max() < 1e-4


def test_kinematics_agree_with_the_skeleton() -> None:
    pos, matrix = matrices(encode(WALK.root_pos, local_rotations(WALK)))
    at, rot = Kinematics(WALK.skeleton.parents)(pos, matrix, WALK.skeleton.offsets)
    body_pos, body_rot = WALK.fk()
    assert (at - body_pos).abs().max() < 1e-5
    assert (rot - rotation.to_matrix(body_rot)).abs().max() < 1e-5


# -------------------------------------------------------------------------- keys
def test_neighbouring_keys() -> None:
    gaps = gaps_of("k..k.k.", ".k....k")
    assert gaps.before.tolist() == [[0, 0, 0, 3, 3, 5, 5], [1, 1, 1, 1, 1, 1, 6]]
    assert gaps.after.tolist() == [[0, 3, 3, 3, 5, 5, 5], [1, 1, 6, 6, 6, 6, 6]]
    assert gaps.share()[0].tolist() == pytest.approx([0, 1 / 3, 2 / 3, 0, 0.5, 0, 0])
    clock = gaps.clock(torch.tensor([3, 1]), torch.tensor([0.0, 0.1]))
    assert clock[0, 1].tolist() == pytest.approx([0, -2 / 30, 1 / 30, 2 / 30, 0])
    assert clock[1, 6].tolist() == pytest.approx([1, 5 / 30, 0, 0, 0.1])


def test_a_window_without_keys_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one key"):
        gaps_of("k..", "...")


def test_interpolation_uses_keys_only_and_keeps_them() -> None:
    some, gaps = windows(1, 7), gaps_of("k..k..k")
    spoiled = replace(some, pos=some.pos.clone(), rot=some.rot.clone())
    spoiled.pos[:, [1, 2, 4, 5]] = 99.0
    done = interpolate(spoiled, gaps)
    assert torch.allclose(done.pos[:, [0, 3, 6]], some.pos[:, [0, 3, 6]])
    assert torch.allclose(done.pos[:, 1], torch.lerp(some.pos[:, 0], some.pos[:, 3], 1 / 3), atol=1e-6)
    wanted = rotation.slerp(some.rot[:, 0], some.rot[:, 3], torch.full(some.rot[:, 0].shape[:-1], 1 / 3))
    assert rotation.angle_between(done.rot[:, 1], wanted).max() < 1e-3


def test_moving_windows_and_back() -> None:
    some = windows()
    here, turn, start = some.moved(torch.tensor([0, 5, 20]))
    row = torch.arange(3)
    at, facing = here.pos[row, [0, 5, 20]], rotation.yaw(here.rot[row, [0, 5, 20], 0])
    assert at[:, :2].abs().max() < 1e-5 and facing.abs().max() < 1e-5
    assert torch.allclose(at[:, 2], some.pos[row, [0, 5, 20], 2])
    back = here.moved_back(turn, start)
    assert torch.allclose(back.pos, some.pos, atol=1e-5) and torch.allclose(back.rot, some.rot, atol=1e-5)


def test_noise_is_as_large_as_it_says() -> None:
    some = windows(3, 21)
    noisy = disturb(some, torch.full((3,), 0.1), torch.Generator().manual_seed(0))
    angle = rotation.angle_between(some.rot, noisy.rot)
    assert float(angle.square().mean().sqrt()) == pytest.approx(0.1, rel=0.1)
    assert float((noisy.pos - some.pos).std()) == pytest.approx(0.025, rel=0.2)


def test_the_axis_that_points_ahead() -> None:
    rot = local_rotations(WALK)[:, 0]
    assert forward_axis(WALK.root_pos, rot).tolist() == [1, 0, 0]
    turn = torch.tensor([0.5, 0.5, 0.5, 0.5])  # a root whose +x is up: its own y or z points ahead
    odd = rotation.multiply(rot, turn)
    axis = forward_axis(WALK.root_pos, odd)
    assert torch.allclose(rotation.rotate(odd, axis), rotation.rotate(rot, torch.tensor([1.0, 0, 0])), atol=1e-5)
    still = WALK.root_pos[:1].expand_as(WALK.root_pos)
    assert forward_axis(still, rot).tolist() == [1, 0, 0]  # nowhere to go: x, as our own character has it
    some = windows()
    other = replace(some, rot=torch.cat((rotation.multiply(some.rot[:, :, :1], turn), some.rot[:, :, 1:]), dim=2))
    here = replace(other, forward=axis).canonical(torch.tensor([4, 4, 4]))
    wanted = some.canonical(torch.tensor([4, 4, 4]))
    assert torch.allclose(here.pos, wanted.pos, atol=1e-5)


# ------------------------------------------------------------------------- masks
@pytest.mark.parametrize("longest", [17, 30, 65])
def test_masks_always_show_keys_and_hide_something(longest: int) -> None:
    generator = torch.Generator().manual_seed(longest)
    drawn = [masks.draw(generator, longest) for _ in range(300)]
    for mask in drawn:
        assert 3 <= len(mask.known) <= longest and int(mask.known.sum()) >= 2 and mask.known[-1]
        assert not mask.known.all() or mask.noise > 0
    assert any(m.noise > 0 for m in drawn) and any(not m.known[1] for m in drawn)
    assert any(bool(m.known[: masks.PAST].all()) and not m.known[masks.PAST] for m in drawn)


# ------------------------------------------------------------------------ mirror
def test_mirror_of_the_humanoid_is_the_motion_s_own() -> None:
    signs = mirror.axis_signs([WALK])
    assert signs is not None
    mine, theirs = mirror.mirror(WALK, signs), WALK.mirror()
    assert (mine.fk()[0] - theirs.fk()[0]).abs().max() < 1e-5
    assert rotation.angle_between(mine.joint_rot, theirs.joint_rot).max() < 1e-3


def test_mirror_of_a_skeleton_with_other_axes() -> None:
    """Every body's axes permuted at rest, as exporters do that let bones point along x."""
    skeleton, generator = WALK.skeleton, torch.Generator().manual_seed(1)
    quarter = torch.tensor([[0.5, 0.5, 0.5, 0.5], [0.0, 0.0, 2**-0.5, 2**-0.5], [2**-0.5, 0.0, 0.0, 2**-0.5]])
    turn = quarter[torch.randint(3, (skeleton.num_bodies,), generator=generator)]
    turn = turn[[min(i, j) for i, j in enumerate(skeleton.mirror_bodies)]]
    outer = torch.stack([rotation.identity() if p < 0 else turn[p] for p in skeleton.parents])
    odd = replace(
        skeleton, offsets=rotation.rotate_inverse(outer, skeleton.offsets),
        rest_rotations=rotation.identity(skeleton.num_bodies), dof_names=(), dof_bodies=(),
    )  # fmt: skip
    local = rotation.multiply(rotation.multiply(rotation.inverse(outer), local_rotations(WALK)), turn)
    motion = to_motion(odd, WALK.root_pos, local, WALK.fps, "odd")
    assert (motion.fk()[0] - WALK.fk()[0]).abs().max() < 1e-4
    signs = mirror.axis_signs([motion])
    assert signs is not None
    done = mirror.mirror(motion, signs)
    wanted = WALK.mirror().fk()[0]
    assert (done.fk()[0] - wanted).abs().max() < 1e-4
    twice = mirror.mirror(done, signs)
    assert (twice.fk()[0] - motion.fk()[0]).abs().max() < 1e-4


def test_no_mirror_without_sides() -> None:
    nameless = replace(WALK, skeleton=replace(WALK.skeleton, names=tuple(f"b{i}" for i in range(15))))
    assert mirror.axis_signs([nameless]) is None
    lame = WALK.skeleton.offsets.clone()
    lame[-1] *= 1.5
    assert mirror.axis_signs([replace(WALK, skeleton=replace(WALK.skeleton, offsets=lame))]) is None


# ----------------------------------------------------------------------- metrics
def test_l2q_counts_flipped_signs_unless_aligned() -> None:
    real = rotation.normalize(torch.randn(2, 5, 22, 4, generator=torch.Generator().manual_seed(0)))
    assert metrics.l2q(-real, real) == pytest.approx(2 * 22**0.5, rel=1e-5)
    assert metrics.l2q(metrics.aligned(-real, real), real) == pytest.approx(0.0, abs=1e-6)


def test_l2p_is_the_norm_over_normalised_coordinates() -> None:
    real = torch.zeros(1, 2, 2, 3)
    predicted = real.clone()
    predicted[0, 0, 0, 0], predicted[0, 0, 1, 2] = 3.0, 8.0
    std = torch.tensor([1.0, 1, 1, 1, 1, 2.0])
    assert metrics.l2p(predicted, real, torch.ones(6), std) == pytest.approx(5.0 / 2)  # frames: 5 and 0


def test_npss_against_its_definition_step_by_step() -> None:
    generator = np.random.default_rng(0)
    real, predicted = generator.normal(size=(4, 30, 8)), generator.normal(size=(4, 30, 8))
    total, weights = 0.0, 0.0
    for n in range(4):
        for c in range(8):
            a, b = (np.real(np.fft.fft(x[n, :, c])) ** 2 for x in (real, predicted))
            distance = np.abs(np.cumsum(a / a.sum()) - np.cumsum(b / b.sum())).sum()
            total, weights = total + distance * a.sum(), weights + a.sum()
    got = metrics.npss(torch.from_numpy(predicted), torch.from_numpy(real))
    assert got == pytest.approx(total / weights, rel=1e-9)
    assert metrics.npss(torch.from_numpy(real), torch.from_numpy(real)) == 0.0


def test_foot_slide_is_a_speed_of_standing_feet() -> None:
    points = torch.zeros(1, 4, 2, 1, 3)
    points[0, :, 0, 0, 0] = torch.arange(4) * 0.01  # 1 cm a frame
    touching = torch.tensor([[[True, False]] * 4])
    assert metrics.foot_slide(points, touching, 30.0) == pytest.approx(30.0)
    assert metrics.foot_slide(points, ~touching, 30.0) == 0.0


# ----------------------------------------------------------------------- network
def made(gaps: Gaps, noise: float = 0.0, wild: bool = True) -> tuple[Inbetweener, torch.Tensor, torch.Tensor]:
    torch.manual_seed(3)
    n, length = gaps.known.shape
    some = interpolate(windows(n, length), gaps)
    frames = encode(some.pos, some.rot)
    model = Inbetweener(frames.shape[-1], width=32, layers=2, heads=2).eval()
    if wild:
        torch.nn.init.normal_(model.out[1].weight, std=0.1)
    return model, frames, gaps.clock(gaps.before[:, 0], torch.full((n,), noise))


def test_untrained_it_is_interpolation() -> None:
    model, frames, clock = made(gaps_of("k.....k"), wild=False)
    assert torch.equal(model(frames, clock), frames)


def test_keys_come_out_as_they_went_in_unless_they_are_noisy() -> None:
    model, frames, clock = made(gaps_of("k..k..k"))
    change = (model(frames, clock) - frames).abs().amax(dim=-1)[0]
    assert change[[0, 3, 6]].max() == 0 and change[[1, 2, 4, 5]].min() > 1e-4
    model, frames, clock = made(gaps_of("k..k..k"), noise=0.05)
    assert (model(frames, clock) - frames).abs().amax(dim=-1).min() > 1e-4


def test_a_single_key_is_enough() -> None:
    model, frames, clock = made(gaps_of("...k...", "k......", "......k"))
    assert torch.isfinite(model(frames, clock)).all()


def test_a_frame_s_answer_does_not_depend_on_what_else_is_asked() -> None:
    model, frames, clock = made(gaps_of("kk...k.k"))
    whole = model(frames, clock)
    fewer = [0, 1, 3, 5, 7]  # two of the unknown frames are not asked for
    assert torch.allclose(model(frames[:, fewer], clock[:, fewer]), whole[:, fewer], atol=1e-5)
