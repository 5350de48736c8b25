"""What an exported policy of HumanoidMM needs from the clips it was matched with, as plain data.

With ``reference: none`` that is how commands are normalised and how quickly they are approached; nothing of the clips
themselves. With ``observe`` and ``residual`` somebody has to play the twin, so its database goes along.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from isaacmm.envs.humanoid_amp import HumanoidAMP
from isaacmm.envs.humanoid_mm import PHASES, HumanoidMM
from isaacmm.envs.twin_pose import HALFLIFE
from isaacmm.matching.trajectory import CommandSpring

#: Ways to begin: name -> (forward m/s, left m/s).
STARTS = {"stand": (0.0, 0.0), "walk": (1.2, 0.0)}


def describe(env: HumanoidAMP) -> dict[str, Any] | None:
    """The entry ``matching`` of a checkpoint; None where the task has no such commands."""
    if not isinstance(env, HumanoidMM):
        return None
    spec, database = env.database.spec, env.database
    return {
        "horizons": [float(h) for h in spec.horizons],
        "halflife": float(env.command.spring.halflife),
        "dt": float(env.dt),
        "offset": database.offset[spec.pose_size :].cpu(),
        "scale": database.scale[spec.pose_size :].cpu(),
        "starts": {name: _start(env, velocity) for name, velocity in STARTS.items()},
    }


def of_checkpoint(content: Mapping[str, Any]) -> dict[str, Any] | None:
    """:func:`describe` of the environment a checkpoint was trained in.

    A checkpoint that lacks it was written before there was such an entry; the clips are read to make up for it.
    """
    if str(content["config"]["task"]["name"]) != "HumanoidMM":
        return None
    known = content.get("matching")
    if isinstance(known, Mapping):
        return dict(known)
    env = environment(content)
    try:
        return describe(env)
    finally:
        env.close()


def environment(content: Mapping[str, Any]) -> HumanoidAMP:
    """One world as the checkpoint's policy was trained in, with its clips."""
    from omegaconf import OmegaConf

    from isaacmm.learn.build import make_env

    cfg = OmegaConf.create(dict(content["config"]))
    cfg.sim, cfg.sim_device, cfg.threads = "mujoco", "cpu", 1
    return make_env(cfg, num_envs=1)


def spring(settings: Mapping[str, Any], num_envs: int) -> CommandSpring:
    """A command spring as in training."""
    return CommandSpring(num_envs, settings["horizons"], float(settings["halflife"]))


def advance(
    settings: Mapping[str, Any], state: Tensor, velocity: Tensor, facing: Tensor, turn_rate: Tensor, root_yaw: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """One control step of commands: what ``command.onnx`` computes, with the trainer's own code.

    Args:
        settings: :func:`describe`.
        state: ``[n, 6]``: velocity (2), acceleration (2), facing and its rate of the spring.
        velocity: ``[n, 2]`` m/s asked for, forward and left of the facing.
        facing, turn_rate, root_yaw: ``[n, 1]`` rad, rad/s, rad.

    Returns:
        ``condition [n, 4K]``, ``next_state [n, 6]``, ``future [n, 4K]`` (positions m, then facings).
    """
    made = spring(settings, len(state))
    made.velocity, made.acceleration = state[:, :2].clone(), state[:, 2:4].clone()
    made.yaw, made.yaw_rate = state[:, 4].clone(), state[:, 5].clone()
    goal, turn = facing[:, 0], turn_rate[:, 0]
    made.step(velocity, goal - turn * float(settings["dt"]), turn, float(settings["dt"]))
    position, facings = made.predict(velocity, goal, turn, root_yaw[:, 0])
    future = torch.cat((position.flatten(1), facings.flatten(1)), dim=1)
    following = torch.cat((made.velocity, made.acceleration, made.yaw[:, None], made.yaw_rate[:, None]), dim=1)
    return (future - settings["offset"]) / settings["scale"], following, future


def database(env: HumanoidMM) -> dict[str, np.ndarray]:
    """The twin's clips as arrays for ``matching.npz``; ``F`` rows, ``S`` of them per control step."""
    d, grid = env.database, env.database.grid
    rows = torch.arange(len(d), device=d.features.device)
    dof_pos, dof_vel = env.table.dofs(rows)
    arrays = {
        "features": d.features, "valid": d.valid, "clip": grid.clip, "first": grid.first, "count": grid.count,
        "offset": d.offset, "scale": d.scale, "dof_pos": dof_pos, "dof_vel": dof_vel,
    }  # fmt: skip
    settings = {
        "format": "isaacmm-matching", "version": 1, "rate": d.rate, "stride": PHASES, "pose_size": d.spec.pose_size,
        "every": env.twins.every, "stay_bias": env.twins.stay_bias, "jump": env.twins.jump, "near": env.twins.near,
        "halflife": HALFLIFE,
    }  # fmt: skip
    return {k: v.cpu().numpy() for k, v in arrays.items()} | {k: np.array(v) for k, v in settings.items()}


def _start(env: HumanoidMM, velocity: tuple[float, float]) -> dict[str, Any]:
    """The clip moment that goes on most like moving evenly with ``velocity``, facing +x at the origin."""
    from isaacmm import rotation

    asked = torch.tensor([velocity], device=env.device)
    condition = env.database.condition(*env.command.steady(asked, torch.zeros(1, device=env.device)))
    gap = ((env.database.trajectory - condition) ** 2).sum(-1).masked_fill(~env.database.valid, float("inf"))
    row = gap.argmin()[None]
    state = env.table.reset_state(row)
    turn = rotation.inverse(rotation.from_yaw(env.database.track.yaw[row]))
    return {
        "row": int(row),
        "root_position": state.root_pos[0].cpu(),
        "root_rotation_xyzw": rotation.multiply(turn, state.root_rot)[0].cpu(),
        "root_velocity": rotation.rotate(turn, state.root_vel)[0].cpu(),
        "root_angular_velocity": rotation.rotate(turn, state.root_ang_vel)[0].cpu(),
        "dof_positions": state.dof_pos[0].cpu(),
        "dof_velocities": state.dof_vel[0].cpu(),
        "spring_state": torch.tensor([*velocity, 0.0, 0.0, 0.0, 0.0]),
    }
