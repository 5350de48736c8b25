"""The network: frames interpolated between keys go in, frames of a body that moves come out."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from isaacmm.errors import ConfigError

#: Wave lengths (s) in which times are told to the network, geometrically from the first to the last.
_WAVES = (0.05, 6.0)
#: Distance (s) to both keys at which half of the correction is let through.
_SHORT = 0.07


class Inbetweener(nn.Module):
    """A transformer whose output is added to plain interpolation (Oreshkin et al. 2022, "Motion In-Betweening via
    Deep Delta-Interpolator"); its last layer starts at zero, so an untrained one *is* interpolation.

    Every frame looks at the keys and at nothing else. So a frame's answer depends on the keys and its own time, not
    on which other frames are asked for: any output rate is one network, and a long gap costs no more than its frames.
    At least one key must be there; a row without one would have nothing to look at (:meth:`Gaps.of` refuses it).

    Args:
        size: ``F`` numbers of a frame (:mod:`isaacmm.inbetween.pose`).
        width, layers, heads: of the transformer.
        dropout: while training.
    """

    mean: Tensor
    std: Tensor
    step: Tensor
    waves: Tensor

    def __init__(self, size: int, width: int = 128, layers: int = 4, heads: int = 4, dropout: float = 0.0) -> None:
        super().__init__()
        if width % heads:
            raise ConfigError(f"network.width={width}: wants a multiple of network.heads={heads}")
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("std", torch.ones(size))
        # what one unit of output means: metres of the root, or parts of a rotation matrix
        self.register_buffer("step", torch.cat((torch.full((3,), 0.05), torch.full((size - 3,), 0.2))))
        self.register_buffer("waves", 2 * math.pi / torch.logspace(math.log10(_WAVES[0]), math.log10(_WAVES[1]), 8))
        self.pose_in = nn.Linear(size, width)
        self.clock_in = nn.Sequential(nn.Linear(3 * 16 + 3, width), nn.GELU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(layers))
        self.out = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, size))
        last = self.out[1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, frames: Tensor, clock: Tensor) -> Tensor:
        """Frames ``[n, T, F]`` for interpolated ``frames [n, T, F]`` and their ``clock [n, T, 5]``.

        Keys without noise come out as they went in.
        """
        known, noise = clock[..., 0:1], clock[..., 4:5]
        times = clock[..., 1:4].unsqueeze(-1) * self.waves
        waves = torch.cat((torch.sin(times), torch.cos(times)), dim=-1).flatten(-2)
        between = torch.relu(clock[..., 2:3] * clock[..., 3:4])  # outside the keys one of the two is negative
        told = torch.cat((waves, known, noise * 10.0, torch.sqrt(between + 1e-6)), dim=-1)
        x = self.pose_in((frames - self.mean) / self.std) + self.clock_in(told)
        bias = (known.transpose(1, 2).unsqueeze(1) - 1.0) * 1e4  # [n, 1, 1, T]; finite, so that no row turns NaN
        seconds = clock[..., 1]
        apart = (seconds.unsqueeze(2) - seconds.unsqueeze(1)).abs().unsqueeze(1)
        for block in self.blocks:
            x = block(x, bias, apart)
        # Between two keys interpolation errs by at most half the acceleration times the two times to them, so the
        # correction grows with their product: none at keys, little in short gaps, where it would only be noise.
        room = between / (between + _SHORT**2)
        free = torch.where(noise > 0.0, torch.ones_like(room), room * (1.0 - known))
        return frames + self.out(x) * self.step * free


class Block(nn.Module):
    """Attention to keys, nearer ones first, then a perceptron; both behind a norm, both added."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.mix = nn.Linear(width, 3 * width), nn.Linear(width, width)
        # how much each head cares for nearness, per second (Press et al. 2022, "Train Short, Test Long"; learned here)
        self.nearness = nn.Parameter(torch.linspace(0.0, 8.0, heads))
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, bias: Tensor, apart: Tensor) -> Tensor:
        """``x [n, T, W]``, ``bias [n, 1, 1, T]`` of keys, ``apart [n, 1, T, T]`` s."""
        n, t, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(n, t, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        score = q @ k.transpose(-1, -2) * (width // self.heads) ** -0.5 + bias - apart * self.nearness.view(1, -1, 1, 1)
        seen = (torch.softmax(score, dim=-1) @ v).transpose(1, 2).reshape(n, t, width)
        x = x + self.drop(self.mix(seen))
        return x + self.drop(self.mlp(self.norm2(x)))
