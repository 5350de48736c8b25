"""Features: against an independent computation, anywhere in the world, mirrored with their clip; rows; tracks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from isaacmm import rotation
from isaacmm.character import CharacterModel
from isaacmm.errors import ConfigError, MotionError
from isaacmm.matching import track as ground_track
from isaacmm.matching.database import Database
from isaacmm.matching.features import SMALLEST, WEIGHTS, FeatureSet
from isaacmm.motion.clip import Motion
from isaacmm.motion.library import MotionLibrary

MakeMotion = Callable[..., Motion]


def build(motions: list[Motion], humanoid: CharacterModel, rate: float = 60.0, **options: object) -> Database:
    library = MotionLibrary(motions, humanoid.skeleton, end="clamp")
    return Database(library, humanoid, rate, **options)  # type: ignore[arg-type]


def arc(humanoid: CharacterModel, speed: float, turn: float, seconds: float = 4.0, fps: float = 60.0) -> Motion:
    """A stiff figure on a circle, facing along it."""
    t = torch.arange(round(seconds * fps) + 1, dtype=torch.float64) / fps
    x, y = (speed * t, 0 * t) if turn == 0 else (speed / turn * (turn * t).sin(), speed / turn * (1 - (turn * t).cos()))
    pos = torch.stack((x, y, torch.full_like(t, 0.9)), dim=1).float()
    dofs = torch.zeros(len(t), humanoid.skeleton.num_dofs)
    return Motion.from_dofs(humanoid.skeleton, pos, rotation.from_yaw((turn * t).float()), dofs, fps, name="arc")


def fitted(values: np.ndarray, at: int, half: int, order: int) -> np.ndarray:
    """Value at row ``at`` of the polynomial through its neighbourhood: what a Savitzky-Golay filter is."""
    x = np.arange(-half, half + 1)
    return np.array([np.polyfit(x, values[at - half : at + half + 1, k], order)[-1] for k in range(values.shape[1])])


def test_features_equal_an_independent_computation(humanoid: CharacterModel, make_motion: MakeMotion) -> None:
    motion = make_motion(frames=240, fps=60.0, seed=3)
    data = build([motion], humanoid)
    pos, _ = (x.numpy().astype(np.float64) for x in motion.fk())
    facing = Rotation.from_quat(motion.root_rot.numpy()).apply([1.0, 0.0, 0.0])[:, :2]
    angle = np.unwrap(np.arctan2(facing[:, 1], facing[:, 0]))[:, None]
    feet = [humanoid.skeleton.body(name) for name in humanoid.feet]

    def ground(row: int) -> tuple[np.ndarray, float]:
        return fitted(pos[:, 0, :2], row, 15, 3), float(fitted(angle, row, 30, 1)[0])

    for row in (40, 77, 120, 149):
        origin, yaw = ground(row)
        back = Rotation.from_euler("z", -yaw)
        velocity = (pos[row + 1] - pos[row - 1]) * 30.0
        pose = [back.apply(pos[row, f] - [*origin, 0.0]) for f in feet]
        pose += [back.apply(velocity[f]) for f in feet] + [back.apply(velocity[0])]
        places, faces = [], []
        for ahead in (20, 40, 60):
            there, turned = ground(row + ahead)
            places.append(back.apply([*(there - origin), 0.0])[:2])
            faces.append([math.cos(turned - yaw), math.sin(turned - yaw)])
        want = np.concatenate(pose + places + faces)
        np.testing.assert_allclose(data.raw[row].numpy(), want, atol=3e-4)


def test_features_are_the_same_anywhere_in_the_world(humanoid: CharacterModel, make_motion: MakeMotion) -> None:
    motion = make_motion(frames=150, fps=30.0, seed=4)
    turn = rotation.from_yaw(torch.tensor(2.2))
    moved = replace(
        motion,
        root_pos=rotation.rotate(turn, motion.root_pos) + torch.tensor([5.0, -3.0, 0.0]),
        root_rot=rotation.multiply(turn, motion.root_rot),
    )
    here, there = build([motion], humanoid), build([moved], humanoid)
    torch.testing.assert_close(there.raw, here.raw, atol=5e-4, rtol=0.0)
    torch.testing.assert_close(there.velocity, here.velocity, atol=5e-4, rtol=0.0)
    torch.testing.assert_close(there.turn_rate, here.turn_rate, atol=5e-4, rtol=0.0)


def test_a_mirrored_clip_has_mirrored_features(humanoid: CharacterModel, make_motion: MakeMotion) -> None:
    motion = make_motion(frames=150, fps=30.0, seed=5)
    data = build([motion, motion.mirror()], humanoid)
    half = len(data) // 2
    raw, mirrored = data.raw[:half], data.raw[half:]
    flip = torch.ones(27)
    flip[1:15:3] = -1.0  # left is positive; x, y, z of the pose
    flip[16::2] = -1.0  # x, y of the path
    feet = torch.arange(27)
    feet[0:12] = torch.tensor([3, 4, 5, 0, 1, 2, 9, 10, 11, 6, 7, 8])
    torch.testing.assert_close(mirrored, raw[:, feet] * flip, atol=2e-3, rtol=0.0)


def test_columns_are_normalised_by_block(humanoid: CharacterModel, make_motion: MakeMotion) -> None:
    data = build([make_motion(frames=150, seed=s) for s in (1, 2)], humanoid)
    raw = data.raw.double().numpy()
    edges = [0, 3, 6, 9, 12, 15, 21, 27]
    kinds = ["foot_position"] * 2 + ["foot_velocity"] * 2 + ["hip_velocity", "future_position", "future_facing"]
    assert [block.start for block in data.spec.blocks] == edges[:-1] and data.spec.size == 27
    for a, b, kind in zip(edges, edges[1:], kinds, strict=False):
        scale = max(raw[:, a:b].std(axis=0).mean(), SMALLEST[kind]) / WEIGHTS[kind]
        np.testing.assert_allclose(data.scale[a:b].numpy(), scale, rtol=1e-4)
        want = (raw[:, a:b] - raw[:, a:b].mean(0)) / scale
        np.testing.assert_allclose(data.features[:, a:b].numpy(), want, atol=1e-4)
    assert torch.equal(data.pose, data.features[:, :15]) and torch.equal(data.trajectory, data.features[:, 15:])


def test_weights_enter_the_cost_squared(humanoid: CharacterModel, make_motion: MakeMotion) -> None:
    motion = make_motion(frames=150, seed=6)
    plain = build([motion], humanoid)
    weights = {**WEIGHTS, "future_facing": 3.0, "hip_velocity": 0.0}
    heavy = build([motion], humanoid, features=FeatureSet(humanoid.feet, weights=weights))

    def cost(data: Database, part: slice) -> float:
        return float(((data.features[10, part] - data.features[90, part]) ** 2).sum())

    assert cost(heavy, slice(21, 27)) == pytest.approx(4.0 * cost(plain, slice(21, 27)), rel=1e-4)
    assert cost(heavy, slice(0, 12)) == pytest.approx(cost(plain, slice(0, 12)), rel=1e-6)
    assert cost(heavy, slice(12, 15)) == 0.0


def test_condition_is_the_trajectory_part(humanoid: CharacterModel, make_motion: MakeMotion) -> None:
    data = build([make_motion(frames=150, seed=7)], humanoid)
    position, facing = data.raw[:, 15:21].view(-1, 3, 2), data.raw[:, 21:].view(-1, 3, 2)
    torch.testing.assert_close(data.condition(position, facing), data.trajectory)


def test_clips_do_not_see_each_other(humanoid: CharacterModel, make_motion: MakeMotion) -> None:
    """Raw features of a clip are the same alone and between others: no window, track or velocity crosses its ends."""
    motions = [make_motion(frames=n, fps=30.0, seed=s) for s, n in ((1, 70), (2, 40), (3, 120))]
    motions[1] = replace(motions[1], root_pos=motions[1].root_pos + torch.tensor([100.0, 0.0, 0.0]))
    together = build(motions, humanoid)
    for clip, motion in enumerate(motions):
        alone, mine = build([motion], humanoid), together.grid.clip == clip
        torch.testing.assert_close(together.raw[mine], alone.raw, atol=1e-3, rtol=0.0)
        torch.testing.assert_close(together.velocity[mine], alone.velocity, atol=2e-3, rtol=0.0)
        torch.testing.assert_close(together.turn_rate[mine], alone.turn_rate, atol=1e-4, rtol=0.0)


def test_tails_and_heads_are_not_returned(humanoid: CharacterModel, make_motion: MakeMotion) -> None:
    motions = [make_motion(frames=121, fps=60.0, seed=1), make_motion(frames=13, fps=60.0, seed=2)]
    data = build(motions, humanoid, tail_seconds=0.25, head_seconds=0.1)
    assert data.valid.nonzero().flatten().tolist() == [*range(6, 106), *range(127, 131)]  # a short clip loses a quarter
    assert data.rows_left(torch.tensor([0, 120, 121, 133])).tolist() == [120, 0, 12, 0]
    with pytest.raises(MotionError, match="no clip is long enough"):
        build(motions, humanoid, head_seconds=5.0)


def test_tags_choose_rows(humanoid: CharacterModel, make_motion: MakeMotion) -> None:
    walk = replace(make_motion(frames=60, seed=1), tags=("walk", "old"))
    run = replace(make_motion(frames=60, seed=2), tags=("run",))
    data = build([walk, run], humanoid)
    assert torch.equal(data.allowed(["walk"]), data.valid & (data.grid.clip == 0))
    assert torch.equal(data.allowed(["old", "run"]), data.valid)
    assert torch.equal(data.allowed([]), data.valid)
    with pytest.raises(MotionError, match="did you mean 'walk'"):
        data.allowed(["wlk"])


def test_odd_settings_are_refused(humanoid: CharacterModel) -> None:
    for config, message in (
        ({"weights": {"foot_positon": 1.0}}, "did you mean 'foot_position'"),
        ({"weights": {"foot_position": -1.0}}, "not negative"),
        ({"horizons": [1.0, 0.5]}, "ascending"),
        ({"horizons": []}, "ascending"),
    ):
        with pytest.raises(ConfigError, match=message):
            FeatureSet.from_config(config, humanoid.feet)


# -------------------------------------------------------------------------- track
@pytest.mark.parametrize(("speed", "turn"), [(1.2, 0.0), (1.2, 0.5), (3.0, -0.8), (1.0, 2.0)])
def test_a_track_goes_on_as_its_clip_ended(humanoid: CharacterModel, speed: float, turn: float) -> None:
    """A circle cut off is continued on the same circle: place and facing are where the longer clip has them."""
    whole = arc(humanoid, speed, turn, seconds=6.0)
    long, cut = build([whole], humanoid), build([whole.slice(0, 241)], humanoid)
    rows = slice(60, 241)  # all but the beginning, whose filter window is one-sided
    far = (long.raw[rows, 15:21] - cut.raw[rows, 15:21]).norm(dim=1)
    assert far.max() < 0.02 * speed
    torch.testing.assert_close(cut.raw[rows, 21:], long.raw[rows, 21:], atol=0.03, rtol=0.0)
    assert (cut.velocity[60:220, 0] - speed).abs().max() < 0.02 * speed
    assert (cut.turn_rate[60:200] - turn).abs().max() < 0.02 + 0.02 * abs(turn)


def test_the_continued_arc_is_exact(humanoid: CharacterModel) -> None:
    """Without filters between: rows of a perfect circle, two seconds beyond its end."""
    t, speed, turn = torch.arange(121) / 60.0, 2.0, 1.5

    def circle(t: Tensor) -> Tensor:
        return speed / turn * torch.stack(((turn * t).sin(), 1.0 - (turn * t).cos()), dim=-1)

    track = ground_track.Track(circle(t), turn * t)
    first, count, clip = torch.tensor([0]), torch.tensor([121]), torch.zeros(121, dtype=torch.int64)
    for seconds in (0.5, 1.0, 2.0):
        place, yaw = ground_track.ahead(track, first, count, clip, 60.0, seconds)
        torch.testing.assert_close(place, circle(t + seconds), atol=1e-3, rtol=0.0)
        torch.testing.assert_close(yaw, turn * (t + seconds), atol=1e-4, rtol=0.0)


def test_hips_that_sway_do_not_turn_the_track(humanoid: CharacterModel) -> None:
    """A stride's turning to and fro (10 degrees, 1 Hz) is not a command to turn."""
    motion = arc(humanoid, 1.3, 0.0)
    t = torch.arange(motion.num_frames) / 60.0
    sway = rotation.from_yaw(0.17 * torch.sin(2.0 * math.pi * t))
    data = build([replace(motion, root_rot=rotation.multiply(sway, motion.root_rot))], humanoid)
    assert data.track.yaw[30:-30].abs().max() < 0.02


def test_very_short_clips(humanoid: CharacterModel, make_motion: MakeMotion) -> None:
    """Shorter than the filters: no crash, finite features."""
    for frames in (2, 3, 4, 7):
        data = build([make_motion(frames=frames, fps=60.0, seed=frames)], humanoid)
        assert data.raw.isfinite().all() and bool(data.valid.any())
