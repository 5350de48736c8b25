"""The loop for GPUs: no operation in it waits for the device, and worlds begin and end as they do on the CPU."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor

from isaacmm.envs.device_loop import DeviceSearch, DeviceTwins, hand_out, pool_size
from isaacmm.envs.humanoid_amp import HumanoidAMP
from isaacmm.envs.humanoid_mm import PHASES, HumanoidMM
from isaacmm.matching.search.brute import BruteForce
from isaacmm.matching.twin import Twins
from isaacmm.motion.library import MotionLibrary
from isaacmm.paths import data_folder
from isaacmm.state import ResetState
from tests.helpers import PuppetSimulator, character, env_config, library, made_up_walk
from tests.sim.waits import NobodyWaits

N = 16
class PlacedPuppet(PuppetSimulator):
    """A puppet that can be reset as a GPU simulator is. What it does itself is not looked at."""

    watched: NobodyWaits | None = None

    def __init__(self, num_envs: int = N) -> None:
        super().__init__(num_envs)
        self.capabilities = frozenset({"reset_rows"})

    @contextlib.contextmanager
    def _physics(self) -> Iterator[None]:
        if self.watched is not None:
            self.watched.physics = True
        yield
        if self.watched is not None:
            self.watched.physics = False

    def reset_rows(self, row: Tensor, state: ResetState) -> None:
        with self._physics():
            ids = (row >= 0).nonzero().flatten()
            self.reset(ids, state.index(row[ids]))

    def step(self, dof_targets: Tensor) -> None:
        with self._physics():
            super().step(dof_targets)

    def state(self) -> Any:
        with self._physics():
            return super().state()


@lru_cache
def clips() -> MotionLibrary:
    made = [
        made_up_walk(speed, turn, 2.5, name=f"walk_{speed}_{turn:+}")
        for speed in (0.8, 1.2, 1.6) for turn in (-0.5, 0.0, 0.5)
    ]  # fmt: skip
    return MotionLibrary(made, character().skeleton)


def make(task: str, simulator: PuppetSimulator | None = None, **changes: Any) -> HumanoidAMP:
    """The environment with made-up clips and short commands, as it is on a GPU."""
    simulator = simulator or PlacedPuppet()
    often = {"command__resample_seconds": [0.1, 0.3], "sync_free": True, **changes}
    if task == "HumanoidAMP":
        return HumanoidAMP(env_config(**often), simulator, library(), character(), 3)
    config = OmegaConf.load(data_folder("cfg") / "task" / "HumanoidMM.yaml").env
    config.action, config.dof_observation = "radians", "angles"
    config.command.modes = {"walk": {"forward": [0.8, 1.6], "turn": [-0.5, 0.5], "straight": 0.3}}
    for key, value in often.items():
        OmegaConf.update(config, key.replace("__", "."), value, merge=False)
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    return HumanoidMM(plain, simulator, clips(), character(), 3)


@pytest.mark.parametrize(("reference", "dofs"), [("none", "tan_norm"), ("residual", "angles")])
@pytest.mark.parametrize("task", ["HumanoidAMP", "HumanoidMM"])
def test_nothing_in_a_step_waits_for_the_device(task: str, reference: str, dofs: str) -> None:
    simulator = PlacedPuppet()
    env = make(task, simulator, reference=reference, dof_observation=dofs, episode_seconds=0.4)
    env.reset()
    zero = torch.zeros(N, 28)
    ends = torch.zeros((), dtype=torch.int64)
    with NobodyWaits() as watch:
        simulator.watched = watch
        for _ in range(30):
            ends += (lambda out: (out[2] | out[3]).sum())(env.step(zero))
    assert int(ends) >= 2 * N
    # torch's twin pose asks whether any twin jumped, on a CPU only
    expected = (
        {"is_nonzero", "_local_scalar_dense"} if (task, reference) == ("HumanoidMM", "residual") else set()
    )
    assert set(watch.seen) <= expected, watch.seen


def test_the_test_sees_what_waits() -> None:
    with NobodyWaits() as watch:
        x = torch.zeros(3)
        bool(x.any()), x.nonzero(), x[x > 0], x.sum().item()
        torch.tensor([1.0, 2.0]), torch.as_tensor(3.0), x[[0, 1]]
    wanted = {"nonzero", "_local_scalar_dense", "index", "tensor", "as_tensor", "list index"}
    assert wanted <= set(watch.seen)


@pytest.mark.parametrize("task", ["HumanoidAMP", "HumanoidMM"])
def test_worlds_end_and_begin_as_on_the_cpu(task: str) -> None:
    """The observation a world ends with is its own; the next one is a clip's; the others go on."""
    simulator = PlacedPuppet()
    env = make(task, simulator, episode_seconds=30.0, command__resample_seconds=[20.0, 20.0])
    env.reset()
    zero = torch.zeros(N, 28)
    for _ in range(3):
        env.step(zero)
    before = {name: getattr(env, name).clone() for name in ("steps", "history")}
    pos = simulator.state().root_pos.clone()
    pos[[1, 5], 2] = 0.2
    simulator.put(root_pos=pos)
    obs, _, terminated, _, info = env.step(zero)
    done = torch.tensor([w in (1, 5) for w in range(N)])
    assert torch.equal(terminated, done) and simulator.resets[-1] == [1, 5]
    assert torch.allclose(info["amp_obs"].view(N, 2, -1)[done, 0, 0], torch.tensor(0.2))
    assert (env.steps[done] == 0).all() and torch.equal(env.steps[~done], before["steps"][~done] + 1)
    assert torch.equal(env.history[done], env.table.histories(env.playhead[done]))
    assert torch.equal(env.history[~done, 1], before["history"][~done, 0])
    now = env.observe(simulator.state())
    torch.testing.assert_close(
        obs[done, : env.observe.size], now[done], atol=2e-3, rtol=0
    )  # tables are float32
    assert torch.equal(info["final_obs"][~done], obs[~done])
    if isinstance(env, HumanoidMM):
        # what begins is told what it already does, and its twin plays on from there
        assert torch.equal(env.condition[done], env._predict()[done])
        assert torch.equal(env.twins.row[done], env.reference[done])
        assert ((env.reference - env.playhead)[done] <= PHASES).all()
        assert (env.twins.last[done] == env.condition[done]).all()


def test_lost_worlds_are_counted_and_kept_out() -> None:
    simulator = PlacedPuppet()
    env = make("HumanoidAMP", simulator)
    env.reset()
    simulator.broken[3] = True
    obs, reward, terminated, _, info = env.step(torch.zeros(N, 28))
    assert terminated[3] and info["diverged"][3] and reward[3] == 0.0
    assert obs.isfinite().all() and info["amp_obs"].isfinite().all()
    assert env.diverged_total == 1


def test_more_ends_than_prepared_states() -> None:
    turn, row = hand_out(torch.tensor([True, False, True, True, True]), 3)
    assert row.tolist() == [0, -1, 1, 2, 0] and (turn >= 0).all()
    assert pool_size(4096) == 512 and pool_size(8) == 8


def test_commands_are_drawn_from_the_same_ranges() -> None:
    env = make("HumanoidMM", episode_seconds=30.0, termination={})
    env.reset()
    seen = []
    for _ in range(60):
        env.step(torch.zeros(N, 28))
        seen.append(env.command.velocity[:, 0].clone())
    drawn = torch.stack(seen)
    low, high = env.command._ranges[0, 0].tolist()
    assert float(drawn.min()) >= low and float(drawn.max()) <= high
    changes = (drawn[1:] != drawn[:-1]).float().mean() * 30.0
    assert 3.0 < float(changes) < 9.0  # every 0.1 to 0.3 s: about 5 per second and world


def test_search_finds_the_nearest_allowed_rows() -> None:
    g = torch.Generator().manual_seed(0)
    features, query = torch.randn(500, 9, generator=g), torch.randn(40, 9, generator=g)
    allowed = torch.rand(3, 500, generator=g) < 0.5
    style = torch.randint(3, (40,), generator=g)
    wanted = BruteForce(features, allowed)(query, style)
    row, cost = DeviceSearch(features, allowed)(query, style)
    assert torch.equal(row, wanted[0])
    torch.testing.assert_close(cost, wanted[1])
    clip = torch.arange(500) // 100
    avoided, _ = DeviceSearch(features, allowed)(
        query, style, (torch.ones(40, dtype=torch.bool), row, clip, 4)
    )
    close = (clip[avoided] == clip[row]) & ((avoided - row).abs() <= 4)
    assert not close.any() and allowed[style, avoided].all()
    query[3] = float("nan")
    lost, cost = DeviceSearch(features, allowed)(query, style)
    assert allowed[style[3], lost[3]] and torch.equal(lost[:3], row[:3])


def test_twins_go_where_twins_on_the_cpu_go() -> None:
    """Under the same commands both kinds visit the same rows."""
    env = make("HumanoidMM")
    assert isinstance(env, HumanoidMM)
    database, allowed = env.database, env.database.valid[None]
    twins = [
        kind(database, search(database.features, allowed), N, PHASES, 6)
        for kind, search in ((Twins, BruteForce), (DeviceTwins, DeviceSearch))
    ]
    g = torch.Generator().manual_seed(1)
    rows = database.valid.nonzero().flatten()[torch.randint(int(database.valid.sum()), (N,), generator=g)]
    condition = database.trajectory[rows]
    twins[0].reset(torch.arange(N), rows, condition)
    twins[1].reset_where(torch.ones(N, dtype=torch.bool), rows, condition)
    jumps = 0
    for k in range(60):
        if k % 10 == 0:
            condition = database.trajectory[torch.randint(len(database), (N,), generator=g)]
        a, b = (t.step(condition) for t in twins)
        assert torch.equal(a, b) and torch.equal(twins[0].jumped, twins[1].jumped)
        jumps += int(twins[0].jumped.sum())
    assert jumps > N
