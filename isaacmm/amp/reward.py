"""From logits to a style reward, and from task and style to one number."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from isaacmm.errors import ConfigError, nearest

COMBINES = ("mul", "add", "geo")


def style_reward(logits: Tensor, kind: str, scale: float) -> Tensor:
    """Style reward ``[n]`` of logits ``[n]``.

    ``bce``: ``-scale log(max(1 - sigmoid(D), 1e-4))``, in [0, 9.2 scale] (GAIL's reward, Ho and Ermon
    2016, in the form of the classic public AMP recipe). ``lsgan``: ``scale max(0, 1 - (D - 1)^2 / 4)``,
    in [0, scale] (AMP, Peng et al. 2021, eq. 9).
    """
    if kind == "lsgan":
        return scale * (1.0 - 0.25 * (logits - 1.0) ** 2).clamp(min=0.0)
    return -scale * torch.log((1.0 - torch.sigmoid(logits)).clamp(min=1e-4))


@dataclass(frozen=True)
class RewardCombiner:
    """Task and style as one reward.

    ``mul``: ``(w_t r_t)(w_s r_s)``, the literal product. ``add``: ``w_t r_t + w_s r_s``.
    ``geo``: ``(e + (1-e) r_t)^a (e + (1-e) r_s)^b`` with ``a + b = 1`` in the ratio of the weights and the
    floor ``e`` falling from ``floor_start`` to ``floor_end`` over ``floor_until`` of the training; ``r_s`` is
    first divided by ``style_scale`` and clipped to [0, 1], so that both factors are bounded.
    """

    mode: str = "mul"
    task_weight: float = 1.0
    style_weight: float = 1.0
    style_scale: float = 1.0
    floor_start: float = 0.3
    floor_end: float = 0.05
    floor_until: float = 0.2

    def __post_init__(self) -> None:
        if self.mode not in COMBINES:
            raise ConfigError(f"reward_combine '{self.mode}' is not known; {nearest(self.mode, COMBINES)}")
        if self.mode != "add" and not min(self.task_weight, self.style_weight) > 0:
            raise ConfigError(
                f"reward_combine={self.mode} needs task_reward_w and disc_reward_w above 0 "
                f"(they are {self.task_weight} and {self.style_weight}); use reward_combine=add to drop a term"
            )

    def floor(self, progress: float) -> float:
        """The floor ``e`` at ``progress`` in [0, 1] of the training."""
        share = min(1.0, progress / self.floor_until) if self.floor_until > 0 else 1.0
        return self.floor_start + (self.floor_end - self.floor_start) * share

    def __call__(self, task: Tensor, style: Tensor, progress: float = 1.0) -> Tensor:
        """Reward ``[...]`` of ``task`` and ``style`` rewards of the same shape."""
        if self.mode == "mul":
            return (self.task_weight * task) * (self.style_weight * style)
        if self.mode == "add":
            return self.task_weight * task + self.style_weight * style
        e = self.floor(progress)
        a = self.task_weight / (self.task_weight + self.style_weight)
        bounded = (style / self.style_scale).clamp(0.0, 1.0)
        return (e + (1.0 - e) * task) ** a * (e + (1.0 - e) * bounded) ** (1.0 - a)
