"""MuJoCo Warp: thousands of worlds on an NVIDIA GPU. The same MJCF and the same model as ``mujoco``, in float32.

A control step is one graph, captured once: targets in, the substeps with a guard against NaN after each, kinematics,
link velocities, contact forces. On a GPU it is a CUDA graph, on the CPU Warp's own; tests therefore run the very code
that a GPU runs. State is Warp's own memory seen by torch wherever Warp keeps it as we want it (positions, hinge
angles and velocities); rotations (xyzw) and link velocities are made by the graph, in tensors of ours.

Nothing here waits for the GPU during :meth:`WarpSimulator.step`, ``state``, ``diverged``, ``push`` and
``reset_rows``. ``reset`` does, because it refuses impossible states in words; environments on a GPU use
``reset_rows``.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

import torch
import warp as wp
from torch import Tensor

# Before anything makes Warp start: it introduces itself, and misses a GPU that nobody may have asked for.
wp.config.log_level = wp.LOG_ERROR
wp.init()
import mujoco_warp as mjw  # noqa: E402

wp.config.log_level = wp.LOG_WARNING

from isaacmm.character import CharacterModel  # noqa: E402
from isaacmm.errors import SimulatorError  # noqa: E402
from isaacmm.sim import arguments  # noqa: E402
from isaacmm.sim import warp_kernels as kernels  # noqa: E402
from isaacmm.sim import warp_setup as setup  # noqa: E402
from isaacmm.sim.model import build_model, contact_sensor, run_of  # noqa: E402
from isaacmm.sim.simulator import SimConfig  # noqa: E402
from isaacmm.state import MotionState, ResetState  # noqa: E402

log = logging.getLogger(__name__)

#: Control steps between two looks at the overflow flags. A look does not wait for the GPU: it reads what the last
#: one asked for.
_LOOK_EVERY = 64


class WarpSimulator:
    """:class:`isaacmm.sim.Simulator` on MuJoCo Warp.

    Args:
        model: the character.
        config: shared settings; ``config.device`` is where physics runs and tensors live.

    Raises:
        SimulatorError: no such device, a driver that does not fit, or too little memory for the worlds.
    """

    def __init__(self, model: CharacterModel, config: SimConfig) -> None:
        self.model = model
        self.config = config
        self.num_envs = config.num_envs
        self.device = torch.device("cuda:0" if config.device == "cuda" else config.device)
        self.control_dt = config.control_dt
        self.capabilities = frozenset(
            {"push", "gains", "snapshot", "reset_rows", "several"}
            | ({"contact_force"} if config.contact_force else set())
        )
        setup.check_device(self.device)
        self._on = wp.device_from_torch(self.device)
        self.mj_model = build_model(model, config)
        self.nconmax, self.njmax = setup.capacities(self.mj_model, config)
        _announce_compilation()
        self._gains: dict[str, Tensor] = {}  # per-world kp and kd, once randomised
        self._graphs: dict[str, Any] = {}
        self._streams: dict[int, Any] = {}
        self._steps = 0
        self._said: set[str] = set()
        self._closed = False
        with setup.explained(self.mj_model, config, self.nconmax, self.njmax), wp.ScopedDevice(self._on):
            self._put_model()
            self._data = mjw.make_data(
                self.mj_model, nworld=self.num_envs, nconmax=self.nconmax, njmax=self.njmax
            )
            self._map_names()
            self._allocate()
            self._run("refresh")

    # ---------------------------------------------------------------- set-up
    def _put_model(self, batch_sizes: dict[str, int] | None = None) -> None:
        self._model = mjw.put_model(self.mj_model, batch_sizes=batch_sizes)
        self._model.opt.warn_overflow = 0  # we say it once, and which setting helps
        if self._on.is_cuda and not wp.is_conditional_graph_supported():
            self._model.opt.graph_conditional = False  # the solver then always takes all its iterations

    def _map_names(self) -> None:
        """Where each body, dof and servo of the skeleton is in MuJoCo's arrays, by name."""
        m, skeleton = self.mj_model, self.model.skeleton
        joints = [m.joint(name).id for name in skeleton.dof_names]
        servo = {int(m.actuator_trnid[a, 0]): a for a in range(m.nu)}
        bodies = [m.body(name).id for name in skeleton.names]
        root_joint = int(m.body_jntadr[bodies[0]])
        self._root_q, self._root_v = int(m.jnt_qposadr[root_joint]), int(m.jnt_dofadr[root_joint])
        self._bodies = run_of(bodies)
        self._dof_q = run_of([int(m.jnt_qposadr[j]) for j in joints])
        self._dof_v = run_of([int(m.jnt_dofadr[j]) for j in joints])
        self._servo_ids = [servo[j] for j in joints]
        first = [0]
        for body in range(skeleton.num_bodies):
            first.append(first[-1] + skeleton.dof_bodies.count(body))
        self._parent: Any = wp.array(list(skeleton.parents), dtype=int)
        self._body: Any = wp.array(bodies, dtype=int)
        self._first_dof: Any = wp.array(first, dtype=int)
        self._joint: Any = wp.array(joints, dtype=int)
        self._servo: Any = wp.array(self._servo_ids, dtype=int)
        self._sensor = int(m.sensor(contact_sensor(skeleton.names[0])).adr[0]) if self.config.contact_force else 0

    def _allocate(self) -> None:
        """Tensors of ours, Warp's seen by torch, and the state made of both."""
        n, b, d = self.num_envs, self.model.skeleton.num_bodies, self.model.skeleton.num_dofs

        def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros(*shape, dtype=dtype, device=self.device)

        data = self._data
        names = ("qpos", "qvel", "ctrl", "qacc_warmstart", "xfrc_applied", "time", "xpos")
        self._mj: dict[str, Tensor] = {name: wp.to_torch(getattr(data, name)) for name in names}
        self._rot, self._vel, self._ang_vel = zeros(n, b, 4), zeros(n, b, 3), zeros(n, b, 3)
        self._force = zeros(*((n, b) if self.config.contact_force else (0, 0)), 3)  # kernels go by its shape
        self._lost = zeros(n, dtype=torch.bool)
        self._targets = zeros(n, d)
        self._overflowed = zeros(1, dtype=torch.int32)
        self._row = torch.full((n,), -1, dtype=torch.int32, device=self.device)
        self._rows = torch.arange(n, dtype=torch.int32, device=self.device)
        widths = (3, 4, 3, 3, d, d)
        self._stage = {f.name: zeros(n, w) for f, w in zip(fields(ResetState), widths, strict=True)}
        # the overflow flag on its way to the host: pinned, so that nobody waits for it
        self._flag_on_host = torch.zeros(1, dtype=torch.int32, pin_memory=self.device.type == "cuda")
        self._flag_sent: Any = None
        pos = self._mj["xpos"][:, self._bodies]
        self._state = MotionState(
            root_pos=pos[:, 0],
            root_rot=self._rot[:, 0],
            root_vel=self._vel[:, 0],
            root_ang_vel=self._ang_vel[:, 0],
            dof_pos=self._mj["qpos"][:, self._dof_q],
            dof_vel=self._mj["qvel"][:, self._dof_v],
            body_pos=pos,
            body_rot=self._rot,
            body_vel=self._vel,
            body_ang_vel=self._ang_vel,
            contact_force=self._force if self.config.contact_force else None,
        )
        vec3, vec4 = wp.vec3, wp.vec4
        kinds = {"root_rot": vec4} | dict.fromkeys(("root_pos", "root_vel", "root_ang_vel"), vec3)
        self._wp_stage = [wp.from_torch(value, dtype=kinds.get(name)) for name, value in self._stage.items()]
        self._wp_links = [
            wp.from_torch(value, dtype=kind)
            for value, kind in ((self._rot, vec4), (self._vel, vec3), (self._ang_vel, vec3))
        ]
        self._wp_force = wp.from_torch(self._force, dtype=vec3)
        self._wp_lost, self._wp_row = wp.from_torch(self._lost), wp.from_torch(self._row)
        self._wp_targets, self._wp_overflowed = wp.from_torch(self._targets), wp.from_torch(self._overflowed)
        kinds_watched = mjw.OverflowType
        self._watch = int(
            kinds_watched.NEFC | kinds_watched.NJMAX_NNZ | kinds_watched.BROADPHASE | kinds_watched.NARROWPHASE
            | kinds_watched.CCD
        )

    # ------------------------------------------------------------- the graphs
    def _run(self, name: str) -> None:
        """Launch the graph ``name`` behind whatever torch has queued, capturing it the first time."""
        work: Mapping[str, Callable[[], None]] = {
            "step": self._step_work,
            "reset": self._reset_work,
            "refresh": self._link_work,
        }
        graph = self._graphs.get(name)
        if graph is not None:
            self._launch(graph)
            return
        # a graph has memory of its own, which it takes when it is first launched
        with setup.explained(self.mj_model, self.config, self.nconmax, self.njmax), wp.ScopedDevice(self._on):
            self._settle()
            with wp.ScopedCapture(device=self._on) as capture:
                work[name]()
            self._launch(capture.graph)
        self._graphs[name] = capture.graph

    def _launch(self, graph: Any) -> None:
        if self._on.is_cuda:
            wp.capture_launch(graph, stream=self._stream())
        else:
            wp.capture_launch(graph)

    def _settle(self) -> None:
        """At set-up only: Warp fills and captures on a stream of its own, torch works on another."""
        if self._on.is_cuda:
            torch.cuda.synchronize(self.device)

    def _stream(self) -> Any:
        """Torch's current stream as Warp sees it: work of both is then done in the order it was asked for."""
        handle = torch.cuda.current_stream(self.device).cuda_stream
        if handle not in self._streams:
            self._streams[handle] = wp.stream_from_torch(torch.cuda.current_stream(self.device))
        return self._streams[handle]

    def _step_work(self) -> None:
        n, data = self.num_envs, self._data
        wp.launch(
            kernels.take_targets,
            dim=(n, len(self._servo_ids)),
            inputs=[self._wp_targets, self._servo, data.ctrl, self._wp_lost],
        )
        for _ in range(self.config.substeps):
            mjw.step(self._model, data)
            wp.launch(
                kernels.guard,
                dim=n,
                inputs=[
                    self._model.qpos0, self._watch, data.qpos, data.qvel, data.qacc_warmstart, data.overflow,
                    self._wp_lost, self._wp_overflowed,
                ],
            )  # fmt: skip
        data.xfrc_applied.zero_()
        self._link_work()
        if self.config.contact_force:
            wp.launch(
                kernels.read_contacts,
                dim=(n, self.model.skeleton.num_bodies),
                inputs=[data.sensordata, self._sensor, self._wp_force],
            )

    def _link_work(self) -> None:
        data = self._data
        mjw.kinematics(self._model, data)
        wp.launch(
            kernels.read_links,
            dim=self.num_envs,
            inputs=[
                self._parent, self._body, self._first_dof, self._joint, self._root_v, self._dof_v.start,
                data.xpos, data.xquat, data.xanchor, data.xaxis, data.qvel, *self._wp_links,
            ],
        )  # fmt: skip

    def _reset_work(self) -> None:
        data = self._data
        wp.launch(
            kernels.reset_worlds,
            dim=self.num_envs,
            inputs=[
                self._wp_row, *self._wp_stage, self._root_q, self._root_v, self._dof_q.start, self._dof_v.start,
                self._servo, self._model.qpos0, data.qpos, data.qvel, data.ctrl, data.qacc_warmstart,
                data.xfrc_applied, data.time, self._wp_lost, self._wp_force,
            ],
        )  # fmt: skip
        self._link_work()

    # ------------------------------------------------------------ the interface
    def reset(self, env_ids: Tensor, state: ResetState) -> None:
        """See :meth:`isaacmm.sim.Simulator.reset`. Looks at the states first, which waits for the GPU.

        Raises:
            SimulatorError: repeated or unknown worlds, wrong shapes, or a state that is not finite.
        """
        self._open()
        ids = arguments.world_ids(env_ids, self.device)
        if len(ids) == 0:
            return
        arguments.check_reset(ids, state, self.num_envs, self.model.skeleton.num_dofs)
        self._row.fill_(-1)
        self._row[ids] = self._rows[: len(ids)]
        self._place(state)

    def reset_rows(self, row: Tensor, state: ResetState) -> None:
        """Reset on the device, without waiting for it: world ``w`` takes row ``row[w]`` of ``state``.

        Args:
            row: ``[N]`` whole numbers; negative leaves a world as it is. Rows may be taken by several worlds.
            state: at most ``N`` states. One that is not finite is not taken; its world gets the default pose and
                counts as diverged.
        """
        self._open()
        if row.shape != self._row.shape or len(state) > self.num_envs:
            raise SimulatorError(
                f"reset_rows() got {list(row.shape)} rows of {len(state)} states; it needs one row per world "
                f"({self.num_envs}) and no more states than worlds"
            )
        self._row.copy_(row)
        self._place(state)

    def _place(self, state: ResetState) -> None:
        for name, stage in self._stage.items():
            stage[: len(state)].copy_(getattr(state, name))
        self._run("reset")

    def step(self, dof_targets: Tensor) -> None:
        """See :meth:`isaacmm.sim.Simulator.step`."""
        self._open()
        arguments.check_targets(dof_targets, *self._targets.shape)
        self._targets.copy_(dof_targets.detach())
        self._run("step")
        self._steps += 1
        if self._steps % _LOOK_EVERY == 0:
            self._look_at_overflow()

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
        self.model.skeleton.body(body)  # an unknown name is refused with the nearest ones
        ids = arguments.world_ids(env_ids, self.device)
        forces = self._mj["xfrc_applied"][:, self.mj_model.body(body).id, :3]
        forces.index_add_(0, ids, force.detach().to(forces))

    def set_gains(self, kp: Tensor | None = None, kd: Tensor | None = None) -> None:
        """See :meth:`isaacmm.sim.Simulator.set_gains`. Force limits stay as they are.

        The first call makes room for gains per world and captures the graphs again.
        """
        self._open()
        dofs = self.model.skeleton.num_dofs
        wanted = dict(arguments.gains(kp, kd, self.num_envs, dofs, self.device, torch.float32))
        if not wanted:
            return
        if not self._gains:
            batched = ("actuator_gainprm", "actuator_biasprm", "dof_damping")
            with wp.ScopedDevice(self._on):
                self._put_model(dict.fromkeys(batched, self.num_envs))
                self._settle()
            self._graphs.clear()
        self._gains |= wanted
        if "kp" in wanted:
            wp.to_torch(self._model.actuator_gainprm)[:, self._servo_ids, 0] = wanted["kp"]
            wp.to_torch(self._model.actuator_biasprm)[:, self._servo_ids, 1] = -wanted["kp"]
        if "kd" in wanted:
            wp.to_torch(self._model.dof_damping)[:, self._dof_v] = wanted["kd"]

    def snapshot(self) -> dict[str, Tensor]:
        """See :meth:`isaacmm.sim.Simulator.snapshot`."""
        self._open()
        # float32 rows of Warp: no other simulator goes on from them bit for bit, so they have names of their own
        snapshot = {f"warp_{name}": self._mj[name].cpu().clone() for name in _INTEGRATED}
        snapshot["diverged"] = self._lost.cpu().clone()
        if self._state.contact_force is not None:
            snapshot["contact_force"] = self._state.contact_force.cpu().clone()
        return snapshot | {name: value.cpu().clone() for name, value in self._gains.items()}

    def restore(self, snapshot: Mapping[str, Tensor]) -> None:
        """See :meth:`isaacmm.sim.Simulator.restore`.

        Raises:
            SimulatorError: a snapshot of another simulator, another number of worlds, or another model.
        """
        self._open()
        if any(f"warp_{name}" not in snapshot for name in _INTEGRATED):
            raise SimulatorError("this snapshot is of another simulator; go on with the one it was made with")
        for name in _INTEGRATED:
            theirs, ours = snapshot[f"warp_{name}"].shape, self._mj[name].shape
            if theirs != ours:
                raise SimulatorError(
                    f"this snapshot holds {name} {list(theirs)}, the simulator {list(ours)}; restore it with the same "
                    "num_envs and character"
                )
        nominal = {"kp": self.model.kp, "kd": self.model.kd}
        for name in {"kp", "kd"} & (set(snapshot) | set(self._gains)):
            self.set_gains(**{name: snapshot.get(name, nominal[name])})
        for name in _INTEGRATED:
            self._mj[name].copy_(snapshot[f"warp_{name}"])
        self._lost.copy_(snapshot["diverged"])
        if self._state.contact_force is not None:
            self._state.contact_force.copy_(snapshot.get("contact_force", torch.zeros(())))
        self._run("refresh")

    def close(self) -> None:
        """See :meth:`isaacmm.sim.Simulator.close`."""
        if not self._closed:
            self._settle()  # a graph still running must not lose its memory
        self._closed = True
        self._graphs = {}
        self._mj = {}

    # ------------------------------------------------------------------ inside
    def _open(self) -> None:
        if self._closed:
            raise SimulatorError("this simulator is closed; make a new one")

    def _look_at_overflow(self) -> None:
        """Warn, once per kind, when contacts or constraints were dropped in the last steps but one look."""
        if self._flag_sent is None or self._flag_sent is True or self._flag_sent.query():
            if self._flag_sent is not None:
                said = setup.overflow_message(int(self._flag_on_host[0]), self.nconmax, self.njmax)
                if said and said not in self._said:
                    self._said.add(said)
                    log.warning("sim=warp: %s; some were dropped", said)
            self._flag_on_host.copy_(self._overflowed, non_blocking=True)
            self._flag_sent = True
            if self.device.type == "cuda":
                self._flag_sent = torch.cuda.Event()
                self._flag_sent.record(torch.cuda.current_stream(self.device))


#: What the next step depends on.
_INTEGRATED = ("qpos", "qvel", "ctrl", "qacc_warmstart", "xfrc_applied", "time")


def _announce_compilation() -> None:
    """The first time on a machine takes a minute, in which nothing else would be said."""
    folder = str(wp.config.kernel_cache_dir or "")
    if folder and not (os.path.isdir(folder) and os.listdir(folder)):
        log.warning("sim=warp: compiling MuJoCo Warp's kernels; this takes a minute or two, once on this machine")
