"""The kinematic controller, driven by networks in place of the database."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from isaacmm.character import CharacterModel
from isaacmm.errors import CheckpointError, ConfigError
from isaacmm.learned_matching.networks import LearnedMM
from isaacmm.learned_matching.playhead import NetworkPlayhead
from isaacmm.learned_matching.task import NAME, with_latents
from isaacmm.matching.controller.controller import Controller, Frame, Settings
from isaacmm.matching.controller.foot_lock import FootLock
from isaacmm.matching.controller.inertialization import Inertialization, turn_between
from isaacmm.matching.controller.leg import Legs
from isaacmm.matching.controller.root import Root
from isaacmm.matching.controller.self_penetration import Separation
from isaacmm.matching.controller.table import PoseTable
from isaacmm.matching.trajectory import CommandSpring
from isaacmm.matching.twin import Twins


class _Now:
    """A column of a table that has only the present: any rows give it."""

    def __init__(self, playhead: NetworkPlayhead, name: str) -> None:
        self.playhead, self.name = playhead, name

    def __getitem__(self, rows: Tensor) -> Tensor:
        value = getattr(self.playhead.pose, self.name)
        assert isinstance(value, Tensor)
        return value


class _Bits:
    """Contacts, told by the row itself: the playhead's rows are bits."""

    def __init__(self, bits: Tensor) -> None:
        self.bits = bits

    def __getitem__(self, rows: Tensor) -> Tensor:
        return (rows[..., None] & self.bits) > 0


class _LiveTable:
    """What the controller reads of a pose table."""

    def __init__(self, playhead: NetworkPlayhead) -> None:
        self.dof_pos, self.hip_pos, self.hip_rot, self.sole_height = (
            _Now(playhead, name) for name in ("dof_pos", "hip_pos", "hip_rot", "sole_height")
        )
        self.contact = _Bits(playhead.bits)


class LearnedController(Controller):
    """As its base, with the same springs, inertialization, root adjustment, foot locking and separation of limbs.

    Args:
        model: networks.
        meta: of the fit that made them.
        num_envs: ``N``.
        fps: frames per second, whatever the networks' own rate is.
        settings: how to move.
    """

    def __init__(
        self,
        model: LearnedMM,
        meta: dict[str, Any],
        num_envs: int = 1,
        fps: float = 60.0,
        settings: Settings | None = None,
    ) -> None:
        if num_envs < 1:
            raise ConfigError(f"a controller needs one or more characters, not {num_envs}")
        self.num_envs, self.stride, self.dt = num_envs, 1, 1.0 / fps
        self.settings = s = settings or Settings()
        self.model = model.eval().requires_grad_(False)
        self.meta = with_latents(meta, self.model)
        self.character = CharacterModel.load(meta["character"])
        self.skeleton = self.character.skeleton
        if list(self.skeleton.dof_names) != list(meta["dof_names"]):
            raise CheckpointError("the networks were made for a character with other hinges than this one has")
        self.device = device = torch.device("cpu")
        self.playhead = NetworkPlayhead.of(
            self.model, self.meta, num_envs, self.dt, every=s.search_seconds, stay_bias=s.stay_bias
        )
        # stand-ins with what the base asks of them
        self.twins = cast(Twins, self.playhead)
        self.table = cast(PoseTable, _LiveTable(self.playhead))
        self.spring = CommandSpring(num_envs, meta["horizons"], s.command_halflife, device)
        self.root = Root(num_envs, s.leading, device)
        self.legs = Legs(self.character)
        self.feet = FootLock(self.character, num_envs, s.locking)
        self.separation = Separation(self.character) if s.separate else None
        dofs = self.skeleton.num_dofs
        self.inert = Inertialization(num_envs, dofs + 6, s.halflife, device)
        self.drift = torch.zeros(num_envs, 3)
        self.sunk, self.sinking, self.time = torch.zeros(3, num_envs)
        self.correction = torch.zeros(num_envs, len(self.character.feet), self.legs.size)
        self.low, self.high = self.skeleton.dof_limits.unbind(-1)
        self._last_sole = torch.zeros(num_envs, *self.character.sole.shape)
        path = slice(self.playhead.pose_size, None)
        self._offset, self._scale = meta["feature_offset"][path], meta["feature_scale"][path]
        everyone = torch.arange(num_envs)
        self.reset(everyone, torch.zeros(num_envs, 2), torch.zeros(num_envs))

    @classmethod
    def from_run(cls, run: str | Path, num_envs: int = 1, **rest: Any) -> LearnedController:
        """Networks of a run folder of ``task=LearnedMM``, or of one of its checkpoints.

        Raises:
            CheckpointError: there are none.
        """
        model, meta = load(run)
        return cls(model, meta, num_envs, **rest)

    # ------------------------------------------------------------------ begin
    def reset(
        self, ids: Tensor, pos: Tensor, yaw: Tensor, rows: Tensor | None = None, start: str = "stand"
    ) -> None:
        """Characters ``ids [n]`` begin at ``pos [n, 2]`` m, facing ``yaw [n]`` rad, as ``start`` says: ``stand`` or
        ``walk``. There are no rows to begin in."""
        begin = self.meta["starts"][start]
        x, z = (begin[name].expand(len(ids), -1).clone() for name in ("x", "z"))
        self.playhead.reset(ids, x, z)
        pose = self.playhead.pose
        self.root.reset(ids, pos, yaw)
        self.spring.reset(ids, yaw, pose.velocity[ids], pose.turn_rate[ids])
        self.inert.reset(ids)
        self.feet.reset(ids)
        for value in (self.drift, self.sunk, self.sinking, self.correction, self.time):
            value[ids] = 0.0
        self._last_sole[ids] = self.feet.points(self._animated()[3])[ids]
        still = torch.zeros(self.num_envs, 2)
        self._pose(torch.zeros_like(self.playhead.jumped), still, self.root.yaw, 0.0)

    # ------------------------------------------------------------------- step
    def step(self, velocity: Tensor, facing: Tensor, turn_rate: Tensor, style: Tensor | None = None) -> Frame:
        """One frame; arguments as of the base. The networks know one style."""
        dt, playhead = self.dt, self.playhead
        self.spring.step(velocity, facing, turn_rate, dt)
        path, faces = self.spring.predict(velocity, facing, turn_rate, self.root.yaw)
        before = playhead.pose
        playhead.step((torch.cat((path.flatten(1), faces.flatten(1)), dim=1) - self._offset) / self._scale)
        old, new, jumped = playhead.old, playhead.pose, playhead.jumped
        # the way of this frame, by what was and would be played without a jump
        way = 0.5 * dt * (before.velocity + old.velocity)
        turn = 0.5 * dt * (before.turn_rate + old.turn_rate)
        way, turn = way + self.drift[:, :2] * dt, turn + self.drift[:, 2] * dt
        gap = torch.cat((old.velocity - new.velocity, (old.turn_rate - new.turn_rate)[:, None]), dim=1)
        self.drift = 2.0 ** (-dt / self.settings.halflife) * self.drift + torch.where(jumped[:, None], gap, 0.0)
        self.root.advance(way, turn)
        self.spring.yaw = self.root.lead(self.spring.velocity, self.spring.yaw, way, turn, dt)
        self.inert.decay(dt)
        offset = (old.dof_pos - new.dof_pos, old.hip_pos - new.hip_pos, turn_between(old.hip_rot, new.hip_rot))
        rates = (old.dof_vel - new.dof_vel, old.hip_vel - new.hip_vel, old.hip_turn - new.hip_turn)
        self.inert.jump(jumped, torch.cat(offset, dim=1), torch.cat(rates, dim=1))
        self.time = self.time + dt
        self._pose(jumped.clone(), velocity, facing, dt)
        return self.frame


def locate(run: str | Path, runs_dir: Path = Path("runs")) -> Path:
    """The checkpoint that ``run`` names: a file, a run folder or its name, or ``latest`` (of this task).

    Raises:
        CheckpointError: nothing is there; the message lists what is.
    """
    from isaacmm.cli import runs

    return runs.latest_of_task(NAME, runs_dir) if str(run) == "latest" else runs.find_checkpoint(str(run), runs_dir, "")


def load(run: str | Path) -> tuple[LearnedMM, dict[str, Any]]:
    """Networks and what is said about them, of what :func:`locate` finds.

    Raises:
        CheckpointError: there are none.
    """
    from isaacmm.learn.fit import load_fitted, shipped

    path = locate(run)
    content = load_fitted(path)
    if content["task"] != NAME:
        raise CheckpointError(f"{path} was made by task={content['task']}, not by task={NAME}")
    model = LearnedMM(content["meta"]["spec"])
    model.load_state_dict(shipped(content))
    return model.eval(), dict(content["meta"])
