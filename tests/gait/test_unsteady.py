"""Starts, stops, turns on the spot, steps sideways and backwards, corners and changes of speed."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from isaacmm import rotation
from isaacmm.gait import gaits
from isaacmm.gait.balance import Balancer, support_edges
from isaacmm.gait.body import ASSET, Body
from isaacmm.gait.dynamics import GRAVITY
from isaacmm.gait.flight import FOLLOW, FreeFall, differences
from isaacmm.gait.generate import Spec, specs
from isaacmm.gait.laws import plan
from isaacmm.gait.manifest import travelling_speed, turned
from isaacmm.gait.measure import strikes
from isaacmm.gait.stances import Stance, likened, swing, track
from isaacmm.motion.clip import Motion
from isaacmm.skeleton import Skeleton

FOLDER = Path(__file__).resolve().parents[2] / "motions"
SPECS = specs()
SIDES = ("right", "left")


def of(*manners: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("spec", [s for s in SPECS if s.manner in manners], ids=lambda s: s.name)


@lru_cache
def body() -> Body:
    return Body.load()


@lru_cache
def clip(name: str) -> Motion:
    return Motion.load(FOLDER / f"{name}.npz", skeleton=Skeleton.from_mjcf(ASSET))


def contacts(motion: Motion) -> np.ndarray:
    assert motion.contacts is not None
    return motion.contacts.numpy().astype(bool)


def path(motion: Motion) -> np.ndarray:
    return motion.root_pos.double().numpy()[:, :2]


def stands(motion: Motion, frames: slice) -> None:
    """Both feet down, hardly any speed, and the pose of the idle clip."""
    assert contacts(motion)[frames].all()
    way = np.diff(path(motion)[frames], axis=0) * motion.fps
    assert np.linalg.norm(way, axis=-1).max() < 0.05
    idle = clip("idle")
    off = motion.dof_pos()[frames].mean(0) - idle.dof_pos().mean(0)
    assert np.rad2deg(float(off.abs().max())) < 7
    assert float(motion.root_pos[frames, 2].mean()) == pytest.approx(float(idle.root_pos[:, 2].mean()), abs=0.01)


BEGIN, END = slice(0, 30), slice(-20, None)


@of("start")
def test_a_start_begins_standing_and_ends_walking(spec: Spec) -> None:
    motion = clip(spec.name)
    stands(motion, BEGIN)
    assert travelling_speed(spec, motion, body()) == pytest.approx(spec.speed, rel=0.03)
    down = contacts(motion)
    left = np.argmax(~down, axis=0)  # when each foot first leaves the floor
    assert SIDES[int(np.argmin(left))] == spec.name.split("_")[-1]


@of("stop")
def test_a_stop_begins_walking_and_ends_standing(spec: Spec) -> None:
    motion = clip(spec.name)
    stands(motion, END)
    assert travelling_speed(spec, motion, body()) == pytest.approx(spec.speed, rel=0.03)
    last = [strikes(contacts(motion)[:, i])[-1] for i in range(2)]
    assert SIDES[int(np.argmax(last))] == spec.name.split("_")[-1]


@of("start", "stop")
def test_speed_rises_and_falls_smoothly(spec: Spec) -> None:
    """The mean over a step, in which the sway cancels, goes one way and never beyond the walking speed."""
    motion = clip(spec.name)
    speed = np.diff(path(motion)[:, 0]) * motion.fps
    step = round(plan(spec.speed, body().leg_length, spec.runs).duration / 2 * motion.fps)
    mean = np.convolve(speed, np.ones(step) / step, "valid")
    mean = mean if spec.manner == "start" else mean[::-1]
    assert mean.max() < 1.06 * spec.speed
    assert (mean - np.maximum.accumulate(mean)).min() > -0.08 * spec.speed


@of("start", "stop")
def test_the_moving_end_is_the_steady_gait(spec: Spec) -> None:
    motion, steady = clip(spec.name), clip(gaits.key("run" if spec.runs else "walk", spec.speed))
    pose = motion.dof_pos()[-1 if spec.manner == "start" else 0]
    nearest = (steady.dof_pos() - pose).abs().max(-1).values.min()
    assert np.rad2deg(float(nearest)) < (15 if spec.runs else 9)


@of("turn")
def test_turns_on_the_spot_turn_by_their_angle(spec: Spec) -> None:
    motion = clip(spec.name)
    stands(motion, BEGIN)
    stands(motion, END)
    assert turned(motion) == pytest.approx(spec.angle, abs=2)
    assert np.linalg.norm(path(motion) - path(motion)[0], axis=-1).max() < 0.15
    assert np.linalg.norm(path(motion)[-1] - path(motion)[0]) < 0.02
    landed = [len(strikes(contacts(motion)[:, i])) for i in range(2)]
    assert min(landed) >= 1
    # 45 to 90 degrees in the time of two steps
    moving = ~contacts(motion).all(-1)
    seconds = np.ptp(np.flatnonzero(moving)) / motion.fps
    assert 40 < abs(spec.angle) / seconds < 90


@of("side", "back")
def test_steps_go_where_they_should(spec: Spec) -> None:
    motion = clip(spec.name)
    stands(motion, BEGIN)
    stands(motion, END)
    assert travelling_speed(spec, motion, body()) == pytest.approx(spec.speed, rel=0.035)
    way = path(motion)[-1] - path(motion)[0]
    word = spec.name.split("_")[0 if spec.manner == "back" else 1]
    wanted = {"back": [-1, 0], "left": [0, 1], "right": [0, -1]}[word]
    assert way @ wanted / np.linalg.norm(way) > np.cos(np.deg2rad(2))
    assert abs(turned(motion)) < 1
    feet = path(motion)[:, None] - motion.fk()[0][:, [body().body(f"{s}_foot") for s in SIDES], :2].double().numpy()
    if spec.manner == "side":  # the legs never cross
        assert (feet[:, 0, 1] - feet[:, 1, 1]).min() > 0.1


@of("corner")
def test_corners_turn_by_their_angle_at_their_speed(spec: Spec) -> None:
    motion = clip(spec.name)
    frames = round(plan(spec.speed, body().leg_length).duration * motion.fps)
    for a, b in ((0, frames), (-1 - frames, -1)):
        speed = np.linalg.norm(path(motion)[b] - path(motion)[a]) * motion.fps / frames
        assert speed == pytest.approx(spec.speed, rel=0.03)
    way = [path(motion)[b] - path(motion)[a] for a, b in ((0, frames), (-1 - frames, -1))]
    angle = [np.arctan2(w[1], w[0]) for w in way]
    assert np.rad2deg(angle[1] - angle[0]) == pytest.approx(spec.angle, abs=3)


@of("change")
def test_changes_begin_at_one_speed_and_end_at_the_other(spec: Spec) -> None:
    motion = clip(spec.name)
    for speed, first in ((spec.before, True), (spec.speed, False)):
        frames = round(plan(speed, body().leg_length, speed > 2).duration * motion.fps)
        a, b = (0, frames) if first else (-1 - frames, -1)
        assert np.linalg.norm(path(motion)[b] - path(motion)[a]) * motion.fps / frames == pytest.approx(speed, rel=0.03)


def test_every_kind_of_command_has_its_clips() -> None:
    tags = [tag for s in SPECS for tag in s.tags]
    least = {"start": 6, "stop": 6, "turn-in-place": 6, "side": 4, "back": 2, "turn-left": 8, "turn-right": 8}
    for tag, count in least.items():
        assert tags.count(tag) >= count, tag
    assert 360 <= sum(clip(s.name).duration for s in SPECS) <= 500


def test_heading_is_the_direction_of_the_path() -> None:
    """Walking forward means forward: a database that measures the future path in the root's frame relies on it."""
    motion = clip("start_walk_1.2_left")
    yaw = float(rotation.yaw(motion.root_rot).mean())
    assert abs(np.rad2deg(yaw)) < 2
    assert path(motion)[-1][0] > 2


# ------------------------------------------------------------------ the parts
@pytest.mark.parametrize("periodic", [False, True])
def test_differences_are_derivatives(periodic: bool) -> None:
    n = 40
    t = np.arange(n) / n
    wave = np.sin(2 * np.pi * t)
    second, third = (differences(n, k, periodic) @ wave * n**k for k in (2, 3))
    assert len(second) == (n if periodic else n - 2) and len(third) == (n if periodic else n - 3)
    at = t if periodic else t[1:-1]
    assert np.abs(second + (2 * np.pi) ** 2 * np.sin(2 * np.pi * at)).max() < 0.5
    at = (t if periodic else t[:-3]) + 1.5 / n
    assert np.abs(third + (2 * np.pi) ** 3 * np.cos(2 * np.pi * at)).max() < 5


def test_a_lazy_hop_is_made_to_fall() -> None:
    """A body that falls too slowly while nothing touches the floor flies (nearly) a parabola afterwards, undisturbed a
    moment before and after."""
    fps, n, missing = 60.0, 90, np.array([0.0, 0.0, 3.0])
    air = np.zeros(n, bool)
    air[40:47] = True
    fall, shift = FreeFall(air, fps, periodic=False), np.zeros((n, 3))
    for _ in range(3):
        shift = fall.correct(missing + FOLLOW * np.diff(shift, n=2, axis=0) * fps**2, shift)
    left = (missing + FOLLOW * np.diff(shift, n=2, axis=0) * fps**2)[air[1:-1]]
    assert np.abs(left).mean() < 0.15 * 3 and np.abs(left).max() < 0.5 * 3
    assert np.abs(shift[:, :2]).max() < 1e-9
    assert np.abs(shift[:25]).max() < 0.002 and np.abs(shift[62:]).max() < 0.002


def test_support_is_the_hull_drawn_in() -> None:
    square = np.array([[0, 0], [0.1, 0], [0.1, 0.2], [0, 0.2], [9, 9], [9, 9], [9, 9], [9, 9]], float)
    touching = np.array([[True] * 4 + [False] * 4])
    normals, offsets = support_edges(square[None], touching, 0.01)
    used = np.isfinite(offsets[0])
    assert used.sum() == 4
    inside = lambda p: (normals[0, used] @ p <= offsets[0, used]).all()  # noqa: E731
    assert inside(np.array([0.05, 0.1])) and inside(np.array([0.011, 0.011]))
    assert not inside(np.array([0.005, 0.1])) and not inside(np.array([0.05, 0.195]))
    assert not np.isfinite(support_edges(square[None], touching & False, 0.01)[1]).any()


def test_balancing_brings_a_pendulum_over_its_support() -> None:
    """A body that stays at x = 0 while its support moves 6 cm aside for a while has to sway there in time."""
    fps, height, n = 60.0, 0.9, 240
    t = np.arange(n) / fps
    x = np.where((t > 1.5) & (t < 2.5), 0.06, 0.0)
    corners = np.stack([np.array([[-0.05, -0.05], [0.05, -0.05], [0.05, 0.05], [-0.05, 0.05]] * 2) + [c, 0] for c in x])
    normals, offsets = support_edges(corners, np.ones((n, 8), bool), 0.0)
    balancer = Balancer(fps, height, normals, offsets, (t < 0.1) | (t > 3.9))
    shift = balancer.correct(np.zeros((n - 2, 2)), np.ones(n - 2), np.zeros((n, 2)))
    sway = np.diff(shift[:, 0], n=2) * fps**2
    pressure = shift[1:-1, 0] - height / GRAVITY * sway
    assert np.maximum(np.abs(pressure - x[1:-1]) - 0.05, 0).max() < 0.004
    assert np.abs(shift[:, 1]).max() < 1e-9
    assert np.abs(shift[[0, -1]]).max() < 1e-6


def test_a_track_neither_slips_nor_jumps() -> None:
    stances = [Stance(0, 0, 0.1, -9, 0.5, 0.0, 0.4, heel_off=9.3),
               Stance(0.4, 0.1, 0.6, 0.9, 1.6, 0.2, -0.2, heel_off=0.5),
               Stance(0.2, 0.0, 0.9, 2.0, 9, 0.1, 0.0, heel_off=6)]  # fmt: skip
    t = np.linspace(0, 3, 3001)
    ankle, rot, down = track(stances, t, body().sole)
    assert np.abs(np.diff(ankle, axis=0)).max() < 0.006
    assert np.abs(np.diff(rot, axis=0)).max() < 0.03
    for s in stances:
        inside = (t >= s.down) & (t < s.up)
        assert down[inside].all()
        heel, toe, _, z = body().sole
        edges = np.stack([ankle + (rot @ [e, 0, z]) for e in (heel, toe)], 1)[inside]
        assert np.abs(edges[..., 2].min(1)).max() < 1e-9
        lowest = edges[np.arange(len(edges)), edges[..., 2].argmin(1)]
        hold = np.array([s.x, s.y])
        turned_edges = [hold + e * np.array([np.cos(s.yaw), np.sin(s.yaw)]) for e in (heel, toe)]
        assert np.min([np.linalg.norm(lowest[:, :2] - e, axis=-1) for e in turned_edges], axis=0).max() < 1e-9


def test_a_likened_swing_of_the_same_length_is_the_model() -> None:
    rng = np.random.default_rng(0)
    bend = 0.05 * rng.normal(size=(4, 5))
    model = (Stance(0, 0, 0, 0, 0.6, 0.2, 1.0, detour=bend), Stance(1.2, 0, 0, 1.0, 1.6, 0.2, 1.0))
    u = np.linspace(0, 1, 30)
    again = likened(*model, model, body().sole)
    for a, b in zip(swing(*model, u, body().sole, again), swing(*model, u, body().sole, bend), strict=True):
        assert np.abs(a - b).max() < 0.01
