"""Where a network begins: with what can be had without learning, which is what it then improves on.

Into latent vectors by principal components, to codes by clusters, and back by least squares from what the codes are.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from isaacmm.vqvae.network import PatchIn, PatchOut
from isaacmm.vqvae.quantizers import Quantizer

#: Share of each latent number's variance that least squares are damped by: clips are few, coefficients many.
_DAMPING = 0.01


@torch.no_grad()
def begin(into: PatchIn, quantizer: Quantizer, out: PatchOut, clips: Sequence[Tensor], weight: Tensor,
          per_step: int) -> None:  # fmt: skip
    """Set all parts of a network.

    Args:
        into, quantizer, out: of one network.
        clips: normalised features ``[T, F]``; those shorter than a token are left out.
        weight: ``[F]``, what they count (variances are multiplied by it).
        per_step: tokens that a training step will show.
    """
    frames = out.frames
    shifted = [clip[first:] for clip in clips for first in range(frames)]  # tokens begin anywhere in a clip
    clips = [clip[: len(clip) // frames * frames] for clip in shifted if len(clip) >= frames]
    patches = [clip.unflatten(0, (-1, frames)).flatten(1) for clip in clips]
    _principal(into, torch.cat(patches), weight)
    for net in (into.net, out.net):
        last = net[-1]
        assert isinstance(last, nn.Conv1d) and last.bias is not None
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
    latents = [into(clip.T[None])[0].T for clip in clips]
    quantizer.begin(torch.cat(latents), per_step)
    training = quantizer.training
    vectors = [quantizer.eval()(z[None]).vectors[0] for z in latents]
    quantizer.train(training)
    _least_squares(out, vectors, patches)


def _principal(into: PatchIn, rows: Tensor, weight: Tensor) -> None:
    """Latent vectors are principal components of ``rows [n, frames * F]``, of unit size per number on average.

    Distances between them are those of the weighted features: what a codebook finds near is near.
    """
    size, features, frames = into.straight.weight.shape
    metric = weight.double().sqrt().repeat(frames)
    scaled = rows.double() * metric
    mean = scaled.mean(0)
    spread, axes = torch.linalg.eigh((scaled - mean).T @ (scaled - mean) / max(len(rows) - 1, 1))
    count = min(size, frames * features)
    basis = scaled.new_zeros(size, frames * features)  # more latent numbers than components: the rest is nothing
    basis[:count] = axes.flip(1).T[:count]
    unit = (spread.flip(0)[:count].clamp(min=0.0).sum() / size).sqrt().clamp(min=1e-6)
    assert into.straight.bias is not None
    into.straight.weight.copy_((basis * metric / unit).unflatten(1, (frames, features)).transpose(1, 2))
    into.straight.bias.copy_(-(basis @ mean) / unit)


def _least_squares(out: PatchOut, vectors: Sequence[Tensor], patches: Sequence[Tensor]) -> None:
    """Frames of a token from three vectors ``[S, C]``, beyond the ends of a clip its outermost one again."""
    beside = [torch.cat((v[:1], v[:-1], v, v[1:], v[-1:])).unflatten(0, (-1, len(v))) for v in vectors]
    x = torch.cat([b.transpose(0, 1).flatten(1) for b in beside]).double()
    y = torch.cat(list(patches)).double()
    at, to = x.mean(0), y.mean(0)
    gram = (x - at).T @ (x - at)
    size = x.shape[1] // 3
    damping = torch.diag(_DAMPING * gram.diagonal() + 1e-6)
    found = torch.linalg.solve(gram + damping, (x - at).T @ (y - to))
    assert out.straight.bias is not None
    out.straight.weight.copy_(found.T.unflatten(1, (3, size)).transpose(1, 2))
    out.straight.bias.copy_(to - at @ found)
