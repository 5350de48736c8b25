"""Generalised advantage estimation."""

from __future__ import annotations

import torch
from torch import Tensor


def advantages(
    rewards: Tensor, values: Tensor, next_values: Tensor, dones: Tensor, gamma: float, tau: float
) -> Tensor:
    """GAE(gamma, tau) (Schulman et al. 2016, eq. 16), cut at every episode end.

    Args:
        rewards: ``[T, N]``.
        values: ``[T, N]``, V of the observation acted on.
        next_values: ``[T, N]``, V of the observation that followed, before any reset; 0 after a fall,
            the critic's own value after a time-out, since time ran out but the walk did not end.
        dones: ``[T, N]`` bool, episode ended (fall or time-out).
        gamma: discount.
        tau: lambda of the paper.

    Returns:
        ``[T, N]``; returns are these plus ``values``.
    """
    deltas = rewards + gamma * next_values - values
    carry = gamma * tau * (~dones).to(rewards.dtype)
    out = torch.empty_like(rewards)
    last = torch.zeros_like(rewards[0])
    for t in range(rewards.shape[0] - 1, -1, -1):
        last = deltas[t] + carry[t] * last
        out[t] = last
    return out
