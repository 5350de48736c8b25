"""MotionState and ResetState."""

from __future__ import annotations

import torch

from isaacmm import rotation
from isaacmm.state import MotionState


def state(n: int = 4, bodies: int = 3, dofs: int = 5, contact: bool = False) -> MotionState:
    draw = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draw)

    return MotionState(
        random(n, 3),
        rotation.normalize(random(n, 4)),
        random(n, 3),
        random(n, 3),
        random(n, dofs),
        random(n, dofs),
        random(n, bodies, 3),
        rotation.normalize(random(n, bodies, 4)),
        random(n, bodies, 3),
        random(n, bodies, 3),
        random(n, bodies, 3) if contact else None,
    )


def test_clone_is_independent() -> None:
    a = state()
    b = a.clone()
    a.dof_pos += 1
    assert not torch.equal(a.dof_pos, b.dof_pos)
    assert b.contact_force is None


def test_index_by_numbers_and_by_mask() -> None:
    a = state(contact=True)
    ids = torch.tensor([2, 0])
    assert a.index(ids).num_envs == 2
    for name, value in a.index(ids).items():
        torch.testing.assert_close(value, getattr(a, name)[ids])
    mask = torch.tensor([True, False, True, False])
    torch.testing.assert_close(a.index(mask).body_pos, a.body_pos[[0, 2]])


def test_reset_state_is_the_generalised_part() -> None:
    a = state()
    reset = a.reset_state()
    assert len(reset) == 4
    torch.testing.assert_close(reset.dof_vel, a.dof_vel)
    torch.testing.assert_close(reset.index(torch.tensor([3])).root_pos, a.root_pos[3:])


def test_is_finite_finds_the_broken_world() -> None:
    a = state()
    a.dof_vel[2, 1] = float("nan")
    a.root_pos[1, 0] = float("inf")
    assert a.is_finite().tolist() == [True, False, False, True]
    assert a.to("cpu").device.type == "cpu"
