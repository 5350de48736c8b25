"""What a character feels of itself does not depend on where it stands and which way it faces."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from isaacmm import rotation
from isaacmm.envs.observations import Proprioception
from isaacmm.errors import ConfigError
from isaacmm.state import MotionState
from tests.helpers import character, library

KINDS = ("angles", "tan_norm")


def some_states(n: int = 40) -> MotionState:
    return library().state(*library().sample(n, torch.Generator().manual_seed(5)))


def moved(state: MotionState, yaw: float, x: float, y: float) -> MotionState:
    """The same characters elsewhere on the ground, facing elsewhere."""
    turn, shift = rotation.from_yaw(torch.tensor(yaw)), torch.tensor([x, y, 0.0])
    changed = state.clone()
    for name in ("root_pos", "root_vel", "root_ang_vel", "body_pos", "body_vel", "body_ang_vel"):
        value = getattr(state, name)
        value = rotation.rotate(turn.expand(*value.shape[:-1], 4), value)
        setattr(changed, name, value + shift if name.endswith("pos") else value)
    for name in ("root_rot", "body_rot"):
        value = getattr(state, name)
        setattr(changed, name, rotation.multiply(turn.expand_as(value), value))
    return changed


@pytest.mark.parametrize("kind", KINDS)
@given(st.floats(-math.pi, math.pi), st.floats(-50, 50), st.floats(-50, 50))
@settings(deadline=None, max_examples=25)
def test_heading_and_place_do_not_matter(kind: str, yaw: float, x: float, y: float) -> None:
    observe, state = Proprioception(character(), kind), some_states()
    # the key bodies are differences of positions that may lie 70 m out: float32 leaves 1e-5 of them
    torch.testing.assert_close(observe(moved(state, yaw, x, y)), observe(state), atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_everything_else_does_matter(kind: str) -> None:
    """A change of any one component of the state shows."""
    observe, state = Proprioception(character(), kind), some_states(8)
    before = observe(state)
    for name, index in (
        ("root_pos", 2),
        *(("root_vel", i) for i in range(3)),
        *(("root_ang_vel", i) for i in range(3)),
    ):
        changed = state.clone()
        getattr(changed, name)[:, index] += 0.1
        assert ((observe(changed) - before).abs().amax(dim=1) > 0.01).all(), (name, index)
    for i in range(character().skeleton.num_dofs):
        for name in ("dof_pos", "dof_vel"):
            changed = state.clone()
            getattr(changed, name)[:, i] += 0.1
            assert ((observe(changed) - before).abs().amax(dim=1) > 0.005).all(), (name, i)
    for axis in ([0.1, 0.0, 0.0], [0.0, 0.1, 0.0]):  # leaning, without the third: that is heading
        changed = state.clone()
        changed.root_rot = rotation.multiply(
            state.root_rot, rotation.from_rotvec(torch.tensor(axis)).expand(8, 4)
        )
        assert ((observe(changed) - before).abs().amax(dim=1) > 0.01).all()


@pytest.mark.parametrize(("kind", "size"), [("angles", 81), ("tan_norm", 105)])
def test_sizes_of_the_humanoid(kind: str, size: int) -> None:
    observe = Proprioception(character(), kind)
    assert observe.size == size
    assert observe(some_states(3)).shape == (3, size)


@pytest.mark.parametrize("kind", KINDS)
def test_slices_cover_everything_once(kind: str) -> None:
    slices = Proprioception(character(), kind).slices()
    assert slices[0].start == 0
    assert all(a.stop == b.start for a, b in itertools.pairwise(slices))
    assert slices[-1].stop == Proprioception(character(), kind).size
    assert len({s.name for s in slices}) == len(slices)


def test_slices_say_what_is_there() -> None:
    """Every named part against the state, for a character that faces +y and runs along it."""
    observe, state = Proprioception(character(), "angles"), some_states(1)
    facing_y = rotation.from_yaw(torch.tensor([math.pi / 2]))
    state.root_rot = facing_y.clone()
    state.root_vel = torch.tensor([[0.0, 3.0, 0.5]])  # 3 m/s ahead, 0.5 up
    state.root_ang_vel = torch.tensor([[0.7, 0.0, 0.2]])  # about world x, which is its right: -y
    state.body_pos[:, character().key_ids] = state.root_pos[:, None] + torch.tensor(
        [-1.0, 0.0, 0.3]
    )  # to its left
    flat = observe(state)[0]
    part = {s.name: flat[s.start : s.stop] for s in observe.slices()}
    close = torch.testing.assert_close
    close(part["root_height"], state.root_pos[0, 2:3])
    close(part["root_rotation"], torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]), atol=1e-6, rtol=0)
    close(part["root_velocity"], torch.tensor([3.0, 0.0, 0.5]), atol=1e-6, rtol=0)
    close(part["root_angular_velocity"], torch.tensor([0.0, -0.7, 0.2]), atol=1e-6, rtol=0)
    close(part["joint_positions"], state.dof_pos[0])
    close(part["joint_velocities"], state.dof_vel[0])
    close(part["key_body_positions"].view(-1, 3), torch.tensor([[0.0, 1.0, 0.3]] * 4), atol=1e-6, rtol=0)


def test_two_columns_of_ball_joints() -> None:
    """tan_norm at the zero pose is eight identities and four zero hinges; one angle moves its joint only."""
    observe, state = Proprioception(character(), "tan_norm"), some_states(1)
    where = {s.name: s for s in observe.slices()}["joint_positions"]
    state.dof_pos = torch.zeros(1, 28)
    expected = torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0] * 8 + [0.0] * 4)
    torch.testing.assert_close(observe(state)[0, where.start : where.stop], expected)
    names = character().skeleton.dof_names
    state.dof_pos[0, names.index("abdomen_z")] = 0.3  # the first ball joint, about z
    first = observe(state)[0, where.start : where.start + 6]
    # columns of Rz(a): (cos, sin, 0) and (-sin, cos, 0)
    expected = torch.tensor([math.cos(0.3), math.sin(0.3), 0.0, -math.sin(0.3), math.cos(0.3), 0.0])
    torch.testing.assert_close(first, expected)
    state.dof_pos[0, names.index("left_knee")] = 0.5
    hinges = observe(state)[0, where.stop - 4 : where.stop]
    order = [n for n in names if n.endswith(("elbow", "knee"))]
    assert hinges.tolist() == [0.5 if n == "left_knee" else 0.0 for n in order]


def test_unknown_kind_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'tan_norm'"):
        Proprioception(character(), "tannorm")  # type: ignore[arg-type]
