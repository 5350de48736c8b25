"""Response: how quickly and how fully a commanded step is answered."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

#: Before a step the level is averaged over this (s), in which the sway of a stride cancels.
BEFORE = 1.0
#: A step is watched for this long (s), and its final level averaged over the last of it.
WATCHED, SETTLED = 2.5, 1.0
#: Width of the centred running mean that takes out what sway is left (s).
SMOOTH = 0.2
#: A smaller share of the commanded change than this is no answer.
ANSWERED = 0.5


@dataclass(frozen=True)
class Response:
    """Answer to steps of one kind, all of them together.

    Attributes:
        time: s from the command until 90 % of the change that is made in the end; NaN where less than half of what
            was commanded is made.
        gain: share of the commanded change that is made in the end; 1 is exact.
        overshoot: percent of that change by which it is passed on the way.
        count: steps answered by characters that stood throughout.
    """

    time: float
    gain: float
    overshoot: float
    count: int


def mean_curve(values: Tensor, sizes: Tensor, fps: float) -> Tensor:
    """Answer ``[W]`` to unit steps: what is common to many answers, without the sway that is not.

    Args:
        values: ``[B + W, n]``, what was to change, each column around one step; the step comes after row ``B``,
            ``B = round(BEFORE fps)``.
        sizes: ``[n]`` commanded changes, of either sign.
        fps: rows per second.

    The least-squares estimate over all steps: changes against each column's own level before, weighted by size.
    """
    before = round(BEFORE * fps)
    change = values[before:] - values[:before].mean(dim=0)
    curve = (change * sizes).sum(dim=1) / (sizes**2).sum().clamp(min=1e-9)
    half = round(0.5 * SMOOTH * fps)
    padded = torch.cat((curve[:1].expand(half), curve, curve[-1:].expand(half)))
    return padded.unfold(0, 2 * half + 1, 1).mean(dim=1)


def measure(values: Tensor, sizes: Tensor, fps: float) -> Response:
    """:class:`Response` of columns as in :func:`mean_curve`; no columns give NaN."""
    count = values.shape[1]
    if count == 0:
        return Response(math.nan, math.nan, math.nan, 0)
    curve = mean_curve(values, sizes, fps)
    gain = float(curve[-round(SETTLED * fps) :].mean())
    if gain < ANSWERED:
        return Response(math.nan, gain, math.nan, count)
    risen = (curve >= 0.9 * gain).nonzero()
    overshoot = 100.0 * max(0.0, float(curve.max()) / gain - 1.0)
    return Response(float(risen[0]) / fps, gain, overshoot, count)


def spring_time(halflife: float) -> float:
    """Seconds in which a critically damped spring of this halflife makes 90 % of a step.

    ``e^{-yt} (1 + yt) = 0.1`` at ``yt = 3.8897``, ``y = 2 ln 2 / halflife``.
    """
    return 3.889720 * halflife / (2.0 * math.log(2.0))
