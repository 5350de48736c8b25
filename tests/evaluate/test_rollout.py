"""Recording: what is kept, and that survival counts first falls only."""

from __future__ import annotations

import pytest
import torch

from isaacmm.envs.humanoid_amp import HumanoidAMP
from isaacmm.errors import ConfigError
from isaacmm.evaluate.rollout import Rollout, record
from tests.evaluate.made import as_rollout, statue, still_policy
from tests.helpers import PuppetSimulator, make_env, mujoco


class Scripted(PuppetSimulator):
    """Worlds fall at the steps (counted from 1) in ``falls``; otherwise they glide along upright."""

    def __init__(self, num_envs: int, falls: dict[int, list[int]]) -> None:
        super().__init__(num_envs)
        self.falls, self.count = falls, 0

    def step(self, dof_targets: torch.Tensor) -> None:
        self.count += 1
        now = self._now
        height = torch.full((self.num_envs,), 0.88)
        for world, steps in self.falls.items():
            if self.count in steps:
                height[world] = 0.2
        root_pos = now.root_pos + now.root_vel * self.control_dt
        root_pos[:, 2] = height
        self.put(root_pos=root_pos, root_rot=torch.tensor([0.0, 0.0, 0.0, 1.0]).repeat(self.num_envs, 1))
        super().step(dof_targets)


def scripted(falls: dict[int, list[int]], num_envs: int = 3, **changes: object) -> HumanoidAMP:
    return make_env(num_envs, simulator=Scripted(num_envs, falls), **changes)


def played(env: HumanoidAMP, seconds: float = 1.0, **options: object) -> Rollout:
    return record(env, still_policy(env.observation_size), seconds, **options)  # type: ignore[arg-type]


def test_survival_is_the_time_to_the_first_fall_whatever_comes_after() -> None:
    rollout = played(scripted({0: [6, 9, 12], 1: [27]}), 1.0)
    assert rollout.survival.tolist() == pytest.approx([6 / 30, 27 / 30, 1.0])
    assert rollout.num_frames == 30 and rollout.seconds == pytest.approx(1.0)


def test_a_time_out_is_no_fall() -> None:
    rollout = played(scripted({}, episode_seconds=0.5), 1.0)
    assert rollout.survival.tolist() == [1.0, 1.0, 1.0]
    assert rollout.done.sum() == 2 * 3


def test_frames_of_an_episode_are_continuous_and_the_reset_starts_another() -> None:
    rollout = played(scripted({0: [6], 1: [27]}), 1.0)
    assert rollout.done.nonzero().tolist() == [[5, 0], [26, 1]]
    assert rollout.episode[5:8, 0].tolist() == [0, 1, 1]
    assert rollout.segment(0) == (6, 30) and rollout.segment(1) == (0, 27) and rollout.segment(2) == (0, 30)
    # the fallen state itself is not in it
    assert float(rollout.root_pos[..., 2].min()) > 0.5
    for world in range(3):
        motion = rollout.motion(world)
        steps = (motion.root_pos[1:] - motion.root_pos[:-1])[:, :2].norm(dim=-1)
        assert float(steps.max()) < 0.1
        motion.validate()


def test_a_recorded_world_as_a_motion_is_where_it_was() -> None:
    env = make_env(2, simulator=mujoco(2))
    rollout = played(env, 0.3)
    start, stop = rollout.segment(1)
    motion = rollout.motion(1)
    pos, _ = motion.fk()
    assert torch.equal(pos[:, 0], rollout.root_pos[start:stop, 1])
    assert motion.fps == pytest.approx(30.0)
    assert torch.allclose(motion.dof_pos(), rollout.dof_pos[start:stop, 1], atol=1e-4)


def test_frames_are_those_the_simulator_was_in() -> None:
    env = make_env(2, simulator=mujoco(2))
    rollout = played(env, 0.2, seed=5)
    env.reset(seed=5)
    first = env.simulator.state()
    assert torch.equal(rollout.root_pos[0], first.root_pos) and torch.equal(rollout.dof_pos[0], first.dof_pos)


def test_the_same_seed_gives_the_same_recording() -> None:
    one, two = (played(make_env(3, simulator=mujoco(3)), 0.4, seed=7, deterministic=False) for _ in range(2))
    other = played(make_env(3, simulator=mujoco(3)), 0.4, seed=8, deterministic=False)
    assert torch.equal(one.dof_pos, two.dof_pos) and torch.equal(one.survival, two.survival)
    assert not torch.equal(one.dof_pos, other.dof_pos)


def test_keeping_some_worlds_still_measures_survival_in_all() -> None:
    rollout = played(scripted({2: [3]}), 1.0, keep=1)
    assert rollout.num_worlds == 1 and rollout.root_pos.shape == (30, 1, 3)
    assert rollout.survival.tolist() == pytest.approx([1.0, 1.0, 0.1])


def test_commands_and_rewards_are_kept() -> None:
    env = scripted({})
    rollout = played(env, 0.5)
    assert rollout.command["direction"].norm(dim=-1).numpy() == pytest.approx(1.0)
    low, high = env.command.range
    assert float(rollout.command["speed"].min()) >= low - 1e-5
    assert float(rollout.command["speed"].max()) <= high + 1e-5
    assert {"task", "speed_error", "heading_error"} <= set(rollout.reward)
    assert rollout.reward["task"].shape == (15, 3)


def test_a_judge_sees_every_transition() -> None:
    env = scripted({0: [4]})
    seen: list[torch.Size] = []

    def judge(rows: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        assert condition.shape == (3, 0)
        seen.append(rows.shape)
        return rows[:, 0]

    rollout = played(env, 0.5, style=judge)
    assert seen == [torch.Size((3, env.amp_observation_size))] * 15
    assert rollout.reward["style_logit"].shape == (15, 3)


def test_contacts_by_force_where_they_are_measured() -> None:
    env = make_env(2, simulator=mujoco(2, contact_force=True), reset="default")
    rollout = played(env, 0.5)
    assert rollout.contact.any() and not rollout.contact.all()
    # an episode's first frame has no measurement of its own
    assert torch.equal(rollout.contact[0], rollout.contact[1])


def test_contacts_by_height_where_they_are_not() -> None:
    rollout = played(scripted({}), 0.2)
    pos, rot = rollout.motion(0).fk()
    low = rollout.character.sole_points(pos, rot)[..., 2].amin(-1) < 0.02
    assert torch.equal(rollout.contact[:, 0], low)


def test_stopping_early_keeps_what_there_is() -> None:
    asked = iter([False] * 5 + [True])
    rollout = played(scripted({}), 1.0, stopped=lambda: next(asked))
    assert rollout.num_frames == 5
    assert rollout.survival.tolist() == pytest.approx([5 / 30] * 3)


def test_a_policy_of_another_size_is_refused() -> None:
    env = scripted({})
    with pytest.raises(ConfigError, match="takes 7 numbers"):
        record(env, still_policy(7), 1.0)
    with pytest.raises(ConfigError, match="control step"):
        record(env, still_policy(env.observation_size), 0.001)


def test_worlds_to_show_are_spread_from_best_to_worst() -> None:
    rollout = as_rollout([statue()] * 9, (1.0, 0.0), 1.0)
    rollout.survival = torch.tensor([1.0, 9.0, 3.0, 7.0, 5.0, 2.0, 8.0, 4.0, 6.0])
    assert rollout.survival[rollout.worlds_to_show(1)].tolist() == [5.0]
    shown = rollout.survival[rollout.worlds_to_show(3)].tolist()
    assert shown == sorted(shown, reverse=True) and len(set(shown)) == 3
    assert len(rollout.worlds_to_show(50)) == 9
