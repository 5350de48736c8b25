"""Which clip moments a discriminator is shown as real, for which commands."""

from __future__ import annotations

import torch
from torch import Tensor

from isaacmm.envs.reference import ReferenceTable
from isaacmm.matching.database import Database

#: ``uniform``: any moment, whatever was commanded (plain AMP). ``stratified``: any moment, all kinds of motion alike
#: often. ``hindsight``: any moment, under the command it happens to carry out. ``matched_twin``: the moment that a
#: motion-matching controller plays under the same command. ``matched_state``: the moment that answers the command
#: best from the simulated character's own pose.
SAMPLERS = ("uniform", "stratified", "hindsight", "matched_twin", "matched_state")
#: Bins of the stratified sampler: speed m/s and turn rate rad/s.
SPEED_BIN, TURN_BIN = 0.4, 0.3


class Demonstrations:
    """``demonstrations(condition [n, K], reference [n], generator) -> (rows [n], condition [n, K])``."""

    def __init__(self, sampler: str, database: Database, table: ReferenceTable) -> None:
        self.sampler, self.database, self.table = sampler, database, table
        self._weights = self._stratified() if sampler == "stratified" else None

    def rows(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Rows ``[n]`` whatever was commanded: clips by weight, or all kinds of motion alike."""
        if self._weights is None:
            return self.table.sample(n, generator)
        return torch.multinomial(self._weights, n, replacement=True, generator=generator)

    def __call__(self, condition: Tensor, reference: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Rows of clips, and the conditions they are shown under."""
        if self.sampler.startswith("matched"):
            return reference, condition
        rows = self.rows(len(reference), generator)
        return rows, self.database.trajectory[rows] if self.sampler == "hindsight" else condition

    def _stratified(self) -> Tensor:
        """Probability of every row ``[F]``: alike for all filled bins of speed and turn rate, even within a bin."""
        d = self.database
        speed = (d.velocity.norm(dim=-1) / SPEED_BIN).round().long()
        turn = (d.turn_rate / TURN_BIN).round().long()
        key = speed * 10_000 + turn + 5_000
        _, bins, counts = torch.unique(key[d.valid], return_inverse=True, return_counts=True)
        weights = torch.zeros(len(d), device=d.valid.device)
        weights[d.valid] = 1.0 / counts[bins].float()
        return weights
