"""How episodes end and begin: falls, time-outs, worlds that blow up, and what is seen of the last moment."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from isaacmm.envs.humanoid_amp import HumanoidAMP
from isaacmm.errors import ConfigError, MotionError
from isaacmm.state import ResetState
from tests.helpers import PuppetSimulator, character, env_config, library, make_env, mujoco

ZERO = torch.zeros(4, 28)


def puppet_env(**changes: Any) -> tuple[PuppetSimulator, HumanoidAMP]:
    simulator = PuppetSimulator(4)
    return simulator, make_env(4, simulator=simulator, **changes)


def drop(simulator: PuppetSimulator, worlds: list[int], height: float = 0.2) -> None:
    """The next step finds these worlds' pelvis at ``height``."""
    pos = simulator.state().root_pos.clone()
    pos[worlds, 2] = height
    simulator.put(root_pos=pos)


def test_a_fall_is_seen_before_the_reset() -> None:
    simulator, env = puppet_env()
    env.reset()
    env.step(ZERO)
    before = env.history.clone()
    drop(simulator, [1])
    obs, _, terminated, truncated, info = env.step(ZERO)
    size = env.observe.size
    assert terminated.tolist() == [False, True, False, False]
    assert not truncated.any()
    amp = info["amp_obs"].view(4, 2, size)
    assert float(amp[1, 0, 0]) == pytest.approx(0.2)  # the height it died at, not that of a clip
    torch.testing.assert_close(amp[1, 1], before[1, 0])  # and before it, its own last step
    assert float(info["final_obs"][1, 0]) == pytest.approx(0.2)
    assert float(obs[1, 0]) > 0.5  # the new episode
    assert torch.equal(obs[1, :size], env.history[1, 0])
    clip_history = env.table.histories(env.playhead[1:2])[0]
    assert torch.equal(env.history[1], clip_history)
    others = [0, 2, 3]
    assert torch.equal(info["final_obs"][others], obs[others])
    assert simulator.resets[-1] == [1]


def test_a_real_fall_is_seen_before_the_reset() -> None:
    """In MuJoCo: slack characters collapse, and every one of them is seen below the fall height."""
    env = make_env(8, simulator=mujoco(8))
    env.reset()
    seen = 0
    for _ in range(90):
        _, _, terminated, _, info = env.step(torch.zeros(8, 28))
        falls = terminated.nonzero().flatten()
        heights = info["amp_obs"][falls, 0]
        assert torch.equal(heights, info["final_obs"][falls, 0])
        # a head below 0.9 m may still have its pelvis above 0.5, but never at the height of a walk
        assert (heights < 0.8).all()
        seen += len(falls)
    assert seen >= 8


def test_a_kept_info_is_not_changed_by_later_steps() -> None:
    simulator, env = puppet_env()
    env.reset()
    kept = env.step(ZERO)
    copies = [value.clone() for value in (kept[0], kept[1], kept[4]["amp_obs"], kept[4]["final_obs"])]
    steps = kept[4]["episode_steps"].clone()
    drop(simulator, [0, 2])
    env.step(ZERO)
    for value, copy in zip((kept[0], kept[1], kept[4]["amp_obs"], kept[4]["final_obs"]), copies, strict=True):
        assert torch.equal(value, copy)
    assert torch.equal(kept[4]["episode_steps"], steps)


def test_head_and_pelvis_have_their_own_heights() -> None:
    simulator, env = puppet_env(termination__pelvis_height=0.5, termination__head_height=0.0)
    env.reset()
    heights = torch.tensor([0.49, 0.51, 0.9, 0.9])
    simulator.put(root_pos=torch.stack((torch.zeros(4), torch.zeros(4), heights), dim=1))
    assert env.step(ZERO)[2].tolist() == [True, False, False, False]

    simulator, env = puppet_env(termination__pelvis_height=0.0, termination__head_height=1.2)
    env.reset()
    # straight up, the head's frame is 0.46 m above the pelvis: 1.19 m and 1.21 m
    above = float(simulator.model.skeleton.offsets[1:3, 2].sum())
    heights = torch.tensor([1.19, 1.21, 1.3, 1.3]) - above
    simulator.put(
        root_pos=torch.stack((torch.zeros(4), torch.zeros(4), heights), dim=1),
        root_rot=torch.tensor([0.0, 0.0, 0.0, 1.0]).repeat(4, 1),
    )
    assert env.step(ZERO)[2].tolist() == [True, False, False, False]


def test_termination_may_be_left_out() -> None:
    simulator = PuppetSimulator(4)
    env = HumanoidAMP({**env_config(), "termination": {}}, simulator, library(), character())
    env.reset()
    drop(simulator, [0, 1, 2, 3], 0.01)
    assert not env.step(ZERO)[2].any()


def test_time_outs_are_not_falls() -> None:
    simulator, env = puppet_env(episode_seconds=0.2, termination__head_height=0.0)  # six steps
    env.reset()
    simulator.put(root_vel=torch.zeros(4, 3))
    for step in range(1, 7):
        if step == 6:
            drop(simulator, [2])
        _, _, terminated, truncated, info = env.step(ZERO)
        assert info["episode_steps"].tolist() == [step] * 4
        if step < 6:
            assert not (terminated | truncated).any()
    # falling in the very last step is a fall
    assert terminated.tolist() == [False, False, True, False]
    assert truncated.tolist() == [True, True, False, True]
    assert env.steps.tolist() == [0] * 4


def test_worlds_end_each_by_their_own_clock() -> None:
    simulator, env = puppet_env(episode_seconds=0.2, termination__head_height=0.0)
    env.reset()
    drop(simulator, [1])
    env.step(ZERO)
    ends = [env.step(ZERO)[3].tolist() for _ in range(6)]
    assert [e[0] for e in ends] == [False] * 4 + [True, False]
    assert [e[1] for e in ends] == [False] * 5 + [True]


def test_final_observation_of_a_time_out_is_its_own() -> None:
    simulator, env = puppet_env(
        episode_seconds=0.1, termination__head_height=0.0, termination__pelvis_height=0.0
    )
    env.reset()
    for _ in range(3):
        pos = simulator.state().root_pos.clone()
        pos[:, 2] = 0.777
        simulator.put(root_pos=pos)
        obs, _, _, truncated, info = env.step(ZERO)
    assert truncated.all()
    torch.testing.assert_close(info["final_obs"][:, 0], torch.full((4,), 0.777))
    assert (obs[:, 0] != info["final_obs"][:, 0]).all()


def test_a_world_that_blows_up_is_reset_counted_and_harms_nobody() -> None:
    runs = []
    for broken in (False, True):
        simulator, env = puppet_env()
        env.reset()
        env.step(ZERO)
        last = env.history[2, 0].clone()
        if broken:
            simulator.broken[2] = True
        runs.append(env.step(ZERO))
        obs, reward, terminated, truncated, info = runs[-1]
        assert env.diverged_total == int(broken)
    assert info["diverged"].tolist() == [False, False, True, False]
    assert terminated.tolist() == [False, False, True, False] and not truncated.any()
    assert float(reward[2]) == 0.0
    for value in (obs, reward, info["amp_obs"], info["final_obs"], *info["reward_terms"].values()):
        assert torch.isfinite(value).all()
    size = env.observe.size
    assert torch.equal(info["amp_obs"][2, :size], last)  # what was known of it last
    assert simulator.resets[-1] == [2]
    others = [0, 1, 3]
    sound = runs[0]
    assert torch.equal(obs[others], sound[0][others])
    assert torch.equal(reward[others], sound[1][others])
    assert torch.equal(info["amp_obs"][others], sound[4]["amp_obs"][others])
    # and it goes on as if nothing had been
    obs, reward, *_ = env.step(ZERO)
    assert torch.isfinite(obs).all() and torch.isfinite(reward).all()


def test_all_worlds_blowing_up_at_once() -> None:
    simulator, env = puppet_env()
    env.reset()
    simulator.broken[:] = True
    obs, _, terminated, _, _ = env.step(ZERO)
    assert terminated.all() and torch.isfinite(obs).all()
    assert env.diverged_total == 4


def test_a_real_world_that_blows_up() -> None:
    """NaN in one MuJoCo world: it starts again, the others go on bit for bit."""
    runs = []
    for broken in (False, True):
        simulator = mujoco(4)
        env = make_env(4, simulator=simulator)
        env.reset()
        for t in range(4):
            actions = torch.zeros(4, 28)
            if broken and t == 2:
                actions[1] = float("nan")
            out = env.step(actions)
            assert torch.isfinite(out[0]).all() and torch.isfinite(out[4]["amp_obs"]).all()
            if broken and t == 2:
                assert out[4]["diverged"].tolist() == [False, True, False, False]
        runs.append(out)
    others = [0, 2, 3]
    assert torch.equal(runs[0][0][others], runs[1][0][others])


def test_default_reset_begins_at_a_clips_start() -> None:
    env = make_env(12, reset="default", simulator=PuppetSimulator(12))
    env.reset()
    assert (env.table.time[env.playhead] <= env.dt + 1e-6).all()
    assert len(env.table.clip[env.playhead].unique()) > 1
    env = make_env(12, reset="random", simulator=PuppetSimulator(12))
    env.reset()
    assert len(env.table.time[env.playhead].unique()) > 6


def test_clips_too_short_for_a_history_are_refused() -> None:
    with pytest.raises(MotionError, match=r"fast_straight: 1\.00 s is too short"):
        make_env(amp_frames=31)


def test_reset_states_are_complete() -> None:
    env = make_env()
    state = env.table.reset_state(torch.tensor([5, 90]))
    assert isinstance(state, ResetState) and len(state) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reference": "residuals"}, "task.env.reference 'residuals' is not known; did you mean 'residual'"),
        ({"task_reward": "steer"}, "did you mean 'steering'"),
        ({"reset": "rand"}, "did you mean 'random'"),
        ({"action": "radian"}, "did you mean 'radians'"),
        ({"dof_observation": "angle"}, "did you mean 'angles'"),
        ({"amp_frames": 0}, "amp_frames must be at least 1"),
        ({"episode_seconds": 0.01}, "longer than a control step"),
        ({"termination__head_hight": 1.0}, "did you mean 'head_height'"),
        ({"command__start": "clips"}, "task.env.command.start 'clips' is not known; did you mean 'clip'"),
        ({"command__speed": [2.0, 1.0]}, "must not exceed the second"),
        ({"command__speed": 3.0}, "give two numbers"),
        ({"command__heading_change": 4.0}, "0 to pi"),
    ],
)
def test_wrong_settings_name_the_nearest(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_env(**change)
