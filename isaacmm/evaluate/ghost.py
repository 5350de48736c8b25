"""What a recording of HumanoidMM shows besides the character: the twin's pose, and where the command leads."""

from __future__ import annotations

import torch
from torch import Tensor

from isaacmm import rotation
from isaacmm.envs.humanoid_mm import HumanoidMM
from isaacmm.envs.twin_pose import HALFLIFE, TwinPose
from isaacmm.matching.database import Database


def futures(database: Database, condition: Tensor) -> dict[str, Tensor]:
    """Positions m and facings ``[..., K, 2]`` in the heading frame that conditions ``[..., 4K]`` stand for."""
    start, count = database.spec.pose_size, len(database.spec.horizons)
    raw = condition * database.scale[start:].cpu() + database.offset[start:].cpu()
    parts = raw.unflatten(-1, (2, count, 2)).unbind(-3)
    return {"future_position": parts[0], "future_facing": parts[1]}


def poses(env: HumanoidMM, row: Tensor, fresh: Tensor) -> dict[str, Tensor]:
    """Poses of the twins in every frame; where a twin jumped to another moment, the jump is faded.

    Args:
        env: whose twins.
        row: ``[T, N]`` rows that answer the transition from each frame to the next.
        fresh: ``[T, N]`` bool, first frames of episodes.

    Returns:
        ``row [T, N]`` as given, ``height [T, N]`` m of the root, ``tilt [T, N, 4]`` of the root without the heading
        of its ground track, ``dof_pos [T, N, D]`` rad.
    """
    table, dt = env.table, env.dt
    device = table.yaw.device
    now = row.to(device)  # the row of a transition is the moment at its end
    now = torch.where(fresh.to(device), now, torch.cat((now[:1], now[:-1])))
    state = table.reset_state(now.flatten())
    height = state.root_pos[:, 2].unflatten(0, now.shape)
    heading = rotation.from_yaw(env.database.track.yaw[now.flatten()])
    tilt = rotation.multiply(rotation.inverse(heading), state.root_rot).unflatten(0, now.shape)
    pose = TwinPose(table, now.shape[1])
    fade = 0.5 ** (dt / HALFLIFE)
    lift, lean = (torch.zeros(now.shape[1], k, device=device) for k in (1, 3))
    out: dict[str, list[Tensor]] = {"height": [], "tilt": [], "dof_pos": []}
    for t in range(len(now)):
        if t:
            before = now[t - 1]
            jumped = (now[t] != before + table.stride) & ~fresh[t].to(device)
            pose.step(before, now[t], jumped, dt)
            step = torch.where(jumped[:, None], (height[t - 1] - height[t])[:, None], 0.0)
            lift = fade * (lift + step)
            turn = rotation.to_rotvec(rotation.multiply(tilt[t - 1], rotation.inverse(tilt[t])))
            lean = fade * (lean + jumped[:, None] * turn)
            ids = fresh[t].to(device).nonzero().flatten()
            pose.reset(ids)
            lift[ids], lean[ids] = 0.0, 0.0
        out["height"].append(height[t] + lift[:, 0])
        out["tilt"].append(rotation.multiply(rotation.from_rotvec(lean), tilt[t]))
        out["dof_pos"].append(pose.dofs(now[t]))
    return {"row": row.cpu()} | {name: torch.stack(values).cpu() for name, values in out.items()}
