"""The network: features to tokens and back, with its statistics inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from isaacmm.vqvae import beginning, network, quantizers
from isaacmm.vqvae.quantizers import Quantized


@dataclass(frozen=True)
class Shape:
    """Sizes of a :class:`MotionVQVAE`; the names are those of ``cfg/task/MotionVQVAE.yaml``.

    Attributes:
        features: ``F``, numbers per frame.
        width, latent: channels of the convolutions, and of the vectors that are quantized.
        halvings: how often the frame rate is halved; a token stands for ``2^halvings`` frames.
        depth: residual blocks per halving; their dilations are ``1, growth, growth^2, ...``
        growth, activation, norm: of these blocks.
        quantizer: one of :data:`isaacmm.vqvae.quantizers.NAMES`; the rest is its settings.
    """

    features: int
    width: int = 64
    latent: int = 64
    halvings: int = 2
    depth: int = 2
    growth: int = 3
    activation: str = "relu"
    norm: str = "none"
    quantizer: str = "ema_reset"
    codes: int = 512
    layers: int = 6
    levels: tuple[int, ...] = (8, 5, 5, 5)
    groups: int = 1
    decay: float = 0.99
    commitment: float = 0.02
    reset_below: float = 0.1

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for a checkpoint."""
        return {**asdict(self), "levels": list(self.levels)}

    @classmethod
    def from_dict(cls, held: Mapping[str, Any]) -> Shape:
        """Inverse of :meth:`to_dict`."""
        return cls(**{**held, "levels": tuple(int(n) for n in held["levels"])})


class MotionVQVAE(nn.Module):
    """Encoder, quantizer and decoder; features go in and come out in their own units.

    Args:
        shape: sizes.
        mean, scale: ``[F]``, what features are normalised with.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, shape: Shape, mean: Tensor | None = None, scale: Tensor | None = None) -> None:
        super().__init__()
        s = self.shape = shape
        sizes = (s.features, s.width, s.latent, s.halvings, s.depth, s.growth, s.activation, s.norm)
        self.encoder, self.decoder = network.encoder(*sizes), network.decoder(*sizes)
        self.quantizer = quantizers.make(
            s.quantizer, s.latent, codes=s.codes, layers=s.layers, levels=s.levels, groups=s.groups,
            decay=s.decay, commitment=s.commitment, reset_below=s.reset_below,
        )  # fmt: skip
        self.register_buffer("mean", torch.zeros(s.features) if mean is None else mean.clone())
        self.register_buffer("scale", torch.ones(s.features) if scale is None else scale.clone())

    @property
    def frames_per_token(self) -> int:
        """``2^halvings``."""
        return 2**self.shape.halvings

    def begin(self, clips: Sequence[Tensor], weight: Tensor, per_step: int) -> None:
        """Start as what can be had without learning (:mod:`.beginning`).

        Args:
            clips: normalised features ``[T, F]``.
            weight: ``[F]``, what they count.
            per_step: tokens that a training step will show.
        """
        beginning.begin(self.encoder, self.quantizer, self.decoder, clips, weight, per_step)

    def normalise(self, features: Tensor) -> Tensor:
        """``[..., F]`` in units to ``[..., F]`` of about unit size."""
        return (features - self.mean) / self.scale

    def denormalise(self, x: Tensor) -> Tensor:
        """Inverse of :meth:`normalise`."""
        return x * self.scale + self.mean

    def forward(self, x: Tensor, depth: Tensor | None = None) -> tuple[Tensor, Quantized]:
        """Normalised windows ``[B, T, F]`` (``T`` a multiple of :attr:`frames_per_token`), reconstructed."""
        made = self.quantizer(self.latents(x), depth)
        return self.expand(made.vectors), made

    def latents(self, x: Tensor) -> Tensor:
        """Normalised features ``[B, T, F]`` to vectors ``[B, T / 2^halvings, C]``."""
        z: Tensor = self.encoder(x.transpose(1, 2))
        return z.transpose(1, 2)

    def expand(self, z: Tensor) -> Tensor:
        """Vectors to normalised features."""
        x: Tensor = self.decoder(z.transpose(1, 2))
        return x.transpose(1, 2)

    # ------------------------------------------------------------- whole clips
    def padded(self, features: Tensor) -> Tensor:
        """``[T, F]`` with the last frame repeated until whole tokens are full; at least two tokens."""
        step = self.frames_per_token
        wanted = max(2 * step, -(-len(features) // step) * step)
        return torch.cat((features, features[-1:].expand(wanted - len(features), -1)))

    @torch.no_grad()
    def encode(self, features: Tensor) -> Tensor:
        """Tokens ``[S, L]`` of a clip's features ``[T, F]``; ``S = ceil(T / 2^halvings)``, but at least 2."""
        x = self.normalise(self.padded(features))
        return self.quantizer.encode(self.latents(x[None])[0])

    @torch.no_grad()
    def decode(self, tokens: Tensor, frames: int | None = None) -> Tensor:
        """Features ``[T, F]`` of tokens ``[S, L]`` in one pass, so that there are no borders inside.

        ``frames`` is the clip's length, where the last token is not full.
        """
        made = self.denormalise(self.expand(self.quantizer.decode(tokens)[None])[0])
        return made if frames is None else made[:frames]

    @torch.no_grad()
    def reconstruct(self, features: Tensor, quantize: bool = True) -> Tensor:
        """Features ``[T, F]`` through the network; without ``quantize`` its latent vectors stay as they are."""
        z = self.latents(self.normalise(self.padded(features))[None])
        if quantize:
            z = self.quantizer(z).vectors
        return self.denormalise(self.expand(z)[0])[: len(features)]


def temporal_difference(x: Tensor) -> Tensor:
    """Change from frame to frame, ``[B, T, F] -> [B, T - 1, F]``: along time, not along features."""
    return x[:, 1:] - x[:, :-1]
