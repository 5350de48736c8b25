"""Leak probe: can the command alone tell clips from agent?

A discriminator that is told the command must not find the answer in it: then it would judge commands, not motion. A
small network that sees nothing but the conditions of a batch, and is tested on batches it has not seen, has to stay at
chance. It does where clips enter a batch under the conditions of the agent (``matched_*``, ``uniform``,
``stratified``); it does not where they bring their own (``hindsight``) and the clips do other things than what is
commanded.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

#: ``draw(generator) -> conditions of clips [n, K], of the agent [m, K]``, one batch.
Draw = Callable[[torch.Generator], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Leak:
    """Held-out accuracy of the probe, both sides counting alike.

    Attributes:
        accuracy: share; 0.5 is chance.
        low, high: its 95 % interval.
    """

    accuracy: float
    low: float
    high: float

    @property
    def at_chance(self) -> bool:
        """Whether 0.5 is within the interval."""
        return self.low <= 0.5 <= self.high


def probe(draw: Draw, samples: int = 4096, steps: int = 150, units: int = 32, seed: int = 0) -> Leak:
    """Train a probe on drawn batches, test it on others. Leaves every random state of the caller alone.

    Args:
        draw: gives batches.
        samples: conditions of clips to train with, and as many to test with.
        steps: of Adam, all samples in each.
        units: of the one hidden layer.
        seed: of draws and weights.
    """
    generator = torch.Generator().manual_seed(seed)
    (real, fake), (real_test, fake_test) = _gather(draw, samples, generator), _gather(draw, samples, generator)
    both = torch.cat((real, fake))
    mean, scale = both.mean(0), both.std(0).clamp(min=1e-6)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Linear(both.shape[1], units), nn.ReLU(), nn.Linear(units, 1))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2, weight_decay=1e-4)

    def judge(rows: Tensor) -> Tensor:
        logits: Tensor = net((rows - mean) / scale)[:, 0]
        return logits

    with torch.enable_grad():
        for _ in range(steps):
            loss = functional.softplus(-judge(real)).mean() + functional.softplus(judge(fake)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        right = float((judge(real_test) > 0).float().mean()), float((judge(fake_test) <= 0).float().mean())
    accuracy = 0.5 * sum(right)
    # a binomial proportion on either side; at least that of one wrong answer
    spread = [max(p * (1.0 - p), 1.0 / n) / n for p, n in zip(right, (len(real_test), len(fake_test)), strict=True)]
    half = 1.96 * 0.5 * math.sqrt(sum(spread))
    return Leak(accuracy, accuracy - half, accuracy + half)


def _gather(draw: Draw, samples: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """``samples`` conditions of clips and at least as many of the agent, on the CPU."""
    real, fake, count = [], [], 0
    while count < samples:
        clips, agent = draw(generator)
        real.append(clips.float().cpu())
        fake.append(agent.float().cpu())
        count += len(clips)
    return torch.cat(real)[:samples], torch.cat(fake)
