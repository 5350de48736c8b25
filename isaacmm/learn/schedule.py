"""Learning rate that follows the policy's step size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class AdaptiveRate:
    """Slower when the policy moved too far in an iteration (KL), faster when it hardly moved.

    KL is between the policy that collected the samples and the policy after the last epoch, summed
    over action dimensions. ``kl_high=inf`` keeps the rate constant.
    """

    kl_high: float
    kl_low: float
    down: float = 1.5
    up: float = 1.2
    lowest: float = 1e-6
    highest: float = 1e-3

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> AdaptiveRate:
        """``lr_schedule: adaptive`` with ``kl_threshold``: down above twice of it, up below two thirds of it."""
        if config.get("lr_schedule") != "adaptive":
            return cls(float("inf"), 0.0)
        threshold = float(config["kl_threshold"])
        return cls(2.0 * threshold, threshold / 1.5, highest=float(config.get("max_learning_rate", 1e-3)))

    def update(self, rate: float, kl: float) -> float:
        """The next iteration's rate."""
        if kl > self.kl_high:
            return max(rate / self.down, self.lowest)
        if kl < self.kl_low:
            return min(rate * self.up, self.highest)
        return rate
