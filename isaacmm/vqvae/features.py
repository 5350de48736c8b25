"""What the tokenizer sees of a motion: named numbers per frame that can be turned back into the motion.

Per frame: height of the root, velocity of the root over the ground and its turn in the heading frame, tilt of the root
without the heading, joint rotations, and (redundant, to weigh what is far from the root) positions of the bodies in
the heading frame. No absolute place or direction, so a clip means the same wherever it happens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from isaacmm import rotation
from isaacmm.errors import ConfigError, MotionError, nearest
from isaacmm.motion.clip import Motion
from isaacmm.skeleton import Skeleton

#: How joints are described: hinge angles, exponential maps, or two columns of the rotation matrix.
POSES = ("dofs", "expmap", "columns")


@dataclass(frozen=True)
class Slice:
    """Numbers ``start`` to ``stop`` (not included) of a frame."""

    name: str
    start: int
    stop: int
    unit: str


@dataclass(frozen=True)
class Start:
    """Where a motion begins on the ground: ``position [2]`` m and ``yaw`` rad."""

    position: tuple[float, float] = (0.0, 0.0)
    yaw: float = 0.0

    @classmethod
    def of(cls, motion: Motion) -> Start:
        """Of a clip's first frame."""
        x, y = motion.root_pos[0, :2].tolist()
        return cls((x, y), float(rotation.yaw(motion.root_rot[0])))


@dataclass(frozen=True, eq=False)
class MotionFeatures:
    """The features of motions of one skeleton at one frame rate.

    Attributes:
        skeleton: whose motions.
        fps: frames per second.
        pose: one of :data:`POSES`.
        hinges: with ``dofs``: which hinges, in which order; the others stay at zero.
        positions: whether body positions are among the numbers.
    """

    skeleton: Skeleton
    fps: float = 30.0
    pose: str = "columns"
    hinges: tuple[int, ...] = ()
    positions: bool = True

    def __post_init__(self) -> None:
        if self.pose not in POSES:
            raise ConfigError(f"pose: there is no '{self.pose}'; {nearest(self.pose, POSES)}")
        if self.pose == "dofs" and not self.skeleton.num_dofs:
            raise ConfigError("pose=dofs: these clips' skeleton has no hinges; take pose=columns or expmap")

    @classmethod
    def make(
        cls,
        skeleton: Skeleton,
        fps: float,
        pose: str = "auto",
        prefer_expmap: bool = False,
        hinges: Sequence[int] | None = None,
        positions: bool = True,
    ) -> MotionFeatures:
        """With ``pose=auto``: hinge angles where every joint has at most one hinge or ``hinges`` are named (a robot),
        else two columns, or exponential maps if they are preferred (``prefer_expmap``)."""
        if hinges is not None and pose not in ("auto", "dofs"):
            raise ConfigError(f"pose={pose}: a map to a robot's hinges wants pose=dofs")
        if pose == "auto":
            robot = hinges is not None or (skeleton.is_robot and not prefer_expmap)
            pose = "dofs" if robot else "expmap" if prefer_expmap else "columns"
        chosen = tuple(range(skeleton.num_dofs)) if hinges is None else tuple(hinges)
        return cls(skeleton, float(fps), pose, chosen if pose == "dofs" else (), positions)

    # ------------------------------------------------------------------ layout
    @cached_property
    def slices(self) -> tuple[Slice, ...]:
        """What the numbers of a frame are."""
        joints, bodies = self.skeleton.num_joints, self.skeleton.num_bodies
        pose = {"dofs": (len(self.hinges), "rad"), "expmap": (3 * joints, "rad"), "columns": (6 * joints, "1")}
        parts = [
            ("root_height", 1, "m"), ("root_velocity", 2, "m/s"), ("root_turn_rate", 1, "rad/s"), ("root_tilt", 6, "1"),
            ("joints", *pose[self.pose]), ("body_positions", 3 * (bodies - 1) if self.positions else 0, "m"),
        ]  # fmt: skip
        made, start = [], 0
        for name, size, unit in parts:
            if size:
                made.append(Slice(name, start, start + size, unit))
                start += size
        return tuple(made)

    @property
    def size(self) -> int:
        """``F``, numbers per frame."""
        return self.slices[-1].stop

    def part(self, features: Tensor, name: str) -> Tensor:
        """The numbers called ``name`` of ``features [..., F]``."""
        found = next(piece for piece in self.slices if piece.name == name)
        return features[..., found.start : found.stop]

    # ------------------------------------------------------------------ motion -> numbers
    def extract(self, motion: Motion) -> Tensor:
        """Features ``[T, F]`` of a clip, resampled to the frame rate if it has another.

        Velocity and turn of frame ``t`` lead to frame ``t + 1``; the last frame repeats those before it.
        """
        self.check(motion)
        if abs(motion.fps - self.fps) > 1e-3:
            motion = motion.resample(self.fps)
        yaw = rotation.yaw(motion.root_rot)
        turn = rotation.inverse(rotation.from_yaw(yaw))
        way = torch.diff(motion.root_pos, dim=0) * self.fps
        if motion.num_frames > 1:
            local = rotation.rotate(turn[:-1], way)[:, :2]
            rate = rotation.wrap_angle(torch.diff(yaw))[:, None] * self.fps
            local, rate = (torch.cat((v, v[-1:])) for v in (local, rate))
        else:
            local, rate = motion.root_pos.new_zeros(1, 2), motion.root_pos.new_zeros(1, 1)
        tilt = rotation.multiply(turn, motion.root_rot)
        parts = [motion.root_pos[:, 2:], local, rate, rotation.two_columns(tilt), self._pose_of(motion)]
        if self.positions:
            at = torch.zeros_like(motion.root_pos)
            at[:, 2] = motion.root_pos[:, 2]
            parts.append(self.skeleton.fk(at, tilt, motion.joint_rot)[0][:, 1:].flatten(1))
        return torch.cat(parts, dim=1)

    def check(self, motion: Motion) -> None:
        """Refuse a clip of another skeleton.

        Raises:
            MotionError: names differ.
        """
        mine, theirs = self.skeleton.names, motion.skeleton.names
        if mine != theirs:
            odd = next((name for name in theirs if name not in mine), theirs[0])
            raise MotionError(
                f"{motion.name or 'clip'}: its skeleton ({len(theirs)} bodies) is not the one this tokenizer was made "
                f"for ({len(mine)} bodies); '{odd}': {nearest(odd, mine)} Retarget the clip first"
            )

    def _pose_of(self, motion: Motion) -> Tensor:
        if self.pose == "columns":
            return rotation.two_columns(motion.joint_rot).flatten(1)
        if self.pose == "expmap":
            return rotation.to_rotvec(motion.joint_rot).flatten(1)
        return motion.dof_pos()[:, list(self.hinges)]

    # ------------------------------------------------------------------ numbers -> motion
    def joint_rotations(self, features: Tensor) -> Tensor:
        """``[..., J, 4]`` of ``features [..., F]``."""
        pose = self.part(features, "joints")
        if self.pose == "columns":
            return rotation.from_two_columns(pose.unflatten(-1, (-1, 6)))
        if self.pose == "expmap":
            return rotation.from_rotvec(pose.unflatten(-1, (-1, 3)))
        return self.skeleton.dofs_to_joint_rot(self._all_hinges(pose))

    def _all_hinges(self, pose: Tensor) -> Tensor:
        dofs = pose.new_zeros(*pose.shape[:-1], self.skeleton.num_dofs)
        dofs[..., list(self.hinges)] = pose
        return dofs

    def local_positions(self, features: Tensor) -> Tensor:
        """Body positions ``[..., B, 3]`` m, by kinematics, in the heading frame of the root on the ground.

        Differentiable, on matrices: those of a network's output need not be rotations yet.
        """
        rest = rotation.to_matrix(self.skeleton.rest_rotations[1:].to(features))
        local = rest @ self._joint_matrices(features)
        offsets = self.skeleton.offsets.to(features)
        zero = torch.zeros_like(features[..., :2])
        pos = {0: torch.cat((zero, self.part(features, "root_height")), dim=-1)}
        rot = {0: rotation.matrix_of_columns(self.part(features, "root_tilt"))}
        for body, parent in enumerate(self.skeleton.parents[1:], start=1):
            pos[body] = pos[parent] + rot[parent] @ offsets[body]
            rot[body] = rot[parent] @ local[..., body - 1, :, :]
        return torch.stack([pos[body] for body in range(self.skeleton.num_bodies)], dim=-2)

    def _joint_matrices(self, features: Tensor) -> Tensor:
        if self.pose == "columns":
            return rotation.matrix_of_columns(self.part(features, "joints").unflatten(-1, (-1, 6)))
        return rotation.to_matrix(self.joint_rotations(features))

    def motion(self, features: Tensor, start: Start | None = None, name: str = "") -> Motion:
        """The clip that ``features [T, F]`` describe, beginning at ``start``."""
        features = features.detach().cpu()
        begin = start or Start()
        turns = self.part(features, "root_turn_rate")[:, 0].double() / self.fps
        yaw = begin.yaw + torch.cumsum(turns, 0) - turns
        facing = rotation.from_yaw(yaw)
        local = self.part(features, "root_velocity").double() / self.fps
        step = rotation.rotate(facing, torch.cat((local, torch.zeros_like(local[:, :1])), dim=1))[:, :2]
        ground = torch.tensor(begin.position, dtype=torch.float64) + torch.cumsum(step, 0) - step
        tilt = rotation.from_two_columns(self.part(features, "root_tilt").double())
        root_rot = rotation.multiply(facing, tilt)
        root_pos = torch.cat((ground, self.part(features, "root_height").double()), dim=1)
        joints = self.joint_rotations(features)
        return Motion(
            self.skeleton.to("cpu"),
            root_pos.float(),
            rotation.make_continuous(rotation.normalize(root_rot)).float(),
            rotation.make_continuous(rotation.normalize(joints)).float(),
            self.fps,
            name,
        )

    # ------------------------------------------------------------------ saving
    def to_dict(self) -> dict[str, Any]:
        """Plain data and tensors, for a checkpoint."""
        s = self.skeleton.to("cpu")
        return {
            "fps": self.fps, "pose": self.pose, "hinges": list(self.hinges), "positions": self.positions,
            "names": list(s.names), "parents": list(s.parents), "offsets": s.offsets,
            "rest_rotations": s.rest_rotations, "end_sites": {k: list(v) for k, v in s.end_sites.items()},
            "dof_names": list(s.dof_names), "dof_bodies": list(s.dof_bodies), "dof_axes": s.dof_axes,
            "dof_limits": s.dof_limits,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, held: Mapping[str, Any]) -> MotionFeatures:
        """Inverse of :meth:`to_dict`."""
        skeleton = Skeleton(
            names=tuple(held["names"]),
            parents=tuple(held["parents"]),
            offsets=held["offsets"],
            rest_rotations=held["rest_rotations"],
            end_sites={str(k): (v[0], v[1], v[2]) for k, v in held["end_sites"].items()},
            dof_names=tuple(held["dof_names"]),
            dof_bodies=tuple(held["dof_bodies"]),
            dof_axes=held["dof_axes"],
            dof_limits=held["dof_limits"],
        )
        return cls(skeleton, float(held["fps"]), held["pose"], tuple(held["hinges"]), bool(held["positions"]))
