"""The contract against broken simulators: each fault is one that engines or adapters really had."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from isaacmm import rotation
from isaacmm.character import CharacterModel
from isaacmm.sim import SimConfig, contract
from isaacmm.sim.mujoco import MujocoSimulator
from isaacmm.state import MotionState, ResetState

MODEL = CharacterModel.load("humanoid")
SWAP = list(range(28))
SWAP[6], SWAP[10] = 10, 6  # right and left shoulder_x


class ReadsWxyz(MujocoSimulator):
    def state(self) -> MotionState:
        s = super().state()
        return replace(s, root_rot=rotation.to_wxyz(s.root_rot), body_rot=rotation.to_wxyz(s.body_rot))


class WxyzBothWays(MujocoSimulator):
    def reset(self, env_ids: Tensor, state: ResetState) -> None:
        super().reset(env_ids, replace(state, root_rot=rotation.to_wxyz(state.root_rot)))

    def state(self) -> MotionState:
        s = super().state()
        return replace(s, root_rot=rotation.from_wxyz(s.root_rot), body_rot=rotation.from_wxyz(s.body_rot))


class CentreOfMassVelocity(MujocoSimulator):
    def state(self) -> MotionState:
        s = super().state()
        ipos = torch.as_tensor(self.mj_model.body_ipos[1:], dtype=torch.float32)
        arm = rotation.rotate(s.body_rot, ipos.expand_as(s.body_pos))
        return replace(s, body_vel=s.body_vel + torch.linalg.cross(s.body_ang_vel, arm))


class LocalAngularVelocity(MujocoSimulator):
    def state(self) -> MotionState:
        s = super().state()
        local = rotation.rotate_inverse(s.body_rot, s.body_ang_vel)
        return replace(s, body_ang_vel=local, root_ang_vel=local[:, 0])


class ClipsTargets(MujocoSimulator):
    def step(self, dof_targets: Tensor) -> None:
        super().step(dof_targets.clamp(-1, 1))


class SwapsTargets(MujocoSimulator):
    def step(self, dof_targets: Tensor) -> None:
        super().step(dof_targets[:, SWAP])


class SwapsDofsEverywhere(MujocoSimulator):
    """Consistent with itself, so only the bodies give it away."""

    def reset(self, env_ids: Tensor, state: ResetState) -> None:
        super().reset(env_ids, replace(state, dof_pos=state.dof_pos[:, SWAP], dof_vel=state.dof_vel[:, SWAP]))

    def step(self, dof_targets: Tensor) -> None:
        super().step(dof_targets[:, SWAP])

    def state(self) -> MotionState:
        s = super().state()
        return replace(s, dof_pos=s.dof_pos[:, SWAP], dof_vel=s.dof_vel[:, SWAP])


class StaleAfterReset(MujocoSimulator):
    def reset(self, env_ids: Tensor, state: ResetState) -> None:
        before = super().state().clone()
        super().reset(env_ids, state)
        super().state().body_pos.copy_(before.body_pos)


class IgnoresOrderOfIds(MujocoSimulator):
    def reset(self, env_ids: Tensor, state: ResetState) -> None:
        super().reset(env_ids.sort().values, state)


class ResetsNeighbour(MujocoSimulator):
    def reset(self, env_ids: Tensor, state: ResetState) -> None:
        if len(env_ids) < self.num_envs and len(env_ids):
            state = state.index(torch.tensor([*range(len(env_ids)), 0]))
            env_ids = torch.cat((env_ids, env_ids.max().add(1).remainder(self.num_envs)[None]))
        super().reset(env_ids, state)


class KeepsWarmStart(MujocoSimulator):
    def reset(self, env_ids: Tensor, state: ResetState) -> None:
        warm = self.batch.bind("qacc_warmstart").copy()
        super().reset(env_ids, state)
        self.batch.bind("qacc_warmstart")[:] = warm


class HalfDamping(MujocoSimulator):
    def __init__(self, model: CharacterModel, config: SimConfig) -> None:
        super().__init__(model, config)
        super().set_gains(None, model.kd / 2)


class DropsGains(MujocoSimulator):
    def set_gains(self, kp: Tensor | None = None, kd: Tensor | None = None) -> None:
        super().set_gains(kp, None)


class OneSubstepShort(MujocoSimulator):
    def __init__(self, model: CharacterModel, config: SimConfig) -> None:
        super().__init__(model, config)
        self.config = replace(config, physics_hz=config.physics_hz - config.control_hz or config.physics_hz)


class IgnoresSelfCollision(MujocoSimulator):
    def __init__(self, model: CharacterModel, config: SimConfig) -> None:
        super().__init__(model, replace(config, self_collision=False))


class AlwaysCollides(MujocoSimulator):
    def __init__(self, model: CharacterModel, config: SimConfig) -> None:
        super().__init__(model, replace(config, self_collision=True))


class PushesForever(MujocoSimulator):
    def step(self, dof_targets: Tensor) -> None:
        kept = self._mj["xfrc_applied"].copy()
        super().step(dof_targets)
        self._mj["xfrc_applied"][:] = kept


class CountsPushesAsContact(MujocoSimulator):
    """As MuJoCo's own ``cfrc_ext`` does."""

    pushed: tuple[int, Tensor] | None = None

    def push(self, env_ids: Tensor, body: str, force: Tensor) -> None:
        super().push(env_ids, body, force)
        self.pushed = (int(env_ids[0]), force[0])

    def state(self) -> MotionState:
        s = super().state().clone()
        if self.pushed is not None:
            s.contact_force[self.pushed[0], 0] += self.pushed[1]
        return s


class NeverDiverges(MujocoSimulator):
    def diverged(self) -> Tensor:
        return torch.zeros(self.num_envs, dtype=torch.bool)


class ForgetsWarmStart(MujocoSimulator):
    def restore(self, snapshot: Mapping[str, Tensor]) -> None:
        super().restore(snapshot)
        self.batch.bind("qacc_warmstart")[:] = 0.0


class ForgetsContactAtReset(MujocoSimulator):
    """What the engine's scratch memory holds for the other worlds after a forward pass of some."""

    def reset(self, env_ids: Tensor, state: ResetState) -> None:
        super().reset(env_ids, state)
        super().state().contact_force.zero_()


class KeepsItsArgument(MujocoSimulator):
    kept: Tensor | None = None

    def reset(self, env_ids: Tensor, state: ResetState) -> None:
        super().reset(env_ids, state)
        self.kept = state.dof_pos

    def state(self) -> MotionState:
        return replace(super().state(), dof_pos=self.kept)


FAULTS = {
    ReadsWxyz: "quaternions_are_xyzw",
    WxyzBothWays: "reset_is_exact_before_any_step",
    CentreOfMassVelocity: "velocities_are_those_of_links",
    LocalAngularVelocity: "velocities_are_those_of_links",
    ClipsTargets: "targets_are_not_clipped",
    SwapsTargets: "every_dof_moves_by_name",
    SwapsDofsEverywhere: "reset_is_exact_before_any_step",
    StaleAfterReset: "reset_is_exact_before_any_step",
    IgnoresOrderOfIds: "partial_reset_leaves_others_alone",
    ResetsNeighbour: "partial_reset_leaves_others_alone",
    KeepsWarmStart: "reset_forgets_the_past",
    HalfDamping: "drive_matches_mujoco",
    DropsGains: "gains_can_differ_by_world",
    OneSubstepShort: "free_fall_obeys_gravity",
    IgnoresSelfCollision: "self_collision_is_as_asked",
    AlwaysCollides: "self_collision_is_as_asked",
    PushesForever: "push_acts_once_where_asked",
    CountsPushesAsContact: "push_acts_once_where_asked",
    NeverDiverges: "divergence_is_contained",
    ForgetsWarmStart: "snapshot_continues_bit_exactly",
    ForgetsContactAtReset: "standing_forces_carry_the_weight",
    KeepsItsArgument: "arguments_are_left_alone",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_fault_is_caught(fault: type[MujocoSimulator]) -> None:
    with pytest.raises(AssertionError) as caught:
        contract.run(FAULTS[fault], lambda config: fault(MODEL, config))
    print(caught.value)  # shown with -s: the sentence a user would get


def test_check_names_every_broken_item() -> None:
    with pytest.raises(AssertionError, match=r"(?s)targets_are_not_clipped: .*stopped at"):
        contract.check(lambda config: ClipsTargets(MODEL, config))
