"""Several processes, without any: who is who, what is shared out, what is refused, and the watch."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from isaacmm.cli.compose import compose
from isaacmm.errors import ConfigError
from isaacmm.learn import distributed, distributed_clips, distributed_launch, distributed_state
from isaacmm.learn.distributed import Place, Team
from isaacmm.learn.distributed_watch import Watch
from tests.helpers import library, tiny_run

TORCHRUN = {
    "RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500",
}  # fmt: skip


def test_place() -> None:
    assert Place.from_environment(TORCHRUN) == Place(3, 4, 1, 2)
    assert Place.from_environment({"WORLD_SIZE": "4"}) is None  # a cluster's, not torchrun's
    with pytest.raises(ConfigError, match="torchrun is damaged"):
        Place.from_environment({**TORCHRUN, "RANK": "three"})


@pytest.mark.parametrize("text", ["soon", "0", "nan"])
def test_timeout_is_a_time(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    assert distributed.timeout_seconds() == 300.0
    monkeypatch.setenv("ISAACMM_RANK_TIMEOUT", text)
    with pytest.raises(ConfigError, match=f"ISAACMM_RANK_TIMEOUT={text}"):
        distributed.timeout_seconds()


def test_seeds() -> None:
    """The first process is the run of one process; nobody else's numbers are another run's."""
    assert distributed_state.rank_seed(42, 0) == 42
    seeds = {
        distributed_state.rank_seed(seed, rank, iteration)
        for seed in range(20) for rank in range(16) for iteration in (0, 7)
    }  # fmt: skip
    assert len(seeds) == 20 * 16 * 2 and all(0 <= seed < 2**31 for seed in seeds)


# ------------------------------------------------------------------------------------------ composing


@pytest.fixture
def torchrun(monkeypatch: pytest.MonkeyPatch) -> Any:
    """``torchrun(count)``: as if one of so many processes."""

    def start(count: int) -> None:
        for key, value in {**TORCHRUN, "RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": str(count)}.items():
            monkeypatch.setenv(key, value)

    return start


def test_counted_and_refused(tmp_path: Path, torchrun: Any) -> None:
    words = tiny_run(tmp_path / "clip.npz", tmp_path / "runs")
    with pytest.raises(ConfigError, match=r"torchrun --standalone --nproc-per-node 2 launch\.py multi_gpu=True"):
        compose([*words, "multi_gpu=True"])
    torchrun(2)
    cfg, notes = compose([*words, "multi_gpu=True"])
    assert cfg.ranks == 2 and cfg.num_envs == 8 and not any("torchrun" in note for note in notes)
    cfg, notes = compose(words)
    assert cfg.ranks == 1
    assert any("torchrun started 2 processes, and without multi_gpu=True each of them trains alone" in n for n in notes)


def saved(tmp_path: Path, ranks: int, **changes: Any) -> list[str]:
    """A run of so many processes; returns the words that go on with it."""
    cfg, _ = compose(tiny_run(tmp_path / "clip.npz", tmp_path / "runs", **changes))
    cfg.ranks = ranks
    folder = tmp_path / "runs" / "earlier"
    (folder / "nn").mkdir(parents=True)
    OmegaConf.save(cfg, folder / "config.yaml")
    (folder / "nn" / "last.pth").write_bytes(b"not read here")
    return [f"runs_dir={tmp_path / 'runs'}", "experiment=earlier", "resume=True"]


def test_another_number_of_processes_shares_the_worlds(tmp_path: Path, torchrun: Any) -> None:
    words = saved(tmp_path, 3, num_envs=8)
    cfg, notes = compose(words)
    config = cfg.train.params.config
    assert (cfg.num_envs, cfg.task.env.num_envs, config.num_actors, cfg.ranks) == (24, 24, 24, 1)
    assert (config.minibatch_size, config.amp_minibatch_size) == (96, 96)
    assert "24 worlds as before: 24 in each of 1 process." in notes
    torchrun(4)
    cfg, _ = compose([*words, "multi_gpu=True"])
    config = cfg.train.params.config
    assert (cfg.num_envs, cfg.ranks, config.minibatch_size, config.amp_minibatch_size) == (6, 4, 24, 24)
    torchrun(3)
    assert compose([*words, "multi_gpu=True"])[0].num_envs == 8
    torchrun(5)
    with pytest.raises(ConfigError, match=r"24 worlds \(3 x 8\) cannot be shared evenly by 5 processes.*num_envs=5"):
        compose([*words, "multi_gpu=True"])
    assert compose([*words, "multi_gpu=True", "num_envs=5"])[0].num_envs == 5


def test_own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg, _ = compose(tiny_run(tmp_path / "clip.npz", tmp_path / "runs", threads=0))
    assert distributed_launch.own_settings(cfg, Team()) is cfg
    team = object.__new__(distributed.TorchTeam)
    team.place = Place(3, 4, 1, 2)
    monkeypatch.setattr(distributed_launch, "cores", lambda: 8)
    own = distributed_launch.own_settings(cfg, team)
    assert own.seed == own.train.params.seed == distributed_state.rank_seed(42, 3)
    assert own.threads == own.train.params.torch_threads == 4
    assert cfg.seed == 42 and cfg.threads == 0

    gpu = OmegaConf.merge(cfg, {"sim_device": "cuda:0", "rl_device": "cuda:0"})
    chosen: list[int] = []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    own = distributed_launch.own_settings(gpu, team)
    assert (own.sim_device, own.rl_device, own.train.params.config.device) == ("cuda:1",) * 3 and set(chosen) == {1}
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ConfigError, match="there are 1 CUDA devices"):
        distributed_launch.own_settings(gpu, team)


# ---------------------------------------------------------------------------------------------- clips


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_clips_are_shared_out_by_weight(count: int) -> None:
    weights = [1.0, 4.0, 0.5, 2.0, 2.5, 0.0]
    parts = distributed_clips.shares(weights, count)
    total = [sum(part.get(clip, 0.0) for part in parts) for clip in range(len(weights))]
    assert total == pytest.approx([w * count / sum(weights) for w in weights])
    assert [sum(part.values()) for part in parts] == pytest.approx([1.0] * count)
    assert all(5 not in part for part in parts)


def test_a_shard_keeps_the_range_of_all_clips() -> None:
    clips = library()
    env: dict[str, Any] = {"command": {"speed": "auto"}}
    own = distributed_clips.shard(clips, env, "HumanoidAMP", Place(2, 3))
    assert own.names == clips.names[2:] and own.total_frames < clips.total_frames
    speed = clips.mean_speed()
    assert env["command"]["speed"] == [float(speed.min()), float(speed.max())]
    with pytest.raises(ConfigError, match="every process needs them all"):
        distributed_clips.shard(clips, env, "HumanoidMM", Place(0, 2))


# -------------------------------------------------------------------------------------------- a state


def test_split_and_joined_again(tiny_agent: Any) -> None:
    agent, _ = tiny_agent()
    agent.start()
    agent.iterate()
    state = agent.state_dict()
    shared, own = distributed_state.split(state)
    assert set(shared) == {"model", "optimizer", "counters", "style"}
    assert set(shared["style"]) == {"discriminator", "normalizer", "optimizer"}
    assert distributed_state.join(shared, own).keys() == state.keys()
    assert distributed_state.join(shared, own)["style"].keys() == state["style"].keys()
    assert distributed_state.processes(state) == 1
    assert distributed_state.processes({**state, "ranks": [own, own]}) == 3
    assert distributed_state.processes(shared) == 0


def test_replay_is_dealt_out() -> None:
    rows = [torch.arange(0, 5.0)[:, None], torch.arange(10.0, 14.0)[:, None]]
    parts = [
        {"style": {"replay": {"data": r}, "replay_reference": {"data": r.long()}}} for r in rows
    ]
    dealt = distributed_state._shared_out(parts, 2)
    assert [len(d["replay"]) for d in dealt] == [5, 4]
    for hand in dealt:
        assert torch.equal(hand["replay"].long(), hand["replay_reference"])
    assert sorted(torch.cat([d["replay"] for d in dealt]).flatten().tolist()) == [0, 1, 2, 3, 4, 10, 11, 12, 13]
    assert distributed_state._shared_out([{"style": {}}], 2) == [{}, {}]


def test_a_team_of_one_changes_nothing() -> None:
    team = Team()
    x = torch.tensor([1.0, 2.0])
    assert team.first and team.count == 1 and team.sum(x) is x
    assert team.moments(x, x, 3) == (x, x, 3)
    assert team.highest([1.0, 0.0]) == [1.0, 0.0] and team.scatter([5]) == 5


# ------------------------------------------------------------------------------------------ the watch


class Ending:
    """Collects what a watch says and does at the end."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.codes: list[int] = []
        self.over = threading.Event()

    def end(self, code: int) -> None:
        self.codes.append(code)
        self.over.set()


def test_watch_ends_what_makes_no_progress() -> None:
    ending = Ending()
    with Watch(0.4, ending.said.append, end=ending.end) as watch:
        for _ in range(8):
            time.sleep(0.1)
            watch.beat()
        assert not ending.codes
        assert ending.over.wait(5.0)
    assert ending.codes == [1] and "made no progress" in ending.said[0]


def test_watch_hears_signals() -> None:
    """Also when the program does nothing about them: here the handler ignores it, as if it never came to run."""
    ending, before = Ending(), signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        with Watch(100.0, ending.said.append, grace=0.3, end=ending.end):
            signal.raise_signal(signal.SIGTERM)
            assert ending.over.wait(5.0)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert "was asked to stop and cannot" in ending.said[0]


def test_watch_lets_an_orderly_end_be() -> None:
    ending, before = Ending(), signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        with Watch(100.0, ending.said.append, grace=0.5, end=ending.end):
            signal.raise_signal(signal.SIGTERM)
        time.sleep(0.8)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert not ending.codes and signal.set_wakeup_fd(-1) == -1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_watch_ends_even_if_saving_fails() -> None:
    ending = Ending()

    def fail(reason: str) -> None:
        raise OSError("disk on fire")

    with Watch(0.2, fail, end=ending.end):
        assert ending.over.wait(5.0)
    assert ending.codes == [1]
