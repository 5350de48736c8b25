"""HumanoidMM: commanded freely, and compared with the clips that answer the same command."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from isaacmm import rotation
from isaacmm.envs import demonstrations, rewards
from isaacmm.envs.commands import _pair
from isaacmm.envs.device_loop import DeviceSearch, DeviceTwins, hand_out, pool_size
from isaacmm.envs.humanoid_amp import HumanoidAMP, _choice
from isaacmm.envs.locomotion_command import LocomotionCommand, modes_from_config
from isaacmm.envs.observations import Slice
from isaacmm.envs.reference import ReferenceTable
from isaacmm.envs.twin_pose import TwinPose
from isaacmm.errors import ConfigError
from isaacmm.matching.database import Database
from isaacmm.matching.search import make_search
from isaacmm.matching.twin import Twins
from isaacmm.state import MotionState

log = logging.getLogger(__name__)

#: Rows of clips per control step; moments between control steps make the clips' variety.
PHASES = 2
#: An episode begins at one of so many moments that suit its command best.
CANDIDATES = 64


class HumanoidMM(HumanoidAMP):
    """Motion matching in the training loop.

    Every world is commanded a local velocity and a facing. Their springs predict the path of the next second; these
    twelve numbers, normalised like the matching database, are the condition ``c``. The policy sees ``c`` beside its
    own body, the world's twin (:class:`~isaacmm.matching.twin.Twins`, a motion-matching playhead) is asked for clips
    by ``c``, and the discriminator is told ``c``: it compares the character with the clip moment that answers the
    same command. Nothing of the twin enters the policy unless ``reference`` says so.

    ``reference``: ``none``; ``observe``: the policy sees the twin's next pose; ``residual``: its action is added to
    that pose. Both use a pose that is inertialized where the twin jumps.
    """

    RESETS = ("matched", "default")
    TASK_REWARDS = ("locomotion",)

    def _prepare(self, command: dict[str, Any]) -> None:
        matching = dict(self.config.get("matching", {}))
        rate = PHASES / self.dt
        self.table = ReferenceTable(self.library, self.observe, 1.0 / self.dt, PHASES, self.amp_frames)
        self.database = Database.from_config(
            matching, self.library, self.character, rate, head_seconds=(self.amp_frames - 1) * self.dt
        )
        modes, absent = modes_from_config(
            dict(command.get("modes", {})), self.database, bool(command.get("within_clips", True))
        )
        if absent:
            log.info("commands that no clip answers are left out: %s", ", ".join(absent))
        # a style per mode where any mode is particular about its clips
        self.styled = any(mode.clips for mode in modes)
        allowed = [self.database.allowed(mode.clips) for mode in modes] if self.styled else []
        allowed.append(self.database.valid)  # whoever is steered may be answered by any clip
        kind = str(matching.get("search", "auto"))
        searched = make_search(self.database.features, torch.stack(allowed), kind)
        self.search = DeviceSearch(self.database.features, torch.stack(allowed)) if self.sync_free else searched
        #: rows that an episode may begin at, their paths and these' squared norms
        self._starts = self.database.valid.nonzero().flatten()
        self._paths = self.database.trajectory[self._starts].contiguous()
        self._path_norms = (self._paths**2).sum(-1)
        self.twins = (DeviceTwins if self.sync_free else Twins)(
            self.database,
            self.search,
            self.num_envs,
            PHASES,
            max(1, round(float(matching.get("every_seconds", 0.2)) / self.dt)),
            float(matching.get("stay_bias", 0.01)),
        )
        self.command = LocomotionCommand(
            self.num_envs,
            modes,
            self.database.spec.horizons,
            _pair(command.get("resample_seconds", (2.0, 5.0)), "task.env.command.resample_seconds"),
            self.dt,
            self.generator,
            float(command.get("halflife", 0.27)),
            float(command.get("leash", 1.0)),
            self.device,
        )
        sampler = _choice(self.config, "demo_sampler", demonstrations.SAMPLERS, "matched_twin")
        if sampler == "matched_state" and self.reference_mode != "none":
            raise ConfigError(
                f"task.env.demo_sampler=matched_state with reference={self.reference_mode}: what answers the "
                "character's own state jumps from moment to moment and cannot be followed; use matched_twin"
            )
        self.demos = demonstrations.Demonstrations(sampler, self.database, self.table)
        self.twin_pose = TwinPose(self.table, self.num_envs) if self.reference_mode != "none" else None
        self.condition = torch.zeros(self.num_envs, self.condition_size, device=self.device)
        #: row of the clips that answers the transition under way
        self.reference = torch.zeros(self.num_envs, dtype=torch.int64, device=self.device)

    @property
    def condition_size(self) -> int:
        """Numbers of the trajectory part of the matching features."""
        return self.database.spec.trajectory_size

    # -------------------------------------------------------- demonstrations
    def demo_obs(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Discriminator observations ``[n, H*F]`` of any moments of the clips."""
        rows = self.demos.rows(n, generator or self.generator)
        return self.table.histories(rows).flatten(1)

    def paired_demos(self, condition: Tensor, reference: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Clips ``[n, H*F]`` and the conditions ``[n, K]`` they stand for, as the demo sampler pairs them."""
        rows, condition = self.demos(condition, reference, generator)
        return self.table.histories(rows).flatten(1), condition

    @property
    def observation_slices(self) -> list[Slice]:
        """What every number of the observation means."""
        parts = self.observe.slices()
        start, count = self.observe.size, len(self.database.spec.horizons)
        at = [f"{seconds:.2f} s" for seconds in self.database.spec.horizons]
        for name in ("future_position", "future_facing"):
            items = tuple(f"{axis} at {when}" for when in at for axis in "xy")
            parts.append(Slice(name, start, start + 2 * count, "normalised", "heading", items))
            start += 2 * count
        if self.reference_mode != "none":
            names = self.character.skeleton.dof_names
            parts.append(Slice("reference_joint_positions", start, start + len(names), "rad", "joint", names))
        return parts

    # -------------------------------------------------------------- one step
    def _command_observation(self) -> Tensor:
        return self.condition

    def _next_pose(self) -> Tensor:
        assert self.twin_pose is not None
        return self.twin_pose.dofs(self.reference)

    def _play(self) -> None:
        """Twins move on in :meth:`_look_ahead`, when the next command is known."""

    def _partners(self) -> tuple[Tensor, Tensor]:
        return self.condition, self.reference

    def _look_ahead(self) -> None:
        """Commands and springs move on; twins answer; what the next observation needs is there."""
        begin = time.perf_counter()
        root = self.simulator.state().root_pos[:, :2]
        self.command.advance(self.steps * self.dt, root, self.root_yaw)
        self.condition = self._predict()
        before = self.twins.row
        self.reference = self._answer()
        if self.twin_pose is not None:
            self.twin_pose.step(before, self.reference, self.twins.jumped, self.dt)
        self.matching_seconds += time.perf_counter() - begin

    def _predict(self, ids: Tensor | None = None) -> Tensor:
        position, facing = self.command.predict(self.root_yaw, ids)
        return self.database.condition(position, facing)

    def _answer(self) -> Tensor:
        """The clip row that answers the present condition."""
        style = self.command.mode if self.styled else None
        if style is not None and self.command.source is not None:
            style = torch.full_like(style, len(self.command.modes))
        if self.demos.sampler != "matched_state":
            return self.twins.step(self.condition, style)
        # the simulated character itself asks, so what answers is near to what it does
        state = self.simulator.state()
        pose = self.database.pose_of(state, self.root_yaw)
        return self.twins.follow(self.search(torch.cat((pose, self.condition), dim=1), style)[0])

    def _next_command(self) -> None:
        """Already done in :meth:`_look_ahead`, so that the last observation of an episode is complete."""

    def _rewards(self, state: MotionState) -> dict[str, Tensor]:
        spring = self.command.spring
        velocity = rewards.local_velocity(state.root_rot, state.root_vel)
        heading = rotation.wrap_angle(spring.yaw - self.root_yaw)
        task = rewards.locomotion(velocity, spring.velocity, heading, self.sharpness, self.facing, self.slowest)
        terms = {
            "task": task,
            "speed_error": (velocity[:, :2] - spring.velocity).norm(dim=-1),
            "heading_error": heading.abs(),
        }
        if self.track_reference:
            terms["tracking"] = rewards.pose_tracking(state.dof_pos, self._next_pose())
            terms["task"] = task * terms["tracking"]
        return terms

    # ------------------------------------------------------------------ reset
    def _reset(self, ids: Tensor) -> None:
        """Matched reset: draw a command, begin in the midst of clips that do it (random among the best)."""
        n = len(ids)
        velocity, turn, _, mode = self.command.draw(n)
        if self.command.source is not None:
            velocity, _, turn = self._told(ids, torch.zeros(n, device=self.device))
        position, facing = self.command.steady(velocity, turn)
        rows = self._matching_rows(self.database.condition(position, facing))
        rows = self._begin_at(rows)
        self.simulator.reset(ids, self.table.reset_state(rows))
        self.history = self.history.index_put((ids,), self.table.histories(rows))
        self.steps[ids] = 0
        self.playhead[ids] = rows
        self.root_yaw = self.root_yaw.index_put((ids,), self.table.yaw[rows])
        yaw = rotation.wrap_angle(self.database.track.yaw[rows])
        self.command.reset(ids, yaw, velocity, turn, mode)
        if self.command.source is not None:
            self.command.yaw[ids] = self._told(ids, yaw)[1]
        self.condition = self.condition.index_put((ids,), self._predict(ids))
        following = torch.where(self.database.rows_left(rows) >= PHASES, rows + PHASES, rows)
        self.twins.reset(ids, following, self.condition[ids])
        self.reference = self.reference.index_put((ids,), following)
        if self.twin_pose is not None:
            self.twin_pose.reset(ids)

    def _reset_done(self, done: Tensor) -> None:
        if self.sync_free and self.command.source is not None:  # somebody steers: no training, no hurry
            if len(ids := done.nonzero().flatten()):
                self._reset(ids)
            return
        super()._reset_done(done)

    def _reset_where(self, done: Tensor) -> None:
        """As :meth:`_reset`, in fixed shapes."""
        size = pool_size(self.num_envs)
        turn, row = hand_out(done, size)
        velocity, turn_rate, _, mode = self.command.draw(size)
        position, facing = self.command.steady(velocity, turn_rate)
        rows = self._begin_at(self._matching_rows(self.database.condition(position, facing)))
        self.simulator.reset_rows(row, self.table.reset_state(rows))  # type: ignore[attr-defined]
        taken = rows[turn]
        self._begin(done, taken)
        yaw = rotation.wrap_angle(self.database.track.yaw[taken])
        self.command.reset_where(done, yaw, velocity[turn], turn_rate[turn], mode[turn])
        self.condition = torch.where(done[:, None], self._predict(), self.condition)
        following = torch.where(self.database.rows_left(taken) >= PHASES, taken + PHASES, taken)
        self.twins.reset_where(done, following, self.condition)  # type: ignore[attr-defined]
        self.reference = torch.where(done, following, self.reference)
        if self.twin_pose is not None:
            self.twin_pose.reset_where(done)

    def _told(self, ids: Tensor, yaw: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Velocity, facing and turn rate that the command's source begins with in worlds ``ids``, facing ``yaw``."""
        root = self.simulator.state().root_pos[:, :2]
        return self.command.told(ids, yaw, self.steps * self.dt, root, self.root_yaw)

    def _matching_rows(self, condition: Tensor) -> Tensor:
        """A random one of the rows whose path is closest to ``condition [n, K]``."""
        begin = time.perf_counter()
        distance = torch.addmm(self._path_norms, condition, self._paths.T, alpha=-2.0)
        best = distance.topk(min(CANDIDATES, distance.shape[1]), largest=False).indices
        pick = torch.randint(best.shape[1], (len(best), 1), generator=self.generator, device=self.device)
        self.matching_seconds += time.perf_counter() - begin
        return self._starts[best.gather(1, pick)[:, 0]]

    # ----------------------------------------------------------------- resume
    def state_dict(self) -> dict[str, Any]:
        """Everything that a resumed run needs to go on bit for bit (if the simulator can be copied)."""
        state = super().state_dict()
        state.update(
            twins=self.twins.state_dict(), condition=self.condition.clone(), reference=self.reference.clone()
        )
        if self.twin_pose is not None:
            state["twin_pose"] = self.twin_pose.state_dict()
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of :meth:`state_dict`; without a simulator snapshot all worlds start afresh."""
        super().load_state_dict(state)
        if "simulator" not in state or "snapshot" not in self.simulator.capabilities:
            return
        self.twins.load_state_dict(state["twins"])
        self.condition, self.reference = state["condition"].clone(), state["reference"].clone()
        if self.twin_pose is not None:
            self.twin_pose.load_state_dict(state["twin_pose"])
