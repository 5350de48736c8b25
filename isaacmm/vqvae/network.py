"""Convolutions over time: features down to latent vectors and back up.

The layout is that of T2M-GPT's motion tokenizer (Zhang et al. 2023, sec. 3.1): halving convolutions, each followed by
residual blocks of growing dilation. Edges are padded by repeating the outermost frame, so that the ends of a clip are
nothing strange to look at, and any number of frames can go through at once.

Beside the convolutions a straight way leads in and out (:class:`PatchIn`, :class:`PatchOut`): one matrix per token. It
starts where :mod:`.beginning` puts it, with the convolutions at nothing, so an untrained network already is the best
linear one, and learns what a linear one cannot do.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from isaacmm.errors import ConfigError, nearest

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU}
NORMS = ("none", "layer")


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels of every frame of ``[B, C, T]`` by itself."""

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels, 1)), nn.Parameter(torch.zeros(channels, 1))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, T]`` to ``[B, C, T]``."""
        x = x - x.mean(1, keepdim=True)
        return x / (x.square().mean(1, keepdim=True) + self.eps).sqrt() * self.weight + self.bias


def conv(inside: int, outside: int, kernel: int, stride: int = 1, dilation: int = 1) -> nn.Conv1d:
    """A convolution that keeps the number of frames (stride 1) or halves an even one (kernel 4, stride 2)."""
    pad = dilation * (kernel - 1) // 2
    return nn.Conv1d(inside, outside, kernel, stride, pad, dilation, padding_mode="replicate")


def norm(name: str, channels: int) -> nn.Module | None:
    """The normalisation called ``name``, None for ``none``.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in NORMS:
        raise ConfigError(f"norm: there is no '{name}'; {nearest(name, NORMS)}")
    return ChannelNorm(channels) if name == "layer" else None


class Block(nn.Module):
    """``x + conv1(act(conv3(act(x))))``, the first convolution dilated."""

    def __init__(self, width: int, dilation: int, activation: str, norm_name: str) -> None:
        super().__init__()
        act = ACTIVATIONS[activation]
        layers = (
            norm(norm_name, width), act(), conv(width, width, 3, dilation=dilation),
            norm(norm_name, width), act(), conv(width, width, 1),
        )  # fmt: skip
        self.layers = nn.Sequential(*(layer for layer in layers if layer is not None))

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, T]`` to ``[B, C, T]``."""
        y: Tensor = self.layers(x)
        return x + y


class PatchIn(nn.Module):
    """``net(x) + W patch``, a patch being the frames of one token.

    Args:
        net: convolutions ``[B, F, T] -> [B, C, S]``.
        features, latent: ``F, C``.
        frames: of a patch, ``T / S``.
    """

    def __init__(self, net: nn.Sequential, features: int, latent: int, frames: int) -> None:
        super().__init__()
        self.net = net
        self.straight = nn.Conv1d(features, latent, frames, stride=frames)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, F, T]`` to ``[B, C, S]``."""
        y: Tensor = self.net(x) + self.straight(x)
        return y


class PatchOut(nn.Module):
    """``net(z) + W z`` as the frames of one token, ``z`` being its vector and those beside it.

    The other way round from :class:`PatchIn`. That neighbours are looked at makes what comes out smooth from token to
    token, and tells apart what one token alone leaves open, such as where in a step it is.
    """

    def __init__(self, net: nn.Sequential, features: int, latent: int, frames: int) -> None:
        super().__init__()
        self.net, self.frames = net, frames
        self.straight = conv(latent, frames * features, 3)

    def forward(self, z: Tensor) -> Tensor:
        """``[B, C, S]`` to ``[B, F, T]``."""
        patch = self.straight(z).unflatten(1, (self.frames, -1))  # [B, frames, F, S]
        y: Tensor = self.net(z) + patch.permute(0, 2, 3, 1).flatten(2)
        return y


def encoder(
    features: int, width: int, latent: int, halvings: int, depth: int, growth: int, activation: str, norm_name: str
) -> PatchIn:
    """``[B, F, T] -> [B, C, T / 2^halvings]``."""
    layers: list[nn.Module] = [conv(features, width, 3), ACTIVATIONS[check_activation(activation)]()]
    for _ in range(halvings):
        layers.append(conv(width, width, 4, stride=2))
        layers += [Block(width, growth**d, activation, norm_name) for d in reversed(range(depth))]
    return PatchIn(nn.Sequential(*layers, conv(width, latent, 3)), features, latent, 2**halvings)


def decoder(
    features: int, width: int, latent: int, halvings: int, depth: int, growth: int, activation: str, norm_name: str
) -> PatchOut:
    """``[B, C, T / 2^halvings] -> [B, F, T]``."""
    act = ACTIVATIONS[check_activation(activation)]
    layers: list[nn.Module] = [conv(latent, width, 3), act()]
    for _ in range(halvings):
        layers += [Block(width, growth**d, activation, norm_name) for d in reversed(range(depth))]
        layers += [nn.Upsample(scale_factor=2, mode="nearest"), conv(width, width, 3)]
    net = nn.Sequential(*layers, conv(width, width, 3), act(), conv(width, features, 3))
    return PatchOut(net, features, latent, 2**halvings)


def check_activation(name: str) -> str:
    """``name``, if it is an activation.

    Raises:
        ConfigError: it is none.
    """
    if name not in ACTIVATIONS:
        raise ConfigError(f"activation: there is no '{name}'; {nearest(name, ACTIVATIONS)}")
    return name
