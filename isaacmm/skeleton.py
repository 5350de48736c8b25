"""Skeleton: a tree of bodies, its kinematics, and its hinges.

Bodies are numbered so that parents precede children; body 0 is the root. A *joint* is the whole
rotation between a body and its parent (joint ``i`` moves body ``i + 1``); a *dof* is one hinge of
it. A joint has none, one, two or three hinges, applied in file order, each about an axis that the
hinges before it have already turned (the rule of MJCF, and of intrinsic Euler angles).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from isaacmm import rotation
from isaacmm.errors import MotionError, nearest

_SIDES = (
    ("left", "right"),
    ("Left", "Right"),
    ("LEFT", "RIGHT"),
    ("_l", "_r"),
    ("_L", "_R"),
    ("L_", "R_"),
    ("l_", "r_"),
)


@dataclass(frozen=True, eq=False)
class Skeleton:
    """Names, tree, offsets and hinges of a character.

    Attributes:
        names: body names ``[B]``.
        parents: parent index of each body ``[B]``, -1 for the root.
        offsets: ``[B, 3]`` m, origin of each body in its parent's frame.
        rest_rotations: ``[B, 4]`` xyzw, rotation of each body in its parent's frame with all joints at zero.
        end_sites: offset of the tip of a leaf body, by body name (BVH end sites).
        dof_names: hinge names ``[D]``.
        dof_bodies: body that each hinge moves ``[D]``; hinges of one body follow each other.
        dof_axes: ``[D, 3]`` unit axes in the body's frame.
        dof_limits: ``[D, 2]`` rad.
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]
    offsets: Tensor
    rest_rotations: Tensor
    end_sites: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    dof_names: tuple[str, ...] = ()
    dof_bodies: tuple[int, ...] = ()
    dof_axes: Tensor = field(default_factory=lambda: torch.zeros(0, 3))
    dof_limits: Tensor = field(default_factory=lambda: torch.zeros(0, 2))

    def __post_init__(self) -> None:
        if not self.names or self.parents[0] != -1:
            raise MotionError("a skeleton needs a root: the first body must have parent -1")
        for i, parent in enumerate(self.parents[1:], start=1):
            if not 0 <= parent < i:
                raise MotionError(
                    f"body '{self.names[i]}' has parent {parent}: parents must precede their children"
                )

    # ------------------------------------------------------------------ facts
    @property
    def num_bodies(self) -> int:
        """``B``."""
        return len(self.names)

    @property
    def num_joints(self) -> int:
        """``J = B - 1``: every body but the root has a joint to its parent."""
        return len(self.names) - 1

    @property
    def num_dofs(self) -> int:
        """``D``."""
        return len(self.dof_names)

    @property
    def device(self) -> torch.device:
        """Where the tensors live."""
        return self.offsets.device

    def body(self, name: str) -> int:
        """Index of a body by name; an unknown name is refused with the nearest ones."""
        try:
            return self.names.index(name)
        except ValueError:
            raise MotionError(f"no body '{name}' in this skeleton; {nearest(name, self.names)}") from None

    def dof(self, name: str) -> int:
        """Index of a hinge by name; an unknown name is refused with the nearest ones."""
        try:
            return self.dof_names.index(name)
        except ValueError:
            raise MotionError(f"no joint '{name}' in this skeleton; {nearest(name, self.dof_names)}") from None

    def to(self, device: torch.device | str) -> Skeleton:
        """The same skeleton with its tensors on ``device``."""
        if torch.device(device) == self.device:
            return self
        return replace(
            self,
            offsets=self.offsets.to(device),
            rest_rotations=self.rest_rotations.to(device),
            dof_axes=self.dof_axes.to(device),
            dof_limits=self.dof_limits.to(device),
        )

    @cached_property
    def _levels(self) -> list[tuple[list[int], list[int]]]:
        """Bodies by depth, with their parents: kinematics runs level by level, not body by body."""
        depth = [0] * self.num_bodies
        for i in range(1, self.num_bodies):
            depth[i] = depth[self.parents[i]] + 1
        levels = []
        for d in range(1, max(depth, default=0) + 1):
            bodies = [i for i in range(self.num_bodies) if depth[i] == d]
            levels.append((bodies, [self.parents[i] for i in bodies]))
        return levels

    # ------------------------------------------------------------- kinematics
    def fk(self, root_pos: Tensor, root_rot: Tensor, joint_rot: Tensor) -> tuple[Tensor, Tensor]:
        """Forward kinematics.

        Args:
            root_pos: ``[..., 3]`` m, world.
            root_rot: ``[..., 4]`` xyzw, world.
            joint_rot: ``[..., J, 4]`` xyzw, joint ``i`` moves body ``i + 1``.

        Returns:
            World ``body_pos [..., B, 3]`` and ``body_rot [..., B, 4]``.
        """
        local = rotation.multiply(self.rest_rotations[1:].to(joint_rot), joint_rot)
        offsets = self.offsets.to(joint_rot)
        shape = root_pos.shape[:-1]
        pos = torch.empty(*shape, self.num_bodies, 3, dtype=root_pos.dtype, device=root_pos.device)
        rot = torch.empty(*shape, self.num_bodies, 4, dtype=root_rot.dtype, device=root_rot.device)
        pos[..., 0, :] = root_pos
        rot[..., 0, :] = root_rot
        for bodies, parents in self._levels:
            parent_rot = rot[..., parents, :]
            rot[..., bodies, :] = rotation.multiply(parent_rot, local[..., [b - 1 for b in bodies], :])
            pos[..., bodies, :] = pos[..., parents, :] + rotation.rotate(parent_rot, offsets[bodies])
        return pos, rot

    @property
    def is_robot(self) -> bool:
        """Whether no joint has more than one hinge, as in robots; people's shoulders and hips have three."""
        return self.num_dofs > 0 and len(set(self.dof_bodies)) == self.num_dofs

    # --------------------------------------------------------- hinges <-> joints
    @cached_property
    def _chains(self) -> dict[int, list[int]]:
        """Body -> its hinges in order."""
        chains: dict[int, list[int]] = {}
        for d, body in enumerate(self.dof_bodies):
            chains.setdefault(body, []).append(d)
        return chains

    @cached_property
    def _slots(self) -> tuple[list[Tensor], list[Tensor]]:
        """For hinge number k = 0, 1, 2 of a joint: the joints that have one, and which dof it is.

        Tensors and not lists, which would have to be brought to a GPU at every use.
        """
        most = max((len(c) for c in self._chains.values()), default=0)
        joints = [[b - 1 for b, c in self._chains.items() if len(c) > k] for k in range(most)]
        dofs = [[c[k] for c in self._chains.values() if len(c) > k] for k in range(most)]
        return tuple([torch.tensor(part, device=self.device) for part in parts] for parts in (joints, dofs))  # type: ignore[return-value]

    def dofs_to_joint_rot(self, dof: Tensor) -> Tensor:
        """Hinge angles ``[..., D]`` rad to joint rotations ``[..., J, 4]``."""
        joint = rotation.identity(*dof.shape[:-1], self.num_joints, device=dof.device, dtype=dof.dtype)
        axes = self.dof_axes.to(dof)
        for k, (joints, dofs) in enumerate(zip(*self._slots, strict=True)):
            joints, dofs = joints.to(dof.device), dofs.to(dof.device)
            turn = rotation.from_axis_angle(axes[dofs], dof[..., dofs])
            joint[..., joints, :] = turn if k == 0 else rotation.multiply(joint[..., joints, :], turn)
        return joint

    def joint_rot_to_dofs(self, joint_rot: Tensor) -> Tensor:
        """Joint rotations ``[..., J, 4]`` to hinge angles ``[..., D]`` rad.

        Inverse of :meth:`dofs_to_joint_rot` for joints with one hinge or up to three mutually
        perpendicular ones. Two triples of angles make the same rotation of a three-hinge joint; the
        one that keeps the joint's limits better is returned, and where both do, the one with the
        middle angle within 90 degrees (at 90 the first hinge takes all of the ambiguous turn). Whole
        turns are chosen to come closest to the middle of the limits. A joint that turned in a way its
        hinges cannot follow gets the angle about each hinge; a joint without hinges gets nothing.
        """
        dof = torch.zeros(*joint_rot.shape[:-2], self.num_dofs, dtype=joint_rot.dtype, device=joint_rot.device)
        axes = self.dof_axes.to(joint_rot)
        by_count: dict[int, list[int]] = {}
        for body, chain in self._chains.items():
            by_count.setdefault(len(chain), []).append(body)
        for count, bodies in by_count.items():
            q = joint_rot[..., [b - 1 for b in bodies], :]
            chains = [self._chains[b] for b in bodies]
            if count == 1:
                ids = [c[0] for c in chains]
                dof[..., ids] = _twist(q, axes[ids])
                continue
            basis = torch.stack([_chain_basis(axes[c], self.names[b]) for b, c in zip(bodies, chains, strict=True)])
            angles = _chain_angles(q, basis)
            for k in range(count):
                dof[..., [c[k] for c in chains]] = angles[..., k]
        dof = self._nearest_turn(dof)
        other = self._nearest_turn(self.other_triples(dof))
        triples = self.triples
        better = self._excess(other) + 1e-4 < self._excess(dof)
        dof[..., triples] = torch.where(better.unsqueeze(-1), other[..., triples], dof[..., triples])
        return dof

    @cached_property
    def triples(self) -> Tensor:
        """``[n, 3]`` hinges of the joints that have three."""
        chains = [chain for chain in self._chains.values() if len(chain) == 3]
        return torch.tensor(chains, dtype=torch.long, device=self.device).reshape(-1, 3)

    def other_triples(self, dof: Tensor) -> Tensor:
        """The other angles that make the same rotations: ``(x + pi, pi - y, z + pi)`` for ``(x, y, z)``."""
        first, middle, last = self.triples.unbind(-1)
        other = dof.clone()
        other[..., first] += math.pi
        other[..., middle] = math.pi - dof[..., middle]
        other[..., last] += math.pi
        return other

    def _excess(self, dof: Tensor) -> Tensor:
        """By how much each three-hinge joint is outside its limits, ``[..., n]`` rad."""
        low, high = self.dof_limits.to(dof).unbind(-1)
        return ((low - dof).clamp(min=0.0) + (dof - high).clamp(min=0.0))[..., self.triples].sum(-1)

    def _nearest_turn(self, dof: Tensor) -> Tensor:
        """Whole turns added so that every angle is within half a turn of the middle of its limits."""
        middle = self.dof_limits.to(dof).mean(dim=1)
        return middle + rotation.wrap_angle(dof - middle)

    # ------------------------------------------------------------------ mirror
    @cached_property
    def mirror_bodies(self) -> tuple[int, ...]:
        """Permutation of bodies that swaps left and right by name; bodies in the middle stay."""
        return tuple(_mirror_index(name, self.names) for name in self.names)

    @cached_property
    def mirror_dofs(self) -> tuple[tuple[int, ...], Tensor]:
        """Permutation and signs ``[D]`` of the hinges under reflection at the sagittal (x-z) plane.

        A reflection y -> -y keeps turns about y and reverses turns about x and z.
        """
        order = tuple(_mirror_index(name, self.dof_names) for name in self.dof_names)
        reflect = torch.tensor([-1.0, 1.0, -1.0], dtype=self.dof_axes.dtype, device=self.dof_axes.device)
        signs = ((self.dof_axes * reflect) * self.dof_axes[list(order)]).sum(-1).sign()
        return order, signs

    # -------------------------------------------------------------------- read
    @classmethod
    def from_mjcf(cls, path: str | Path) -> Skeleton:
        """Bodies and hinges of the first character (body with a free joint) in an MJCF file.

        Raises:
            MotionError: no free joint, a slide or ball joint, or a hinge away from its body's origin.
        """
        import mujoco

        return cls.from_mujoco(mujoco.MjModel.from_xml_path(str(path)), source=str(path))

    @classmethod
    def from_mujoco(cls, model: object, source: str = "the model") -> Skeleton:
        """As :meth:`from_mjcf`, from a compiled ``mujoco.MjModel``."""
        import mujoco

        m: mujoco.MjModel = model
        free = [j for j in range(m.njnt) if m.jnt_type[j] == mujoco.mjtJoint.mjJNT_FREE]
        if not free:
            raise MotionError(f"{source}: no body has a <freejoint/>; the character's root needs one")
        root = int(m.jnt_bodyid[free[0]])
        bodies = [b for b in range(1, m.nbody) if m.body_rootid[b] == m.body_rootid[root] and b >= root]
        index = {b: i for i, b in enumerate(bodies)}
        dofs = []
        for j in range(m.njnt):
            if int(m.jnt_bodyid[j]) not in index or j == free[0]:
                continue
            if m.jnt_type[j] != mujoco.mjtJoint.mjJNT_HINGE:
                raise MotionError(f"{source}: joint '{m.joint(j).name}' is not a hinge; only hinges are supported")
            if abs(m.jnt_pos[j]).max() > 1e-9:
                raise MotionError(
                    f"{source}: joint '{m.joint(j).name}' is not at its body's origin; move the body's frame to it"
                )
            dofs.append(j)
        as_tensor = torch.as_tensor
        limits = [
            tuple(m.jnt_range[j]) if m.jnt_limited[j] else (-math.pi, math.pi) for j in dofs
        ]
        return cls(
            names=tuple(m.body(b).name for b in bodies),
            parents=tuple(index[int(m.body_parentid[b])] if b != root else -1 for b in bodies),
            offsets=as_tensor(m.body_pos[bodies], dtype=torch.float32) * (as_tensor(bodies) != root).float()[:, None],
            rest_rotations=rotation.from_wxyz(as_tensor(m.body_quat[bodies], dtype=torch.float32)),
            dof_names=tuple(m.joint(j).name for j in dofs),
            dof_bodies=tuple(index[int(m.jnt_bodyid[j])] for j in dofs),
            dof_axes=as_tensor(m.jnt_axis[dofs], dtype=torch.float32).reshape(-1, 3),
            dof_limits=torch.tensor(limits, dtype=torch.float32).reshape(-1, 2),
        )


def _twist(q: Tensor, axis: Tensor) -> Tensor:
    """Angle of the twist of ``q [..., 4]`` about ``axis [..., 3]`` in (-pi, pi] (swing-twist split)."""
    angle = 2.0 * torch.atan2((q[..., :3] * axis).sum(-1), q[..., 3])
    return rotation.wrap_angle(angle)


def _chain_basis(axes: Tensor, name: str) -> Tensor:
    """``[3, 3]`` matrix whose columns are a joint's hinge axes; a third is made up for two hinges."""
    if len(axes) == 2:
        axes = torch.cat((axes, torch.linalg.cross(axes[0], axes[1])[None]))
    if len(axes) != 3 or (axes @ axes.T - torch.eye(3, dtype=axes.dtype, device=axes.device)).abs().max() > 1e-4:
        raise MotionError(
            f"joint of body '{name}': hinge angles can be read off a rotation only for one hinge or for up to "
            "three mutually perpendicular ones"
        )
    return axes.T


def _chain_angles(q: Tensor, basis: Tensor) -> Tensor:
    """Angles ``[..., n, 3]`` of rotations ``q [..., n, 4]`` about successive axes (columns of ``basis [n, 3, 3]``).

    In the frame of its own axes the joint is an intrinsic X-Y-Z rotation with
    ``m02 = sin(y)``, ``m12/m22 = -tan(x)``; the third angle is read off what remains when the first is
    taken out, so that it makes up for a first angle that close to the gimbal lock is little more than
    rounding. A left-handed set of axes is the right-handed one with the third axis, and its angle,
    reversed.
    """
    sign = torch.linalg.det(basis).sign()
    right = basis.clone()
    right[..., :, 2] *= sign.unsqueeze(-1)
    m = right.transpose(-1, -2) @ rotation.to_matrix(q) @ right
    cos_y = torch.hypot(m[..., 1, 2], m[..., 2, 2])
    y = torch.atan2(m[..., 0, 2], cos_y)
    locked = cos_y < 1e-6
    x = torch.where(locked, torch.atan2(m[..., 2, 1], m[..., 1, 1]), torch.atan2(-m[..., 1, 2], m[..., 2, 2]))
    cos_x, sin_x = torch.cos(x), torch.sin(x)
    z = torch.atan2(cos_x * m[..., 1, 0] + sin_x * m[..., 2, 0], cos_x * m[..., 1, 1] + sin_x * m[..., 2, 1])
    return torch.stack((x, y, z * sign), dim=-1)


def _mirror_index(name: str, names: tuple[str, ...]) -> int:
    """Index of the body or hinge on the other side; the thing itself where it has no side."""
    for left, right in _SIDES:
        for a, b in ((left, right), (right, left)):
            at = name.find(a)
            while at >= 0:  # upper_leg_l: not the first "_l"
                other = name[:at] + b + name[at + len(a) :]
                if other in names:
                    return names.index(other)
                at = name.find(a, at + 1)
    swap = {"l": "r", "r": "l", "L": "R", "R": "L"}
    for other in (swap.get(name[:1], "?") + name[1:], name[:-1] + swap.get(name[-1:], "?")):  # lfemur, Arm.L
        if other in names:
            return names.index(other)
    return names.index(name)
