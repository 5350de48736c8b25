"""Playheads made of networks: what twins are to a database."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from isaacmm.learned_matching.networks import LearnedMM
from isaacmm.learned_matching.pose import Pose, PoseLayout

#: See :class:`NetworkPlayhead`: squared distances of features, and s.
NEAR, JUMP, PATIENCE = 0.5, 1.0, 1.0


class NetworkPlayhead:
    """``N`` playheads: the stepper carries them on, the projector says where else to be, the decompressor what that
    looks like.

    The stepper's step is as long as the rows of its database were apart; a frame in between lies between two steps, so
    any frame rate can be played. As with a search, every few steps, and at once when the command jumps, the projector
    is asked; its answer is gone to if it is nearer to what is asked for than playing on, by more than ``stay_bias``,
    and is another moment than this one.

    Args:
        model: networks.
        layout: of pose vectors.
        rate: of the stepper, per second.
        pose_size: features that describe the pose; the others are the path.
        num_envs: ``N``.
        dt: s per frame.
        every: s between projections; worlds are spread over them.
        stay_bias: squared distance by which a projection must be better than playing on.
        near: squared distance of features within which a projection is the moment that plays.
        jump: distance between two successive conditions that asks at once.
        patience: s that the stepper goes on by itself; the next projection is gone to whatever it is. A stepper drifts,
            a projection is (nearly) a moment of the clips.

    Attributes:
        x, z: ``[N, K]``, ``[N, Z]`` now.
        row: ``[N]`` int64; in place of a database's row: which feet stand, as bits.
        jumped: ``[N]`` bool. searches: projections so far.
        pose: now. old: what it would be now without the last jump.
    """

    def __init__(
        self,
        model: LearnedMM,
        layout: PoseLayout,
        rate: float,
        pose_size: int,
        num_envs: int,
        dt: float,
        every: float = 0.1,
        stay_bias: float = 0.1,
        near: float = NEAR,
        jump: float = JUMP,
        patience: float = PATIENCE,
    ) -> None:
        self.model, self.layout, self.rate, self.pose_size = model, layout, rate, pose_size
        self.dt, self.stay_bias, self.near, self.jump = dt, stay_bias, near, jump
        self.every = max(1, round(every / dt))
        self.patience = patience
        #: s since the last projection that was gone to
        self.alone = torch.zeros(num_envs, device=model.latent_mean.device)
        device = model.latent_mean.device
        n, k, size = num_envs, model.features, model.latent
        #: two steps, and how far between them it is now (0 to 1)
        self.from_x, self.to_x = torch.zeros(2, n, k, device=device)
        self.from_z, self.to_z = torch.zeros(2, n, size, device=device)
        self.share = torch.zeros(n, device=device)
        self.timer = torch.arange(n, device=device) % self.every
        self.last = torch.zeros(n, k - pose_size, device=device)
        self.jumped = torch.zeros(n, dtype=torch.bool, device=device)
        self.bits = 2 ** torch.arange(len(layout.feet), device=device)
        self.searches = 0
        self.pose = self.old = self._decode(self.from_x, self.from_z)

    @torch.no_grad()
    def reset(self, ids: Tensor, x: Tensor, z: Tensor) -> None:
        """Worlds ``ids [n]`` go on from ``x [n, K]``, ``z [n, Z]``."""
        self.last[ids] = x[:, self.pose_size :]
        self.timer[ids] = ids % self.every
        self.jumped[ids] = False
        self._go(ids, x, z)
        self.pose = self.old = self._decode(self.x, self.z)

    @property
    def x(self) -> Tensor:
        """``[N, K]``."""
        return torch.lerp(self.from_x, self.to_x, self.share[:, None])

    @property
    def z(self) -> Tensor:
        """``[N, Z]``."""
        return torch.lerp(self.from_z, self.to_z, self.share[:, None])

    @property
    def row(self) -> Tensor:
        """See the class."""
        return (self.pose.contact * self.bits).sum(-1)

    @torch.no_grad()
    def step(self, condition: Tensor) -> None:
        """One frame of ``dt`` s under ``condition [N, K']`` (normalised path)."""
        self._advance()
        self.timer -= 1
        due = (self.timer < 0) | ((condition - self.last).norm(dim=-1) > self.jump)
        self.last = condition
        self.jumped = torch.zeros_like(self.jumped)
        here_x, here_z = self.x, self.z
        self.old = self.pose = self._decode(here_x, here_z)
        ids = due.nonzero().flatten()
        if len(ids):
            self._project(ids, here_x[ids], condition[ids])
        if bool(self.jumped.any()):
            self.pose = self.old.where(self.jumped, self._decode(self.x, self.z))

    def _advance(self) -> None:
        """``dt`` s pass; at most one step is begun per frame and ``1 / rate``."""
        self.share = self.share + self.dt * self.rate
        self.alone = self.alone + self.dt
        while bool((over := self.share > 1.0 + 1e-4).any()):
            x, z = self.model.step(self.to_x, self.to_z, 1.0 / self.rate)
            where = over[:, None]
            self.from_x = torch.where(where, self.to_x, self.from_x)
            self.from_z = torch.where(where, self.to_z, self.from_z)
            self.to_x, self.to_z = torch.where(where, x, self.to_x), torch.where(where, z, self.to_z)
            self.share = torch.where(over, self.share - 1.0, self.share)

    def _project(self, ids: Tensor, here: Tensor, condition: Tensor) -> None:
        query = torch.cat((here[:, : self.pose_size], condition), dim=1)
        x, z = self.model.project(query)
        cost, staying = ((query - x) ** 2).sum(-1), ((query - here) ** 2).sum(-1)
        stay = (((x - here) ** 2).sum(-1) <= self.near) | (staying <= cost + self.stay_bias)
        stay &= self.alone[ids] < self.patience - 1e-4
        self.jumped[ids] = ~stay
        self.timer[ids] = self.every - 1
        self.searches += len(ids)
        self._go(ids[~stay], x[~stay], z[~stay])

    def _go(self, ids: Tensor, x: Tensor, z: Tensor) -> None:
        self.from_x[ids], self.from_z[ids] = x, z
        self.to_x[ids], self.to_z[ids] = self.model.step(x, z, 1.0 / self.rate)
        self.share[ids] = 0.0
        self.alone[ids] = 0.0

    def _decode(self, x: Tensor, z: Tensor) -> Pose:
        with torch.no_grad():
            return self.layout.decode(self.model.decompress(x, z))

    @classmethod
    def of(cls, model: LearnedMM, meta: Mapping[str, Any], num_envs: int, dt: float, **rest: Any) -> NetworkPlayhead:
        """From what a checkpoint says."""
        layout = PoseLayout(meta["dof_names"], meta["feet"])
        return cls(model, layout, float(meta["rate"]), int(meta["pose_size"]), num_envs, dt, **rest)
