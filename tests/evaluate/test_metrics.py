"""Metrics against motions whose numbers can be worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from isaacmm import rotation
from isaacmm.evaluate import metrics
from isaacmm.evaluate.metrics import METRICS
from isaacmm.evaluate.tracks import Tracks
from isaacmm.motion.clip import Motion
from tests.evaluate.made import as_rollout, statue
from tests.helpers import character, made_up_walk


def measured(
    motion: Motion, direction: tuple[float, float] = (1.0, 0.0), speed: float = 1.0
) -> dict[str, float]:
    return metrics.of_rollout(as_rollout([motion], direction, speed))


def test_a_statue_pushed_along_does_what_it_is_told_and_slides() -> None:
    values = measured(statue((1.2, 0.0)), speed=1.2)
    assert values["speed"] == pytest.approx(1.2, abs=1e-4)
    assert values["commanded_speed"] == pytest.approx(1.2)
    for name in ("speed_error", "speed_error_1s", "heading_error", "penetration", "floating"):
        assert values[name] == pytest.approx(0.0, abs=2e-2), name
    assert values["contact_slide"] == pytest.approx(1.2, abs=1e-3)
    assert values["mann_slide"] == pytest.approx(100 * 1.2 / 30, abs=1e-2)
    assert values["skating"] == 100.0
    assert values["jerk"] < 1.0


def test_sliding_slowly_is_no_skating_but_a_slide() -> None:
    values = measured(statue((0.4, 0.0)))
    assert values["skating"] == 0.0
    assert values["contact_slide"] == pytest.approx(0.4, abs=1e-3)
    assert values["speed_error"] == pytest.approx(0.6, abs=1e-3)


def test_standing_still_slides_nowhere() -> None:
    values = measured(statue((0.0, 0.0)), speed=0.0)
    assert values["contact_slide"] == values["mann_slide"] == values["skating"] == 0.0


@pytest.mark.parametrize(
    ("height", "sunk", "above"), [(-0.010, 10.0, 0.0), (0.015, 0.0, 10.0), (0.004, 0.0, 0.0)]
)
def test_depth_and_height_of_the_soles(height: float, sunk: float, above: float) -> None:
    values = measured(statue(height=height))
    assert values["penetration"] == pytest.approx(sunk, abs=1e-2)
    assert values["floating"] == pytest.approx(above, abs=1e-2)


def test_a_constant_offset_of_the_floor_does_not_change_sliding() -> None:
    on, sunk = measured(made_up_walk()), measured(_lifted(made_up_walk(), -0.3))
    for name in ("contact_slide", "mann_slide", "skating"):
        assert sunk[name] == pytest.approx(on[name], rel=1e-3), name


def test_heading_is_measured_between_facing_and_command() -> None:
    assert measured(statue((1.0, 0.0), yaw=math.pi / 3))["heading_error"] == pytest.approx(60.0, abs=1e-2)
    # across the jump of the angle at pi
    backwards = measured(statue((-1.0, 0.0), yaw=-math.pi + 0.1), (-1.0, 0.0))
    assert backwards["heading_error"] == pytest.approx(math.degrees(0.1), abs=1e-2)


def test_a_swaying_speed_is_an_error_at_once_and_none_over_a_second() -> None:
    motion = statue((0.0, 0.0), seconds=4.0)
    t = torch.arange(motion.num_frames) / 30.0
    motion.root_pos[:, 0] = 1.0 * t + 0.2 / (2 * math.pi) * torch.sin(2 * math.pi * t)  # v = 1 + 0.2 cos
    values = measured(motion)
    assert values["speed_error"] == pytest.approx(0.2 * 2 / math.pi, rel=0.03)
    assert values["speed_error_1s"] < 1e-3


def test_jerk_of_a_cubic() -> None:
    motion = statue((0.0, 0.0), seconds=2.0)
    t = torch.arange(motion.num_frames, dtype=torch.float64) / 30.0
    motion.root_pos = motion.root_pos.double()
    motion.root_pos[:, 0] = 40.0 * t**3 / 6.0
    tracks = Tracks.of_rollout(as_rollout([motion], (1.0, 0.0), 1.0))
    assert metrics.jerk(tracks) == pytest.approx(40.0, rel=0.02)


def test_nothing_is_differentiated_across_a_reset() -> None:
    one = statue((1.0, 0.0), seconds=4.0)
    broken = as_rollout([one], (1.0, 0.0), 1.0)
    broken.root_pos[50:, 0, 0] -= 25.0
    broken.done[49, 0] = True
    values, smooth = metrics.of_rollout(broken), metrics.of_rollout(as_rollout([one], (1.0, 0.0), 1.0))
    for metric in METRICS:
        if metric.function is not None and not metric.commanded:
            assert values[metric.name] == pytest.approx(smooth[metric.name], abs=0.1), metric.name


def test_turning_the_world_changes_nothing() -> None:
    walk = made_up_walk(1.0, 0.0, 3.0)
    turn = rotation.from_yaw(torch.tensor(2.0))
    turned = made_up_walk(1.0, 0.0, 3.0)
    turned.root_pos = rotation.rotate(turn.expand(walk.num_frames, 4), walk.root_pos)
    turned.root_rot = rotation.multiply(turn.expand(walk.num_frames, 4), walk.root_rot)
    a = metrics.of_clips([walk], [1.0], character(), 30.0)
    b = metrics.of_clips([turned], [1.0], character(), 30.0)
    assert a == pytest.approx(b, rel=2e-3, abs=2e-3)


def test_a_clip_and_the_same_clip_recorded_give_the_same_numbers() -> None:
    motion = statue((0.9, 0.0))
    assert metrics.of_clips([motion], [1.0], character(), 30.0) == pytest.approx(
        {k: v for k, v in measured(motion, speed=0.9).items() if k not in ("survival", "full_episodes")},
        abs=2e-2,
    )


def test_a_clip_is_asked_for_what_it_does() -> None:
    left = metrics.of_clips([made_up_walk(1.3, 0.5, 4.0)], [1.0], character(), 30.0)
    assert left["speed"] == pytest.approx(left["commanded_speed"], rel=0.02)
    assert left["speed_error_1s"] < 0.05
    still = metrics.of_clips([statue((0.0, 0.0), yaw=1.0)], [1.0], character(), 30.0)
    assert still["heading_error"] == pytest.approx(0.0, abs=1e-3)


def test_clips_count_by_their_weight() -> None:
    slow, fast = statue((0.5, 0.0)), statue((2.0, 0.0))
    values = metrics.of_clips([slow, fast], [3.0, 1.0], character(), 30.0)
    assert values["speed"] == pytest.approx(0.75 * 0.5 + 0.25 * 2.0, abs=1e-3)


def test_a_clip_at_another_rate_is_measured_at_the_control_rate() -> None:
    at_30, at_60 = statue((1.0, 0.0)), statue((1.0, 0.0), fps=60.0)
    a, b = (metrics.of_clips([m], [1.0], character(), 30.0)["mann_slide"] for m in (at_30, at_60))
    assert a == pytest.approx(b, rel=1e-3)


def test_too_short_for_a_number_is_no_number() -> None:
    values = metrics.of_clips([statue(seconds=0.1)], [1.0], character(), 30.0)
    assert math.isnan(values["speed_error_1s"]) and math.isnan(values["skating"])
    assert math.isfinite(values["penetration"])


def test_every_metric_says_what_it_is() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    for metric in METRICS:
        assert len(metric.definition) > 15, metric.name
        assert not metric.definition.endswith(".")


def test_a_foot_in_the_air_does_not_slide_nor_does_the_frame_it_lands_in() -> None:
    hop = statue((0.0, 0.0), seconds=4.0)
    t = torch.arange(hop.num_frames)
    hop.root_pos[:, 0] = t.clamp(max=60) * 0.1  # moves until it lands in frame 60
    hop.root_pos[:60, 2] += 0.1
    assert measured(hop)["contact_slide"] == pytest.approx(0.0, abs=1e-6)


def test_mann_weighs_by_height() -> None:
    motion = statue((0.0, 0.0), seconds=4.0)
    half = motion.num_frames // 2
    t = torch.arange(motion.num_frames)
    motion.root_pos[:, 0] = (t - half).clamp(min=0) * 0.01  # 1 cm per frame while half of H above the ground
    motion.root_pos[half + 1 :, 2] += 0.5 * metrics.MANN_HEIGHT
    moving = float((t[1:] > half).float().mean())
    assert measured(motion)["mann_slide"] == pytest.approx(moving * (2.0 - 2.0**0.5), rel=1e-2)


def test_a_short_clips_speed_is_its_path_over_its_duration() -> None:
    values = metrics.of_clips([statue((1.2, 0.0), seconds=0.5)], [1.0], character(), 30.0)
    assert values["commanded_speed"] == pytest.approx(1.2, rel=1e-4)


def _lifted(motion: Motion, height: float) -> Motion:
    motion.root_pos[:, 2] += height
    return motion


def test_a_commanded_velocity_is_that_of_the_heading_frame() -> None:
    """A statue that is pushed sideways: 1 m/s to its left, which is what it was told, then not."""
    rollout = as_rollout([statue((0.0, 1.0))], (0.0, 1.0), 1.0)
    frames = rollout.num_frames
    told = torch.tensor([0.0, 1.0]).expand(frames, 1, 2)
    rollout.command |= {"velocity": told, "facing": torch.full((frames, 1), 0.1), "turn_rate": torch.zeros(frames, 1)}
    values = metrics.of_rollout(rollout)
    assert values["velocity_error"] == pytest.approx(0.0, abs=1e-4)
    assert values["heading_error"] == pytest.approx(math.degrees(0.1), abs=1e-3)  # the facing counts, not the way
    rollout.command["velocity"] = told * 0.5 + torch.tensor([0.3, 0.1])
    values = metrics.of_rollout(rollout)
    assert [values["velocity_error"], values["velocity_error_1s"]] == pytest.approx([0.5, 0.5], abs=1e-3)


def test_a_clip_is_commanded_its_ground_track() -> None:
    values = metrics.of_clips([made_up_walk(1.3, 0.5, 4.0)], [1.0], character(), 30.0, ground=True)
    assert values["velocity_error_1s"] < 0.05 and values["heading_error"] < 5.0
    assert "velocity_error" not in metrics.of_clips([made_up_walk(1.3, 0.5, 4.0)], [1.0], character(), 30.0)
