"""Demonstrations and agent are seen alike: the commonest bug of adversarial imitation, kept out.

A clip's state, and a simulator put into that state, must give the same observation; and a simulator that
moves exactly as the clip does must give exactly the discriminator observation of the clip.
"""

from __future__ import annotations

import pytest
import torch

from isaacmm.state import ResetState
from tests.helpers import PuppetSimulator, character, library, make_env, mujoco


@pytest.mark.parametrize("dofs", ["angles", "tan_norm"])
def test_simulator_in_a_clips_state_observes_as_the_clip(dofs: str) -> None:
    simulator = mujoco(16)
    env = make_env(16, simulator=simulator, dof_observation=dofs)
    obs, _ = env.reset()
    size = env.observe.size
    from_simulator = env.observe(simulator.state())
    # float32 of clips against float64 kinematics of MuJoCo: 1e-5 of lengths, more for velocities
    torch.testing.assert_close(from_simulator, env.history[:, 0], atol=2e-4, rtol=0)
    torch.testing.assert_close(obs[:, :size], env.history[:, 0], atol=0, rtol=0)
    clip, time = env.table.clip[env.playhead], env.table.time[env.playhead]
    torch.testing.assert_close(env.observe(library().state(clip, time)), env.history[:, 0], atol=1e-5, rtol=0)


def test_moving_as_the_clip_does_gives_the_clips_observations() -> None:
    """A puppet is led along the clips; what the discriminator gets is what demonstrations are made of."""
    simulator = PuppetSimulator(6)
    env = make_env(
        6, simulator=simulator, amp_frames=3, termination__pelvis_height=0.0, termination__head_height=0.0
    )
    env.reset()
    rows = env.playhead.clone()
    for _ in range(5):
        rows = torch.minimum(
            rows + env.table.stride,
            env.table.first[env.table.clip[rows]] + env.table.count[env.table.clip[rows]] - 1,
        )
        state: ResetState = env.table.reset_state(rows)
        simulator.put(**{name: getattr(state, name) for name in ResetState.__dataclass_fields__})
        info = env.step(torch.zeros(6, 28))[-1]
    whole = (rows - 2 * env.table.stride) > env.table.first[env.table.clip[rows]] + 2 * env.table.stride
    ended = rows == env.table.first[env.table.clip[rows]] + env.table.count[env.table.clip[rows]] - 1
    assert (whole & ~ended).any()
    expected = env.table.histories(rows).flatten(1)
    torch.testing.assert_close(info["amp_obs"][~ended], expected[~ended], atol=1e-5, rtol=0)


def test_demonstrations_are_windows_of_the_clips_newest_first() -> None:
    env = make_env(2, amp_frames=3)
    size, dt = env.observe.size, env.dt
    rows = env.table.sample(200, torch.Generator().manual_seed(0))
    windows = env.table.histories(rows)
    clip, time = env.table.clip[rows], env.table.time[rows]
    assert (time >= 2 * dt - 1e-6).all()  # nobody's history begins before the clip
    for back in range(3):
        expected = env.observe(library().state(clip, time - back * dt))
        torch.testing.assert_close(windows[:, back], expected, atol=2e-4, rtol=0)
    demo = env.demo_obs(50, torch.Generator().manual_seed(0))
    assert demo.shape == (50, 3 * size) == (50, env.amp_observation_size)
    again = env.demo_obs(50, torch.Generator().manual_seed(0))
    assert torch.equal(demo, again)


def test_demonstrations_come_by_weight_and_from_the_whole_clip() -> None:
    table = make_env(2).table
    rows = table.sample(6000, torch.Generator().manual_seed(1))
    clip, time = table.clip[rows], table.time[rows]
    assert clip.bincount(minlength=3).float().div(6000).tolist() == pytest.approx([1 / 3] * 3, abs=0.03)
    for c in range(3):
        mine = time[clip == c]
        length = float(library().lengths[c])
        low = 1 / 30
        assert float(mine.min()) < low + 0.05 and float(mine.max()) > length - 0.05
        assert float(mine.mean()) == pytest.approx((length + low) / 2, abs=0.05)


def test_reset_history_is_the_clips() -> None:
    env = make_env(8, amp_frames=4, simulator=mujoco(8))
    env.reset()
    clip, time = env.table.clip[env.playhead], env.table.time[env.playhead]
    for back in range(4):
        expected = env.observe(library().state(clip, time - back * env.dt))
        torch.testing.assert_close(env.history[:, back], expected, atol=2e-4, rtol=0)


def test_resets_put_characters_at_the_origin_with_the_clips_velocity() -> None:
    simulator = mujoco(8)
    env = make_env(8, simulator=simulator)
    env.reset()
    state = simulator.state()
    expected = library().state(env.table.clip[env.playhead], env.table.time[env.playhead])
    assert torch.equal(state.root_pos[:, :2], torch.zeros(8, 2))
    for name in ("root_rot", "root_vel", "root_ang_vel", "dof_pos", "dof_vel"):
        torch.testing.assert_close(getattr(state, name), getattr(expected, name), atol=1e-4, rtol=0)
    assert character().skeleton.num_dofs == state.dof_pos.shape[1]
