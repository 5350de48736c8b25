"""The stage that :class:`isaacmm.sim.isaaclab.IsaacLabSimulator` plays on: everything that is Isaac Lab's own API.

Imports Isaac Lab inside its functions, so that the rest of the package can be read without it.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from isaacmm.character import CharacterModel
from isaacmm.errors import SimulatorError
from isaacmm.sim import isaaclab_asset as asset
from isaacmm.sim import isaaclab_usd as usd
from isaacmm.sim.simulator import SimConfig
from isaacmm.state import ResetState

#: m between worlds that share one space (PhysX); those of Newton are apart anyhow and all lie at the origin.
SPACING = 4.0


class Stage:
    """A running Isaac Lab simulation with one character per world.

    Args:
        sim, scene: Isaac Lab's context and scene, which has the articulation ``robot`` and may have ``contacts``.
        model: the character.
        physics: the engine underneath.

    Attributes:
        robot, sensor: the articulation, and the contact sensor or None.
        origins: ``[N, 3]`` m, where the worlds lie.
        dt: s, physics step.
        overflow: MuJoCo Warp's overflow flags ``[N]`` of the last physics step, or None.

    Raises:
        SimulatorError: the engine has other hinges than the character.
    """

    def __init__(self, sim: Any, scene: Any, model: CharacterModel, physics: str) -> None:
        self.sim, self.scene, self.robot = sim, scene, scene["robot"]
        self.dt = float(sim.get_physics_dt())
        self._physics = physics
        check_hinges(list(self.robot.joint_names), list(model.skeleton.dof_names), physics)
        self.sensor: Any = scene["contacts"] if "contacts" in scene.keys() else None  # noqa: SIM118 - no mapping
        self.origins = scene.env_origins.to(torch.float32)
        self._bodies = model.skeleton.num_bodies
        self._sensed: Tensor | None = None
        if self.sensor is not None:
            there = list(self.sensor.body_names)
            self._sensed = torch.tensor([there.index(n) for n in model.skeleton.names], device=self.origins.device)

        self.overflow = _quiet_overflow(sim) if physics == "newton" else None

    def write(self, ids: Tensor, pose: Tensor, velocity: Tensor, state: ResetState) -> None:
        """Root pose ``[n, 7]`` (env-local), root link velocity ``[n, 6]`` and hinges into worlds ``ids``."""
        robot = self.robot
        env_ids = ids.to(torch.int32)
        robot.reset(env_ids=env_ids)
        pose = pose.clone()
        pose[:, :3] += self.origins[ids]
        robot.write_root_link_pose_to_sim_index(root_pose=pose.contiguous(), env_ids=env_ids)
        robot.write_joint_position_to_sim_index(position=state.dof_pos.contiguous(), env_ids=env_ids)
        robot.write_root_link_velocity_to_sim_index(root_velocity=velocity.contiguous(), env_ids=env_ids)
        robot.write_joint_velocity_to_sim_index(velocity=state.dof_vel.contiguous(), env_ids=env_ids)

    def refresh(self) -> None:
        """Kinematics of what was written, without a step."""
        self.sim.forward()
        self.scene.update(0.0)

    def read(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Link poses ``[N, L, 7]`` (xyzw) and velocities ``[N, L, 6]`` (linear, angular), hinge angles and speeds."""
        data = self.robot.data
        return (
            data.body_link_pose_w.torch,
            data.body_link_vel_w.torch,
            data.joint_pos.torch,
            data.joint_vel.torch,
        )

    def contact_forces(self) -> Tensor:
        """``[N, B, 3]`` N, of the last physics step."""
        data = self.sensor.data
        force = data.net_normal_forces_w.torch
        friction = data.net_friction_forces_w
        force = force if friction is None else force + friction.torch
        return force[:, self._sensed]

    def push(self, force: Tensor) -> None:
        """Force ``[N, B, 3]`` N, world axes, on the centres of mass, in the next physics step."""
        self.robot.permanent_wrench_composer.set_forces_and_torques_index(
            forces=force, body_ids=list(range(self._bodies)), is_global=True
        )

    def end_push(self) -> None:
        """No force any more; what was written for the last step would stay otherwise."""
        self.push(torch.zeros(len(self.origins), self._bodies, 3, device=self.origins.device))
        self.robot.write_data_to_sim()
        self.robot.permanent_wrench_composer.reset()

    def write_gains(self, name: str, value: Tensor) -> None:
        """Stiffness (``kp``) or joint damping (``kd``), ``[N, D]``."""
        if name == "kp":
            self.robot.write_joint_stiffness_to_sim_index(stiffness=value)
        elif not damps_in_joint(self._physics):
            self.robot.write_joint_damping_to_sim_index(damping=value)
        else:
            self.robot.write_joint_viscous_friction_coefficient_to_sim_index(joint_viscous_friction_coeff=value)

    def close(self) -> None:
        """End the simulation; the process may then have another."""
        self.sim.clear_instance()


def build(mj_model: Any, model: CharacterModel, config: SimConfig, physics: str, device: torch.device) -> Stage:
    """Put the character into ``config.num_envs`` worlds of Isaac Lab.

    Raises:
        SimulatorError: the engine has other hinges than the character.
    """
    import isaaclab.sim as sim_utils
    from isaaclab.scene import InteractiveScene

    with _quietly():
        sim_utils.SimulationContext.clear_instance()
        sim = sim_utils.SimulationContext(sim_cfg(mj_model, config, physics, device))
        scene = InteractiveScene(scene_cfg(mj_model, model, config, physics))
        sim.reset()
        return Stage(sim, scene, model, physics)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without Isaac Lab's stopwatches, and without warnings that are not for our users: that MuJoCo is newer than
    newton declares (the contract says that it works), and what Isaac Lab's own code will have to change one day."""
    from isaaclab.utils.timer import Timer

    shown = Timer.enable_display_output
    Timer.enable_display_output = False
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="MuJoCo dependency version mismatch")
            warnings.filterwarnings("ignore", category=FutureWarning, module="isaaclab")
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            yield
    finally:
        Timer.enable_display_output = shown


def sim_cfg(mj_model: Any, config: SimConfig, physics: str, device: torch.device | str) -> Any:
    """``isaaclab.sim.SimulationCfg`` of our physical model."""
    from isaaclab.sim import SimulationCfg

    return SimulationCfg(
        dt=1.0 / config.physics_hz,
        device=str(device),
        render_interval=config.substeps,
        physics=physics_cfg(mj_model, config, physics),
        use_newton_actuators=False,
        save_logs_to_file=False,
    )


def scene_cfg(mj_model: Any, model: CharacterModel, config: SimConfig, physics: str) -> Any:
    """``isaaclab.scene.InteractiveSceneCfg``: the floor, the character as ``robot``, its ``contacts`` if asked for."""
    import isaaclab.sim as sim_utils
    from isaaclab.actuators import ImplicitActuatorCfg
    from isaaclab.assets import ArticulationCfg, AssetBaseCfg
    from isaaclab.scene import InteractiveSceneCfg
    from isaaclab.sensors import ContactSensorCfg

    links = asset.split(mj_model, model)
    robot = _file(usd.to_usda(mj_model, model, links, config.self_collision, config.contact_force))
    ground = _file(usd.ground_usda(mj_model, links))
    names = list(model.skeleton.dof_names)

    def by_name(values: Tensor) -> dict[str, float]:
        return {name: float(value) for name, value in zip(names, values, strict=True)}

    in_joint = damps_in_joint(physics)
    scene: Any = InteractiveSceneCfg(
        num_envs=config.num_envs, env_spacing=0.0 if physics == "newton" else SPACING, lazy_sensor_update=True
    )
    scene.ground = AssetBaseCfg(prim_path="/World/ground", spawn=sim_utils.UsdFileCfg(usd_path=ground))
    scene.robot = ArticulationCfg(
        prim_path="{ENV_REGEX_NS}/Robot",
        spawn=sim_utils.UsdFileCfg(usd_path=robot),
        init_state=ArticulationCfg.InitialStateCfg(pos=tuple(float(x) for x in mj_model.qpos0[:3])),
        joint_ordering=names,
        body_ordering=[*model.skeleton.names, *(link.name for link in links if link.body is None)],
        actuators={
            "drives": ImplicitActuatorCfg(
                joint_names_expr=names,
                stiffness=by_name(model.kp),
                damping=0.0 if in_joint else by_name(model.kd),
                viscous_friction=by_name(model.kd) if in_joint else 0.0,
                armature=by_name(model.armature),
                joint_effort_limit=by_name(model.effort.clamp(max=1e9)),
                joint_velocity_limit=1e4,
            )
        },
    )
    if config.contact_force:
        scene.contacts = ContactSensorCfg(
            prim_path="{ENV_REGEX_NS}/Robot/(" + "|".join(model.skeleton.names) + ")", track_friction_forces=True
        )
    return scene


_folder: tempfile.TemporaryDirectory[str] | None = None


def _file(text: str) -> str:
    """A file of this process with this text; it goes when the process does."""
    global _folder
    if _folder is None:
        _folder = tempfile.TemporaryDirectory(prefix="isaacmm-usd-")
    path = Path(_folder.name) / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.usda"
    path.write_text(text, encoding="utf-8")
    return str(path)


def _quiet_overflow(sim: Any) -> Tensor | None:
    """MuJoCo Warp's flags ``[N]`` of things that had no room. It would print a line for each, thousands in a minute,
    mostly about a line search that is good enough; :class:`isaacmm.sim.isaaclab.IsaacLabSimulator` says it once."""
    import warp as wp

    solver = getattr(sim.physics_manager, "_solver", None)
    flags = getattr(getattr(solver, "mjw_data", None), "overflow", None)
    if solver is None or flags is None:  # another Newton than the one this was written for
        return None
    solver.mjw_model.opt.warn_overflow = False
    return wp.to_torch(flags)


def damps_in_joint(physics: str) -> bool:
    """Whether damping is the joint's own. PhysX has it inside the drive instead: its joint friction, which would be the
    same thing, is not integrated implicitly and leaves a flailing limb ten times as far from where it should be."""
    return physics == "newton"


def check_hinges(there: list[str], wanted: list[str], physics: str) -> None:
    """Refuse to start with fewer or other hinges than the character has; engines drop some without an error.

    Raises:
        SimulatorError: which are missing or too many.
    """
    if there == wanted:
        return
    missing, extra = sorted(set(wanted) - set(there)), sorted(set(there) - set(wanted))
    raise SimulatorError(
        f"sim=isaaclab physics={physics}: of {len(wanted)} hinges {len(set(wanted) & set(there))} arrived in the engine"
        + (f"; missing: {', '.join(missing)}" if missing else "")
        + (f"; not ours: {', '.join(extra)}" if extra else "")
        + ("" if missing or extra else "; they are in another order than asked for")
    )


def physics_cfg(mj_model: Any, config: SimConfig, physics: str) -> Any:
    """Isaac Lab's configuration of an engine, with the settings of our physical model."""
    if physics == "newton":
        from isaaclab_newton.physics import MJWarpSolverCfg, NewtonCfg, NewtonShapeCfg

        from isaacmm.sim.warp_setup import capacities

        contacts, rows = capacities(mj_model, config)
        option = mj_model.opt
        return NewtonCfg(
            solver_cfg=MJWarpSolverCfg(
                njmax=rows,
                nconmax=contacts,
                iterations=int(option.iterations),
                ls_iterations=int(option.ls_iterations),
                integrator="implicitfast",
                solver="newton",
                cone="pyramidal",
                impratio=float(option.impratio),
                tolerance=float(option.tolerance),
            ),
            default_shape_cfg=NewtonShapeCfg(margin=0.0, gap=0.0),
        )
    if physics == "ovphysx":
        from isaaclab_ov.physics import OvPhysxCfg

        return OvPhysxCfg()
    from isaaclab_physx.physics import PhysxCfg

    return PhysxCfg()
