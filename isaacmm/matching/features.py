"""FeatureSet: what is compared when a moment of the clips is looked for, and how much each part counts."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from isaacmm.errors import ConfigError, nearest

#: Weights of Holden et al. 2020 ("Learned Motion Matching", accompanying code); they enter the cost squared.
WEIGHTS = {
    "foot_position": 0.75,
    "foot_velocity": 1.0,
    "hip_velocity": 1.0,
    "future_position": 1.0,
    "future_facing": 1.5,
}
#: Seconds ahead at which path and facing are compared.
HORIZONS = (1.0 / 3.0, 2.0 / 3.0, 1.0)
#: A clip's path further ahead than this (s) is mostly guessed from its end.
FARTHEST = 10.0
#: A block that hardly varies over the clips (walking straight only) is not magnified beyond this scale, in its unit.
SMALLEST = {
    "foot_position": 0.02,
    "foot_velocity": 0.1,
    "hip_velocity": 0.05,
    "future_position": 0.1,
    "future_facing": 0.1,
}


@dataclass(frozen=True)
class Block:
    """Columns that are normalised together.

    Attributes:
        name: e.g. ``right_foot_position``.
        kind: key of :data:`WEIGHTS`.
        start, stop: columns.
        unit: of the raw numbers.
    """

    name: str
    kind: str
    start: int
    stop: int
    unit: str


@dataclass(frozen=True)
class FeatureSet:
    """The 27 numbers of two feet and three horizons: per foot position (3 each), per foot velocity (3 each), hip
    velocity (3), future positions (2 per horizon), future facings (2 per horizon); all in the heading frame of the
    ground track under the character. The pose part comes first, the trajectory part last.

    Attributes:
        feet: names of the foot bodies.
        horizons: s.
        weights: of the kinds of :data:`WEIGHTS`.
    """

    feet: tuple[str, ...]
    horizons: tuple[float, ...] = HORIZONS
    weights: Mapping[str, float] = field(default_factory=lambda: dict(WEIGHTS))

    def __post_init__(self) -> None:
        for key, value in self.weights.items():
            if key not in WEIGHTS:
                raise ConfigError(f"matching.weights.{key} is not known; {nearest(key, WEIGHTS)}")
            if not 0 <= value < math.inf:
                raise ConfigError(f"matching.weights.{key} is {value}; weights are finite and not negative")
        if not any(self.weights.get(key, 1.0) > 0 for key in ("future_position", "future_facing")):
            raise ConfigError("matching.weights of future_position and future_facing are both 0: no command is heard")
        rising = all(a < b for a, b in itertools.pairwise((0.0, *self.horizons)))  # false for NaN
        if not self.horizons or not rising or self.horizons[-1] > FARTHEST:
            raise ConfigError(
                f"matching.horizons are {list(self.horizons)}; give ascending seconds above 0, {FARTHEST:g} at most"
            )

    @classmethod
    def from_config(cls, config: Mapping[str, Any], feet: Sequence[str]) -> FeatureSet:
        """From a ``matching`` section: ``horizons``, ``weights``."""
        try:
            horizons = tuple(float(h) for h in config.get("horizons", HORIZONS))
            weights = {**WEIGHTS, **{str(k): float(v) for k, v in dict(config.get("weights", {})).items()}}
        except (TypeError, ValueError) as error:
            raise ConfigError(f"matching: horizons are a list of seconds, weights numbers by name: {error}") from None
        return cls(tuple(feet), horizons, weights)

    @property
    def blocks(self) -> tuple[Block, ...]:
        """In the order of the columns."""
        parts = [(f"{foot}_position", "foot_position", 3, "m") for foot in self.feet]
        parts += [(f"{foot}_velocity", "foot_velocity", 3, "m/s") for foot in self.feet]
        parts += [("hip_velocity", "hip_velocity", 3, "m/s")]
        parts += [("future_position", "future_position", 2 * len(self.horizons), "m")]
        parts += [("future_facing", "future_facing", 2 * len(self.horizons), "unit vector")]
        blocks, start = [], 0
        for name, kind, width, unit in parts:
            blocks.append(Block(name, kind, start, start + width, unit))
            start += width
        return tuple(blocks)

    @property
    def size(self) -> int:
        """Columns in all."""
        return self.pose_size + self.trajectory_size

    @property
    def pose_size(self) -> int:
        """Columns that describe the present pose."""
        return 6 * len(self.feet) + 3

    @property
    def trajectory_size(self) -> int:
        """Columns that describe the path ahead."""
        return 4 * len(self.horizons)

    def scales(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Offset and scale ``[27]`` of raw features ``[F, 27]``: ``normalised = (raw - offset) / scale``.

        The offset is each column's mean; the scale of a block is the mean of its columns' standard deviations,
        divided by the block's weight (a weight of 0 mutes it).
        """
        offset = raw.mean(dim=0)
        scale = torch.ones_like(offset)
        for block in self.blocks:
            spread = raw[:, block.start : block.stop].std(dim=0, unbiased=False).mean()
            spread = spread.clamp(min=SMALLEST[block.kind])
            weight = self.weights.get(block.kind, 1.0)
            scale[block.start : block.stop] = spread / weight if weight > 0 else float("inf")
        return offset, scale
