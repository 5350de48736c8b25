"""What a correct simulator should do: our own kinematics, and one world of plain MuJoCo.

Written apart from the simulators on purpose. Nothing here goes through their code, so that a
mistake in it cannot hide in the thing it is compared with.
"""

from __future__ import annotations

import mujoco
import numpy as np
import torch
from torch import Tensor

from isaacmm import rotation
from isaacmm.character import CharacterModel
from isaacmm.state import ResetState


def flying_states(model: CharacterModel, n: int, seed: int = 0, height: float = 5.0) -> ResetState:
    """``n`` different states in mid-air: any orientation, asymmetric poses, everything moving."""
    g = torch.Generator().manual_seed(seed)
    low, high = model.skeleton.dof_limits.unbind(-1)
    dofs = model.skeleton.num_dofs
    return ResetState(
        root_pos=torch.randn(n, 3, generator=g) * 0.3 + torch.tensor([0.0, 0.0, height]),
        root_rot=rotation.normalize(torch.randn(n, 4, generator=g)),
        root_vel=torch.randn(n, 3, generator=g),
        root_ang_vel=torch.randn(n, 3, generator=g) * 2.0,
        dof_pos=low + (high - low) * (0.2 + 0.6 * torch.rand(n, dofs, generator=g)),
        dof_vel=torch.randn(n, dofs, generator=g),
    )


def resting_states(model: CharacterModel, n: int, height: float | None = None) -> ResetState:
    """``n`` equal states: zero pose, upright, still. ``height=None`` puts the soles on the floor."""
    dofs = model.skeleton.num_dofs
    root_pos, root_rot = torch.zeros(n, 3), rotation.identity(n)
    if height is None:
        joints = model.skeleton.dofs_to_joint_rot(torch.zeros(n, dofs))
        soles = model.sole_points(*model.skeleton.fk(root_pos, root_rot, joints))
        height = -float(soles[..., 2].min())
    root_pos[:, 2] = height
    zeros = torch.zeros(n, 3)
    return ResetState(root_pos, root_rot, zeros, zeros.clone(), torch.zeros(n, dofs), torch.zeros(n, dofs))


def body_motion(model: CharacterModel, state: ResetState) -> dict[str, Tensor]:
    """``body_pos``, ``body_rot``, ``body_vel``, ``body_ang_vel`` by our own kinematics, in float64.

    Velocities are central differences of the poses along the motion that ``state`` describes.
    """
    s = {name: getattr(state, name).double() for name in state.__dataclass_fields__}
    eps = 1e-5

    def at(t: float) -> tuple[Tensor, Tensor]:
        turn = rotation.from_rotvec(s["root_ang_vel"] * t)
        joints = model.skeleton.dofs_to_joint_rot(s["dof_pos"] + s["dof_vel"] * t)
        root_rot = rotation.multiply(turn, rotation.normalize(s["root_rot"]))
        return model.skeleton.fk(s["root_pos"] + s["root_vel"] * t, root_rot, joints)

    pos, rot = at(0.0)
    (pos_before, rot_before), (pos_after, rot_after) = at(-eps), at(eps)
    turned = rotation.multiply(rot_after, rotation.inverse(rot_before))
    return {
        "body_pos": pos,
        "body_rot": rot,
        "body_vel": (pos_after - pos_before) / (2 * eps),
        "body_ang_vel": rotation.to_rotvec(turned) / (2 * eps),
    }


class PlainMujoco:
    """One world stepped by ``mj_step``: the golden trajectory.

    Args:
        model: the character; its MJCF is compiled as it is but for what follows.
        self_collision: let bodies touch each other.
        kp, kd: other gains ``[D]`` than the MJCF's.
    """

    def __init__(
        self,
        model: CharacterModel,
        self_collision: bool = False,
        kp: Tensor | None = None,
        kd: Tensor | None = None,
        physics_hz: int = 120,
    ) -> None:
        self.model = model
        spec = mujoco.MjSpec.from_file(str(model.mjcf))
        spec.option.timestep = 1.0 / physics_hz
        for body in spec.bodies[1:]:
            for geom in body.geoms:
                geom.contype = int(self_collision)
        self.m = spec.compile()
        self.d = mujoco.MjData(self.m)
        names = model.skeleton.dof_names
        self.bodies = [self.m.body(name).id for name in model.skeleton.names]
        self.q = [int(self.m.joint(name).qposadr[0]) for name in names]
        self.v = [int(self.m.joint(name).dofadr[0]) for name in names]
        self.u = [
            next(a for a in range(self.m.nu) if self.m.actuator_trnid[a, 0] == self.m.joint(n).id)
            for n in names
        ]
        if kp is not None:
            self.m.actuator_gainprm[self.u, 0] = kp.numpy()
            self.m.actuator_biasprm[self.u, 1] = -kp.numpy()
        if kd is not None:
            self.m.dof_damping[self.v] = kd.numpy()

    def reset(self, state: ResetState, row: int) -> None:
        """Into row ``row`` of ``state``."""
        mujoco.mj_resetData(self.m, self.d)
        rot = rotation.normalize(state.root_rot[row].double())
        self.d.qpos[:3] = state.root_pos[row].double()
        self.d.qpos[3:7] = rotation.to_wxyz(rot)
        self.d.qpos[self.q] = state.dof_pos[row].double()
        self.d.qvel[:3] = state.root_vel[row].double()
        self.d.qvel[3:6] = rotation.rotate_inverse(rot, state.root_ang_vel[row].double())
        self.d.qvel[self.v] = state.dof_vel[row].double()
        mujoco.mj_forward(self.m, self.d)

    def step(self, targets: Tensor, substeps: int, push: tuple[str, Tensor] | None = None) -> None:
        """``substeps`` calls of ``mj_step`` with PD targets ``[D]``, and a force ``[3]`` on a body."""
        self.d.ctrl[self.u] = targets.double()
        if push is not None:
            self.d.xfrc_applied[self.m.body(push[0]).id, :3] = push[1].double()
        for _ in range(substeps):
            mujoco.mj_step(self.m, self.d)
        self.d.xfrc_applied[:] = 0.0
        mujoco.mj_forward(self.m, self.d)

    def self_overlap(self) -> float:
        """m, how deep the character's bodies are inside each other; 0 where they do not touch."""
        own = (self.m.geom_bodyid[self.d.contact.geom] > 0).all(axis=-1)
        return max(0.0, float(-self.d.contact.dist[own].min())) if own.any() else 0.0

    def read(self) -> dict[str, Tensor]:
        """Dof and body state as :class:`isaacmm.state.MotionState` names it, one row, float64."""
        velocity = np.zeros((len(self.bodies), 6))
        for i, body in enumerate(self.bodies):  # (angular, linear) of the link frame in world axes
            mujoco.mj_objectVelocity(self.m, self.d, mujoco.mjtObj.mjOBJ_XBODY, body, velocity[i], 0)
        return {
            "dof_pos": torch.tensor(self.d.qpos[self.q]),
            "dof_vel": torch.tensor(self.d.qvel[self.v]),
            "body_pos": torch.tensor(self.d.xpos[self.bodies]),
            "body_rot": rotation.from_wxyz(torch.tensor(self.d.xquat[self.bodies])),
            "body_vel": torch.tensor(velocity[:, 3:]),
            "body_ang_vel": torch.tensor(velocity[:, :3]),
        }
