"""One run from banner to artefacts, and runs that start from others; the trainer is a stand-in."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

import isaacmm
from isaacmm.cli import session, settle
from isaacmm.cli.compose import compose
from isaacmm.cli.runs import Run
from isaacmm.errors import CheckpointError, ConfigError, MotionError

Work = Callable[[DictConfig, Run], None]


class StandIn:
    """Instead of trainer and player: keeps what it was given and leaves a checkpoint."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, DictConfig, Run]] = []
        self.during: Callable[[Run], None] = lambda run: None

    def worker(self, test: bool) -> Work:
        def work(cfg: DictConfig, run: Run) -> None:
            self.calls.append(("play" if test else "train", cfg, run))
            if not test:
                (run.nn / "last.pth").write_bytes(b"weights")
            self.during(run)

        return work

    @property
    def last(self) -> tuple[str, DictConfig, Run]:
        return self.calls[-1]


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    made = StandIn()
    monkeypatch.setattr(session, "worker", made.worker)
    return made


def launch(*words: str) -> int:
    """What launch.py does."""
    return isaacmm.run(*compose(words))


def test_a_training_run_from_end_to_end(
    clip: str, stand_in: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    assert launch(clip, "experiment=walk", "num_envs=64", "max_iterations=10") == 0
    kind, cfg, run = stand_in.last
    assert kind == "train" and run.path == Path("runs/walk") and run.checkpoint is None and not run.resume
    saved = OmegaConf.load("runs/walk/config.yaml")
    assert saved == cfg and saved.num_envs == 64
    assert cfg.train.params.config.full_experiment_name == "walk"
    out = capsys.readouterr().out
    for words in ("training HumanoidMM", "my walk", "64 worlds", "preset", "10 iterations", "runs/walk/"):
        assert words in out
    assert "nn/last.pth" in out.split("Done")[1]
    assert "training HumanoidMM" in Path("runs/walk/log.txt").read_text()


def test_runs_are_named_after_task_and_time(clip: str, stand_in: StandIn) -> None:
    launch(clip)
    assert stand_in.last[2].path.name.startswith("HumanoidMM_20")


def test_an_existing_run_is_left_alone(
    clip: str, stand_in: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    launch(clip, "experiment=walk", "seed=1")
    launch(clip, "experiment=walk", "seed=2")
    assert stand_in.last[2].path == Path("runs/walk_2")
    assert "left alone" in capsys.readouterr().out
    assert OmegaConf.load("runs/walk/config.yaml").seed == 1


def test_resume_goes_on_in_the_same_folder_with_its_settings(clip: str, stand_in: StandIn) -> None:
    launch(clip, "experiment=walk", "num_envs=64", "seed=5", "train.params.config.reward_combine=geo")
    assert launch("resume=True", "experiment=walk", "max_iterations=900") == 0
    kind, cfg, run = stand_in.last
    assert kind == "train" and run.resume and run.path == Path("runs/walk")
    assert run.checkpoint == Path("runs/walk/nn/last.pth")
    assert (cfg.num_envs, cfg.seed, cfg.train.params.config.reward_combine) == (64, 5, "geo")
    assert cfg.train.params.config.max_epochs == 900
    assert cfg.motion.name == "my walk"
    for words in (
        ("resume=True",),
        ("resume=True", "checkpoint=runs/walk"),
        ("resume=True", "checkpoint=latest"),
    ):
        launch(*words)
        assert stand_in.last[2].path.resolve() == Path("runs/walk").resolve()


def test_a_run_killed_before_its_first_checkpoint_starts_again(
    clip: str, stand_in: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    launch(clip, "experiment=walk", "seed=5")
    Path("runs/walk/nn/last.pth").unlink()
    launch("resume=True")
    _, cfg, run = stand_in.last
    assert run.path == Path("runs/walk") and run.checkpoint is None and cfg.seed == 5
    assert "before its first checkpoint" in capsys.readouterr().out


def test_playing_uses_the_settings_of_the_checkpoint(
    clip: str, stand_in: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    launch(clip, "experiment=walk", "train.params.network.mlp.units=[64,32]")
    config = Path("runs/walk/config.yaml").read_bytes()
    launch("test=True", "checkpoint=runs/walk", "num_envs=3", "capture_video=True")
    kind, cfg, run = stand_in.last
    assert kind == "play" and run.checkpoint == Path("runs/walk/nn/last.pth")
    assert list(cfg.train.params.network.mlp.units) == [64, 32] and cfg.num_envs == 3 and cfg.capture_video
    assert run.path.resolve() == Path("runs/walk/test_1").resolve()
    assert Path("runs/walk/config.yaml").read_bytes() == config
    launch("test=True")
    assert stand_in.last[2].path.resolve() == Path("runs/walk/test_2").resolve()
    assert "playing the newest" in capsys.readouterr().out
    launch("test=True", "checkpoint=walk", "experiment=shown")
    assert stand_in.last[2].path == Path("runs/shown")


def test_playing_may_use_other_clips(clip: str, stand_in: StandIn) -> None:
    launch(clip, "experiment=walk")
    Path("other.bvh").write_text("")
    launch("test=True", "motion=other.bvh")
    assert stand_in.last[1].motion.name == "other"
    assert len(stand_in.last[1].motion.clips) == 1


def test_weights_of_one_run_can_start_another(clip: str, stand_in: StandIn) -> None:
    launch(clip, "experiment=walk", "task.env.amp_frames=3")
    launch("checkpoint=walk", "experiment=more", "seed=9")
    _, cfg, run = stand_in.last
    assert run.path == Path("runs/more") and not run.resume
    assert run.checkpoint == Path("runs/walk/nn/last.pth") and cfg.task.env.amp_frames == 3
    assert cfg.train.params.load_checkpoint is True


def test_a_checkpoint_keeps_what_its_networks_depend_on(clip: str, stand_in: StandIn) -> None:
    launch(clip, "experiment=walk")
    launch("test=True", "preset=cpu", "task=HumanoidMM", "train=HumanoidMMPPO")  # the same: fine
    with pytest.raises(ConfigError, match="preset=gpu: the checkpoint was made with preset=cpu"):
        launch("test=True", "preset=gpu")


def test_a_gpu_checkpoint_still_plays_on_a_cpu(
    clip: str, stand_in: StandIn, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(settle, "cuda_available", lambda: True)
        patch.setattr(settle, "check_devices", lambda cfg: None)
        patch.setattr(settle, "simulators", lambda: {"mujoco": None, "warp": None})
        launch(clip, "experiment=big", "preset=gpu")
        assert stand_in.last[1].sim == "warp"
    launch("test=True", "checkpoint=big")
    cfg = stand_in.last[1]
    assert (cfg.sim, cfg.sim_device, cfg.rl_device, cfg.num_envs) == ("mujoco", "cpu", "cpu", 64)
    assert list(cfg.train.params.network.mlp.units) == [1024, 512]
    assert "using mujoco on the CPU" in capsys.readouterr().out


def test_keys_newer_than_a_saved_run_have_their_defaults(clip: str, stand_in: StandIn) -> None:
    launch(clip, "experiment=walk")
    saved = OmegaConf.load("runs/walk/config.yaml")
    del saved.train.params.config.advantage_clip
    OmegaConf.save(saved, "runs/walk/config.yaml")
    launch("resume=True")
    assert "advantage_clip" in stand_in.last[1].train.params.config


@pytest.mark.parametrize("content", ["just words", "a: [", "", "task: 1\n"])
def test_a_damaged_run_configuration_is_named(clip: str, stand_in: StandIn, content: str) -> None:
    launch(clip, "experiment=walk")
    Path("runs/walk/config.yaml").write_text(content)
    with pytest.raises(CheckpointError, match=r"config\.yaml"):
        launch("resume=True")


def test_a_checkpoint_away_from_its_run_brings_its_own_configuration(clip: str, stand_in: StandIn) -> None:
    from isaacmm.learn import checkpoint

    launch(clip, "experiment=walk", "task.env.amp_frames=4")
    config = OmegaConf.to_container(OmegaConf.load("runs/walk/config.yaml"))
    checkpoint.save(Path("sent/by_mail.pth"), {"config": config})
    launch("test=True", "checkpoint=sent/by_mail.pth")
    _, cfg, run = stand_in.last
    assert cfg.task.env.amp_frames == 4 and run.path.parent == Path("runs")
    Path("sent/other.pth").write_bytes(b"no checkpoint")
    with pytest.raises(CheckpointError, match="cannot be read"):
        launch("test=True", "checkpoint=sent/other.pth")
    with pytest.raises(CheckpointError, match="lies in no run folder"):
        launch("resume=True", "checkpoint=sent/by_mail.pth")


def test_playing_and_resuming_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match="one plays, the other trains"):
        compose(["test=True", "resume=True"])


def test_a_signal_ends_the_run_politely(
    clip: str, stand_in: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(run: Run) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        assert run.stop

    stand_in.during = interrupted
    assert launch(clip, "experiment=walk") == 128 + signal.SIGTERM
    assert "To go on: resume=True experiment=walk" in capsys.readouterr().out


def test_errors_leave_a_trace_in_the_log_and_nothing_lost(
    clip: str, stand_in: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(run: Run) -> None:
        raise MotionError("clip 'x': frame 3 is not a number")

    stand_in.during = broken
    with pytest.raises(MotionError):
        launch(clip, "experiment=walk")
    assert "frame 3 is not a number" in Path("runs/walk/log.txt").read_text()
    assert Path("runs/walk/nn/last.pth").exists()
    assert "resume=True experiment=walk" in capsys.readouterr().out


def test_the_banner_says_how_long_it_will_take(clip: str) -> None:
    cfg, _ = compose([clip, "num_envs=100", "max_iterations=60", "train.params.config.horizon_length=40"])
    cfg.preset.samples_per_second, cfg.max_minutes = 1000, ""
    assert session.length(cfg) == "60 iterations, 0.24 M samples, about 4 minutes"
    cfg.max_minutes = 2
    assert session.length(cfg) == "60 iterations, 0.24 M samples, at most 2 minutes"
