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
    """``judge(amp_obs [n, S]) -> logits [n]`` by the trained discriminator.

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
        hidden = [w for name, w in weights.items() if name.startswith("hidden.") and name.endswith(".weight")]
        self.size = int(hidden[0].shape[1])
        self.net = Discriminator(self.size, [int(w.shape[0]) for w in hidden]).to(device)
        self.net.load_state_dict(weights)
        self.normalizer = RunningNormalizer(self.size).to(device)
        self.normalizer.load_state_dict(style["normalizer"])
        self.normalize = bool(config.get("normalize_amp_input", True))
        self.loss = str(config.get("disc_loss", "bce"))
        self.scale = float(config["disc_reward_scale"])

    @torch.no_grad()
    def __call__(self, rows: Tensor) -> Tensor:
        """Logits ``[n]`` of raw discriminator observations ``[n, S]``."""
        return self.net(self.normalizer(rows) if self.normalize else rows)

    def values(self, logits: Tensor) -> dict[str, float]:
        """Mean style reward, and the share (percent) judged to be a clip."""
        flat = logits.flatten()
        return {
            "style_reward": float(style_reward(flat, self.loss, self.scale).mean()),
            "judged_real": 100.0 * float((flat > 0).float().mean()),
        }
