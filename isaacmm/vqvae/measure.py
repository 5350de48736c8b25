"""How far a reconstructed motion is from the original, and whether it has seams."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from isaacmm import rotation
from isaacmm.motion.clip import Motion
from isaacmm.vqvae.features import MotionFeatures


@dataclass(frozen=True)
class Errors:
    """Sums over frames; :meth:`values` are the means.

    Attributes:
        frames: how many frames.
        local: summed position errors of all bodies but the root in the heading frame of the root (m, mean over bodies).
        turned: summed rotation errors of joints (rad, mean over joints).
        speed: summed errors of body velocities in the heading frame (m/s, mean over bodies).
        drift: summed error of the root on the ground, seconds after both began in the same place (m).
    """

    frames: float = 0.0
    local: float = 0.0
    turned: float = 0.0
    speed: float = 0.0
    drift: float = 0.0
    drifts: float = 0.0

    def __add__(self, other: Errors) -> Errors:
        return Errors(*(getattr(self, k) + getattr(other, k) for k in self.__dataclass_fields__))

    def values(self, suffix: str = "") -> dict[str, float]:
        """``mpjpe_mm``, ``rotation_deg``, ``velocity_mm_s`` and ``drift_1s_mm``."""
        n, d = max(self.frames, 1.0), max(self.drifts, 1.0)
        means = {
            "mpjpe_mm": 1000.0 * self.local / n,
            "rotation_deg": 180.0 / torch.pi * self.turned / n,
            "velocity_mm_s": 1000.0 * self.speed / n,
            "drift_1s_mm": 1000.0 * self.drift / d,
        }
        return {name + suffix: value for name, value in means.items()}


def compare(spec: MotionFeatures, truth: Tensor, made: Tensor) -> Errors:
    """Errors of features ``made [T, F]`` beside ``truth [T, F]``, measured on the motions they decode to."""
    a, b = spec.local_positions(truth), spec.local_positions(made)
    gap = (a - b)[:, 1:].norm(dim=-1).mean(-1)
    turned = rotation.angle_between(spec.joint_rotations(truth), spec.joint_rotations(made)).mean(-1)
    speed = torch.diff((a - b)[:, 1:], dim=0).norm(dim=-1).mean(-1) * spec.fps
    second = min(round(spec.fps), len(truth) - 1)
    drift, starts = 0.0, 0
    for start in range(0, len(truth) - second, max(second, 1)):
        ends = [spec.motion(x[start : start + second + 1]).root_pos[-1, :2] for x in (truth, made)]
        drift, starts = drift + float((ends[0] - ends[1]).norm()), starts + 1
    n = len(truth)
    # velocities have one frame less: weigh them as if they had as many
    return Errors(n, float(gap.sum()), float(turned.sum()), float(speed.mean()) * n if n > 1 else 0.0, drift, starts)


def jumps(motion: Motion) -> Tensor:
    """Change of body velocities into each frame, ``[T - 2]`` m/s, mean over bodies; frame ``t + 1`` is entry ``t``.

    Where pieces that know nothing of each other are put together, it is large.
    """
    pos = motion.fk()[0]
    return torch.diff(pos, n=2, dim=0).norm(dim=-1).mean(-1) * motion.fps


def seam(motion: Motion, every: int) -> float:
    """Velocity jump at the borders of windows of ``every`` frames over that inside of them; 1: no seam.

    A border shows in the two second differences that reach over it.
    """
    change = jumps(motion)
    index = torch.arange(len(change))
    border = ((index + 2) % every == 0) | ((index + 1) % every == 0)
    border &= (index + 2) // every > 0
    if not bool(border.any()) or bool(border.all()):
        return float("nan")
    return float(change[border].mean() / change[~border].mean().clamp(min=1e-9))
