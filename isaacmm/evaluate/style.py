"""The discriminator of a checkpoint, as a judge."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from isaacmm.amp.discriminator import Discriminator
from isaacmm.amp.normalizer import RunningNormalizer
from isaacmm.amp.reward import style_reward
from isaacmm.errors import CheckpointError


class Judge:
    """``judge(amp_obs [n, S], condition [n, K]) -> logits [n]`` by the trained discriminator.

    Args:
        content: of a checkpoint, with ``style`` in it.

    Raises:
        CheckpointError: there is no discriminator in it.
    """

    def __init__(self, content: Mapping[str, Any], device: torch.device | str = "cpu") -> None:
        style = content.get("style")
        if not isinstance(style, Mapping) or "discriminator" not in style:
            raise CheckpointError("the checkpoint holds no discriminator")
        config = content["config"]["train"]["params"]["config"]
        weights = style["discriminator"]
        layers = [w for name, w in weights.items() if name.startswith("hidden.") and name.endswith(".weight")]
        statistics = style["normalizer"]
        #: numbers of an observation ``S``, and of a condition ``K`` (0: the discriminator knows no commands)
        self.size = len(statistics["mean"])
        inputs = int(layers[0].shape[1])
        if "projection.weight" in weights:
            conditioning, self.condition = "proj", int(weights["projection.weight"].shape[1])
        else:
            conditioning, self.condition = "concat", inputs - self.size
        self.net = Discriminator(
            self.size,
            [int(w.shape[0]) for w in layers],
            condition=self.condition,
            conditioning=conditioning,
        ).to(device)
        self.net.load_state_dict(weights)
        self.normalizer = RunningNormalizer(self.size).to(device)
        self.normalizer.load_state_dict(statistics)
        self.normalize = bool(config.get("normalize_amp_input", True))
        self.loss = str(config.get("disc_loss", "bce"))
        self.scale = float(config["disc_reward_scale"])

    @torch.no_grad()
    def __call__(self, rows: Tensor, condition: Tensor | None = None) -> Tensor:
        """Logits ``[n]`` of raw discriminator observations ``[n, S]`` under conditions ``[n, K]``."""
        return self.net(self.normalizer(rows) if self.normalize else rows, condition)

    def reward(self, logits: Tensor) -> Tensor:
        """Style reward of logits of any shape."""
        return style_reward(logits, self.loss, self.scale)

    def values(self, logits: Tensor) -> dict[str, float]:
        """Mean style reward, and the share (percent) judged to be a clip."""
        flat = logits.flatten()
        return {
            "style_reward": float(self.reward(flat).mean()),
            "judged_real": 100.0 * float((flat > 0).float().mean()),
        }
