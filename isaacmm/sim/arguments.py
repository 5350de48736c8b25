"""What a simulator is handed, looked at before anything happens: the same rules and words for every engine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

import torch
from torch import Tensor

from isaacmm.errors import SimulatorError
from isaacmm.state import ResetState

#: No character moves this fast (m/s, rad/s): the world is lost although its numbers are still finite.
LOST_SPEED = 1e3


def world_ids(env_ids: Tensor, device: torch.device | str) -> Tensor:
    """``env_ids``, or the places where a mask is set, as int64 ``[n]`` on ``device``."""
    ids = torch.as_tensor(env_ids).detach().to(device)
    return ids.nonzero().flatten() if ids.dtype == torch.bool else ids.long()


def check_targets(targets: Tensor, num_envs: int, num_dofs: int) -> None:
    """Refuse PD targets that are not ``[N, D]``.

    Raises:
        SimulatorError: another shape.
    """
    wanted = (num_envs, num_dofs)
    if tuple(targets.shape) != wanted:
        raise SimulatorError(f"step() got targets of shape {list(targets.shape)}; it needs {list(wanted)} [N, D]")


def check_reset(ids: Tensor, state: ResetState, num_envs: int, num_dofs: int) -> None:
    """Refuse what cannot be meant. Looks at the numbers, so it waits for a GPU.

    Args:
        ids: ``[n]``, from :func:`world_ids`; not empty.
        state: ``n`` states.
        num_envs, num_dofs: ``N, D`` of the simulator.

    Raises:
        SimulatorError: repeated or unknown worlds, wrong shapes, numbers that are not finite, a root rotation that is
            no unit quaternion.
    """
    if len(ids.unique()) != len(ids) or bool((ids < 0).any() | (ids >= num_envs).any()):
        raise SimulatorError(f"reset() needs different worlds within 0..{num_envs - 1}, got {ids.tolist()}")
    widths = {"root_rot": 4, "dof_pos": num_dofs, "dof_vel": num_dofs}
    for field in fields(state):
        value = getattr(state, field.name)
        wanted = (len(ids), widths.get(field.name, 3))
        if tuple(value.shape) != wanted:
            raise SimulatorError(f"reset(): {field.name} has shape {list(value.shape)}, not {list(wanted)}")
        good = value.isfinite().all(dim=-1)
        if field.name == "root_rot":
            good = good & ((value.norm(dim=-1) - 1.0).abs() < 1e-2)
        if not bool(good.all()):
            row = int((~good).nonzero()[0])
            raise SimulatorError(
                f"reset(): {field.name} of world {int(ids[row])} is not "
                f"{'a unit quaternion' if field.name == 'root_rot' else 'finite'}: {value[row].tolist()}"
            )


def gains(
    kp: Tensor | None, kd: Tensor | None, num_envs: int, num_dofs: int, device: torch.device | str, dtype: torch.dtype
) -> Iterator[tuple[str, Tensor]]:
    """Those of ``kp`` and ``kd`` (``[D]`` or ``[N, D]``) that are given: name, and a copy ``[N, D]`` on ``device``.

    Raises:
        SimulatorError: another shape, negative, or not finite; what came before has been handed out by then.
    """
    shape = (num_envs, num_dofs)
    for name, value in (("kp", kp), ("kd", kd)):
        if value is None:
            continue
        value = value.detach().to(device, dtype)
        if value.shape not in (shape[1:], shape) or not bool((value.isfinite() & (value >= 0)).all()):
            raise SimulatorError(
                f"set_gains(): {name} has shape {list(value.shape)}; give [D] or [N, D] = {list(shape)}, "
                "finite and not negative"
            )
        yield name, value.expand(shape).clone(memory_format=torch.contiguous_format)
