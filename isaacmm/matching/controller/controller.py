"""Controller: characters that follow commands by motion matching, without physics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from isaacmm import rotation
from isaacmm.errors import ConfigError
from isaacmm.matching import springs
from isaacmm.matching.controller.foot_lock import FootLock, Locking
from isaacmm.matching.controller.inertialization import Inertialization, turn_between
from isaacmm.matching.controller.leg import FootPose, Legs
from isaacmm.matching.controller.root import Leading, Root
from isaacmm.matching.controller.self_penetration import Separation
from isaacmm.matching.controller.table import PoseTable
from isaacmm.matching.database import Database
from isaacmm.matching.search import Search, make_search
from isaacmm.matching.trajectory import CommandSpring
from isaacmm.matching.twin import Twins
from isaacmm.motion.clip import Motion
from isaacmm.steering.source import Source

#: A foot that comes out further than this from where it is held is let go (m).
MISSED = 0.0008


@dataclass(frozen=True)
class Settings:
    """How a controller moves.

    Attributes:
        halflife: s; of the difference that a jump leaves (inertialization).
        command_halflife: s; of the command springs.
        search_seconds: s between searches.
        stay_bias: squared distance by which another row must be better than playing on.
        leading: root adjustment.
        locking: feet.
        separate: whether limbs are kept out of the body and of each other.
        drop: m; how far the hips may sink so that a standing leg reaches its foot.
    """

    halflife: float = 0.1
    command_halflife: float = 0.27
    search_seconds: float = 0.1
    stay_bias: float = 0.1
    leading: Leading = field(default_factory=Leading)
    locking: Locking = field(default_factory=Locking)
    separate: bool = True
    drop: float = 0.08


@dataclass
class Frame:
    """Poses of one step. World frame, SI.

    Attributes:
        root_pos, root_rot, dof_pos: ``[N, 3]``, ``[N, 4]``, ``[N, D]``.
        track_pos, track_yaw: ``[N, 2]``, ``[N]``: the ground track under the hips.
        locked: ``[N, F]`` bool: feet that are held to the floor.
        sole: ``[N, F, C, 3]`` sole points.
        row: ``[N]`` of the database. jumped: ``[N]`` bool, a transition began here.
        velocity, facing: ``[N, 2]`` m/s, ``[N]`` rad: the command.
    """

    root_pos: Tensor
    root_rot: Tensor
    dof_pos: Tensor
    track_pos: Tensor
    track_yaw: Tensor
    locked: Tensor
    sole: Tensor
    row: Tensor
    jumped: Tensor
    velocity: Tensor
    facing: Tensor


class Controller:
    """``N`` characters at once; each step costs a few hundred small tensor operations, whatever ``N`` is.

    Args:
        database: of the clips; its rate is the frame rate times ``stride``.
        num_envs: ``N``.
        search: over ``database.features``; default: the one that suits the device.
        settings: how to move.
        stride: rows of the database per step.
        table: of the same database, where one has been made already.
    """

    def __init__(
        self,
        database: Database,
        num_envs: int = 1,
        search: Search | None = None,
        settings: Settings | None = None,
        stride: int = 1,
        table: PoseTable | None = None,
    ) -> None:
        if num_envs < 1 or stride < 1:
            raise ConfigError(f"a controller needs one or more characters and rows per step, not {num_envs}, {stride}")
        self.database, self.num_envs, self.stride = database, num_envs, stride
        self.settings = s = settings or Settings()
        self.character = database.character
        self.skeleton = self.character.skeleton
        self.device = device = database.features.device
        self.dt = stride / database.rate
        self.table = table or PoseTable(database)
        search = search or make_search(database.features, database.valid[None])
        every = max(1, round(s.search_seconds / self.dt))
        self.twins = Twins(database, search, num_envs, stride, every, s.stay_bias)
        self.spring = CommandSpring(num_envs, database.spec.horizons, s.command_halflife, device)
        self.root = Root(num_envs, s.leading, device)
        self.legs = Legs(self.character)
        self.feet = FootLock(self.character, num_envs, s.locking)
        self.separation = Separation(self.character) if s.separate else None
        dofs = self.skeleton.num_dofs
        #: hinges, hip position, hip rotation, side by side
        self.inert = Inertialization(num_envs, dofs + 6, s.halflife, device)
        #: what is left of the old track's velocity (m/s, own heading) and turn rate after a jump ``[N, 3]``
        self.drift = torch.zeros(num_envs, 3, device=device)
        #: how far the hips have sunk, m, and how fast
        self.sunk = torch.zeros(num_envs, device=device)
        self.sinking = torch.zeros(num_envs, device=device)
        self.correction = torch.zeros(num_envs, len(self.character.feet), self.legs.size, device=device)
        self.low, self.high = self.skeleton.dof_limits.unbind(-1)
        self.time = torch.zeros(num_envs, device=device)
        self.frame: Frame
        self._last_sole = torch.zeros(num_envs, *self.character.sole.shape, device=device)
        everyone = torch.arange(num_envs, device=device)
        self.reset(everyone, torch.zeros(num_envs, 2, device=device), torch.zeros(num_envs, device=device))

    @classmethod
    def load(cls, motion: str = "full", num_envs: int = 1, fps: float = 60.0, **rest: Any) -> Controller:
        """A controller of clips: a name of ``cfg/motion``, a clip, a folder, a glob or a motion yaml.

        ``rest`` is passed on to the constructor.

        Raises:
            ConfigError, MotionError: nothing is there, or it cannot be used.
        """
        from isaacmm.matching.opening import open_database

        return cls(open_database(motion, rate=fps), num_envs, **rest)

    # ------------------------------------------------------------------ begin
    def reset(self, ids: Tensor, pos: Tensor, yaw: Tensor, rows: Tensor | None = None) -> None:
        """Characters ``ids [n]`` begin at ``pos [n, 2]`` m, facing ``yaw [n]`` rad.

        They begin in ``rows [n]`` of the database; by default in the valid one that stands stillest.
        """
        db = self.database
        if rows is None:
            zero = torch.zeros(1, len(db.spec.horizons), 2, device=self.device)
            ahead = torch.zeros_like(zero)
            ahead[..., 0] = 1.0
            cost = ((db.trajectory - db.condition(zero, ahead)) ** 2).sum(-1) + db.velocity.norm(dim=-1)
            rows = cost.masked_fill(~db.valid, float("inf")).argmin().expand(len(ids))
        self.root.reset(ids, pos, yaw)
        self.spring.reset(ids, yaw, db.velocity[rows], db.turn_rate[rows])
        self.twins.reset(ids, rows, db.trajectory[rows])
        self.inert.reset(ids)
        self.feet.reset(ids)
        for value in (self.drift, self.sunk, self.sinking, self.correction, self.time):
            value[ids] = 0.0
        self._last_sole[ids] = self.feet.points(self._animated()[3])[ids]
        still = torch.zeros(self.num_envs, 2, device=self.device)
        self._pose(torch.zeros_like(self.twins.jumped), still, self.root.yaw, 0.0)

    # ------------------------------------------------------------------- step
    def step(self, velocity: Tensor, facing: Tensor, turn_rate: Tensor, style: Tensor | None = None) -> Frame:
        """One step of ``dt`` s under a command.

        Args:
            velocity: ``[N, 2]`` m/s, (forward, left) of the commanded facing.
            facing: ``[N]`` rad, world.
            turn_rate: ``[N]`` rad/s at which the facing goes on turning.
            style: ``[N]`` int64, for searches that know several.
        """
        dt, twins = self.dt, self.twins
        self.spring.step(velocity, facing, turn_rate, dt)
        path, faces = self.spring.predict(velocity, facing, turn_rate, self.root.yaw)
        before = twins.row
        left = self.database.rows_left(before)
        following = torch.where(left < self.stride, before, before + self.stride)
        row = twins.step(self.database.condition(path, faces), style)
        self._travel(before, following, row, dt)
        self._inertialize(following, row, dt)
        self.time = self.time + dt
        self._pose(twins.jumped.clone(), velocity, facing, dt)
        return self.frame

    def _travel(self, before: Tensor, following: Tensor, row: Tensor, dt: float) -> None:
        """Root motion: the clip's own step, what is left of the old velocity, and the lead."""
        db = self.database
        way, turn = self.table.travel(before, following)
        ended = following == before  # a clip that is over goes on as it ended
        way = torch.where(ended[:, None], db.velocity[before] * dt, way)
        turn = torch.where(ended, db.turn_rate[before] * dt, turn)
        fade = 2.0 ** (-dt / self.settings.halflife)
        way, turn = way + self.drift[:, :2] * dt, turn + self.drift[:, 2] * dt
        old = torch.cat((db.velocity[following], db.turn_rate[following, None]), dim=1)
        new = torch.cat((db.velocity[row], db.turn_rate[row, None]), dim=1)
        self.drift = fade * self.drift + torch.where(self.twins.jumped[:, None], old - new, torch.zeros_like(old))
        self.root.advance(way, turn)
        self.spring.yaw = self.root.lead(self.spring.velocity, self.spring.yaw, way, turn, dt)

    def _inertialize(self, old: Tensor, new: Tensor, dt: float) -> None:
        t = self.table
        self.inert.decay(dt)
        offset = torch.cat(
            (
                t.dof_pos[old] - t.dof_pos[new],
                t.hip_pos[old] - t.hip_pos[new],
                turn_between(t.hip_rot[old], t.hip_rot[new]),
            ),
            dim=1,
        )
        velocity = torch.cat(
            (t.dof_vel[old] - t.dof_vel[new], t.hip_vel[old] - t.hip_vel[new], t.hip_turn[old] - t.hip_turn[new]), dim=1
        )
        self.inert.jump(self.twins.jumped, offset, velocity)

    # ------------------------------------------------------------------- pose
    def _animated(self) -> tuple[Tensor, Tensor, Tensor, FootPose]:
        """Inertialised pose: hips ``[N, 3]``, ``[N, 4]``, hinges ``[N, D]`` within limits, and its feet."""
        t, row, dofs = self.table, self.twins.row, self.skeleton.num_dofs
        offset = self.inert.offset
        dof = torch.minimum(torch.maximum(t.dof_pos[row] + offset[:, :dofs], self.low), self.high)
        hip = t.hip_pos[row] + offset[:, dofs : dofs + 3]
        rot = rotation.multiply(rotation.from_rotvec(offset[:, dofs + 3 :]), t.hip_rot[row])
        yaw = rotation.from_yaw(self.root.yaw)
        ground = torch.cat((self.root.pos, torch.zeros_like(self.root.pos[:, :1])), dim=1)
        root_pos = ground + rotation.rotate(yaw, hip)
        root_rot = rotation.normalize(rotation.multiply(yaw, rot))
        foot, _, _ = self.legs.forward(root_pos, rotation.to_matrix(root_rot), dof[:, self.legs.dofs])
        return root_pos, root_rot, dof, foot

    def _pose(self, jumped: Tensor, velocity: Tensor, facing: Tensor, dt: float) -> None:
        """From the animated pose to the one that is shown: feet, hips, limbs."""
        root_pos, root_rot, dof, foot = self._animated()
        row, legs = self.twins.row, self.legs
        if dt > 0:
            stands, height = self.table.contact[row], self.table.sole_height[row]
            goal = self.feet.step(foot, self._last_sole, stands, height, dt)
        else:
            goal = foot
        turn = rotation.to_matrix(root_rot)
        root_pos = self._sink(root_pos, turn, foot, goal, dt)
        home = dof[:, legs.dofs]
        q, reached = legs.solve(root_pos, turn, home + self.correction, home, goal, steps=3)
        self.correction = q - home
        # a foot that could not be held is let go, rather than said to stand while it slides
        missed = (self.feet.points(reached) - self.feet.points(goal)).norm(dim=-1).amax(dim=-1)
        self.feet.release(missed > MISSED)
        dof = dof.clone()
        dof[:, legs.dofs] = q
        if self.separation is not None:
            apart = self.separation(root_pos, root_rot, dof, self.feet.locked)
            dof, reached = self._clear(apart, dof, root_pos, turn, reached)
        sole = self.feet.points(reached)
        # what is left under the floor (a leg that is at its limits) lifts the whole character
        lift = (-sole[..., 2].amin(dim=(-1, -2)) - 0.001).clamp(min=0.0)
        up = torch.zeros_like(root_pos)
        up[:, 2] = lift
        sole = sole + up[:, None, None]
        self._last_sole = sole
        self.frame = Frame(
            root_pos + up, root_rot, dof, self.root.pos.clone(), self.root.yaw.clone(), self.feet.locked.clone(),
            sole, row.clone(), jumped, velocity.clone(), facing.clone(),
        )  # fmt: skip

    def _clear(
        self, apart: Tensor, dof: Tensor, root_pos: Tensor, turn: Tensor, reached: FootPose
    ) -> tuple[Tensor, FootPose]:
        """Legs that were pushed aside must not have been pushed into the floor."""
        legs = self.legs
        moved = ((apart - dof)[:, legs.dofs].abs().amax(dim=(-1, -2)) > 0).nonzero().flatten()
        if len(moved) == 0:
            return apart, reached
        q = apart[moved][:, legs.dofs]
        foot, _, _ = legs.forward(root_pos[moved], turn[moved], q)
        points = self.feet.points(foot)
        raised = foot.pos.clone()
        raised[..., 2] += (-points[..., 2].amin(dim=-1)).clamp(min=0.0)
        # a push sideways tilts the foot; it is put level with where the animation had it
        q, foot = legs.solve(root_pos[moved], turn[moved], q, q, FootPose(raised, reached.turn[moved]), steps=2)
        apart = apart.clone()
        apart[moved[:, None, None], legs.dofs] = q
        pos, rot = reached.pos.clone(), reached.turn.clone()
        pos[moved], rot[moved] = foot.pos, foot.turn
        return apart, FootPose(pos, rot)

    def _sink(self, root_pos: Tensor, turn: Tensor, foot: FootPose, goal: FootPose, dt: float) -> Tensor:
        """Hips low enough for the standing legs to reach their feet; they come up again slowly."""
        legs, s = self.legs, self.settings
        hip = root_pos[:, None] + (turn[:, None] @ legs.offsets[:, 0, :, None])[..., 0]
        animated = (foot.pos - hip).norm(dim=-1)
        # a leg is not stretched further than almost straight, or than the clip itself does
        reach = torch.maximum(0.995 * legs.reach, torch.minimum(animated, 0.9999 * legs.reach))
        to = goal.pos - hip
        height = (reach**2 - (to[..., :2] ** 2).sum(-1)).clamp(min=0.0).sqrt()
        need = torch.where(self.feet.locked, (-to[..., 2] - height), torch.zeros_like(height)).amax(dim=-1)
        need = need.clamp(0.0, s.drop)
        sunk, sinking = springs.decay(self.sunk, self.sinking, 2.0 * s.halflife, dt)
        deeper = need > sunk
        if dt > 0:
            sinking = torch.where(deeper, torch.zeros_like(sinking), sinking)
        self.sunk, self.sinking = torch.where(deeper, need, sunk.clamp(min=0.0)), sinking
        down = torch.zeros_like(root_pos)
        down[:, 2] = self.sunk
        return root_pos - down

    # ------------------------------------------------------------------- play
    def play(
        self, source: Source, seconds: float, watch: Callable[[Frame], bool] | None = None, record: bool = True
    ) -> list[Frame]:
        """Follow a source of commands for ``seconds``; ``watch`` sees every frame and ends the play with False."""
        frames = []
        source.reset(torch.arange(self.num_envs, device=self.device), self.root.pos, self.root.yaw)
        begun = self.time.clone()
        for _ in range(round(seconds / self.dt)):
            frame = self.step(*source.command(self.time - begun, self.root.pos, self.root.yaw))
            if record:
                frames.append(frame)
            if watch is not None and not watch(frame):
                break
        return frames

    def motion(self, frames: list[Frame], world: int = 0, name: str = "matched") -> Motion:
        """Frames of :meth:`play` as a clip."""

        def column(key: str) -> Tensor:
            return torch.stack([getattr(f, key)[world] for f in frames]).cpu()

        return Motion.from_dofs(
            self.skeleton.to("cpu"), column("root_pos"), column("root_rot"), column("dof_pos"), 1.0 / self.dt, name,
            contacts=column("locked"),
        )  # fmt: skip
