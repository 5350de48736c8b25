"""Each engine's own stepping loop, as bare as it goes: what benchmarks/simulators.py compares ours with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from isaacmm.state import ResetState

Step = Callable[[int], None]
Loop = tuple[Step, Callable[[ResetState], None]]


def bare_mujoco(sim: Any, targets: torch.Tensor) -> Loop:
    """``mujoco.batch.Batch`` with states in sync."""
    import mujoco
    from mujoco.batch import Batch

    vel = mujoco.mjtStage.mjSTAGE_VEL.value
    batch = Batch(sim.mj_model, sim.num_envs, sim.config.threads or 1, persistent=sim.batch.persistent)
    ctrl, noise = batch.bind("ctrl"), targets.cpu().numpy()
    for field in ("xpos", "xquat", "cvel", "subtree_com"):
        batch.bind(field)

    def step(k: int) -> None:
        ctrl[:] = noise[k]
        batch.step(nstep=sim.config.substeps, stage=vel)

    def reset(_: ResetState) -> None:
        batch.state[:] = sim.batch.state
        batch.forward(stage=vel)

    return step, reset


def bare_warp(sim: Any, targets: torch.Tensor) -> Loop:
    """One captured graph of the substeps."""
    import mujoco_warp as mjw
    import warp as wp

    device = wp.device_from_torch(sim.device)
    with wp.ScopedDevice(device):
        model = mjw.put_model(sim.mj_model)
        model.opt.warn_overflow = 0
        data = mjw.make_data(sim.mj_model, nworld=sim.num_envs, nconmax=sim.nconmax, njmax=sim.njmax)
        ours = {name: wp.to_torch(getattr(sim._data, name)) for name in ("qpos", "qvel", "qacc_warmstart")}
        mine = {name: wp.to_torch(getattr(data, name)) for name in ("qpos", "qvel", "qacc_warmstart", "ctrl")}
        synchronise(sim.device)
        with wp.ScopedCapture(device=device) as capture:
            for _ in range(sim.config.substeps):
                mjw.step(model, data)

    def step(k: int) -> None:
        mine["ctrl"].copy_(targets[k])
        if device.is_cuda:
            wp.capture_launch(capture.graph, stream=sim._stream())
        else:
            wp.capture_launch(capture.graph)

    def reset(_: ResetState) -> None:
        for name, value in ours.items():
            mine[name].copy_(value)

    return step, reset


def bare_isaaclab(sim: Any, targets: torch.Tensor) -> Loop:
    """As Isaac Lab's ``DirectRLEnv`` steps. There is one simulation per process, so both loops move the same worlds."""
    stage = sim.stage

    def step(k: int) -> None:
        stage.robot.actuators.target_command.set_position_index(value=targets[k])
        for _ in range(sim.config.substeps):
            stage.robot.write_data_to_sim()
            stage.sim.step(render=False)
            stage.scene.update(stage.dt)

    def reset(_: ResetState) -> None:
        """Ours has reset them."""

    return step, reset


def synchronise(device: torch.device) -> None:
    """Wait for a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


BARE: dict[str, Callable[[Any, torch.Tensor], Loop]] = {
    "mujoco": bare_mujoco,
    "warp": bare_warp,
    "isaaclab": bare_isaaclab,
}
