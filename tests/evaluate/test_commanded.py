"""Command scripts, answers to steps, Frechet distance and bins, against truths worked out by hand."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from isaacmm.errors import ConfigError
from isaacmm.evaluate import bins, commanded, frechet, response
from isaacmm.evaluate.commanded import Obeyed, obey
from isaacmm.evaluate.scripts import SECONDS, Together, Trial, suite
from isaacmm.matching import springs
from isaacmm.steering import CommandScript, PathFollower, Step
from tests.envs.test_humanoid_mm import make
from tests.evaluate.made import still_policy

FPS = 30.0
MODES = ("walk", "run", "stand", "turn_in_place", "side", "back")


# -------------------------------------------------------------------------------------------- the suite


def test_the_suite_walks_and_turns_and_names_are_its_own() -> None:
    trials = suite(["walk"])
    assert {t.group for t in trials} == {"walk"} and len(trials) >= 10
    assert any(t.speed_steps for t in trials) and any(t.heading_steps for t in trials)
    assert sum(isinstance(t.source, PathFollower) for t in trials) == 2
    every = suite(MODES)
    assert len({t.name for t in every}) == len(every)
    assert {t.group for t in every} == {"walk", "stop", "run", "pivot", "side", "back"}
    with pytest.raises(ConfigError, match="no command script asks for stand alone"):
        suite(["stand"])


def test_announced_steps_are_in_the_scripts() -> None:
    for trial in suite(MODES):
        for steps, part in ((trial.speed_steps, 0), (trial.heading_steps, 1)):
            for time, size in steps:
                assert isinstance(trial.source, CommandScript)
                before, after = (trial.source.at(torch.tensor([t])) for t in (time - 0.01, time))
                change = after[0][0, 0] - before[0][0, 0] if part == 0 else after[1][0] - before[1][0]
                assert float(change) == pytest.approx(size, abs=1e-4), trial.name
                assert time + response.WATCHED <= SECONDS


def test_worlds_obey_their_own_script() -> None:
    slow, fast = CommandScript([Step(0.0, 1.0)], 5.0), CommandScript([Step(0.0, 2.0), Step(1.0, facing=90.0)], 5.0)
    both = Together([slow, fast], 5)
    start = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5])
    both.reset(torch.arange(5), torch.zeros(5, 2), start)
    velocity, facing, _ = both.command(torch.tensor([0.0, 0.0, 2.0, 2.0, 2.0]), torch.zeros(5, 2), torch.zeros(5))
    assert velocity[:, 0].tolist() == [1.0, 2.0, 1.0, 0.0, 1.0]
    assert facing.tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4 + math.pi / 2, 0.5])
    both.reset(torch.tensor([3]), torch.zeros(1, 2), torch.tensor([1.4]))  # one begins anew, the others go on
    facing = both.command(torch.tensor([2.0, 0.5, 2.0, 0.0, 2.0]), torch.zeros(5, 2), torch.zeros(5)).facing
    assert facing.tolist() == pytest.approx([0.1, 0.2, 0.3, 1.4, 0.5])
    with pytest.raises(ConfigError, match="2 command scripts need at least as many worlds, not 1"):
        Together([slow, fast], 1)


# --------------------------------------------------------------------------------------------- answers


def answers(sizes: Tensor, halflife: float, gain: float = 1.0, sway: float = 0.0, delay: float = 0.0) -> Tensor:
    """Columns of a critically damped spring that answers steps of ``sizes``, with a stride's sway on top."""
    t = torch.arange(-round(response.BEFORE * FPS), round(response.WATCHED * FPS)) / FPS
    rest, _ = springs.decay(torch.ones(len(t)), torch.zeros(len(t)), halflife, (t - delay).clamp(min=0.0))
    phase = torch.rand(len(sizes), generator=torch.Generator().manual_seed(0)) * 2 * math.pi
    return 0.7 + gain * sizes * (1 - rest[:, None]) + sway * torch.sin(2 * math.pi * t[:, None] + phase)


@pytest.mark.parametrize("halflife", [0.15, 0.27])
def test_response_of_a_spring_is_its_own(halflife: float) -> None:
    sizes = torch.tensor([0.4, -0.6, 0.8])
    found = response.measure(answers(sizes, halflife), sizes, FPS)
    assert found.time == pytest.approx(response.spring_time(halflife), abs=0.05)
    assert found.gain == pytest.approx(1.0, abs=0.03) and found.count == 3
    # e^-x (1 + x) = 0.1
    x = response.spring_time(halflife) * 2 * math.log(2) / halflife
    assert math.exp(-x) * (1 + x) == pytest.approx(0.1, abs=1e-5)


def test_sway_and_delay_and_weak_answers() -> None:
    sizes = torch.tensor([0.4, -0.6, 0.8, -0.4, 0.6, 0.5, -0.8, 0.7])
    plain = response.measure(answers(sizes, 0.2), sizes, FPS)
    late = response.measure(answers(sizes, 0.2, sway=0.1, delay=0.3), sizes, FPS)
    assert late.time - plain.time == pytest.approx(0.3, abs=0.12)
    weak = response.measure(answers(sizes, 0.2, gain=0.3), sizes, FPS)
    assert math.isnan(weak.time) and weak.gain == pytest.approx(0.3, abs=0.02)
    none = response.measure(torch.zeros(105, 0), torch.zeros(0), FPS)
    assert none.count == 0 and math.isnan(none.gain)


# ------------------------------------------------------------------------------------ what is obeyed


def made(alive: Tensor, **changes: Any) -> Obeyed:
    """One script at 1.2 m/s, obeyed exactly unless told otherwise."""
    frames, n = alive.shape
    told = torch.tensor([1.2, 0.0]).expand(frames, n, 2).clone()
    flat = torch.zeros(frames, n)
    parts = {
        "velocity": told.clone(), "told": told, "spring": told.clone(), "heading_told": flat.clone(),
        "heading_spring": flat.clone(), "yaw": flat.clone(), "clips": told.clone(),
        "distance": torch.full_like(flat, math.nan), "alive": alive,
    }  # fmt: skip
    trial = Trial("straight", "walk", CommandScript([Step(0.0, 1.2)], SECONDS))
    return Obeyed(FPS, [trial], torch.zeros(n, dtype=torch.int64), 0.27, **(parts | changes))


def test_exact_obedience_costs_nothing() -> None:
    row = made(torch.ones(90, 2, dtype=torch.bool)).of_script(0)
    for name in commanded.COLUMNS:
        if "error" in name and name != "path_error":
            assert row[name] == 0.0, name
    assert row["stood"] == 100.0 and row["stood_seconds"] == pytest.approx(3.0) and math.isnan(row["path_error"])
    assert made(torch.ones(90, 2, dtype=torch.bool)).accepted is True


def test_falls_do_not_pay() -> None:
    """A world that falls after a third counts as standing still, and as lost, for the rest."""
    alive = torch.ones(90, 2, dtype=torch.bool)
    alive[30:, 1] = False
    velocity = torch.tensor([1.2, 0.0]).expand(90, 2, 2).clone()
    velocity[30:, 1] = 7.0  # whatever it does afterwards
    obeyed = made(alive, velocity=velocity)
    row = obeyed.of_script(0)
    assert row["velocity_error"] == 0.0 and row["stood"] == 50.0 and row["stood_seconds"] == pytest.approx(2.0)
    assert row["velocity_error_falls"] == pytest.approx(1.2 / 3)
    assert row["heading_error_falls"] == pytest.approx(commanded.LOST / 3)
    assert obeyed.accepted is False and "not met" in obeyed.table()


def test_errors_are_what_they_say() -> None:
    alive = torch.ones(90, 1, dtype=torch.bool)
    t = torch.arange(90) / FPS
    velocity = torch.tensor([1.2, 0.0]).repeat(90, 1, 1)
    velocity[:, 0, 1] = 0.2 * torch.cos(2 * math.pi * t)  # sways sideways, once a second
    row = made(alive, velocity=velocity, heading_told=torch.full((90, 1), -0.1)).of_script(0)
    assert row["velocity_error"] == pytest.approx(0.4 / math.pi, rel=0.01)
    assert row["velocity_error_1s"] < 1e-6
    assert row["heading_error"] == pytest.approx(math.degrees(0.1), rel=1e-4) and row["heading_error_spring"] == 0.0
    data = made(alive, velocity=velocity).to_json()
    assert json.loads(json.dumps(data))["scripts"]["straight"]["path_error"] is None


def test_scripts_are_played_and_the_environment_is_given_back() -> None:
    env = make(11)
    before = env.command.leash, env.max_steps
    one, two = (obey(env, still_policy(env.observation_size), seconds=1.0, seed=2) for _ in range(2))
    assert (env.command.leash, env.max_steps) == before and env.command.source is None
    assert one.velocity.shape == (30, 11, 2) and torch.equal(one.velocity, two.velocity)
    assert bool(one.alive[0].all()) and len(one.trials) == 11
    speed = one.trials[0].source.at(torch.zeros(1))[0]  # type: ignore[union-attr]
    assert torch.equal(one.told[0, 0], speed[0])
    on_path = torch.tensor([isinstance(t.source, PathFollower) for t in one.trials])
    assert bool(one.distance[0, on_path].isfinite().all()) and bool(one.distance[:, ~on_path].isnan().all())
    assert float(one.distance[0, on_path].max()) < 0.05
    # what clips do for these commands is near to them
    assert float((one.clips[0] - one.told[0]).norm(dim=-1).mean()) < 0.5
    assert "walking and turning" in one.table()
    with pytest.raises(ConfigError, match="belong to different task settings"):
        obey(env, still_policy(7))
    with pytest.raises(ConfigError, match="stopped before"):
        obey(env, still_policy(env.observation_size), stopped=lambda: True)


def test_clips_answer_steps_beside_the_policy() -> None:
    steps = [Step(0.0, 1.0), Step(2.5, 1.6, facing=40.0)]
    trial = Trial("both", "walk", CommandScript(steps, SECONDS), ((2.5, 0.6),), ((2.5, math.radians(40.0)),))
    speed, turned = (answers(torch.tensor([size]), 0.15) for size in (0.6, math.radians(40.0)))
    start = round((2.5 - response.BEFORE) * FPS)

    def whole(curve: Tensor) -> Tensor:
        return torch.cat((curve[:1].expand(start, 1), curve, curve[-1:].expand(150, 1)))

    clips = torch.stack((whole(speed), whole(speed) * 0.0), dim=-1)
    yaw = whole(turned)
    told = torch.ones_like(clips)
    flat = torch.zeros(len(yaw), 1)
    rate = torch.cat((yaw[:1] * 0.0, yaw[1:] - yaw[:-1])) * FPS
    obeyed = Obeyed(
        FPS, [trial], torch.zeros(1, dtype=torch.int64), 0.27, told, told, told, flat, flat, flat, clips,
        flat * math.nan, flat == 0.0, rate,
    )  # fmt: skip
    for kind in ("speed", "heading"):
        assert math.isnan(obeyed.response(kind).time)  # the policy answers nothing
        of = obeyed.response(kind, clips=True)
        assert of.time == pytest.approx(response.spring_time(0.15), abs=0.07) and of.gain == pytest.approx(1, abs=0.02)
    assert obeyed.to_json()["clips_response"]["speed"]["gain"] == pytest.approx(1.0, abs=0.02)
    assert ", clips 0." in obeyed.table()


# -------------------------------------------------------------------------------- Frechet and bins


def test_frames_of_all_bins_measure_what_the_table_does() -> None:
    from isaacmm.evaluate import metrics
    from isaacmm.evaluate.tracks import Tracks

    env = make()
    tracks = Tracks.of_motion(env.library.motions[4], env.character, 1.0 / env.dt, ground=True)
    tracks.body_pos[..., 2] -= 0.01  # under the floor, so that there is a depth to be measured
    means = bins.Frames.of(tracks, env.database).means()
    assert set(means) <= set(bins.COLUMNS) and means["penetration"] > 1.0
    for name in ("penetration", "mann_slide", "contact_slide", "jerk"):
        whole = next(m.function for m in metrics.METRICS if m.name == name)
        assert whole is not None
        # mean over frames of means over points, against the mean over all points; velocities of two frames, not one
        assert means[name] == pytest.approx(whole(tracks), rel=0.15), name
    tracks.episode[20:] = 1
    cut = bins.Frames.of(tracks, env.database)
    assert math.isfinite(cut.means()["jerk"]) and int(cut.values["jerk"].isnan().sum()) >= 2


def test_frechet_distance_of_gaussians() -> None:
    g = torch.Generator().manual_seed(0)
    base = torch.randn(20_000, 3, generator=g, dtype=torch.float64)
    base = (base - base.mean(0)) @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(base.T))).T  # exactly N(0, 1)
    assert frechet.distance(base, base) == pytest.approx(0.0, abs=1e-9)
    assert frechet.distance(base, base + torch.tensor([3.0, 0.0, 4.0])) == pytest.approx(25.0, rel=1e-6)
    # sum of (s_a - s_b)^2 for covariances that commute; turning both changes nothing
    scaled = base * torch.tensor([2.0, 1.0, 0.5], dtype=torch.float64)
    assert frechet.distance(base, scaled) == pytest.approx(1.0 + 0.25, rel=1e-6)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=g, dtype=torch.float64))[0]
    assert frechet.distance(base @ turn, scaled @ turn) == pytest.approx(1.25, rel=1e-6)
    assert frechet.distance(scaled, base) == pytest.approx(1.25, rel=1e-6)
    assert math.isnan(frechet.distance(base[:50], base))


def test_poses_of_a_clip_are_those_of_the_database() -> None:
    from isaacmm.evaluate.tracks import Tracks

    env = make()
    tracks = Tracks.of_motion(env.library.motions[4], env.character, 1.0 / env.dt)
    mine = frechet.poses(tracks, env.database)[:, 0]
    rows = int(env.database.grid.first[4]) + 2 * torch.arange(1, len(mine) + 1)
    state = env.library.state(env.database.grid.clip[rows], env.database.grid.time[rows])
    theirs = env.database.pose_of(state, env.table.yaw[rows])
    assert float((mine - theirs).abs().mean()) < 0.05  # velocities of 30 and 60 Hz differ a little


@pytest.mark.parametrize(
    ("velocity", "turn", "name"),
    [
        ((0.0, 0.1), 0.0, "stand"),
        ((0.0, 0.0), 0.5, "pivot left"),
        ((0.1, 0.0), -0.5, "pivot right"),
        ((0.1, -0.4), 0.0, "side"),
        ((-0.5, 0.1), 0.3, "back"),
        ((0.8, 0.0), 0.0, "walk to 0.9, straight"),
        ((1.2, 0.1), 0.2, "walk 0.9-1.4, left"),
        ((1.4, 0.0), -0.2, "walk 1.4-2.0, right"),
        ((2.2, 0.0), 0.1, "run 2.0-2.7, straight"),
        ((3.1, 0.0), 0.15, "run from 2.7, left"),
    ],
)
def test_bins_of_commands(velocity: tuple[float, float], turn: float, name: str) -> None:
    assert bins.NAMES[int(bins.of_command(torch.tensor(velocity), torch.tensor(turn)))] == name
