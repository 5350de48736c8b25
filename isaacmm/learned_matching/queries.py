"""Queries: what a projector is asked while it is trained."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from isaacmm.matching.database import Database
from isaacmm.matching.search import Search, make_search
from isaacmm.matching.trajectory import CommandSpring


class Queries:
    """Draws queries ``[n, K]``.

    Five of eight are the pose of a row with the path that a command spring takes from that row's motion towards a
    command: what a controller asks. One of eight is the pose of one row with the path of another. Two of eight are
    rows with noise, up to as much as the features vary: what is nearly a row is to become one. (Holden et al. 2020 take
    noise alone, and more of it; most of such queries are nothing that is ever asked.)
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self.rows = database.valid.nonzero().flatten()
        self.spread = database.features.std(dim=0)

    @cached_property
    def search(self) -> Search:
        """The search that is replaced."""
        return make_search(self.database.features, self.database.valid[None])

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Queries ``[n, K]``."""
        noisy, crossed = n // 4, n // 8
        asked = self.commanded(n - noisy - crossed, generator)
        return torch.cat((asked, self.crossed(crossed, generator), self.noisy(noisy, generator)))

    def _some(self, n: int, generator: torch.Generator) -> Tensor:
        return self.rows[torch.randint(len(self.rows), (n,), generator=generator)]

    def noisy(self, n: int, generator: torch.Generator) -> Tensor:
        """Rows with noise: standard deviation of the features, times something from 0 to 1, more often little."""
        strength = torch.rand(n, 1, generator=generator) ** 2
        noise = torch.randn(n, len(self.spread), generator=generator)
        return self.database.features[self._some(n, generator)] + self.spread * strength * noise

    def crossed(self, n: int, generator: torch.Generator) -> Tensor:
        """Pose of one row, path of another."""
        pose, path = self.database.pose, self.database.trajectory
        return self._drifted(pose[self._some(n, generator)], path[self._some(n, generator)], generator)

    def commanded(self, n: int, generator: torch.Generator) -> Tensor:
        """Pose of a row, path of a command spring that is on its way from that row's motion to another's."""
        db, device = self.database, self.database.features.device
        row, goal = self._some(n, generator), self._some(n, generator)
        here = torch.arange(n, device=device)
        spring = CommandSpring(n, db.spec.horizons, device=device)
        zero = torch.zeros(n, device=device)
        spring.reset(here, zero, db.velocity[row], db.turn_rate[row])
        aside = torch.pi * (2.0 * torch.rand(n, generator=generator) - 1.0) * torch.rand(n, generator=generator) ** 3
        # turning goals go on turning; a goal seldom asks to turn as sharply as a corner does
        turn = db.turn_rate[goal] * (torch.rand(n, generator=generator) < 0.7).float()
        velocity = db.velocity[goal] * (0.8 + 0.4 * torch.rand(n, 1, generator=generator))
        spring.step(velocity, aside, turn, 0.8 * float(torch.rand(1, generator=generator)) ** 2)
        path, facing = spring.predict(velocity, aside, turn, zero)
        return self._drifted(db.pose[row], db.condition(path, facing), generator)

    def _drifted(self, pose: Tensor, path: Tensor, generator: torch.Generator) -> Tensor:
        """A pose that the stepper has carried on is not exactly any row's."""
        strength = 0.2 * torch.rand(len(pose), 1, generator=generator)
        noise = torch.randn(pose.shape, generator=generator)
        return torch.cat((pose + strength * self.spread[: pose.shape[1]] * noise, path), dim=1)
