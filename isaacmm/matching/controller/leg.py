"""Legs: foot poses to hinge angles, within the joints' limits."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from isaacmm import rotation
from isaacmm.character import CharacterModel
from isaacmm.errors import ConfigError


class FootPose(NamedTuple):
    """Feet ``[M, F]``: ``pos [M, F, 3]`` m and ``turn [M, F, 3, 3]`` of the foot bodies, world."""

    pos: Tensor
    turn: Tensor


class Legs:
    """Chains of hinges from the root to each foot, solved by damped Gauss-Newton steps in hinge space.

    An analytic two-bone solution knows nothing of limits: clamped afterwards, the foot is elsewhere. Here every step
    is taken within the limits: a hinge at its limit that is pushed outwards is taken out of the step (projected
    Newton, Bertsekas 1982), and the others make up for it. Of the leg's seven hinges one is left over; it stays with
    the animation.

    Attributes:
        dofs: ``[F, L]`` hinges of each leg.
        reach: ``[F]`` m, from the first hinge to the foot with the leg stretched.
    """

    def __init__(self, character: CharacterModel, orientation: float = 0.1, stay: float = 3e-5) -> None:
        """Args: ``orientation`` m/rad, how much a foot's orientation counts against its place; ``stay``, how strongly
        hinges that are not needed hold on to the animation."""
        skeleton = character.skeleton
        self.orientation, self.stay = orientation, stay
        chains = [_chain(skeleton.parents, foot) for foot in character.foot_ids]
        dofs = [
            [d for body in chain for d in range(skeleton.num_dofs) if skeleton.dof_bodies[d] == body]
            for chain in chains
        ]
        shape = [[sum(b == body for b in skeleton.dof_bodies) for body in chain] for chain in chains]
        if any(s != shape[0] for s in shape):
            raise ConfigError(f"character '{character.name}': its legs have different numbers of hinges: {shape}")
        device = skeleton.device
        self.bodies = torch.tensor(chains, device=device)
        self.dofs = torch.tensor(dofs, device=device)
        self.hinges = shape[0]  # per body of the chain
        self.offsets = skeleton.offsets[self.bodies]  # [F, chain, 3]
        self.rest = rotation.to_matrix(skeleton.rest_rotations[self.bodies])  # [F, chain, 3, 3]
        axes = skeleton.dof_axes[self.dofs]  # [F, L, 3]
        self.axes = axes[..., None]
        self.cross = _cross_matrix(axes)
        self.cross2 = self.cross @ self.cross
        self.low, self.high = skeleton.dof_limits[self.dofs].unbind(-1)
        self.reach = self.offsets[:, 1:].norm(dim=-1).sum(-1)
        self.size = self.dofs.shape[1]
        self._eye = torch.eye(self.size, device=device)

    def forward(self, root_pos: Tensor, root_turn: Tensor, q: Tensor) -> tuple[FootPose, Tensor, Tensor]:
        """Feet of ``q [M, F, L]`` with roots ``[M, 3]``, ``[M, 3, 3]``.

        Returns:
            Foot poses, hinge axes ``[M, F, L, 3]`` and where they pass through ``[M, F, L, 3]`` (world).
        """
        sin, cos = torch.sin(q)[..., None, None], torch.cos(q)[..., None, None]
        turns = self._eye3 + sin * self.cross + (1.0 - cos) * self.cross2
        turn = root_turn[:, None].expand(-1, q.shape[1], -1, -1)
        pos = root_pos[:, None].expand(-1, q.shape[1], -1)
        axes, origins, k = [], [], 0
        for b, count in enumerate(self.hinges):  # links of one leg
            pos = pos + (turn @ self.offsets[:, b, :, None])[..., 0]
            turn = turn @ self.rest[:, b]
            for _ in range(count):
                axes.append((turn @ self.axes[:, k])[..., 0])
                origins.append(pos)
                turn = turn @ turns[:, :, k]
                k += 1
        return FootPose(pos, turn), torch.stack(axes, dim=2), torch.stack(origins, dim=2)

    @property
    def _eye3(self) -> Tensor:
        return torch.eye(3, device=self.low.device)

    def solve(
        self, root_pos: Tensor, root_turn: Tensor, start: Tensor, home: Tensor, goal: FootPose, steps: int
    ) -> tuple[Tensor, FootPose]:
        """Hinge angles ``[M, F, L]`` within the limits that put the feet to ``goal``, and where the feet then are.

        Args:
            root_pos, root_turn: ``[M, 3]``, ``[M, 3, 3]``.
            start: ``[M, F, L]`` rad to begin with.
            home: ``[M, F, L]`` rad, the animation's, within limits.
            goal: foot poses.
            steps: Newton steps.
        """
        q = torch.minimum(torch.maximum(start, self.low), self.high)
        foot, axes, origins = self.forward(root_pos, root_turn, q)
        for _ in range(steps):
            move = torch.linalg.cross(axes, foot.pos[:, :, None] - origins)
            jacobian = torch.cat((move, self.orientation * axes), dim=-1)  # [M, F, L, 6]
            error = torch.cat((goal.pos - foot.pos, self.orientation * _turn_error(goal.turn, foot.turn)), dim=-1)
            push = (jacobian @ error[..., None])[..., 0] + self.stay * (home - q)
            held = ((q <= self.low) & (push < 0)) | ((q >= self.high) & (push > 0))
            free = (~held).to(q.dtype)
            jacobian = jacobian * free[..., None]
            # damping follows the error (Levenberg-Marquardt): bold when near, careful when far or stretched
            damping = self.stay + 0.02 * (error**2).sum(-1).clamp(max=0.25)
            normal = jacobian @ jacobian.transpose(-1, -2) + damping[..., None, None] * self._eye
            step = torch.cholesky_solve((push * free)[..., None], torch.linalg.cholesky(normal))[..., 0]
            step = step.clamp(-0.5, 0.5)
            q = torch.minimum(torch.maximum(q + step, self.low), self.high)
            foot, axes, origins = self.forward(root_pos, root_turn, q)
        return q, foot


def _chain(parents: tuple[int, ...], foot: int) -> list[int]:
    """Bodies from the root's child to the foot."""
    chain = [foot]
    while parents[chain[0]] > 0:
        chain.insert(0, parents[chain[0]])
    return chain


def _cross_matrix(v: Tensor) -> Tensor:
    """``[..., 3, 3]`` with ``m w = v x w``."""
    x, y, z = v.unbind(-1)
    o = torch.zeros_like(x)
    return torch.stack((o, -z, y, z, o, -x, -y, x, o), dim=-1).reshape(*v.shape[:-1], 3, 3)


def _turn_error(goal: Tensor, now: Tensor) -> Tensor:
    """Rotation vectors ``[..., 3]`` from ``now`` to ``goal``, matrices ``[..., 3, 3]`` less than half a turn apart."""
    m = goal @ now.transpose(-1, -2)
    twice_sine = torch.stack(
        (m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]), -1
    )
    cosine = 0.5 * (m.diagonal(dim1=-2, dim2=-1).sum(-1) - 1.0)
    sine = 0.5 * twice_sine.norm(dim=-1)
    angle = torch.atan2(sine, cosine.clamp(-1.0, 1.0))
    return twice_sine * (0.5 * torch.where(sine > 1e-6, angle / sine.clamp(min=1e-6), torch.ones_like(sine)))[..., None]
