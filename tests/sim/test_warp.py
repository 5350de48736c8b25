"""What is particular to MuJoCo Warp, on Warp's CPU device; what all simulators share is in test_contract.py."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from isaacmm.character import CharacterModel
from isaacmm.errors import ConfigError, SimulatorError
from isaacmm.sim import SimConfig, available, warp_setup
from isaacmm.sim.contract.reference import flying_states, resting_states
from isaacmm.sim.model import build_model
from isaacmm.sim.mujoco import MujocoSimulator
from tests.sim.waits import NobodyWaits

MODEL = CharacterModel.load("humanoid")

needs_warp = pytest.mark.skipif(available()["warp"] is not None, reason=f"sim=warp: {available()['warp']}")


def simulator(num_envs: int, **settings: Any) -> Any:
    from isaacmm.sim.warp import WarpSimulator

    return WarpSimulator(MODEL, SimConfig(num_envs=num_envs, **settings))


# ------------------------------------------------------------------------- room


def test_room_is_made_for_every_contact_with_the_floor() -> None:
    """6 spheres touch in one point, 10 capsules in two, 2 boxes in four; 4 rows each, and 28 limited hinges."""
    config = SimConfig()
    assert warp_setup.capacities(build_model(MODEL, config), config) == (34, 34 * 4 + 28)
    config = SimConfig(self_collision=True)
    assert warp_setup.capacities(build_model(MODEL, config), config)[0] == 34 + warp_setup.SELF_CONTACTS
    config = SimConfig(nconmax=5, njmax=7)
    assert warp_setup.capacities(build_model(MODEL, config), config) == (5, 7)
    with pytest.raises(ConfigError, match="njmax is -1"):
        SimConfig(njmax=-1)


@needs_warp
def test_too_little_room_is_said_once_with_the_setting(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("isaacmm.sim.warp._LOOK_EVERY", 2)
    sim = simulator(3, nconmax=2, contact_force=False)
    sim.reset(torch.arange(3), resting_states(MODEL, 3))
    with caplog.at_level(logging.WARNING):
        for _ in range(8):
            sim.step(torch.zeros(3, 28))
    said = [record.message for record in caplog.records if "sim=warp" in record.message]
    assert len(said) == 1 and "raise nconmax (now 2 per world)" in said[0]


@needs_warp
def test_enough_room_is_not_warned_of(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lying on the floor with everything, in all directions."""
    monkeypatch.setattr("isaacmm.sim.warp._LOOK_EVERY", 1)
    sim = simulator(4, contact_force=False)
    sim.reset(torch.arange(4), flying_states(MODEL, 4, height=0.15))
    with caplog.at_level(logging.WARNING):
        for _ in range(30):
            sim.step(torch.zeros(4, 28))
    assert not [record.message for record in caplog.records if "sim=warp" in record.message]


@needs_warp
def test_overflow_messages_name_what_helps() -> None:
    import mujoco_warp as mjw

    kinds = mjw.OverflowType
    assert "njmax (now 7" in warp_setup.overflow_message(int(kinds.NEFC), 5, 7)
    assert "nconmax (now 5" in warp_setup.overflow_message(int(kinds.BROADPHASE | kinds.NEFC), 5, 7)
    assert warp_setup.overflow_message(int(kinds.ITERATIONS), 5, 7) == ""


@needs_warp
def test_out_of_memory_suggests_a_number_of_worlds() -> None:
    config = SimConfig(num_envs=1 << 30)
    m = build_model(MODEL, config)
    with pytest.raises(
        SimulatorError, match=r"no memory for 1073741824 worlds \(\d+ kB each .* try num_envs=\d+$"
    ), warp_setup.explained(m, config, 34, 164):
        raise RuntimeError("Failed to allocate 1099511627776 bytes on device 'cuda:0'")
    with pytest.raises(RuntimeError, match="something else"), warp_setup.explained(m, config, 34, 164):
        raise RuntimeError("something else")
    assert warp_setup.worlds_that_fit(free=1000, per_world=10, wanted=4096) == 64
    assert warp_setup.worlds_that_fit(free=10**9, per_world=10, wanted=4096) == 2048
    assert warp_setup.worlds_that_fit(free=0, per_world=10, wanted=4096) == 1
    one = warp_setup.bytes_per_world(m, 34, 164)
    assert 20_000 < one < 300_000
    assert warp_setup.bytes_per_world(m, 34, 264) > one


# ----------------------------------------------------------------- versions, GPUs


@pytest.mark.parametrize(
    ("versions", "says"),
    [
        (("4.0.0", "3.17.0", "1.19.0"), "mujoco has to be 3.17 or later, below 4"),
        (("3.17.0", "4.0.0", "1.19.0"), "mujoco-warp has to be"),
        (("3.17.0", "3.17.0", "1.8.1"), "warp-lang has to be 1.19 or later"),
    ],
)
def test_versions_that_do_not_go_together(versions: tuple[str, str, str], says: str) -> None:
    reason = warp_setup.mismatch(*versions)
    assert reason is not None and says in reason and "pip install" in reason
    assert warp_setup.mismatch("3.18.1", "3.17.0.2", "1.20.0rc1") is None


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "mujoco-warp":
            raise warp_setup.metadata.PackageNotFoundError(name)
        return {"mujoco": "3.17.0", "warp-lang": "1.19.0"}[name]

    monkeypatch.setattr(warp_setup.metadata, "version", version)
    assert str(warp_setup.unavailable()).startswith("mujoco-warp is not installed: pip install")


@pytest.mark.parametrize(
    ("cuda", "found", "count", "device", "says"),
    [
        (None, False, 0, "cuda:0", "built without CUDA"),
        ("13.0", False, 0, "cuda:0", "no NVIDIA GPU or no driver for CUDA 13.0"),
        ("13.0", True, 1, "cuda:2", "there are 1 GPUs, the last one is cuda:0"),
        ("13.0", True, 1, "cuda:0", "PyTorch sees the GPU but Warp"),
        (None, False, 0, "mps", "runs on cpu and cuda:0"),
    ],
)
@needs_warp
def test_gpus_that_cannot_be_used(
    monkeypatch: pytest.MonkeyPatch, cuda: str | None, found: bool, count: int, device: str, says: str
) -> None:
    import warp as wp

    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: found)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(wp, "get_cuda_device_count", lambda: 0)
    monkeypatch.setattr(wp, "get_cuda_driver_version", lambda: (12, 2))
    with pytest.raises(SimulatorError, match=says):
        warp_setup.check_device(torch.device(device))


def test_the_cpu_is_always_there() -> None:
    warp_setup.check_device(torch.device("cpu"))


# ------------------------------------------------------------------------ state


@needs_warp
def test_state_is_warp_s_own_memory() -> None:
    """Positions and hinges are not copied, and every call gives the same tensors."""
    sim = simulator(2)
    state = sim.state()
    addresses = {name: value.data_ptr() for name, value in state.items()}
    for name in ("qpos", "qvel", "xpos"):
        assert sim._mj[name].data_ptr() == getattr(sim._data, name).ptr
    assert addresses["dof_pos"] == sim._data.qpos.ptr + 7 * 4
    assert addresses["dof_vel"] == sim._data.qvel.ptr + 6 * 4
    assert addresses["body_pos"] == sim._data.xpos.ptr + 3 * 4
    sim.reset(torch.arange(2), resting_states(MODEL, 2))
    sim.step(torch.full((2, 28), 0.3))
    assert {name: value.data_ptr() for name, value in sim.state().items()} == addresses
    assert float(state.dof_vel.abs().max()) > 0.1


@needs_warp
def test_rows_are_handed_out_on_the_device() -> None:
    sim, other = simulator(4), simulator(4)
    start, new = flying_states(MODEL, 4), flying_states(MODEL, 2, seed=1)
    for s in (sim, other):
        s.reset(torch.arange(4), start)
        s.step(torch.zeros(4, 28))
    before = sim.state().clone()
    sim.reset_rows(torch.tensor([-1, 1, 0, 1]), new)
    other.reset(torch.tensor([2]), new.index(torch.tensor([0])))
    other.reset(torch.tensor([1, 3]), new.index(torch.tensor([1, 1])))
    for name, value in sim.state().items():
        assert torch.equal(value, dict(other.state().items())[name]), name
        assert torch.equal(value[0], dict(before.items())[name][0]), name
    for s in (sim, other):
        s.step(torch.zeros(4, 28))
    assert torch.equal(sim.state().body_pos, other.state().body_pos)
    with pytest.raises(SimulatorError, match="one row per world"):
        sim.reset_rows(torch.tensor([0, 1]), new)


@needs_warp
def test_a_state_that_is_not_finite_is_not_taken() -> None:
    sim = simulator(3)
    state = flying_states(MODEL, 3)
    state.dof_vel[1, 5] = float("nan")
    state.root_pos[2, 0] = float("inf")
    sim.reset_rows(torch.arange(3), state)
    assert sim.diverged().tolist() == [False, True, True]
    assert sim.state().is_finite().all()
    sim.step(torch.zeros(3, 28))
    assert sim.state().is_finite().all()


@pytest.mark.parametrize("field", ["qpos", "qvel"])
@needs_warp
def test_divergence_inside_is_noticed(field: str) -> None:
    """A world that blows up by itself, and one that is merely absurdly fast."""
    sim = simulator(3)
    sim.reset(torch.arange(3), resting_states(MODEL, 3))
    sim._mj[field][1, 10] = float("nan")
    sim._mj["qvel"][2, 10] = 5e6
    sim.step(torch.zeros(3, 28))
    assert sim.diverged().tolist() == [False, True, True]
    assert sim.state().is_finite().all()
    sim.step(torch.zeros(3, 28))
    assert sim.diverged().tolist() == [False, True, True]  # until they are reset
    assert sim.snapshot()["diverged"].tolist() == [False, True, True]
    sim.reset(torch.tensor([True, True, True]), resting_states(MODEL, 3))
    assert not sim.diverged().any()


@needs_warp
def test_contact_force_can_be_left_out() -> None:
    sim = simulator(2, contact_force=False)
    sim.reset(torch.arange(2), resting_states(MODEL, 2))
    sim.step(torch.zeros(2, 28))
    assert sim.state().contact_force is None and "contact_force" not in sim.capabilities
    sim.restore(sim.snapshot())


# -------------------------------------------------------------------- bad input


@needs_warp
def test_snapshots_of_others_are_refused() -> None:
    sim = simulator(2)
    with pytest.raises(SimulatorError, match="another simulator"):
        sim.restore(MujocoSimulator(MODEL, SimConfig(num_envs=2)).snapshot())
    with pytest.raises(SimulatorError, match="same num_envs"):
        sim.restore(simulator(3).snapshot())


@needs_warp
def test_restoring_undoes_randomised_gains() -> None:
    sim, plain = simulator(2), simulator(2)
    start = flying_states(MODEL, 2)
    before = sim.snapshot()
    sim.set_gains(MODEL.kp * 2, MODEL.kd * 2)
    sim.restore(before)
    for s in (sim, plain):
        s.reset(torch.arange(2), start)
        s.step(torch.zeros(2, 28))
    assert torch.equal(sim.state().dof_pos, plain.state().dof_pos)
    for bad in (torch.ones(3), torch.full((28,), -1.0), torch.full((28,), float("nan"))):
        with pytest.raises(SimulatorError, match="kd"):
            sim.set_gains(kd=bad)


@needs_warp
def test_closed_simulator_says_so() -> None:
    sim = simulator(1)
    sim.close()
    sim.close()
    with pytest.raises(SimulatorError, match="closed"):
        sim.step(torch.zeros(1, 28))


# --------------------------------------------------------------------- training


@pytest.mark.parametrize(("task", "sync_free"), [("HumanoidAMP", False), ("HumanoidMM", True)])
@needs_warp
def test_an_agent_learns_with_it(tmp_path: Path, task: str, sync_free: bool) -> None:
    """Two iterations, in the loop of the CPU and in that of GPUs, with episodes that end in both ways."""
    from omegaconf import open_dict

    from isaacmm.cli.compose import compose
    from isaacmm.learn.build import make_env
    from isaacmm.learn.rl_games.build import make_agent
    from tests.helpers import tiny_run

    words = tiny_run(tmp_path / "clip.npz", tmp_path / "runs", sim="warp", num_envs=4, task=task)
    cfg, _ = compose([*words, "task.env.episode_seconds=0.2"])
    with open_dict(cfg):
        cfg.task.env.sync_free = sync_free
    env = make_env(cfg)
    assert env.sync_free == sync_free
    agent = make_agent(cfg, env, tmp_path / "runs" / "run")
    agent.start()
    for _ in range(2):
        stats = agent.iterate()
    assert all(value == value for value in stats.values()), stats  # no NaN
    assert stats["diverged_worlds"] == 0.0 and stats["full_episodes"] > 0.0
    if sync_free:
        with NobodyWaits() as watch:
            agent.obs = agent.rollouts.collect(agent.obs).last_obs
        assert watch.seen == ["nonzero"]  # which worlds ran out of time, once per horizon
    state = agent.state_dict()
    agent.load_state_dict(state)  # the worlds' snapshot included
    agent.iterate()
    env.close()
    agent.writer.close()


def test_the_gpu_preset_composes() -> None:
    """With the devices of this machine; on others launch.py says what is missing."""
    from isaacmm.cli.compose import compose

    if available()["warp"] is not None:
        pytest.skip(str(available()["warp"]))
    cfg, _ = compose(["preset=gpu", "sim_device=cpu", "rl_device=cpu"])
    assert cfg.sim == "warp" and cfg.num_envs == 4096 and 16 <= cfg.train.params.config.horizon_length <= 32
    assert list(cfg.train.params.network.mlp.units) == [1024, 512]
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="PyTorch finds no CUDA device"):
            compose(["preset=gpu"])


def test_two_devices_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from omegaconf import OmegaConf

    from isaacmm.cli import settle

    monkeypatch.setattr(settle, "cuda_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    cfg = OmegaConf.create({"sim": "warp", "sim_device": "cpu", "rl_device": "cuda:0"})
    with pytest.raises(ConfigError, match=r"differ, but its state stays.*Nearest: rl_device=cpu"):
        settle.check_devices(cfg)
