"""Motion: a clip of a skeleton over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from isaacmm import rotation
from isaacmm.errors import MotionError
from isaacmm.skeleton import Skeleton


@dataclass(eq=False)
class Motion:
    """A clip. World frame, z up, metres, quaternions xyzw.

    Attributes:
        skeleton: whose motion.
        root_pos: ``[T, 3]`` m.
        root_rot: ``[T, 4]``.
        joint_rot: ``[T, J, 4]``, joint ``i`` moves body ``i + 1``.
        fps: frames per second.
        name: for messages and file names.
        contacts: ``[T, F]`` bool, which foot is on the ground, or ``None`` if not known.
        tags: words such as ``walk`` or ``turn-left``.
    """

    skeleton: Skeleton
    root_pos: Tensor
    root_rot: Tensor
    joint_rot: Tensor
    fps: float
    name: str = ""
    contacts: Tensor | None = None
    tags: tuple[str, ...] = ()

    @property
    def num_frames(self) -> int:
        """``T``."""
        return self.root_pos.shape[0]

    @property
    def duration(self) -> float:
        """Seconds from the first frame to the last: ``(T - 1) / fps``."""
        return (self.num_frames - 1) / self.fps

    @classmethod
    def from_dofs(
        cls,
        skeleton: Skeleton,
        root_pos: Tensor,
        root_rot: Tensor,
        dof_pos: Tensor,
        fps: float,
        name: str = "",
        **rest: Any,
    ) -> Motion:
        """From hinge angles ``dof_pos [T, D]`` rad."""
        return cls(skeleton, root_pos, root_rot, skeleton.dofs_to_joint_rot(dof_pos), fps, name, **rest)

    @classmethod
    def load(cls, path: str | Path, skeleton: Skeleton | None = None, **options: Any) -> Motion:
        """Read a clip of any known format (:mod:`isaacmm.motion.io.registry`)."""
        from isaacmm.motion.io import registry

        return registry.read(path, skeleton=skeleton, **options)

    def save(self, path: str | Path, **options: Any) -> None:
        """Write the clip; the suffix chooses the format."""
        from isaacmm.motion.io import registry

        registry.write(self, path, **options)

    # -------------------------------------------------------------- derived
    def fk(self) -> tuple[Tensor, Tensor]:
        """World ``body_pos [T, B, 3]`` and ``body_rot [T, B, 4]``."""
        return self.skeleton.fk(self.root_pos, self.root_rot, self.joint_rot)

    def dof_pos(self) -> Tensor:
        """Hinge angles ``[T, D]`` rad, continuous over time (:func:`isaacmm.motion.angles.dof_curves`)."""
        from isaacmm.motion.angles import dof_curves

        return dof_curves(self.skeleton, self.joint_rot, self.fps)

    # ----------------------------------------------------------------- edit
    def slice(self, start: int, stop: int) -> Motion:
        """Frames ``start`` to ``stop`` (not included), as Python slices them."""
        part = slice(start, stop)
        return replace(
            self,
            root_pos=self.root_pos[part],
            root_rot=self.root_rot[part],
            joint_rot=self.joint_rot[part],
            contacts=None if self.contacts is None else self.contacts[part],
        )

    def resample(self, fps: float) -> Motion:
        """The clip at another frame rate: positions linearly, rotations by slerp, contacts by nearest frame."""
        if fps <= 0:
            raise MotionError(f"{self.name or 'clip'}: cannot resample to {fps} frames per second")
        count = round(self.duration * fps + 1e-6 - 0.5) + 1 if self.num_frames > 1 else 1
        times = torch.arange(count, dtype=torch.float64) / fps * self.fps
        low = times.floor().long().clamp(max=max(self.num_frames - 2, 0))
        high = (low + 1).clamp(max=self.num_frames - 1)
        t = (times - low).to(self.root_pos).clamp(0.0, 1.0)
        near = (times + 0.5).floor().long().clamp(max=self.num_frames - 1)
        return replace(
            self,
            root_pos=torch.lerp(self.root_pos[low], self.root_pos[high], t[:, None]),
            root_rot=rotation.slerp(self.root_rot[low], self.root_rot[high], t),
            joint_rot=rotation.slerp(
                self.joint_rot[low], self.joint_rot[high], t[:, None].expand(-1, self.skeleton.num_joints)
            ),
            fps=float(fps),
            contacts=None if self.contacts is None else self.contacts[near],
        )

    def mirror(self) -> Motion:
        """The clip reflected at the x-z plane: left and right limbs swap (:mod:`isaacmm.motion.mirroring`)."""
        from isaacmm.motion.mirroring import mirrored

        return mirrored(self)

    @staticmethod
    def concatenate(motions: Sequence[Motion], name: str = "") -> Motion:
        """One clip after the other, without blending; skeleton and frame rate must agree."""
        first = motions[0]
        for other in motions[1:]:
            if other.skeleton.names != first.skeleton.names:
                raise MotionError(f"cannot join '{first.name}' and '{other.name}': their skeletons differ")
            if abs(other.fps - first.fps) > 1e-3 * first.fps:
                raise MotionError(
                    f"cannot join '{first.name}' ({first.fps} fps) and '{other.name}' ({other.fps} fps): resample one"
                )
        contacts = [m.contacts for m in motions]
        return replace(
            first,
            root_pos=torch.cat([m.root_pos for m in motions]),
            root_rot=torch.cat([m.root_rot for m in motions]),
            joint_rot=torch.cat([m.joint_rot for m in motions]),
            contacts=torch.cat([c for c in contacts if c is not None])
            if all(c is not None for c in contacts)
            else None,
            name=name or first.name,
        )

    # ---------------------------------------------------------------- check
    def validate(self) -> Motion:
        """Refuse a clip that cannot be used; returns itself.

        Raises:
            MotionError: naming the clip and the frame.
        """
        name = self.name or "clip"
        frames, joints = self.num_frames, self.skeleton.num_joints
        if frames < 2:
            raise MotionError(f"{name}: has {frames} frame(s); a motion needs at least 2")
        if not (self.fps > 0 and self.fps < 10_000):
            raise MotionError(f"{name}: frame rate {self.fps} is not a sensible number of frames per second")
        if self.root_rot.shape != (frames, 4) or self.joint_rot.shape != (frames, joints, 4):
            raise MotionError(
                f"{name}: rotations have shapes {tuple(self.root_rot.shape)} and {tuple(self.joint_rot.shape)}, "
                f"expected {(frames, 4)} and {(frames, joints, 4)} for this skeleton"
            )
        flat = torch.cat((self.root_pos, self.root_rot, self.joint_rot.flatten(1)), dim=1)
        bad = ~torch.isfinite(flat.sum(dim=1))  # much faster than looking at every number
        if bad.any():
            bad = ~torch.isfinite(flat).all(dim=1)  # sums of finite numbers may be infinite, too
        if bad.any():
            which = bad.nonzero().flatten().tolist()
            raise MotionError(
                f"{name}: {len(which)} frame(s) hold NaN or infinity, the first is frame {which[0]} "
                f"(of {frames}); cut these frames out or export the clip again"
            )
        norms = torch.cat((self.root_rot[:, None], self.joint_rot), dim=1).norm(dim=-1)
        off = ((norms - 1.0).abs() > 1e-2).any(dim=1)
        if off.any():
            raise MotionError(f"{name}: frame {int(off.nonzero()[0])} holds a quaternion that is not of unit length")
        return self
