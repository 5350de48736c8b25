"""Steered play: scripts, paths and a person at a keyboard tell worlds what to do, and files are left of it."""

from __future__ import annotations

import json
import os
import pty
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig

from isaacmm import rotation
from isaacmm.cli import runs
from isaacmm.cli.compose import compose
from isaacmm.cli.console import Console, StopRequest
from isaacmm.envs.humanoid_mm import HumanoidMM
from isaacmm.errors import ConfigError, IsaacmmError
from isaacmm.evaluate import steered
from isaacmm.evaluate.rollout import Rollout
from isaacmm.evaluate.session import load_policy_checkpoint
from isaacmm.export import video, way
from isaacmm.learn.build import make_env
from isaacmm.learn.play import play
from isaacmm.motion.clip import Motion
from isaacmm.steering import CommandScript, GroundPath, Keyboard, PathFollower, Step
from tests.evaluate.made import untrained
from tests.export.test_command_onnx import few_clips

Made = tuple[DictConfig, Path]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("steered")
    return untrained(folder, task="HumanoidMM", motion=few_clips(folder), num_envs=3,
                     train__params__config__minibatch_size=24)  # fmt: skip


@pytest.fixture(scope="module")
def content(made: Made) -> dict[str, Any]:
    return load_policy_checkpoint(made[1])


def turning(duration: float = 1.0) -> CommandScript:
    return CommandScript([Step(0.0, 1.0, 0.1, 40.0), Step(0.4)], duration, name="turning")


@pytest.fixture(scope="module")
def rollout(made: Made, content: dict[str, Any]) -> tuple[Rollout, steered.Steering]:
    return steered.play(made[0], content, turning(), name="turning", num_envs=3)


def test_worlds_begin_in_the_first_command_and_keep_to_the_script(
    rollout: tuple[Rollout, steered.Steering],
) -> None:
    told = rollout[0].command
    first = rollout[0].episode == 0
    start = told["goal_facing"][0]
    for name in ("velocity", "goal_velocity"):
        torch.testing.assert_close(told[name][0], torch.tensor([[1.0, 0.1]]).expand(3, 2))
    script = turning()
    for t in range(rollout[0].num_frames):
        velocity, facing, turn = script.at(torch.full((3,), t / 30))
        here = first[t]
        torch.testing.assert_close(told["goal_velocity"][t][here], velocity[here], atol=1e-5, rtol=0)
        gap = rotation.wrap_angle(told["goal_facing"][t] - start - facing)[here]
        assert float(gap.abs().max() if len(gap) else 0.0) < 1e-4, t
        torch.testing.assert_close(told["turn_rate"][t][here], turn[here], atol=1e-5, rtol=0)


def test_only_the_first_episode_counts(rollout: tuple[Rollout, steered.Steering]) -> None:
    played, result = rollout
    for world in range(3):
        start, stop = played.segment(world)
        ends = played.done[:, world].nonzero().flatten()
        assert start == 0 and stop == (int(ends[0]) + 1 if len(ends) else played.num_frames)
    assert result.worlds == 3 and result.name == "turning"
    assert 0.0 < result.survival <= result.seconds == 1.0


def test_the_condition_is_where_the_command_leads(rollout: tuple[Rollout, steered.Steering]) -> None:
    """At first the commands are carried out evenly: the future is an arc."""
    told = rollout[0].command
    rate, v = np.radians(40.0), np.array([1.0, 0.1])
    facing = told["facing"][0] - rotation.yaw(rollout[0].root_rot[0])
    last = told["future_facing"][0, :, -1]
    assert float(rotation.wrap_angle(torch.atan2(last[:, 1], last[:, 0]) - facing - rate).abs().max()) < 0.02
    chord = told["future_position"][0, :, -1].norm(dim=-1)
    want = 2 * np.linalg.norm(v) / rate * np.sin(rate / 2)
    torch.testing.assert_close(chord, torch.full((3,), want, dtype=torch.float32), atol=5e-3, rtol=0)


def test_the_twin_is_a_pose_of_the_clips(rollout: tuple[Rollout, steered.Steering]) -> None:
    twin = rollout[0].twin
    assert float(twin["height"].min()) > 0.7 and float(twin["height"].max()) < 1.0
    up = rotation.rotate(twin["tilt"], torch.tensor([0.0, 0.0, 1.0]).expand(*twin["height"].shape, 3))
    assert float(up[..., 2].min()) > 0.8
    together = (rollout[0].episode[1:] == rollout[0].episode[:-1])[..., None]
    step = ((twin["dof_pos"][1:] - twin["dof_pos"][:-1]) * together).abs().max()
    assert 0.0 < float(step) < 0.6


def test_numbers_of_a_perfect_walk(rollout: tuple[Rollout, steered.Steering]) -> None:
    """Who does exactly what the spring says is not off the way; who walks beside it is, by as much."""
    played = rollout[0].piece(0, rollout[0].num_frames)
    played.done = torch.zeros_like(played.done)
    played.survival = torch.full((3,), played.seconds)
    played.command = {
        **played.command,
        "facing": played.command["facing"][:1].expand(played.num_frames, 3),
        "goal_facing": played.command["facing"][:1].expand(played.num_frames, 3),
        "velocity": torch.tensor([1.0, 0.0]).expand(played.num_frames, 3, 2),
        "goal_velocity": torch.tensor([1.0, 0.0]).expand(played.num_frames, 3, 2),
    }
    told = steered.commanded_path(played)
    played.root_pos = torch.cat((told, played.root_pos[..., 2:]), dim=-1)
    played.root_rot = rotation.from_yaw(played.command["facing"])
    good = steered.judge(played, played.seconds)
    assert good.survived == 1.0 and good.off_path < 0.05
    assert good.velocity_error < 1e-3 and good.heading_error < 1e-3
    played.root_rot = rotation.from_yaw(played.command["facing"] + 0.2)
    assert steered.judge(played, played.seconds).heading_error == pytest.approx(0.2, abs=1e-3)
    played.root_pos = played.root_pos + torch.linspace(0, 1.0, played.num_frames)[:, None, None]
    assert steered.judge(played, played.seconds).off_path > 0.3
    played.done[2, 0] = True
    played.survival[0] = 0.1
    assert steered.judge(played, played.seconds).survived == pytest.approx(2 / 3)


def test_a_path_lies_where_each_world_began(made: Made, content: dict[str, Any]) -> None:
    source = PathFollower(GroundPath([(0, 0), (0.5, 0), (1, 0.4)], name="bent"), 1.0)
    played, result = steered.play(made[0], content, source, name="bent", num_envs=2)
    assert played.path is not None and played.path.shape[::2] == (2, 2)
    torch.testing.assert_close(played.path[:, 0], played.root_pos[0, :, :2], atol=0.02, rtol=0)
    yaw = played.command["goal_facing"][0]
    ahead = played.path[:, 3] - played.path[:, 0]
    assert float(rotation.wrap_angle(torch.atan2(ahead[:, 1], ahead[:, 0]) - yaw).abs().max()) < 0.5
    assert result.off_path < 1.0
    assert video.track_of(played, 0, 0, 2).line is not None


def test_arrays_and_plot_can_be_read(rollout: tuple[Rollout, steered.Steering], tmp_path: Path) -> None:
    path = way.save(rollout[0], tmp_path / "turning.npz")
    with np.load(path) as file:
        assert str(file["script"]) == "turning"
        np.testing.assert_array_equal(file["root_pos"], rollout[0].root_pos)
        assert file["command_velocity"].shape == (*file["root_pos"].shape[:2], 2)
        assert file["twin_row"].dtype == np.int64
    assert way.draw(rollout[0]).startswith(b"\x89PNG")


def test_words_for_commands() -> None:
    say = video.in_words
    assert say(np.array([0.0, 0.0]), 0.0) == "stand"
    assert say(np.array([0.0, 0.0]), 0.5) == "turn in place"
    assert say(np.array([1.2, 0.0]), -0.5) == "walk, turning right"
    assert say(np.array([2.8, 0.1]), 0.0) == "run"
    assert say(np.array([-0.6, 0.0]), 0.0) == "step back"
    assert say(np.array([0.1, -0.5]), 0.0) == "step right"


# ------------------------------------------------------------------------------------------ the key command=
def test_sources_by_name(tmp_path: Path) -> None:
    assert isinstance(steered.open_source("slalom"), CommandScript)
    follower = steered.open_source("path:circle")
    assert isinstance(follower, PathFollower)
    assert steered.length(follower) > follower.duration
    assert isinstance(steered.open_source("errand"), CommandScript)
    (tmp_path / "two.yaml").write_text("steps: [{time: 0, mode: walk}, {time: 2, mode: stand}]\n")
    assert steered.length(steered.open_source(str(tmp_path / "two.yaml"))) == 4.0
    assert [steered.name_of(w) for w in ("path:circle", "a/two.yaml", "slalom")] == ["path_circle", "two", "slalom"]


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["command=slalum"], "did you mean 'slalom'"),
        (["command=path:cirkle"], "circle"),
        (["command=nothing/there.yaml"], "there.yaml"),
        (["command=keyboard"], "terminal"),
        (["command=slalom", "test=False"], "test=True"),
    ],
)
def test_mistakes_are_answered_before_anything_runs(made: Made, words: list[str], answer: str) -> None:
    with pytest.raises(IsaacmmError, match=answer):
        compose(["test=True", f"checkpoint={made[1]}", *words])


def test_steering_is_filmed_unless_unwanted(made: Made) -> None:
    words = ["test=True", f"checkpoint={made[1]}", "command=slalom"]
    cfg, notes = compose(words)
    assert cfg.capture_video and cfg.command == "slalom" and any("capture_video" in note for note in notes)
    assert not compose([*words, "capture_video=False"])[0].capture_video


def test_other_tasks_are_not_steered(made: Made, tmp_path: Path) -> None:
    _, path = untrained(tmp_path, num_envs=2, train__params__config__minibatch_size=16)
    with pytest.raises(ConfigError, match="HumanoidMM"):
        compose(["test=True", f"checkpoint={path}", "command=slalom"])


def test_a_steered_play_leaves_its_files(made: Made, tmp_path: Path) -> None:
    (tmp_path / "short.csv").write_text("time,mode,turn\n0,walk,0\n0.5,walk,60\n")
    cfg, _ = compose(
        ["test=True", f"checkpoint={made[1]}", f"command={tmp_path / 'short.csv'}", "num_envs=2", "threads=1"]
    )
    run = runs.Run(tmp_path / "run", Console(), StopRequest(), Path(cfg.checkpoint))
    run.path.mkdir()
    play(cfg, run)
    files = {str(p.relative_to(run.path)) for p in run.path.rglob("*") if p.is_file()}
    assert {"steering.json", "short.npz", "short.png", "motions/short_1.bvh", "videos/short.mp4", "policy.onnx",
            "command.onnx", "policy.json"} <= files  # fmt: skip
    assert not any(name.startswith("motions/clip") for name in files)
    numbers = json.loads((run.path / "steering.json").read_text())
    assert numbers["name"] == "short" and numbers["worlds"] == 2 and 0 < numbers["survival"] <= 2.5
    motion = Motion.load(run.path / "motions" / "short_1.bvh")
    assert motion.num_frames >= 6


# ------------------------------------------------------------------------------------------------- keyboard
def test_a_person_steers_in_real_time(
    made: Made, content: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    master, slave = pty.openpty()
    keyboard = Keyboard(file=slave)
    frames = 0
    before = signal.getsignal(signal.SIGINT)

    def clock() -> bool:
        nonlocal frames
        frames += 1
        os.write(master, {3: b"ww", 6: b"a", 25: b"x"}.get(frames, b""))
        return False

    played, result = steered.play(made[0], content, keyboard, name="keyboard", stopped=clock)
    assert 20 <= frames <= 30 and keyboard.ended
    assert played.num_worlds == 1 and 0 < result.seconds <= frames / 30
    assert keyboard.forward == pytest.approx(0.4)
    said = capsys.readouterr().out
    assert "w/s" in said and "ahead +0.4" in said and "m/s" in said
    assert signal.getsignal(signal.SIGINT) is before
    os.close(master)
    os.close(slave)


def test_ctrl_c_ends_the_session_and_not_the_program(made: Made, content: dict[str, Any]) -> None:
    master, slave = pty.openpty()
    frames = 0

    def clock() -> bool:
        nonlocal frames
        frames += 1
        if frames == 8:
            signal.raise_signal(signal.SIGINT)
        return False

    played, _ = steered.play(made[0], content, Keyboard(file=slave), name="keyboard", stopped=clock)
    assert played.num_frames <= 9
    os.close(master)
    os.close(slave)


def test_what_was_never_played_is_nobodys_fall(made: Made, content: dict[str, Any]) -> None:
    frames = 0

    def clock() -> bool:
        nonlocal frames
        frames += 1
        return frames > 4

    played, result = steered.play(made[0], content, turning(20.0), name="turning", num_envs=3, stopped=clock)
    assert played.num_frames == 4 and not bool(played.done.any())
    assert result.survived == 1.0 and result.seconds == pytest.approx(4 / 30)


def test_a_script_of_years_is_refused(made: Made, content: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="shorter duration"):
        steered.play(made[0], content, turning(1e9), name="turning", num_envs=3)


def test_only_tasks_with_such_commands_can_be_steered(made: Made) -> None:
    env = make_env(made[0], num_envs=1)
    assert isinstance(env, HumanoidMM)
    steered.steer(env, turning())
    assert env.command.leash == 0.0
    env.close()
