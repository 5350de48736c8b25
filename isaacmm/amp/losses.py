"""Discriminator losses, each a plain function of logits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

LOSSES = ("bce", "lsgan")


def classification(real: Tensor, fake: Tensor, kind: str) -> Tensor:
    """How badly clips (``real [n]``) and agent (``fake [m]``) are told apart.

    ``bce``: mean of both cross entropies (Goodfellow et al. 2014), the classic public AMP recipe.
    ``lsgan``: ``0.5 (E[(D_real - 1)^2] + E[(D_fake + 1)^2])`` (Mao et al. 2017; AMP, Peng et al. 2021, eq. 6).
    """
    if kind == "lsgan":
        return 0.5 * (((real - 1.0) ** 2).mean() + ((fake + 1.0) ** 2).mean())
    return 0.5 * (functional.softplus(-real).mean() + functional.softplus(fake).mean())


def rejection(logits: Tensor, kind: str) -> Tensor:
    """How far samples ``[n]`` are from being rejected: the agent's half of :func:`classification`."""
    if kind == "lsgan":
        return 0.5 * ((logits + 1.0) ** 2).mean()
    return 0.5 * functional.softplus(logits).mean()


def gradient_penalty(input_gradient: Tensor) -> Tensor:
    """``E |grad_x D|^2`` over the clips ``[n, S]`` (Mescheder et al. 2018, R1; AMP eq. 7)."""
    return (input_gradient**2).sum(-1).mean()


def logit_regularization(logit_weight: Tensor) -> Tensor:
    """Squared norm of the output layer's weights."""
    return (logit_weight**2).sum()


def weight_decay(weights: Sequence[Tensor]) -> Tensor:
    """Squared norm of all weights, as a loss term."""
    return torch.stack([(w**2).sum() for w in weights]).sum()


def accuracy(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """Share of clips called real and of agent samples called fake."""
    return (real > 0).float().mean(), (fake < 0).float().mean()
