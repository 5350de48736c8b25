"""What is particular to the MuJoCo engine; what all simulators share is in test_contract.py."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from isaacmm.character import CharacterModel
from isaacmm.errors import ConfigError, MotionError, SimulatorError
from isaacmm.sim import SimConfig
from isaacmm.sim.contract.reference import PlainMujoco, flying_states, resting_states
from isaacmm.sim.mujoco import MujocoSimulator, cores

MODEL = CharacterModel.load("humanoid")


def simulator(num_envs: int, **settings: object) -> MujocoSimulator:
    return MujocoSimulator(MODEL, SimConfig(num_envs=num_envs, **settings))  # type: ignore[arg-type]


def test_one_mjdata_per_world_or_per_thread_gives_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is used depends on the number of worlds, so results must not."""
    finals = []
    for limit in (0, 512):
        monkeypatch.setattr("isaacmm.sim.mujoco._PERSISTENT_ENVS", limit)
        sim = simulator(4)
        assert sim.batch is not None and sim.batch.persistent == (limit > 0)
        sim.reset(torch.arange(4), resting_states(MODEL, 4))
        for k in range(20):
            sim.step(torch.linspace(-0.1, 0.1, 4)[:, None].expand(4, 28))
            if k == 3:
                sim.reset(torch.tensor([3, 1]), flying_states(MODEL, 2, seed=1, height=0.8))
                at_reset = sim.state().clone()
                assert at_reset.contact_force is not None
                assert not at_reset.contact_force[[1, 3]].any()
                assert at_reset.contact_force[[0, 2]].any()
                finals.append(at_reset)
        finals.append(sim.state().clone())
    for a, b in ((finals[0], finals[2]), (finals[1], finals[3])):
        for name, value in a.items():
            assert torch.equal(value, dict(b.items())[name]), name


def test_contact_forces_equal_mujoco_s_external_forces() -> None:
    """Self-collision included: the sum of what touches a body, in world axes, acting on the body."""
    start = flying_states(MODEL, 1, seed=4, height=0.7)
    sim = simulator(1, self_collision=True)
    sim.reset(torch.arange(1), start)
    plain = PlainMujoco(MODEL, self_collision=True)
    plain.reset(start, 0)
    seen = 0.0
    import mujoco

    for _ in range(20):
        sim.step(torch.zeros(1, 28))
        plain.d.ctrl[:] = 0.0
        for _ in range(3):
            mujoco.mj_step(plain.m, plain.d)
        mujoco.mj_forward(plain.m, plain.d)
        mujoco.mj_rnePostConstraint(plain.m, plain.d)
        wanted = torch.tensor(plain.d.cfrc_ext[1:, 3:], dtype=torch.float32)
        mujoco.mj_step(plain.m, plain.d)
        force = sim.state().contact_force
        assert force is not None
        assert torch.allclose(force[0], wanted, rtol=1e-3, atol=0.5)
        seen = max(seen, float(force.abs().max()))
    assert seen > 100.0


def test_contact_force_can_be_left_out() -> None:
    sim = simulator(2, contact_force=False)
    sim.reset(torch.arange(2), resting_states(MODEL, 2))
    sim.step(torch.zeros(2, 28))
    assert sim.state().contact_force is None
    assert "contact_force" not in sim.capabilities
    assert "contact_force" not in sim.snapshot()
    sim.restore(sim.snapshot())


def test_state_is_read_at_most_once_per_step(monkeypatch: pytest.MonkeyPatch) -> None:
    sim = simulator(2)
    sim.reset(torch.arange(2), resting_states(MODEL, 2))
    reads = []
    read = sim._reader.read
    monkeypatch.setattr(sim._reader, "read", lambda: (reads.append(1), read()))
    sim.step(torch.zeros(2, 28))
    assert not reads
    for _ in range(3):
        sim.state()
    assert len(reads) == 1


def test_divergence_leaves_no_log_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    sim = simulator(2)
    sim.reset(torch.arange(2), resting_states(MODEL, 2))
    sim.step(torch.full((2, 28), float("nan")))
    assert sim.diverged().all()
    assert not list(tmp_path.iterdir())
    assert "unstable" not in "".join(capfd.readouterr())


@pytest.mark.parametrize("field", ["qpos", "qvel"])
def test_divergence_inside_is_noticed(field: str) -> None:
    """A world that blows up by itself, not through its targets, and one that is merely absurdly fast."""
    sim = simulator(3)
    sim.reset(torch.arange(3), resting_states(MODEL, 3))
    sim.batch.bind(field)[1, 10] = np.nan
    sim.batch.bind("qvel")[2, 10] = 5e6
    sim.step(torch.zeros(3, 28))
    assert sim.diverged().tolist() == [False, True, True]
    assert sim.state().is_finite().all()  # MuJoCo put it back to its default state
    assert sim.snapshot()["diverged"].tolist() == [False, True, True]


def test_restored_divergence_lasts_until_the_reset() -> None:
    sim, other = simulator(2), simulator(2)
    for s in (sim, other):
        s.reset(torch.arange(2), resting_states(MODEL, 2))
    sim.batch.bind("qvel")[1, 10] = np.nan
    sim.step(torch.zeros(2, 28))
    other.restore(sim.snapshot())
    assert other.diverged().tolist() == [False, True]
    other.reset(torch.tensor([1]), resting_states(MODEL, 1))
    assert other.diverged().tolist() == [False, False]


def test_snapshot_of_other_worlds_is_refused() -> None:
    with pytest.raises(SimulatorError, match="same num_envs"):
        simulator(2).restore(simulator(3).snapshot())


def test_restoring_undoes_randomised_gains() -> None:
    sim = simulator(2)
    plain = sim.snapshot()
    sim.set_gains(MODEL.kp * 2, MODEL.kd * 2)
    sim.restore(plain)
    assert np.allclose(sim.batch.expand("actuator_gainprm")[:, :, 0], MODEL.kp.numpy())
    assert np.allclose(sim.batch.expand("actuator_biasprm")[:, :, 1], -MODEL.kp.numpy())
    assert np.allclose(sim.batch.expand("dof_damping")[:, 6:], MODEL.kd.numpy())


@pytest.mark.parametrize("bad", [torch.ones(3), torch.full((28,), -1.0), torch.full((28,), float("nan"))])
def test_impossible_gains(bad: torch.Tensor) -> None:
    with pytest.raises(SimulatorError, match="kd"):
        simulator(2).set_gains(kd=bad)


def test_push_names_an_unknown_body() -> None:
    with pytest.raises(MotionError, match="did you mean 'torso'"):
        simulator(1).push(torch.tensor([0]), "torsoo", torch.zeros(1, 3))


def test_masks_select_worlds_too() -> None:
    sim = simulator(3)
    sim.reset(torch.ones(3, dtype=torch.bool), resting_states(MODEL, 3))
    sim.reset(torch.tensor([False, True, False]), resting_states(MODEL, 1, height=4.0))
    assert sim.state().root_pos[:, 2].gt(3.0).tolist() == [False, True, False]


def test_closed_simulator_says_so() -> None:
    sim = simulator(1)
    sim.close()
    sim.close()
    with pytest.raises(SimulatorError, match="closed"):
        sim.step(torch.zeros(1, 28))


def test_actuators_in_another_order_are_found_by_name(tmp_path: Path) -> None:
    """A file that lists its actuators backwards gives the same motion."""
    lines = MODEL.mjcf.read_text().splitlines()
    first = next(i for i, line in enumerate(lines) if "<actuator>" in line) + 1
    last = next(i for i, line in enumerate(lines) if "</actuator>" in line)
    lines[first:last] = reversed(lines[first:last])
    path = tmp_path / "backwards.xml"
    path.write_text("\n".join(lines))
    config = {
        "name": "backwards",
        "mjcf": str(path),
        "feet": MODEL.feet,
        "key_bodies": MODEL.key_bodies,
        "head": "head",
    }
    backwards = CharacterModel.load(config)
    finals = []
    for model in (MODEL, backwards):
        sim = MujocoSimulator(model, SimConfig(num_envs=2))
        sim.reset(torch.arange(2), flying_states(model, 2))
        sim.set_gains(kp=model.kp * torch.linspace(0.5, 1.0, 28))
        for _ in range(5):
            sim.step(torch.linspace(-0.5, 0.5, 28).expand(2, -1))
        finals.append(sim.state().dof_pos.clone())
    assert torch.allclose(finals[0], finals[1], atol=1e-6)


def test_a_model_that_does_not_compile_is_a_config_error(tmp_path: Path) -> None:
    path = tmp_path / "broken.xml"
    path.write_text("<mujoco><worldbody><body></worldbody></mujoco>")
    with pytest.raises(ConfigError, match=r"broken\.xml"):
        MujocoSimulator(replace(MODEL, mjcf=path), SimConfig(num_envs=1))


def test_cores() -> None:
    assert 1 <= cores() <= (os.cpu_count() or 1)
