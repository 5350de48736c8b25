"""MotionLibrary: many clips packed into flat tensors, read at any time without a loop over clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from isaacmm import rotation
from isaacmm.errors import MotionError
from isaacmm.motion.balance import Balance, balanced
from isaacmm.motion.cache import known_dof_pos
from isaacmm.motion.clip import Motion
from isaacmm.skeleton import Skeleton
from isaacmm.state import MotionState

EndMode = Literal["loop", "clamp"]

#: Up to so many frames velocities are derived once and kept (0.5 kB per frame); beyond, as they are asked for.
_TABLE = 300_000
_CHUNK = 65_536
_MOVING = ("root_vel", "root_ang_vel", "dof_vel", "body_vel", "body_ang_vel")


class MotionLibrary:
    """Clips of one skeleton, on one device.

    Frames of all clips lie one after the other in flat tensors ``[sum T, ...]``; ``first_frame [C]``
    and ``num_frames [C]`` say where each clip lies. Velocities are central differences of the
    clip's own frames (one-sided at its ends) in the world frame, derived when they are first asked for.

    Args:
        motions: the clips; all must have the skeleton's bodies and hinges.
        skeleton: with hinges; the simulated character's.
        weights: relative probability of each clip when sampling (default: all alike).
        end: what a time past a clip's end means: ``loop`` goes on from where and in the direction
            in which the clip ended, ``clamp`` holds the last frame.
        device: where the tensors live.
        balance: ``none`` draws clips by weight; ``tag`` and ``speed_turn`` give every tag, or every bin of
            mean speed and turn, the same share (:mod:`isaacmm.motion.balance`).
    """

    def __init__(
        self,
        motions: Sequence[Motion],
        skeleton: Skeleton,
        weights: Sequence[float] | None = None,
        end: EndMode = "loop",
        device: torch.device | str = "cpu",
        balance: Balance = "none",
    ) -> None:
        if not motions:
            raise MotionError("a motion library needs at least one clip")
        if end not in ("loop", "clamp"):
            raise MotionError(f"end mode '{end}' is not known; valid: loop, clamp")
        self.device = torch.device(device)
        self.skeleton = skeleton.to(device)
        self.end: EndMode = end
        self.names = tuple(m.name for m in motions)
        self.tags = tuple(m.tags for m in motions)
        self.motions = tuple(motions)
        weight = torch.as_tensor([1.0] * len(motions) if weights is None else list(weights), dtype=torch.float32)
        if len(weight) != len(motions) or (weight < 0).any() or weight.sum() <= 0:
            raise MotionError(f"{len(motions)} clips need as many weights, none negative and not all zero")
        parts = [_prepare(m.validate(), skeleton) for m in motions]
        counts = torch.tensor([m.num_frames for m in motions])
        self.num_frames = counts.to(device)
        self.first_frame = (torch.cumsum(counts, 0) - counts).to(device)
        self.fps = torch.tensor([m.fps for m in motions], dtype=torch.float32, device=device)
        #: seconds from first to last frame of each clip ``[C]``
        self.lengths = (self.num_frames - 1) / self.fps
        self.root_pos, self.root_rot, self.dof_pos = (
            torch.cat([p[k] for p in parts]).to(device) for k in range(3)
        )
        self.clip_of_frame = torch.repeat_interleave(torch.arange(len(motions)), counts).to(device)
        self._cycle_yaw, self._cycle_shift = self._cycle()
        self._tables: dict[str, Tensor] | None = None
        weight = balanced(weight, balance, tags=self.tags, speed=self.mean_speed(), turn=self.mean_turn())
        self.weights = (weight / weight.sum()).to(device)

    # ------------------------------------------------------------------ facts
    @property
    def num_clips(self) -> int:
        """``C``."""
        return len(self.names)

    @property
    def total_frames(self) -> int:
        """Frames of all clips together."""
        return self.root_pos.shape[0]

    @property
    def total_seconds(self) -> float:
        """Duration of all clips together."""
        return float(self.lengths.sum())

    def mean_speed(self) -> Tensor:
        """Mean speed of the root along the ground ``[C]`` m/s: path length over duration."""
        before, after, dt = self._around(torch.arange(self.total_frames, device=self.device))
        speed = (self.root_pos[after, :2] - self.root_pos[before, :2]).norm(dim=-1) / dt
        total = torch.zeros(self.num_clips, device=self.device).index_add_(0, self.clip_of_frame, speed)
        return total / self.num_frames

    def mean_turn(self) -> Tensor:
        """Mean turn of the root's heading ``[C]`` rad/s, left is positive."""
        heading = rotation.yaw(self.root_rot)
        turned = rotation.wrap_angle(heading[1:] - heading[:-1])
        turned = torch.where(self.clip_of_frame[1:] == self.clip_of_frame[:-1], turned, torch.zeros_like(turned))
        total = torch.zeros(self.num_clips, device=self.device).index_add_(0, self.clip_of_frame[1:], turned)
        return total / self.lengths.clamp(min=1e-6)

    # --------------------------------------------------------------- velocities
    def _around(self, frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Flat frames before and after ``frames [n]`` within their clips, and the seconds between them."""
        clip = self.clip_of_frame[frames]
        first = self.first_frame[clip]
        before = torch.maximum(frames - 1, first)
        after = torch.minimum(frames + 1, first + self.num_frames[clip] - 1)
        return before, after, (after - before) / self.fps[clip]

    def velocities(self, frames: Tensor) -> dict[str, Tensor]:
        """Velocities at flat frames ``[n]``: root, hinges, bodies; linear and angular, world frame."""
        before, after, dt = self._around(frames)
        per = 1.0 / dt[:, None]

        def turning(a: Tensor, b: Tensor, per: Tensor) -> Tensor:
            return rotation.to_rotvec(rotation.multiply(b, rotation.inverse(a))) * per

        pos_a, rot_a, pos_b, rot_b = (x for f in (before, after) for x in self._bodies(f))
        return {
            "root_vel": (self.root_pos[after] - self.root_pos[before]) * per,
            "root_ang_vel": turning(self.root_rot[before], self.root_rot[after], per),
            "dof_vel": (self.dof_pos[after] - self.dof_pos[before]) * per,
            "body_vel": (pos_b - pos_a) * per[..., None],
            "body_ang_vel": turning(rot_a, rot_b, per[..., None]),
        }

    def _bodies(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        joint_rot = self.skeleton.dofs_to_joint_rot(self.dof_pos[frames])
        return self.skeleton.fk(self.root_pos[frames], self.root_rot[frames], joint_rot)

    def _table(self, name: str) -> Tensor:
        """A velocity of all frames, derived at first use."""
        if self._tables is None:
            chunks = torch.arange(self.total_frames, device=self.device).split(_CHUNK)
            parts = [self.velocities(chunk) for chunk in chunks]
            self._tables = {key: torch.cat([p[key] for p in parts]) for key in parts[0]}
        return self._tables[name]

    @property
    def root_vel(self) -> Tensor:
        """``[F, 3]`` m/s of all frames."""
        return self._table("root_vel")

    @property
    def root_ang_vel(self) -> Tensor:
        """``[F, 3]`` rad/s of all frames."""
        return self._table("root_ang_vel")

    @property
    def dof_vel(self) -> Tensor:
        """``[F, D]`` rad/s of all frames."""
        return self._table("dof_vel")

    @property
    def body_vel(self) -> Tensor:
        """``[F, B, 3]`` m/s of all frames."""
        return self._table("body_vel")

    @property
    def body_ang_vel(self) -> Tensor:
        """``[F, B, 3]`` rad/s of all frames."""
        return self._table("body_ang_vel")

    # ----------------------------------------------------------------- sample
    def sample(
        self, n: int, generator: torch.Generator | None = None, margin: float = 0.0, clips: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Clips by weight, times evenly within each clip.

        Args:
            n: how many.
            generator: source of randomness.
            margin: s; no time is earlier than this, so that history before it exists. A clip shorter
                than the margin gives its end.
            clips: ``[n]`` int64; given clips instead of drawing them.

        Returns:
            ``clip [n]`` int64 and ``time [n]`` s.
        """
        if clips is None:
            clips = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        u = torch.rand(n, generator=generator, device=self.device)
        length = self.lengths[clips]
        low = torch.minimum(torch.full_like(length, margin), length)
        return clips, low + u * (length - low)

    def windows(self, start: Tensor, length: int) -> Tensor:
        """Frame indices ``[n, length]`` from flat frames ``start [n]`` on, never across a clip's end.

        A window that would run past the end of its clip is moved back to end on the last frame.

        Raises:
            MotionError: a clip is shorter than the window.
        """
        clip = self.clip_of_frame[start]
        last_start = self.first_frame[clip] + self.num_frames[clip] - length
        if (last_start < self.first_frame[clip]).any():
            short = int(clip[last_start < self.first_frame[clip]][0])
            raise MotionError(
                f"{self.names[short]}: {int(self.num_frames[short])} frames are fewer than a window of {length}"
            )
        first = torch.minimum(start, last_start)
        return first[:, None] + torch.arange(length, device=self.device)

    # ------------------------------------------------------------------ state
    def state(self, clip: Tensor, time: Tensor) -> MotionState:
        """Interpolated state at any time.

        Positions, hinge angles and velocities linearly, the root's rotation by slerp; body poses by
        forward kinematics of the result, so that they agree with what a simulator computes from it.

        Args:
            clip: ``[n]`` int64.
            time: ``[n]`` s from the clip's first frame; negative times give the first frame.
        """
        length = self.lengths[clip]
        if self.end == "loop":
            cycles = torch.floor(time.clamp(min=0.0) / length)
            # the very end of a clip is its last frame, not the first of the next round
            cycles = torch.where(time <= length, torch.zeros_like(cycles), cycles)
            time = time - cycles * length
        else:
            cycles = None
        frame = (time.clamp(min=0.0) * self.fps[clip]).clamp(max=(self.num_frames[clip] - 1).float())
        low = frame.floor().long().clamp(max=self.num_frames[clip] - 2)
        t = (frame - low)[:, None]
        low = low + self.first_frame[clip]
        high = low + 1

        def between(a: Tensor, b: Tensor) -> Tensor:
            return torch.lerp(a, b, t if a.dim() == 2 else t[:, :, None])

        def blend(values: Tensor) -> Tensor:
            return between(values[low], values[high])

        if self._tables is None and self.total_frames > _TABLE:  # too many to keep: only those that are asked for
            slow, fast = self.velocities(low), self.velocities(high)
            moving = {key: between(slow[key], fast[key]) for key in slow}
        else:
            moving = {key: blend(self._table(key)) for key in _MOVING}
        root_pos, root_vel, root_ang_vel = blend(self.root_pos), moving["root_vel"], moving["root_ang_vel"]
        root_rot = rotation.slerp(self.root_rot[low], self.root_rot[high], t[:, 0])
        body_vel, body_ang_vel = moving["body_vel"], moving["body_ang_vel"]
        if cycles is not None and bool((cycles > 0).any()):
            turn, shift = self._after_cycles(clip, cycles)
            root_pos = rotation.rotate(turn, root_pos) + shift
            root_rot = rotation.multiply(turn, root_rot)
            root_vel, root_ang_vel = rotation.rotate(turn, root_vel), rotation.rotate(turn, root_ang_vel)
            body_vel = rotation.rotate(turn[:, None], body_vel)
            body_ang_vel = rotation.rotate(turn[:, None], body_ang_vel)
        dof_pos = blend(self.dof_pos)
        body_pos, body_rot = self.skeleton.fk(root_pos, root_rot, self.skeleton.dofs_to_joint_rot(dof_pos))
        return MotionState(
            root_pos, root_rot, root_vel, root_ang_vel, dof_pos, moving["dof_vel"],
            body_pos, body_rot, body_vel, body_ang_vel,
        )  # fmt: skip

    # ------------------------------------------------------------------- loop
    def _cycle(self) -> tuple[Tensor, Tensor]:
        """Turn ``[C]`` rad and ground shift ``[C, 3]`` that carry a clip's first frame onto its last."""
        first, last = self.first_frame, self.first_frame + self.num_frames - 1
        turn = rotation.wrap_angle(rotation.yaw(self.root_rot[last]) - rotation.yaw(self.root_rot[first]))
        # A clip that ends a degree off its heading (gait noise) should loop straight on.
        turn = torch.where(turn.abs() < 0.1, torch.zeros_like(turn), turn)
        shift = self.root_pos[last] - rotation.rotate(rotation.from_yaw(turn), self.root_pos[first])
        shift[:, 2] = 0.0
        return turn, shift

    def _after_cycles(self, clip: Tensor, cycles: Tensor) -> tuple[Tensor, Tensor]:
        """Rotation ``[n, 4]`` and shift ``[n, 3]`` after ``cycles`` rounds: the transform applied k times.

        In the complex plane one round is ``p -> e^{ia} p + s``; k rounds add ``s (1 - e^{ika}) / (1 - e^{ia})``.
        """
        angle = self._cycle_yaw[clip]
        straight = angle.abs() < 1e-6
        one = torch.polar(torch.ones_like(angle), angle)
        many = torch.polar(torch.ones_like(angle), angle * cycles)
        safe = torch.where(straight, torch.ones_like(one), 1.0 - one)
        gain = torch.where(straight, cycles.to(one.dtype), (1.0 - many) / safe)
        step = torch.complex(self._cycle_shift[clip, 0], self._cycle_shift[clip, 1]) * gain
        return rotation.from_yaw(angle * cycles), torch.stack((step.real, step.imag, torch.zeros_like(angle)), dim=-1)

    # ----------------------------------------------------------------- config
    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], character: Any, device: torch.device | str = "cpu"
    ) -> MotionLibrary:
        """From a ``cfg/motion`` mapping: ``clips`` (see :mod:`isaacmm.motion.sources`), ``loop``, ``balance``."""
        from isaacmm.motion.sources import load_clips

        motions, weights = load_clips(config, character)
        end: EndMode = "loop" if config.get("loop", True) else "clamp"
        return cls(motions, character.skeleton, weights, end, device, config.get("balance") or "none")


def _prepare(motion: Motion, skeleton: Skeleton) -> tuple[Tensor, Tensor, Tensor]:
    """What a library keeps of one clip: ``root_pos``, ``root_rot`` and ``dof_pos`` of every frame, float32."""
    if motion.skeleton.names != skeleton.names:
        raise MotionError(
            f"{motion.name}: its bodies {motion.skeleton.names[:4]}... are not the character's "
            f"{skeleton.names[:4]}...; retarget the clip to the character first"
        )
    root_pos, root_rot = motion.root_pos.float(), rotation.make_continuous(motion.root_rot.float())
    dof_pos = known_dof_pos(motion)
    if dof_pos is None:
        joint_rot = motion.joint_rot.float()
        dof_pos = Motion(skeleton.to("cpu"), root_pos, root_rot, joint_rot, motion.fps, motion.name).dof_pos()
    return root_pos, root_rot, dof_pos
