"""Self-penetration: limbs that would pass through the body or each other are pushed aside, as far as needed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from isaacmm import rotation
from isaacmm.character import CharacterModel

#: Depth that is left alone (m): skin gives.
SKIN = 0.003


class Shapes:
    """The character's capsules, spheres and boxes as capsules: segments ``[G, 2, 3]`` of bodies with radii ``[G]``.

    A box becomes capsules along its longest edge, side by side over its middle one, as thick as its shortest.
    """

    def __init__(self, character: CharacterModel) -> None:
        import mujoco

        model: Any = mujoco.MjModel.from_xml_path(str(character.mjcf))
        names = character.skeleton.names
        bodies: list[int] = []
        ends: list[Tensor] = []
        radii: list[float] = []
        for g in range(model.ngeom):
            name = model.body(model.geom_bodyid[g]).name
            if name not in names or not (model.geom_contype[g] or model.geom_conaffinity[g]):
                continue
            size = torch.as_tensor(model.geom_size[g], dtype=torch.float32)
            centre = torch.as_tensor(model.geom_pos[g], dtype=torch.float32)
            turn = rotation.to_matrix(rotation.from_wxyz(torch.as_tensor(model.geom_quat[g], dtype=torch.float32)))
            for low, high, radius in _capsules(model.geom_type[g], size):
                bodies.append(names.index(name))
                ends.append(torch.stack((turn @ low + centre, turn @ high + centre)))
                radii.append(radius)
        device = character.skeleton.device
        self.body = torch.tensor(bodies, device=device)
        self.ends = torch.stack(ends).to(device)
        self.radius = torch.tensor(radii, device=device)

    def place(self, body_pos: Tensor, body_rot: Tensor) -> Tensor:
        """Segments in the world ``[N, G, 2, 3]`` of bodies ``[N, B, 3]``, ``[N, B, 4]``."""
        turned = rotation.rotate(body_rot[:, self.body, None], self.ends)
        return body_pos[:, self.body, None] + turned


def _capsules(kind: int, size: Tensor) -> list[tuple[Tensor, Tensor, float]]:
    import mujoco

    zero = torch.zeros(3)
    if kind == mujoco.mjtGeom.mjGEOM_CAPSULE:
        along = torch.tensor([0.0, 0.0, float(size[1])])
        return [(-along, along, float(size[0]))]
    if kind == mujoco.mjtGeom.mjGEOM_BOX:
        order = torch.argsort(size)
        radius = float(size[order[0]])
        along, aside = zero.clone(), zero.clone()
        along[order[2]] = float(size[order[2]]) - radius
        aside[order[1]] = float(size[order[1]]) - radius
        return [(-along + s * aside, along + s * aside, radius) for s in (-1.0, 1.0)]
    return [(zero, zero, float(size[0]))]


class Separation:
    """Pushes arms off the trunk, the legs and each other, and a swinging leg off the other one.

    Pairs of shapes that cannot meet (same body, neighbours) or meet in the zero pose already are left out. A pair that
    penetrates turns the hinges of the limbs involved along the gradient of its depth: for a point ``p`` of the limb and
    a hinge with axis ``a`` through ``o`` that is ``n . (a x (p - o))``. Only a leg that does not stand gives way.

    Args:
        character: whose shapes.
        rounds: of pushing; each goes most of the way.
    """

    def __init__(self, character: CharacterModel, rounds: int = 3) -> None:
        self.skeleton, self.rounds = character.skeleton, rounds
        self.shapes = Shapes(character)
        skeleton = self.skeleton
        legs = [_lineage(skeleton.parents, foot) for foot in character.foot_ids]
        leg_of = [next((i for i, leg in enumerate(legs) if b in leg), -1) for b in range(skeleton.num_bodies)]
        hands = [b for b in range(skeleton.num_bodies) if b not in skeleton.parents and b not in character.foot_ids]
        branch = _branch_bodies(skeleton.parents, hands)
        limb = [leg >= 0 or b in branch for b, leg in enumerate(leg_of)]
        device = skeleton.device
        above = torch.zeros(skeleton.num_bodies, skeleton.num_dofs, dtype=torch.bool)
        for body in range(skeleton.num_bodies):
            line = set(_lineage(skeleton.parents, body))
            above[body] = torch.tensor([b in line and limb[b] for b in skeleton.dof_bodies])
        # a knee or an ankle does not bring legs apart, it moves the foot off its way: the hip has to
        below = torch.zeros(skeleton.num_dofs, dtype=torch.bool)
        for leg in legs:
            below |= torch.tensor([b in leg and b != leg[-1] for b in skeleton.dof_bodies])
        above &= ~below
        self.above = above.to(device)
        self.leg_of = torch.tensor(leg_of, device=device)
        self.dof_body = torch.tensor(skeleton.dof_bodies, device=device)
        self.low, self.high = skeleton.dof_limits.unbind(-1)
        self.pairs = self._pairs(limb)
        #: pairs of the same two limbs (or limb and trunk)
        self.groups = self._groups(legs, branch)

    def _pairs(self, limb: list[bool]) -> Tensor:
        """``[P, 2]`` shapes that are watched."""
        parents, body = self.skeleton.parents, self.shapes.body.tolist()
        pairs = []
        for i in range(len(body)):
            for j in range(i + 1, len(body)):
                a, b = body[i], body[j]
                if a == b or parents[a] == b or parents[b] == a or not (limb[a] or limb[b]):
                    continue
                if parents[a] == parents[b] and not (limb[a] and limb[b]):
                    continue
                pairs.append((i, j))
        found = torch.tensor(pairs, device=self.shapes.body.device)
        zero = torch.zeros(1, self.skeleton.num_dofs, device=found.device)
        depth, _, _ = self._depth(*self._fk(zero[:, :3], rotation.identity(1, device=found.device), zero), found)
        return found[depth[0] < 0.0]

    def _groups(self, legs: list[list[int]], arms: set[int]) -> list[Tensor]:
        parents = self.skeleton.parents

        def limb_of(body: int) -> int:
            for i, leg in enumerate(legs):
                if body in leg:
                    return 1 + i
            if body not in arms:
                return 0
            while parents[body] in arms:
                body = parents[body]
            return 100 + body

        bodies = self.shapes.body[self.pairs].tolist()
        named = [frozenset((limb_of(a), limb_of(b))) for a, b in bodies]
        device = self.pairs.device
        return [
            torch.tensor([i for i, name in enumerate(named) if name == group], device=device)
            for group in sorted(set(named), key=sorted)
        ]

    def depth(self, root_pos: Tensor, root_rot: Tensor, dof_pos: Tensor) -> Tensor:
        """How deep the worst pair of each world penetrates ``[N]`` m; negative: how far apart the nearest are."""
        return self._depth(*self._fk(root_pos, root_rot, dof_pos), self.pairs)[0].amax(dim=1)

    def __call__(self, root_pos: Tensor, root_rot: Tensor, dof_pos: Tensor, standing: Tensor) -> Tensor:
        """Hinge angles ``[N, D]`` with limbs apart; ``standing [N, F]`` bool legs keep still."""
        for _ in range(self.rounds):
            pos, rot = self._fk(root_pos, root_rot, dof_pos)
            depth, normal, point = self._depth(pos, rot, self.pairs)
            # of two limbs the deepest pair speaks: a foot astride a shin would be pushed to both sides at once
            deepest = [depth[:, group].max(dim=1) for group in self.groups]
            worst = torch.stack([d.values for d in deepest], dim=1)
            where = torch.stack([g[d.indices] for g, d in zip(self.groups, deepest, strict=True)], dim=1)
            world, group_of = (worst > SKIN).nonzero(as_tuple=True)
            if len(world) == 0:
                break
            pair = where[world, group_of]
            axis = rotation.rotate(rot[world[:, None], self.dof_body], self._axes(dof_pos)[world])
            away = torch.zeros_like(axis[..., 0])
            for side, sign in ((0, -1.0), (1, 1.0)):
                body = self.shapes.body[self.pairs[pair, side]]
                leg = self.leg_of[body]
                still = (leg >= 0) & standing[world, leg.clamp(min=0)]
                arm = point[world, pair, side][:, None] - pos[world[:, None], self.dof_body]
                lever = (normal[world, pair][:, None] * torch.linalg.cross(axis, arm)).sum(-1)
                away = away + sign * lever * (self.above[body] & ~still[:, None])
            square = (away**2).sum(-1, keepdim=True)
            step = away * ((depth[world, pair] - SKIN)[:, None] / (square + 2e-3))
            push = torch.zeros_like(dof_pos).index_add(0, world, step).clamp(-0.3, 0.3)
            dof_pos = torch.minimum(torch.maximum(dof_pos + push, self.low), self.high)
        return dof_pos

    def _axes(self, dof_pos: Tensor) -> Tensor:
        """Hinge axes ``[N, D, 3]`` in the frames of their bodies: later hinges of a body turn after earlier ones.

        A body's rotation is ``T1 T2 T3``; its first axis, seen from the body, is ``T3^-1 T2^-1 a1``.
        """
        skeleton, axes = self.skeleton, self.skeleton.dof_axes
        result = axes.expand(len(dof_pos), -1, -1).clone()
        for chain in skeleton._chains.values():
            for k in range(len(chain) - 2, -1, -1):
                later = rotation.from_axis_angle(axes[chain[k + 1]], dof_pos[:, chain[k + 1]])
                done = chain[: k + 1]
                result[:, done] = rotation.rotate_inverse(later[:, None], result[:, done])
        return result

    def _fk(self, root_pos: Tensor, root_rot: Tensor, dof_pos: Tensor) -> tuple[Tensor, Tensor]:
        return self.skeleton.fk(root_pos, root_rot, self.skeleton.dofs_to_joint_rot(dof_pos))

    def _depth(self, pos: Tensor, rot: Tensor, pairs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Depth ``[N, P]`` m of each pair, normal ``[N, P, 3]`` from its first to its second shape, and the nearest
        points of their axes ``[N, P, 2, 3]``."""
        ends = self.shapes.place(pos, rot)
        first, second = ends[:, pairs[:, 0]], ends[:, pairs[:, 1]]
        a, b = nearest_points(first[..., 0, :], first[..., 1, :], second[..., 0, :], second[..., 1, :])
        gap = b - a
        distance = gap.norm(dim=-1)
        radius = self.shapes.radius[pairs].sum(-1)
        return radius - distance, gap / distance.clamp(min=1e-6)[..., None], torch.stack((a, b), dim=-2)


def nearest_points(p0: Tensor, p1: Tensor, q0: Tensor, q1: Tensor) -> tuple[Tensor, Tensor]:
    """Nearest points of segments ``p0 p1`` and ``q0 q1`` ``[..., 3]`` (Ericson 2005, "Real-Time Collision
    Detection", sec. 5.1.9); a segment may be a point."""
    u, v, w = p1 - p0, q1 - q0, p0 - q0
    a, b, c = (u * u).sum(-1), (u * v).sum(-1), (v * v).sum(-1)
    d, e = (u * w).sum(-1), (v * w).sum(-1)
    denominator = a * c - b * b
    s = torch.where(denominator > 1e-9, (b * e - c * d) / denominator.clamp(min=1e-9), torch.zeros_like(a)).clamp(0, 1)
    t = torch.where(c > 1e-9, (b * s + e) / c.clamp(min=1e-9), torch.zeros_like(s)).clamp(0.0, 1.0)
    s = torch.where(a > 1e-9, (b * t - d) / a.clamp(min=1e-9), torch.zeros_like(s)).clamp(0.0, 1.0)
    return p0 + s[..., None] * u, q0 + t[..., None] * v


def _lineage(parents: tuple[int, ...], body: int) -> list[int]:
    """The body and those above it, without the root."""
    line = []
    while body > 0:
        line.append(body)
        body = parents[body]
    return line


def _branch_bodies(parents: tuple[int, ...], tips: list[int]) -> set[int]:
    """Bodies of arms: from each tip up to where another line branches off; a lone body above a branch (a head) not."""
    children = [parents.count(b) for b in range(len(parents))]
    found: set[int] = set()
    for tip in tips:
        line = []
        body = tip
        while body > 0 and (body == tip or children[body] == 1):
            line.append(body)
            body = parents[body]
        if len(line) > 1:
            found.update(line)
    return found
