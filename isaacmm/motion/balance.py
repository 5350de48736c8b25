"""How often each clip is drawn: by weight alone, evenly over tags, or evenly over speeds and turns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from isaacmm.errors import ConfigError, nearest

Balance = Literal["none", "tag", "speed_turn"]
BALANCES: tuple[Balance, ...] = ("none", "tag", "speed_turn")
#: Bins of the mean speed (m/s): standing, slow, walk, brisk, run ...
SPEED_EDGES = (0.15, 0.7, 1.2, 1.7, 2.4, 3.2, 4.5)
#: ... and of the mean turn (rad/s, left is positive).
TURN_EDGES = (-0.6, -0.15, 0.15, 0.6)


def balanced(
    weights: Tensor, how: Balance, *, tags: Sequence[tuple[str, ...]], speed: Tensor, turn: Tensor
) -> Tensor:
    """Weights ``[C]`` that give each group of clips the same sum; within a group they keep their ratios.

    Args:
        weights: ``[C]``, as configured.
        how: ``none`` leaves them; ``tag`` gives every tag the same sum (a clip with several tags counts in each, one
            without tags forms a group with its like); ``speed_turn`` gives every occupied bin of mean speed and turn
            the same sum.
        tags: of each clip.
        speed, turn: ``[C]`` m/s and rad/s.

    Raises:
        ConfigError: an unknown way.
    """
    if how not in BALANCES:
        raise ConfigError(f"motion.balance: '{how}' is not known; {nearest(how, BALANCES)}")
    if how == "none":
        return weights
    if how == "tag":
        names = sorted({tag for own in tags for tag in own})
        member = torch.zeros(len(tags), len(names) + 1, dtype=weights.dtype)
        for row, own in enumerate(tags):
            member[row, [names.index(tag) for tag in own] or [len(names)]] = 1.0
    else:
        column = torch.bucketize(speed.cpu(), torch.tensor(SPEED_EDGES)) * (len(TURN_EDGES) + 1)
        column = column + torch.bucketize(turn.cpu(), torch.tensor(TURN_EDGES))
        member = torch.nn.functional.one_hot(column, (len(SPEED_EDGES) + 1) * (len(TURN_EDGES) + 1)).to(weights.dtype)
    member = member.to(weights.device)
    sums = weights @ member
    share = torch.where(sums > 0, 1.0 / sums.clamp(min=1e-12), torch.zeros_like(sums))
    return weights * (member @ share)
