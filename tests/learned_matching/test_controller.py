"""The controller whose clips are networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from isaacmm import steering
from isaacmm.errors import IsaacmmError
from isaacmm.learn import checkpoint
from isaacmm.learned_matching.controller import LearnedController
from isaacmm.learned_matching.networks import LearnedMM
from isaacmm.learned_matching.playhead import NetworkPlayhead
from isaacmm.matching.controller import Recording, Settings
from isaacmm.matching.demo import run


@torch.no_grad()
def head(model: LearnedMM, meta: dict[str, Any], fps: float, num_envs: int = 1, **rest: Any) -> NetworkPlayhead:
    made = NetworkPlayhead.of(model, meta, num_envs, 1.0 / fps, every=1e9, **rest)
    begin = meta["starts"]["walk"]
    made.reset(torch.arange(num_envs), begin["x"].expand(num_envs, -1), begin["z"].expand(num_envs, -1))
    made.timer[:] = 10**9
    return made


@pytest.mark.parametrize("fps", [30.0, 60.0, 24.0, 144.0, 10.0])
def test_any_frame_rate_passes_through_the_same_steps(model: LearnedMM, meta: dict[str, Any], fps: float) -> None:
    model.stepper[-1].weight.data *= 0.1
    model.stepper[-1].bias.data += 0.3
    one, other = head(model, meta, 30.0), head(model, meta, fps)
    for _ in range(30):
        one.step(one.last)
    for _ in range(round(fps)):
        other.step(other.last)
    torch.testing.assert_close(other.x, one.x, atol=2e-3, rtol=1e-3)
    torch.testing.assert_close(other.z, one.z, atol=2e-3, rtol=1e-3)


def test_a_projection_is_gone_to_only_if_it_is_better_and_elsewhere(model: LearnedMM, meta: dict[str, Any]) -> None:
    answers = {}

    def project(query: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return answers["x"].expand(len(query), -1), torch.zeros(len(query), model.latent)

    model.project = project  # type: ignore[method-assign]
    play = head(model, meta, 30.0)
    path = play.last + 0.1  # not what it does now, but no jump either
    for offset, goes in ((0.05, False), (3.0, False), (None, True)):
        play = head(model, meta, 30.0)
        play.timer[:] = 0
        here, _ = model.step(play.from_x, play.from_z, 1.0 / 30.0)
        wanted = torch.cat((here[:, : play.pose_size], path), dim=1)
        # near where it is; far from what is asked; exactly what is asked (with a path far from the present one)
        if offset is None:
            wanted[:, play.pose_size :] += 5.0
            answers["x"] = wanted
            play.step(wanted[:, play.pose_size :])
        else:
            answers["x"] = here + offset
            play.step(path)
        assert bool(play.jumped[0]) == goes


def test_a_stepper_is_not_alone_for_long(model: LearnedMM, meta: dict[str, Any]) -> None:
    play = NetworkPlayhead.of(model, meta, 1, 1.0 / 30.0, every=0.1, stay_bias=1e9, patience=0.5)
    begin = meta["starts"]["walk"]
    play.reset(torch.arange(1), begin["x"][None], begin["z"][None])
    jumped = []
    for _ in range(60):
        play.step(play.last)
        jumped.append(bool(play.jumped[0]))
    at = [i for i, j in enumerate(jumped) if j]
    # at the first projection that comes half a second after the one before
    assert at and 14 <= at[0] <= 17
    assert all(15 <= b - a <= 18 for a, b in zip(at[:-1], at[1:], strict=True))


def test_a_jump_of_the_command_asks_at_once(model: LearnedMM, meta: dict[str, Any]) -> None:
    play = head(model, meta, 30.0)
    play.step(play.last + 0.01)
    assert play.searches == 0
    play.step(play.last + 1.0)
    assert play.searches == 1


def test_worlds_are_independent_and_rows_say_which_feet_stand(model: LearnedMM, meta: dict[str, Any]) -> None:
    alone, many = head(model, meta, 30.0), head(model, meta, 30.0, 5)
    for _ in range(5):
        alone.step(alone.last)
        many.step(many.last)
    torch.testing.assert_close(many.x, alone.x.expand(5, -1), atol=1e-5, rtol=1e-5)
    stands = (many.row[:, None] & many.bits) > 0
    assert torch.equal(stands, many.pose.contact)


def test_it_plays_as_the_controller_does(calm: LearnedMM, meta: dict[str, Any]) -> None:
    controller = LearnedController(calm, meta, 2, fps=40.0)
    frames = controller.play(steering.named("circle"), 1.0)
    assert len(frames) == 40
    recording = Recording(controller, frames)
    numbers = recording.numbers()
    assert numbers.penetration < 2.0 and numbers.limits < 1e-4
    motion = controller.motion(frames)
    assert motion.num_frames == 40 and motion.fps == pytest.approx(40.0)
    assert torch.isfinite(motion.root_pos).all()
    # a jump of the networks is none of the hips
    step = (recording["root_pos"][1:] - recording["root_pos"][:-1]).norm(dim=-1)
    assert float(step.max()) < 0.2


def test_demo_by_networks(calm: LearnedMM, meta: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = tmp_path / "run" / "nn" / "last.pth"
    checkpoint.save(path, {"kind": "fit", "task": "LearnedMM", "ema": calm.state_dict(), "meta": meta})
    out = tmp_path / "demo"
    run(["command=straight", f"networks={tmp_path / 'run'}", "seconds=0.5", "fps=30", "film=False", f"out={out}"])
    assert "networks of 3 clips" in capsys.readouterr().out
    assert {p.name for p in out.iterdir()} >= {"motion.bvh", "motion.npz", "picture.png"}
    with pytest.raises(IsaacmmError, match="not both"):
        run(["networks=x", "motion=full"])
    checkpoint.save(path, {"kind": "fit", "task": "MotionVQVAE", "ema": {}, "meta": {}})
    with pytest.raises(IsaacmmError, match="MotionVQVAE"):
        LearnedController.from_run(tmp_path / "run")


def test_settings_reach_the_playhead(model: LearnedMM, meta: dict[str, Any]) -> None:
    controller = LearnedController(model, meta, 1, fps=60.0, settings=Settings(search_seconds=0.2, stay_bias=0.3))
    assert controller.playhead.every == 12 and controller.playhead.stay_bias == 0.3
