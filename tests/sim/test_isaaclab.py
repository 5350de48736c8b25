"""What is particular to Isaac Lab; what all simulators share is in test_contract.py. Skipped, by name, without it.

``tests/sim/isaaclab_session.sh`` makes an environment in which this runs.
"""

from __future__ import annotations

import logging
from typing import Any

import gymnasium as gym
import pytest
import torch

from isaacmm.character import CharacterModel
from isaacmm.errors import SimulatorError
from isaacmm.sim import make_simulator
from isaacmm.sim.contract.bench import targets_for
from isaacmm.sim.contract.reference import PlainMujoco, flying_states, resting_states
from isaacmm.sim.registry import flavours
from tests.helpers import make_env

MODEL = CharacterModel.load("humanoid")
KINDS = {physics: reason for name, physics, reason in flavours().values() if name == "isaaclab" and physics != "physx"}
if None not in KINDS.values():
    pytest.skip(f"Isaac Lab did NOT run: {KINDS['newton']}", allow_module_level=True)


@pytest.fixture(params=KINDS)
def physics(request: pytest.FixtureRequest) -> str:
    if KINDS[request.param] is not None:
        pytest.skip(f"isaaclab+{request.param}: {KINDS[request.param]}")
    return str(request.param)


def simulator(physics: str, num_envs: int, **settings: Any) -> Any:
    return make_simulator("isaaclab", MODEL, {"num_envs": num_envs, "physics": physics, **settings})


def test_a_second_simulator_closes_the_first(physics: str) -> None:
    first = simulator(physics, 2)
    second = simulator(physics, 3)
    with pytest.raises(SimulatorError, match="closed: another one was made, and Isaac Lab has only one"):
        first.step(torch.zeros(2, 28))
    first.close()  # once more is fine, and does the second no harm
    second.step(torch.zeros(3, 28))
    second.close()
    with pytest.raises(SimulatorError, match="is closed: make a new one"):
        second.state()


def test_landing_on_the_feet_far_from_the_first_world(physics: str) -> None:
    """World 40 of PhysX lies some twenty meters away from world 0, and nobody may notice."""
    sim = simulator(physics, 41, contact_force=True)
    start = resting_states(MODEL, 41)
    start.root_pos[:, 2] += 0.05
    golden = PlainMujoco(MODEL)
    golden.reset(start, 0)
    sim.reset(torch.arange(41), start)
    for _ in range(15):
        sim.step(torch.zeros(41, 28))
        golden.step(torch.zeros(28), 4)
    state = sim.state()
    assert float((state.body_pos - state.body_pos[:1]).abs().max()) < 2e-3
    assert float((state.body_pos[40] - golden.read()["body_pos"]).abs().max()) < 0.02
    feet = state.contact_force[:, MODEL.foot_ids, 2].sum(1)
    assert torch.allclose(feet, torch.full((41,), 48.89 * 9.81), rtol=0.1)
    sim.close()


def test_it_falls_over_without_drives_and_nobody_explodes(physics: str) -> None:
    sim = simulator(physics, 8)
    sim.set_gains(torch.zeros(28), torch.ones(28))
    sim.reset(torch.arange(8), resting_states(MODEL, 8, height=1.2))
    for _ in range(60):
        sim.step(torch.zeros(8, 28))
    assert not sim.diverged().any()
    assert float(sim.state().root_pos[:, 2].max()) < 0.4 and float(sim.state().body_pos[..., 2].min()) > -0.05
    sim.close()


def test_too_little_room_for_contacts_is_said_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    if KINDS["newton"] is not None:
        pytest.skip(f"isaaclab+newton: {KINDS['newton']}")
    monkeypatch.setattr("isaacmm.sim.isaaclab._LOOK_EVERY", 2)
    sim = simulator("newton", 3, nconmax=2, contact_force=False)
    sim.reset(torch.arange(3), resting_states(MODEL, 3))
    with caplog.at_level(logging.WARNING):
        for _ in range(8):
            sim.step(torch.zeros(3, 28))
    said = [record.message for record in caplog.records if "sim=isaaclab" in record.message]
    assert len(said) == 1 and "raise nconmax (now 2 per world)" in said[0]
    sim.close()


def test_physx_differs_as_a_finer_integrator_does() -> None:
    """Why its tolerance is wide: flailing for 1/3 s, it is nearer to MuJoCo at 1,920 Hz than MuJoCo at 120 Hz is."""
    if KINDS["ovphysx"] is not None:
        pytest.skip(f"isaaclab+ovphysx: {KINDS['ovphysx']}")
    sim = simulator("ovphysx", 4, contact_force=False)
    start = flying_states(MODEL, 4)
    sim.reset(torch.arange(4), start)
    worlds = {hz: [PlainMujoco(MODEL, physics_hz=hz) for _ in range(4)] for hz in (120, 1920)}
    for row in range(4):
        for hz in worlds:
            worlds[hz][row].reset(start, row)
    for k in range(10):
        targets = targets_for(sim, seed=k)
        sim.step(targets)
        for row in range(4):
            for hz in worlds:
                worlds[hz][row].step(targets[row], hz // 30)
    coarse, fine = (torch.stack([w.read()["dof_pos"] for w in worlds[hz]]) for hz in (120, 1920))
    ours = sim.state().dof_pos.double()
    far = {"PhysX, MuJoCo 120 Hz": ours - coarse, "PhysX, MuJoCo 1920 Hz": ours - fine, "the MuJoCos": coarse - fine}
    rms = {name: float(d.square().mean().sqrt()) for name, d in far.items()}
    print(", ".join(f"{name}: {rms[name]:.4f} rad rms, {float(d.abs().max()):.4f} at most" for name, d in far.items()))
    assert rms["PhysX, MuJoCo 1920 Hz"] < rms["the MuJoCos"]
    sim.close()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_gpu_asked_for_and_absent(physics: str) -> None:
    with pytest.raises(SimulatorError, match="sim_device=cuda:0: "):
        simulator(physics, 2, device="cuda:0")


def test_our_environment_runs_on_it(physics: str) -> None:
    env = make_env(6, simulator=simulator(physics, 6, contact_force=False))
    env.reset(seed=1)
    g = torch.Generator().manual_seed(2)
    ended = 0
    for _ in range(60):
        obs, reward, terminated, truncated, info = env.step(0.5 * torch.randn(6, 28, generator=g))
        assert obs.isfinite().all() and reward.isfinite().all() and not info["diverged"].any()
        ended += int((terminated | truncated).sum())
    assert ended > 3  # flailing like this nobody stands for two seconds
    env.close()


# ------------------------------------------------------------------------- as an Isaac Lab task


def test_task_steps_and_resets_itself(physics: str) -> None:
    import isaacmm.isaaclab_task  # noqa: F401 - registers
    from isaacmm.isaaclab_task.cfg import HumanoidMMEnvCfg

    cfg = HumanoidMMEnvCfg(physics=physics, words=["motion=walk_straight"])
    cfg.scene.num_envs = 6
    made = gym.make("Isaacmm-HumanoidMM-v0", cfg=cfg)
    env: Any = made.unwrapped
    obs, _ = made.reset(seed=3)
    n_obs = env.motion.observation_size
    assert obs["policy"].shape == (6, n_obs) and env.observation_space.shape == (6, n_obs)
    assert env.action_space.shape == (6, 28) and env.max_episode_length == 300
    again, _ = made.reset(seed=3)
    assert torch.equal(obs["policy"], again["policy"])  # the seed counts
    env.episode_length_buf = torch.tensor([290, 0, 0, 0, 0, 0])  # as rsl-rl's runner does at its start
    g = torch.Generator().manual_seed(9)
    fell = ran_out = 0
    for _ in range(50):
        obs, reward, terminated, truncated, extras = made.step(0.3 * torch.randn(6, 28, generator=g))
        done = terminated | truncated
        assert not (terminated & truncated).any() and obs["policy"].isfinite().all() and reward.shape == (6,)
        assert (env.episode_length_buf[done] == 0).all() and torch.equal(env.motion.steps, env.episode_length_buf)
        final = extras["final_obs"]["policy"]
        if done.any():  # what it ended with is kept, and is not what it starts with
            assert ((final - obs["policy"])[done].abs().amax(dim=1) > 1e-3).all()
            size = env.motion.observe.size
            assert torch.equal(extras["amp_obs"][done][:, :size], final[done][:, :size])
        fell, ran_out = fell + int(terminated.sum()), ran_out + int(truncated.sum())
    assert fell > 0 and ran_out <= 1
    assert {"reward/task", "reward/speed_error"} <= set(extras["log"])
    assert env.motion.demo_obs(5).shape == (5, env.motion.amp_observation_size)
    made.close()


def test_task_serves_rsl_rl(physics: str) -> None:
    wrapper = pytest.importorskip("isaaclab_rl.rsl_rl").RslRlVecEnvWrapper
    import isaacmm.isaaclab_task as task
    from isaacmm.isaaclab_task import cfg as cfgs

    name = next(id for id, c in task.TASKS.items() if getattr(cfgs, c)().physics == physics)
    cfg = getattr(cfgs, task.TASKS[name])(words=["motion=walk_straight"])
    cfg.scene.num_envs = 4
    env = wrapper(gym.make(name, cfg=cfg))
    assert env.num_actions == 28 and env.num_envs == 4
    obs, reward, dones, extras = env.step(torch.zeros(4, 28))
    assert obs["policy"].shape == (4, env.unwrapped.motion.observation_size)
    assert reward.shape == dones.shape == extras["time_outs"].shape == (4,)
    env.close()
