"""How far predicted motion is from the real one: the figures of the LAFAN1 benchmark, and millimetres.

Harvey et al. 2020, "Robust Motion In-betweening", sec. 5; the exact forms are those of the benchmark's published
evaluation (`docs/inbetweening.md` says which quirks that has).
"""

from __future__ import annotations

import torch
from torch import Tensor

from isaacmm.motion.contacts import at_lowest


def aligned(predicted: Tensor, real: Tensor) -> Tensor:
    """Quaternions ``predicted [..., 4]`` with the sign that is nearer to ``real``: both signs are the same rotation."""
    return torch.where((predicted * real).sum(-1, keepdim=True) < 0, -predicted, predicted)


def l2q(predicted: Tensor, real: Tensor) -> float:
    """Mean over windows and frames of the distance between global quaternions ``[n, T, B, 4]``, all joints in one norm.

    Signs are *not* aligned here, as in the benchmark: a flipped pose of 22 joints is ``2 sqrt(22)`` away. Pass what
    comes from :func:`aligned`.
    """
    return float((predicted - real).square().sum(dim=(-1, -2)).sqrt().mean())


def l2p(predicted: Tensor, real: Tensor, mean: Tensor, std: Tensor) -> float:
    """The same of global positions ``[n, T, B, 3]``, normalised by ``mean, std [3 B]`` of training windows."""
    a, b = ((x.flatten(-2) - mean) / std for x in (predicted, real))
    return float((a - b).norm(dim=-1).mean())


def npss(predicted: Tensor, real: Tensor) -> float:
    """Normalised power spectrum similarity of ``[n, T, channels]`` (Gopalakrishnan et al. 2019), the benchmark's way.

    The power is the square of the *real part* of the Fourier coefficients only; the earth mover's distance between
    normalised powers is averaged with the real motion's total power as weights, over windows and channels.
    """
    power, wanted = (torch.fft.fft(x.double(), dim=1).real.square() for x in (predicted, real))
    total = wanted.sum(dim=1)
    spectra = [p / p.sum(dim=1, keepdim=True).clamp(min=1e-300) for p in (power, wanted)]
    distance = (spectra[0].cumsum(1) - spectra[1].cumsum(1)).abs().sum(dim=1)
    return float((distance * total).sum() / total.sum())


def mpjpe(predicted: Tensor, real: Tensor) -> float:
    """Mean distance of joints in the world, mm."""
    return 1000.0 * float((predicted - real).norm(dim=-1).mean())


def foot_slide(points: Tensor, touching: Tensor, fps: float) -> float:
    """Mean speed along the ground of feet that should stand, cm/s: of each foot's lowest point, frame to frame.

    Args:
        points: of the feet, ``[n, T, feet, C, 3]`` m.
        touching: ``[n, T, feet]`` which stand, by the real motion; a step counts if the foot stands at both ends.
        fps: frames per second.
    """
    step = at_lowest(points, (points[:, 1:, ..., :2] - points[:, :-1, ..., :2]).norm(dim=-1))
    standing = touching[:, 1:] & touching[:, :-1]
    return 100.0 * fps * float(step[standing].mean()) if bool(standing.any()) else 0.0


def slide_gap(points: Tensor, real: Tensor, touching: Tensor, fps: float) -> Tensor:
    """How differently standing feet move along the ground, m/s, as a loss: at the point that is lowest in reality.

    Args:
        points, real: of the feet, ``[n, T, feet, C, 3]`` m, predicted and real.
        touching: ``[n, T, feet]``, as in :func:`foot_slide`.
        fps: frames per second.
    """
    # absolute values, not the norm: between two keys the gap is zero, where a norm has no gradient
    gap = at_lowest(real, torch.diff(points - real, dim=1)[..., :2].abs().sum(-1))
    standing = (touching[:, 1:] & touching[:, :-1]).to(gap)
    return fps * (gap * standing).sum() / standing.sum().clamp(min=1.0)
