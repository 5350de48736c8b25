"""How much the policy is told about the clip: nothing, the next pose, or the pose to add to."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from tests.helpers import PuppetSimulator, character, library, make_env

D = 28


def next_pose(env: object, steps: int = 1) -> torch.Tensor:
    """Hinge angles ``steps`` control steps after the playhead, from the library itself."""
    clip, time = env.table.clip[env.playhead], env.table.time[env.playhead]
    return library().state(clip, time + steps * env.dt).dof_pos


def early(env: object, worlds: int) -> None:
    """Playheads far from the clips' ends."""
    env.playhead = env.table.first[torch.arange(worlds) % 3] + 4 * env.table.stride


def test_none_knows_nothing_of_the_clip() -> None:
    env = make_env(reference="none")
    assert env.observation_size == 81 + 3
    obs, _ = env.reset()
    assert obs.shape == (4, 84)
    simulator = env.simulator
    actions = torch.randn(4, D)
    env.step(actions)
    assert torch.equal(simulator.targets, actions)


def test_observe_sees_the_next_pose_and_moves_freely() -> None:
    env = make_env(reference="observe", termination__head_height=0.0)
    env.reset()
    early(env, 4)
    assert env.observation_size == 84 + D
    expected = next_pose(env)
    torch.testing.assert_close(env.current_observation()[:, 84:], expected, atol=1e-5, rtol=0)
    actions = 0.1 * torch.randn(4, D)
    obs, _, terminated, _, info = env.step(actions)
    assert not terminated.any()
    assert torch.equal(env.simulator.targets, actions)
    torch.testing.assert_close(env.simulator.state().dof_pos, actions)
    # the playhead has moved on by one control step
    torch.testing.assert_close(
        library().state(env.table.clip[env.playhead], env.table.time[env.playhead]).dof_pos,
        expected,
        atol=1e-5,
        rtol=0,
    )
    torch.testing.assert_close(obs[:, 84:], next_pose(env), atol=1e-5, rtol=0)
    assert torch.equal(info["final_obs"], obs)


def test_residual_with_nothing_added_plays_the_clip() -> None:
    env = make_env(reference="residual", termination__head_height=0.0)
    env.reset()
    early(env, 4)
    for _ in range(5):
        expected = next_pose(env)
        env.step(torch.zeros(4, D))
        torch.testing.assert_close(env.simulator.targets, expected, atol=1e-5, rtol=0)


def test_residual_adds() -> None:
    env = make_env(reference="residual", termination__head_height=0.0)
    env.reset()
    early(env, 4)
    expected, actions = next_pose(env), torch.randn(4, D)
    env.step(actions)
    torch.testing.assert_close(env.simulator.targets, expected + actions, atol=1e-5, rtol=0)


def test_playheads_loop_inside_their_clip() -> None:
    env = make_env(12, reference="observe", simulator=PuppetSimulator(12), termination__head_height=0.0,
                   termination__pelvis_height=0.0, episode_seconds=60)  # fmt: skip
    env.reset()
    clip = env.table.clip[env.playhead].clone()
    times = []
    for _ in range(100):
        env.step(torch.zeros(12, D))
        assert torch.equal(env.table.clip[env.playhead], clip)
        times.append(env.table.time[env.playhead])
    steps = torch.stack(times).diff(dim=0)
    length = library().lengths[clip]
    forward = steps > 0
    torch.testing.assert_close(steps[forward], torch.full_like(steps[forward], env.dt), atol=1e-5, rtol=0)
    # going round: on from the end into the beginning, at most a grid point off the pace
    gone = (steps + length)[~forward]
    assert len(gone) >= 12
    torch.testing.assert_close(gone, torch.full_like(gone, env.dt), atol=env.dt / 3, rtol=0)


@pytest.mark.parametrize("mode", ["observe", "residual"])
def test_commanded_speed_is_the_playing_clips(mode: str) -> None:
    env = make_env(6, reference=mode, simulator=PuppetSimulator(6), command__resample_seconds=[0.03, 0.03])
    env.reset()
    speeds = library().mean_speed()
    for _ in range(3):
        torch.testing.assert_close(env.command.speed, speeds[env.table.clip[env.playhead]])
        env.step(torch.zeros(6, D))


def test_tracking_multiplies_the_task() -> None:
    env = make_env(reference="residual", track_reference=True, termination__head_height=0.0)
    env.reset()
    early(env, 4)
    _, reward, _, _, info = env.step(torch.zeros(4, D))
    torch.testing.assert_close(info["reward_terms"]["tracking"], torch.ones(4), atol=1e-4, rtol=0)
    without = reward.clone()
    env = make_env(reference="residual", track_reference=True, termination__head_height=0.0)
    env.reset()
    early(env, 4)
    _, reward, _, _, info = env.step(torch.full((4, D), 0.1))
    # every hinge off by 0.1 rad
    torch.testing.assert_close(
        info["reward_terms"]["tracking"], torch.full((4,), math.exp(-0.2)), atol=1e-3, rtol=0
    )
    torch.testing.assert_close(reward, without * info["reward_terms"]["tracking"], atol=1e-4, rtol=1e-3)


def test_tracking_needs_a_reference() -> None:
    env = make_env(reference="none", track_reference=True)
    env.reset()
    assert "tracking" not in env.step(torch.zeros(4, D))[-1]["reward_terms"]


@pytest.mark.parametrize("mode", ["none", "observe", "residual"])
@pytest.mark.parametrize("dofs", ["angles", "tan_norm"])
def test_slices_name_every_number_once(mode: str, dofs: str) -> None:
    env = make_env(reference=mode, dof_observation=dofs)
    slices = env.observation_slices
    assert slices[0].start == 0 and slices[-1].stop == env.observation_size
    assert all(a.stop == b.start for a, b in itertools.pairwise(slices))
    obs, _ = env.reset()
    part = {s.name: obs[:, s.start : s.stop] for s in slices}
    torch.testing.assert_close(part["command_speed"][:, 0], env.command.speed)
    torch.testing.assert_close(part["root_height"][:, 0], env.simulator.state().root_pos[:, 2])
    if mode != "none":
        named = next(s for s in slices if s.name == "reference_joint_positions")
        assert named.items == character().skeleton.dof_names
