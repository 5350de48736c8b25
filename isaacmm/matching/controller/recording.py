"""Recording: what a controller did, and how well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from isaacmm import rotation
from isaacmm.matching.controller.controller import Controller, Frame
from isaacmm.matching.controller.root import turned
from isaacmm.motion.contacts import slide_speed


@dataclass(frozen=True)
class Numbers:
    """Measured over all characters and frames.

    Attributes:
        slide_max, slide_mean: mm per frame that the touching point of a locked foot moves along the floor.
        locked: share of the time a foot is locked.
        unheld: share of the time a foot is not locked though it stands in the clip.
        floating: mm, mean height of locked soles over the floor.
        penetration: mm, how deep a sole was under the floor at worst.
        limits: rad, by how much a hinge was outside its limits at worst.
        limbs: mm, how deep limbs were in the body or in each other at worst.
        jumps: transitions per second and character.
        speed_error: m/s, mean distance of the velocity (averaged over half a second) from the commanded one.
        facing_error: deg, mean.
    """

    slide_max: float
    slide_mean: float
    locked: float
    unheld: float
    floating: float
    penetration: float
    limits: float
    limbs: float
    jumps: float
    speed_error: float
    facing_error: float

    def lines(self) -> list[str]:
        """For people."""
        unheld = f"{100 * self.unheld:.1f} % not though the clip stands"
        return [
            f"locked feet slide   {self.slide_max:.3f} mm per frame at most, {self.slide_mean:.4f} on average",
            f"feet                {100 * self.locked:.0f} % of the time locked, {unheld}; "
            f"soles {self.floating:.1f} mm over the floor",
            f"soles under floor   {self.penetration:.2f} mm at most",
            f"joint limits        exceeded by {self.limits:.5f} rad at most",
            f"limbs in the body   {self.limbs:.1f} mm at most",
            f"transitions         {self.jumps:.2f} per second",
            f"velocity error      {self.speed_error:.2f} m/s on average",
            f"facing error        {self.facing_error:.1f} deg on average",
        ]


class Recording:
    """Frames of a play, stacked: every field of :class:`Frame` as ``[T, N, ...]``."""

    def __init__(self, controller: Controller, frames: Sequence[Frame]) -> None:
        self.controller, self.fps = controller, 1.0 / controller.dt
        self.fields = {key: torch.stack([getattr(f, key) for f in frames]) for key in Frame.__dataclass_fields__}

    def __getitem__(self, key: str) -> Tensor:
        return self.fields[key]

    def commanded_velocity(self) -> Tensor:
        """``[T, N, 2]`` m/s, world."""
        return turned(self["velocity"], self["facing"])

    def velocity(self, seconds: float = 0.5) -> Tensor:
        """``[T, N, 2]`` m/s of the track, world, averaged over ``seconds``."""
        pos = self["track_pos"]
        reach = max(1, min(round(0.5 * seconds * self.fps), (len(pos) - 1) // 2))
        index = torch.arange(len(pos), device=pos.device)
        ahead, behind = (index + reach).clamp(max=len(pos) - 1), (index - reach).clamp(min=0)
        return (pos[ahead] - pos[behind]) * (self.fps / (ahead - behind).clamp(min=1))[:, None, None]

    def slide(self) -> Tensor:
        """m/s at which the lowest point of each locked foot moves along the floor, ``[T, N, F]``."""
        sole, locked = self["sole"], self["locked"]
        return slide_speed(sole.flatten(1, 2), locked.flatten(1, 2), self.fps).reshape(locked.shape)

    def numbers(self) -> Numbers:
        """See :class:`Numbers`."""
        character, sole, locked, dof = self.controller.character, self["sole"], self["locked"], self["dof_pos"]
        low, high = character.skeleton.dof_limits.to(dof).unbind(-1)
        slide = 1000.0 * self.slide()[1:] / self.fps
        held = locked[1:] & locked[:-1]
        over = 1000.0 * sole[..., 2].amin(dim=-1)
        stands = self.controller.table.contact[self["row"]]
        separation = self.controller.separation
        limbs = [
            separation.depth(*pose).amax()
            for pose in zip(self["root_pos"], self["root_rot"], dof, strict=True)
            if separation is not None
        ]
        aside = rotation.wrap_angle(self["facing"] - self["track_yaw"]).abs()
        return Numbers(
            slide_max=_largest(slide[held]),
            slide_mean=_mean(slide[held]),
            locked=_mean(locked.float()),
            unheld=_mean((stands & ~locked).float()),
            floating=_mean(over[locked]),
            penetration=max(0.0, -float(over.min())),
            limits=max(0.0, float(torch.maximum(low - dof, dof - high).max())),
            limbs=1000.0 * max(0.0, *(float(d) for d in limbs)) if limbs else float("nan"),
            jumps=_mean(self["jumped"].float()) * self.fps,
            speed_error=_mean((self.velocity() - self.commanded_velocity()).norm(dim=-1)),
            facing_error=float(torch.rad2deg(aside.mean())),
        )


def _largest(values: Tensor) -> float:
    return float(values.max()) if values.numel() else 0.0


def _mean(values: Tensor) -> float:
    return float(values.mean()) if values.numel() else 0.0
