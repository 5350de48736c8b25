"""RandomCommands: every character gets its own commands, drawn anew from time to time."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from isaacmm.steering.source import Command


class RandomCommands:
    """Piecewise constant velocity and turn rate per character. The same seed gives the same commands.

    Args:
        num_envs: ``N``.
        seed: of the commands.
        forward: lowest and highest m/s.
        left: largest m/s to a side.
        turn: largest rad/s.
        stand: share of the time in which to stand.
        seconds: shortest and longest time between commands.
        rounds: commands drawn per character; then they begin again.
    """

    def __init__(
        self,
        num_envs: int,
        seed: int = 0,
        forward: tuple[float, float] = (0.0, 3.0),
        left: float = 0.0,
        turn: float = 0.6,
        stand: float = 0.2,
        seconds: tuple[float, float] = (1.0, 4.0),
        rounds: int = 32,
        device: torch.device | str = "cpu",
    ) -> None:
        draw = torch.Generator().manual_seed(seed)

        def uniform(low: float, high: float) -> Tensor:
            return low + (high - low) * torch.rand(num_envs, rounds, generator=draw)

        lasting = uniform(*seconds)
        ends = lasting.cumsum(1)
        standing = uniform(0.0, 1.0) < stand
        speed, side = uniform(*forward), uniform(-left, left)
        # nobody turns sharply at a run: the sideways acceleration stays below 2.5 m/s^2
        sharp = torch.minimum(torch.full_like(speed, turn), 2.5 / speed.abs().clamp(min=0.5))
        rate = sharp * uniform(-1.0, 1.0)
        going = torch.stack((speed, side, rate), -1).masked_fill(standing[..., None], 0.0)
        bent = (going[..., 2] * lasting).cumsum(1)
        self._ends, self._going = ends.to(device), going.to(device)
        self._begin = (ends - lasting).to(device)
        self._facing = (bent - going[..., 2] * lasting).to(device)
        self._round = bent[:, -1].to(device)
        self._start = torch.zeros(num_envs, device=device)
        self.duration = math.inf

    def reset(self, ids: Tensor, root_pos: Tensor, root_yaw: Tensor) -> None:
        """See :class:`~isaacmm.steering.source.Source`."""
        self._start[ids] = root_yaw

    def command(self, time: Tensor | float, root_pos: Tensor, root_yaw: Tensor) -> Command:
        """See :class:`~isaacmm.steering.source.Source`."""
        time = torch.as_tensor(time, dtype=root_yaw.dtype, device=root_yaw.device).expand(root_yaw.shape)
        rounds = torch.floor(time / self._ends[:, -1])
        within = time - rounds * self._ends[:, -1]
        index = torch.searchsorted(self._ends, within[:, None] + 1e-5, right=True).clamp(max=self._ends.shape[1] - 1)
        going = self._going.gather(1, index[..., None].expand(-1, 1, 3))[:, 0]
        facing = self._facing.gather(1, index)[:, 0] + going[:, 2] * (within - self._begin.gather(1, index)[:, 0])
        return Command(going[:, :2], self._start + facing + rounds * self._round, going[:, 2])
