"""Isaac Lab 3: its scene and articulation, on Newton or PhysX. One simulation at a time in a process.

The same MJCF as everywhere, put into USD by :mod:`isaacmm.sim.isaaclab_asset` and handed to Isaac Lab's own
``SimulationContext``, ``InteractiveScene`` and ``Articulation``; our environments step on top. Nothing of it comes from
a network, and no Isaac Sim, Kit or GPU is needed for ``physics=newton`` and ``physics=ovphysx``.

Joints and bodies are asked for by name and in the skeleton's order. The helper links of split joints come last, so
that what Isaac Lab reports for the first ``B`` bodies is the character. Damping is the joints' own (Isaac Lab's viscous
friction) and outside the torque limit, as for the other simulators.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from isaacmm.character import CharacterModel
from isaacmm.errors import SimulatorError
from isaacmm.sim import arguments
from isaacmm.sim import isaaclab_scene as scenes
from isaacmm.sim import isaaclab_setup as setup
from isaacmm.sim.model import build_model
from isaacmm.sim.simulator import SimConfig
from isaacmm.sim.warp_setup import capacities, explained, overflow_message
from isaacmm.state import MotionState, ResetState

log = logging.getLogger(__name__)

#: Control steps between two looks at the overflow flags, each of which waits for a GPU.
_LOOK_EVERY = 64


class IsaacLabSimulator:
    """:class:`isaacmm.sim.Simulator` on Isaac Lab.

    Isaac Lab has one simulation per process. A second simulator therefore closes the first, which from then on says so.

    Args:
        model: the character.
        config: shared settings; ``config.physics`` is ``newton`` (also where it is empty), ``ovphysx`` or ``physx``,
            ``config.device`` is where physics runs and tensors live.
        stage: a running simulation of :func:`isaacmm.sim.isaaclab_scene.scene_cfg` to use; it stays its owner's.

    Raises:
        SimulatorError: this physics cannot run here, no such device, too little memory for the worlds, or hinges that
            did not arrive in the engine.
    """

    _alive: weakref.ref[IsaacLabSimulator] | None = None

    def __init__(self, model: CharacterModel, config: SimConfig, stage: scenes.Stage | None = None) -> None:
        self.model = model
        self.config = config
        self.physics = config.physics or setup.DEFAULT_PHYSICS
        self.num_envs = config.num_envs
        self.device = torch.device("cuda:0" if config.device == "cuda" else config.device)
        self.control_dt = config.control_dt
        self.capabilities = frozenset({"push", "gains"} | ({"contact_force"} if config.contact_force else set()))
        setup.prepare(self.physics, self.device)
        other = IsaacLabSimulator._alive() if IsaacLabSimulator._alive else None
        if other is not None:
            other.close("another one was made, and Isaac Lab has only one simulation per process")
        self._why_closed = ""
        self.mj_model = build_model(model, replace(config, contact_force=False))
        self._owner = stage is None
        with explained(self.mj_model, config, *capacities(self.mj_model, config)):
            self.stage = stage or scenes.build(self.mj_model, model, config, self.physics, self.device)
        IsaacLabSimulator._alive = weakref.ref(self)
        self._allocate()
        self._rest()

    def _allocate(self) -> None:
        n, b, d = self.num_envs, self.model.skeleton.num_bodies, self.model.skeleton.num_dofs

        def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros(*shape, dtype=dtype, device=self.device)

        pos, rot, vel, ang_vel = (zeros(n, b, k) for k in (3, 4, 3, 3))
        self._state = MotionState(
            root_pos=pos[:, 0], root_rot=rot[:, 0], root_vel=vel[:, 0], root_ang_vel=ang_vel[:, 0],
            dof_pos=zeros(n, d), dof_vel=zeros(n, d), body_pos=pos, body_rot=rot, body_vel=vel, body_ang_vel=ang_vel,
            contact_force=zeros(n, b, 3) if self.config.contact_force else None,
        )  # fmt: skip
        self._lost = zeros(n, dtype=torch.bool)
        self._targets = zeros(n, d)
        self._force = zeros(n, b, 3)  # what push() asked for
        self._pushing = False
        self._everybody = torch.arange(n, device=self.device)
        flags = self.stage.overflow
        self._overflowed = None if flags is None else torch.zeros_like(flags)
        self._steps = 0
        self._said: set[str] = set()

    def _rest(self) -> None:
        """Everybody into the MJCF's own pose."""
        self._write(self._everybody, self._default(self.num_envs))

    def _default(self, n: int) -> ResetState:
        d = self.model.skeleton.num_dofs
        root = torch.tensor(self.mj_model.qpos0[:3], dtype=torch.float32, device=self.device)
        zeros = torch.zeros(n, 3, device=self.device)
        up = torch.tensor([0.0, 0.0, 0.0, 1.0], device=self.device)
        still = torch.zeros(n, d, device=self.device)
        return ResetState(root.repeat(n, 1), up.repeat(n, 1), zeros, zeros.clone(), still, still.clone())

    # ------------------------------------------------------------ the interface
    def reset(self, env_ids: Tensor, state: ResetState) -> None:
        """See :meth:`isaacmm.sim.Simulator.reset`.

        Raises:
            SimulatorError: repeated or unknown worlds, wrong shapes, or a state that is not finite.
        """
        self._open()
        ids = arguments.world_ids(env_ids, self.device)
        if len(ids) == 0:
            return
        state = state.to(self.device, torch.float32)
        arguments.check_reset(ids, state, self.num_envs, self.model.skeleton.num_dofs)
        self._write(ids, state)
        self._lost[ids] = False

    def step(self, dof_targets: Tensor) -> None:
        """See :meth:`isaacmm.sim.Simulator.step`."""
        self.aim(dof_targets)
        stage = self.stage
        for k in range(self.config.substeps):
            if k == 0 or self._pushing:  # a force is told in the body's frame, which turns
                if self._pushing:
                    stage.push(self._force)
                stage.robot.write_data_to_sim()
            stage.sim.step(render=False)
            stage.scene.update(stage.dt)
            if self._overflowed is not None and stage.overflow is not None:
                self._overflowed |= stage.overflow
        if self._pushing:
            self._force.zero_()
            stage.end_push()
            self._pushing = False
        self.arrive()

    def aim(self, dof_targets: Tensor) -> None:
        """The first part of :meth:`step`: PD targets, for whoever steps Isaac Lab's simulation himself."""
        self._open()
        arguments.check_targets(dof_targets, *self._targets.shape)
        targets = dof_targets.detach().to(self.device, torch.float32)
        # an engine that is given one NaN may spread it; such a world holds its pose and counts as lost
        sane = targets.isfinite().all(dim=1)
        self._targets.copy_(torch.where(sane[:, None], targets, self._state.dof_pos))
        self._lost |= ~sane
        self.stage.robot.actuators.target_command.set_position_index(value=self._targets)

    def arrive(self) -> None:
        """The last part of :meth:`step`: the state after the physics steps."""
        self._read()
        self._guard()
        self._steps += 1
        if self._overflowed is not None and self._steps % _LOOK_EVERY == 0:
            self._say_overflow(self._overflowed)

    def state(self) -> MotionState:
        """See :meth:`isaacmm.sim.Simulator.state`."""
        self._open()
        return self._state

    def diverged(self) -> Tensor:
        """See :meth:`isaacmm.sim.Simulator.diverged`.

        Worlds in which something was not finite (they then go on from the default pose), or that were given a target
        that is no number, or in which anything moved faster than 1,000 m/s or rad/s, since their last reset.
        """
        return self._lost.clone()

    def push(self, env_ids: Tensor, body: str, force: Tensor) -> None:
        """See :meth:`isaacmm.sim.Simulator.push`. Pushes on several bodies before a step add up."""
        self._open()
        index = self.model.skeleton.body(body)  # an unknown name is refused with the nearest ones
        ids = arguments.world_ids(env_ids, self.device)
        if len(ids) == 0:
            return
        self._force[:, index].index_add_(0, ids, force.detach().to(self._force))
        self._pushing = True

    def set_gains(self, kp: Tensor | None = None, kd: Tensor | None = None) -> None:
        """See :meth:`isaacmm.sim.Simulator.set_gains`. Force limits stay as they are."""
        self._open()
        dofs = self.model.skeleton.num_dofs
        for name, value in arguments.gains(kp, kd, self.num_envs, dofs, self.device, torch.float32):
            self.stage.write_gains(name, value)

    def snapshot(self) -> dict[str, Tensor]:
        """Not offered: no engine behind Isaac Lab gives its whole state away."""
        raise SimulatorError("sim=isaaclab cannot be copied bit by bit; a resumed run starts its worlds afresh")

    def restore(self, snapshot: Mapping[str, Tensor]) -> None:
        """Not offered, as :meth:`snapshot`."""
        self.snapshot()

    def close(self, why: str = "") -> None:
        """See :meth:`isaacmm.sim.Simulator.close`."""
        if self._why_closed:
            return
        self._why_closed = why or "make a new one"
        if self._owner:
            self.stage.close()
        if IsaacLabSimulator._alive is not None and IsaacLabSimulator._alive() is self:
            IsaacLabSimulator._alive = None

    # ------------------------------------------------------------------ inside
    def _open(self) -> None:
        if self._why_closed:
            raise SimulatorError(f"this simulator is closed: {self._why_closed}")

    def _say_overflow(self, flags: Tensor) -> None:
        """Warn, once per kind, when contacts or constraints were dropped."""
        bits = 0
        for bit in flags.unique().tolist():
            bits |= int(bit)
        flags.zero_()
        said = overflow_message(bits, *capacities(self.mj_model, self.config))
        if said and said not in self._said:
            self._said.add(said)
            log.warning("sim=isaaclab physics=%s: %s; some were dropped", self.physics, said)

    def _write(self, ids: Tensor, state: ResetState) -> None:
        """Put worlds ``ids`` into ``state``, and read them back with kinematics done."""
        stage = self.stage
        rot = state.root_rot / state.root_rot.norm(dim=-1, keepdim=True)
        stage.write(ids, torch.cat((state.root_pos, rot), 1), torch.cat((state.root_vel, state.root_ang_vel), 1), state)
        self._targets[ids] = state.dof_pos
        stage.robot.actuators.target_command.set_position_index(value=self._targets)
        self._force[ids] = 0.0
        stage.refresh()
        self._read(ids)

    def _read(self, ids: Tensor | None = None) -> None:
        """Bring our tensors up to date, those of worlds ``ids`` only where given: all others then keep their bits."""
        rows: Any = slice(None) if ids is None else ids
        b, state = self.model.skeleton.num_bodies, self._state
        pose, vel, dof_pos, dof_vel = self.stage.read()
        state.body_pos[rows] = (pose[:, :b, :3] - self.stage.origins[:, None])[rows]
        state.body_rot[rows] = pose[rows, :b, 3:]
        state.body_vel[rows] = vel[rows, :b, :3]
        state.body_ang_vel[rows] = vel[rows, :b, 3:]
        state.dof_pos[rows] = dof_pos[rows]
        state.dof_vel[rows] = dof_vel[rows]
        if state.contact_force is not None:
            state.contact_force[rows] = self.stage.contact_forces() if ids is None else 0.0

    def _guard(self) -> None:
        """Take worlds that blew up out of the engine before anything of theirs can spread."""
        state = self._state
        fast = torch.cat((state.body_vel.flatten(1), state.body_ang_vel.flatten(1), state.dof_vel), dim=1).abs()
        finite = state.is_finite() & fast.isfinite().all(dim=1)
        self._lost |= ~finite | (fast.nan_to_num(nan=0.0).amax(dim=1) > arguments.LOST_SPEED)
        broken = (~finite).nonzero().flatten()
        if len(broken):
            self._write(broken, self._default(len(broken)))
