"""MuJoCo C on CPU threads: the default simulator.

All worlds step in one call of ``mujoco.batch.Batch``, which keeps one row of float64 state per
world and works through them on a thread pool; no Python runs per world. :meth:`MujocoSimulator.state`
turns its arrays into float32, xyzw and link velocities at most once per step, into buffers made at
the start (:mod:`isaacmm.sim.mujoco_read`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import mujoco
import numpy as np
import torch
from mujoco.batch import Batch
from torch import Tensor

from isaacmm import rotation
from isaacmm.character import CharacterModel
from isaacmm.errors import SimulatorError
from isaacmm.sim import arguments
from isaacmm.sim.model import build_model, contact_sensor, run_of
from isaacmm.sim.mujoco_read import LinkReader
from isaacmm.sim.simulator import SimConfig
from isaacmm.state import MotionState, ResetState

_VEL = mujoco.mjtStage.mjSTAGE_VEL.value
_NONE = mujoco.mjtStage.mjSTAGE_NONE.value
# MuJoCo notices these by itself, counts them, and puts the world back to its default state
_BAD = [int(getattr(mujoco.mjtWarning, f"mjWARN_BAD{what}")) for what in ("QPOS", "QVEL", "QACC", "CTRL")]
# With one MjData per world a step continues from the kinematics at the end of the last one: about 10 %
# faster at 64 worlds, for 260 kB a world. At 1,024 worlds caches spoil the gain and only the cost is left.
_PERSISTENT_ENVS = 512


class MujocoSimulator:
    """:class:`isaacmm.sim.Simulator` on ``mujoco.batch.Batch``.

    Args:
        model: the character.
        config: shared settings; ``config.device`` is where :meth:`state` puts its tensors (physics
            itself always runs on the CPU).
    """

    def __init__(self, model: CharacterModel, config: SimConfig) -> None:
        self.model = model
        self.config = config
        self.num_envs = config.num_envs
        self.device = torch.device(config.device)
        self.control_dt = config.control_dt
        self.capabilities = frozenset(
            {"push", "gains", "snapshot", "several"} | ({"contact_force"} if config.contact_force else set())
        )
        self.mj_model = build_model(model, config)
        _log_quietly()
        self.batch: Batch | None = Batch(
            self.mj_model,
            self.num_envs,
            config.threads or cores(),
            persistent=self.num_envs <= _PERSISTENT_ENVS,
        )
        self._map_names()
        self._bind()
        self._allocate()
        self.batch.reset(stage=_VEL)

    # ---------------------------------------------------------------- set-up
    def _map_names(self) -> None:
        """Where each body, dof and servo of the skeleton is in MuJoCo's arrays, by name."""
        m, skeleton = self.mj_model, self.model.skeleton
        joints = [m.joint(name).id for name in skeleton.dof_names]
        servo = {int(m.actuator_trnid[a, 0]): a for a in range(m.nu)}
        root_body = m.body(skeleton.names[0]).id
        root_joint = int(m.body_jntadr[root_body])
        self._root_q, self._root_v = int(m.jnt_qposadr[root_joint]), int(m.jnt_dofadr[root_joint])
        self._bodies = run_of([m.body(name).id for name in skeleton.names])
        self._dof_q = run_of([int(m.jnt_qposadr[j]) for j in joints])
        self._dof_v = run_of([int(m.jnt_dofadr[j]) for j in joints])
        servos = np.array([servo[j] for j in joints])
        in_order = bool((np.diff(servos) == 1).all())  # actuators may be listed in any order
        self._servos: slice | np.ndarray = run_of(servos.tolist()) if in_order else servos

    def _bind(self) -> None:
        """Alias the batch's arrays: states, which may be written, and outputs, which may not."""
        assert self.batch is not None
        self._warnings = self.batch.warning[..., 1]  # [N, kinds of warning] counts
        names = ("qpos", "qvel", "ctrl", "xfrc_applied", "xpos", "xquat", "cvel", "subtree_com")
        self._mj: dict[str, np.ndarray] = {name: self.batch.bind(name) for name in names}
        if self.config.contact_force:
            n, b = self.num_envs, self.model.skeleton.num_bodies
            first = int(self.mj_model.sensor(contact_sensor(self.model.skeleton.names[0])).adr[0])
            self._mj["contact"] = self.batch.bind("sensordata")[:, first : first + 3 * b].reshape(n, b, 3)

    def _allocate(self) -> None:
        n, b, d = self.num_envs, self.model.skeleton.num_bodies, self.model.skeleton.num_dofs
        pos, rot, vel, ang_vel = (torch.zeros(n, b, k) for k in (3, 4, 3, 3))
        self._state = MotionState(
            root_pos=pos[:, 0],
            root_rot=rot[:, 0],
            root_vel=vel[:, 0],
            root_ang_vel=ang_vel[:, 0],
            dof_pos=torch.zeros(n, d),
            dof_vel=torch.zeros(n, d),
            body_pos=pos,
            body_rot=rot,
            body_vel=vel,
            body_ang_vel=ang_vel,
            contact_force=torch.zeros(n, b, 3) if self.config.contact_force else None,
        )
        self._reader = LinkReader(self._state, self._mj, self._bodies, self._dof_q, self._dof_v)
        force = self._state.contact_force
        self._contact = force.numpy() if force is not None else None  # the same memory
        self._stale = True  # the batch has moved on since the buffers were filled
        self._contact_stale = False  # likewise for contact forces, which only a step makes
        self._on_device: MotionState | None = None
        self._pushes = False  # some force is waiting in xfrc_applied
        self._restored_lost = np.zeros(n, dtype=bool)
        self._gains: dict[str, Tensor] = {}  # per-world kp and kd, once randomised

    # ------------------------------------------------------------ the interface
    def reset(self, env_ids: Tensor, state: ResetState) -> None:
        """See :meth:`isaacmm.sim.Simulator.reset`.

        Raises:
            SimulatorError: repeated or unknown worlds, wrong shapes, or a state that is not finite.
        """
        batch = self._open()
        worlds = arguments.world_ids(env_ids, "cpu")
        if len(worlds) == 0:
            return
        state = state.to("cpu", torch.float64)
        arguments.check_reset(worlds, state, self.num_envs, self.model.skeleton.num_dofs)
        worlds, order = worlds.sort()
        ids, values = worlds.numpy(), state.index(order)
        if len(ids) < self.num_envs:
            self._read_contacts()  # a forward pass of these worlds may overwrite what was measured
        batch.reset(ids, stage=_NONE)
        rot = values.root_rot / values.root_rot.norm(dim=-1, keepdim=True)
        qpos, qvel, ctrl = (self._mj[name][ids] for name in ("qpos", "qvel", "ctrl"))
        q, v = self._root_q, self._root_v
        qpos[:, q : q + 3] = values.root_pos
        qpos[:, q + 3 : q + 7] = rotation.to_wxyz(rot)
        qpos[:, self._dof_q] = values.dof_pos
        qvel[:, v : v + 3] = values.root_vel
        # a free joint turns in its own frame and moves in the world's
        qvel[:, v + 3 : v + 6] = rotation.rotate_inverse(rot, values.root_ang_vel)
        qvel[:, self._dof_v] = values.dof_vel
        ctrl[:, self._servos] = values.dof_pos
        for name, value in (("qpos", qpos), ("qvel", qvel), ("ctrl", ctrl)):
            self._mj[name][ids] = value
        batch.forward(ids, stage=_VEL)
        self._restored_lost[ids] = False
        if self._contact is not None:
            self._contact[ids] = 0.0
            self._contact_stale = False
        self._touch()

    def step(self, dof_targets: Tensor) -> None:
        """See :meth:`isaacmm.sim.Simulator.step`."""
        batch = self._open()
        arguments.check_targets(dof_targets, self.num_envs, self.model.skeleton.num_dofs)
        self._mj["ctrl"][:, self._servos] = dof_targets.detach().cpu().numpy()
        batch.step(nstep=self.config.substeps, stage=_VEL)
        if self._pushes:
            self._mj["xfrc_applied"][:] = 0.0
            self._pushes = False
        self._contact_stale = self._state.contact_force is not None
        self._touch()

    def state(self) -> MotionState:
        """See :meth:`isaacmm.sim.Simulator.state`."""
        self._open()
        if self._stale:
            self._reader.read()
            self._read_contacts()
            self._stale = False
        if self.device.type == "cpu":
            return self._state
        if self._on_device is None:
            self._on_device = self._state.to(self.device)
        return self._on_device

    def diverged(self) -> Tensor:
        """See :meth:`isaacmm.sim.Simulator.diverged`.

        A world has diverged when MuJoCo found NaN or absurd values in it (it then starts again from
        the default pose) or when anything in it moves faster than 1,000 m/s or rad/s.
        """
        counted = (self._warnings[:, _BAD] > 0).any(axis=1)  # since the last reset, which zeroes them
        tame = np.abs(self._mj["qvel"]).max(axis=1) < arguments.LOST_SPEED  # False for NaN as well
        return torch.from_numpy(counted | ~tame | self._restored_lost).to(self.device)

    def push(self, env_ids: Tensor, body: str, force: Tensor) -> None:
        """See :meth:`isaacmm.sim.Simulator.push`. Pushes on several bodies before a step add up."""
        self._open()
        self.model.skeleton.body(body)  # an unknown name is refused with the nearest ones
        ids = arguments.world_ids(env_ids, "cpu").numpy()
        if len(ids) == 0:
            return
        forces = self._mj["xfrc_applied"][:, self.mj_model.body(body).id, :3]
        np.add.at(forces, ids, force.detach().cpu().double().numpy())
        self._pushes = True

    def set_gains(self, kp: Tensor | None = None, kd: Tensor | None = None) -> None:
        """See :meth:`isaacmm.sim.Simulator.set_gains`. Force limits stay as they are."""
        self._open()
        dofs = self.model.skeleton.num_dofs
        for name, value in arguments.gains(kp, kd, self.num_envs, dofs, "cpu", torch.float64):
            self._gains[name] = value
            self._write_gains(name, value)

    def snapshot(self) -> dict[str, Tensor]:
        """See :meth:`isaacmm.sim.Simulator.snapshot`."""
        batch = self._open()
        self._read_contacts()
        snapshot = {"rows": torch.from_numpy(batch.state.copy()), "diverged": self.diverged().cpu()}
        if self._state.contact_force is not None:
            snapshot["contact_force"] = self._state.contact_force.clone()
        return snapshot | {name: value.clone() for name, value in self._gains.items()}

    def restore(self, snapshot: Mapping[str, Tensor]) -> None:
        """See :meth:`isaacmm.sim.Simulator.restore`.

        Raises:
            SimulatorError: a snapshot of another number of worlds, or of another model.
        """
        batch = self._open()
        rows = snapshot["rows"]
        if tuple(rows.shape) != batch.state.shape:
            raise SimulatorError(
                f"this snapshot holds {rows.shape[0]} worlds of {rows.shape[1]} numbers, the simulator "
                f"{self.num_envs} of {batch.state.shape[1]}; restore it with the same num_envs and character"
            )
        nominal = {"kp": self.model.kp, "kd": self.model.kd}
        for name in {"kp", "kd"} & (set(snapshot) | set(self._gains)):
            self.set_gains(**{name: snapshot.get(name, nominal[name])})
        batch.state[:] = rows.numpy()
        batch.forward(stage=_VEL)
        self._warnings[:] = 0
        self._restored_lost[:] = snapshot["diverged"].numpy()
        self._pushes = bool((self._mj["xfrc_applied"] != 0).any())
        if self._state.contact_force is not None:
            self._state.contact_force.copy_(snapshot.get("contact_force", torch.zeros(())))
            self._contact_stale = False
        self._touch()

    def close(self) -> None:
        """See :meth:`isaacmm.sim.Simulator.close`."""
        self.batch = None
        self._mj = {}

    # ------------------------------------------------------------------ inside
    def _open(self) -> Batch:
        if self.batch is None:
            raise SimulatorError("this simulator is closed; make a new one")
        return self.batch

    def _touch(self) -> None:
        self._stale = True
        self._on_device = None

    def _read_contacts(self) -> None:
        """Fill the contact buffer. The sensors measure what a body does to others: the opposite."""
        if self._contact_stale and self._contact is not None:
            np.negative(self._mj["contact"], out=self._contact, casting="same_kind")
            self._contact_stale = False

    def _write_gains(self, name: str, value: Tensor) -> None:
        """Per-world servo stiffness or joint damping ``[N, D]``."""
        assert self.batch is not None
        if name == "kp":
            self.batch.expand("actuator_gainprm")[:, self._servos, 0] = value
            self.batch.expand("actuator_biasprm")[:, self._servos, 1] = -value
        else:
            self.batch.expand("dof_damping")[:, self._dof_v] = value


def _log_quietly() -> None:
    """Keep MuJoCo's divergence warnings off the console and out of a file in the working folder.

    :meth:`MujocoSimulator.diverged` reports them; the setting is the process's own, not the model's.
    """
    log = mujoco.MjLogConfig.get()
    log.logto_console = False
    log.logto_file = False
    log.set()


def cores() -> int:
    """CPU cores this process may use: its affinity, and the quota of its container."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = Path("/sys/fs/cgroup/cpu.max")  # Linux cgroup v2: "<microseconds | max> <period>"
    try:
        allowed, period = quota.read_text().split()
        count = min(count, max(1, int(allowed) // int(period)))
    except (OSError, ValueError):
        pass
    return count
