"""What a retargeted clip lost: directions, feet, limits. Source and result are measured the same way."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from isaacmm import rotation
from isaacmm.motion.clip import Motion
from isaacmm.motion.contacts import feet_of, mean_slide, penetration, rest_heights
from isaacmm.motion.retarget import anatomy
from isaacmm.motion.retarget.anatomy import LIMBS, Pose
from isaacmm.motion.retarget.roles import SIDES, RoleMap

if TYPE_CHECKING:
    from isaacmm.motion.retarget.target import Target


@dataclass(eq=False)
class Residuals:
    """Figures of one retargeted clip.

    Attributes:
        joint_map: which map was used.
        scale: length of the character's legs over the source's.
        direction: limb bone or trunk part -> mean and 95th percentile of the angle between source and result, degrees.
        slide: m/s, how fast the lowest point of a standing foot moves: ``source`` (times scale) and ``result``.
        penetration: m, mean depth of the lowest point of a standing foot below its floor, likewise.
        deepest: m, the result's deepest sole point in any frame.
        limits: hinge -> share of the frames in which the source asks for more than its range (those above 0).
        lowered: m, by how much the root was lowered at most to keep feet in reach.
    """

    joint_map: str
    scale: float
    direction: dict[str, tuple[float, float]]
    slide: dict[str, float]
    penetration: dict[str, float]
    deepest: float
    limits: dict[str, float]
    lowered: float

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, for JSON."""
        return asdict(self)

    def lines(self) -> list[str]:
        """A few lines for people."""
        worst = sorted(self.direction.items(), key=lambda kv: -kv[1][0])
        mean = sum(v[0] for v in self.direction.values()) / max(1, len(self.direction))
        most = sorted(self.limits.items(), key=lambda kv: -kv[1])[:3]
        return [
            f"map {self.joint_map}, legs x {self.scale:.3f}",
            f"directions {mean:.1f} degrees off on average; most: "
            + ", ".join(f"{k} {v[0]:.1f} (95%: {v[1]:.1f})" for k, v in worst[:3]),
            f"standing feet slide {100 * self.slide['result']:.1f} cm/s (source {100 * self.slide['source']:.1f}), "
            f"sink {1000 * self.penetration['result']:.1f} mm (source {1000 * self.penetration['source']:.1f}), "
            f"deepest {1000 * self.deepest:.1f} mm",
            "limits: "
            + (", ".join(f"{k} in {100 * v:.0f}% of the frames" for k, v in most) if most else "kept")
            + (f"; root lowered by up to {100 * self.lowered:.1f} cm" if self.lowered > 5e-4 else ""),
        ]


def measure(
    source: Motion, joint_map: RoleMap, pose: Pose, result: Motion, target: Target, outside: Tensor, drop: Tensor,
    scale: float,
) -> Residuals:  # fmt: skip
    """Compare ``result`` with the clip it was made from. See :class:`Residuals`."""
    skeleton = target.character.skeleton
    body_pos, body_rot = skeleton.fk(result.root_pos.double(), result.root_rot.double(), result.joint_rot.double())
    direction: dict[str, tuple[float, float]] = {}
    for role in ("pelvis", "chest", "head", *(f"{s}_foot" for s in SIDES)):
        if role in pose.frames and role in target.fixed:
            frame = rotation.multiply(body_rot[:, target.roles[role]], target.fixed[role])
            direction[role] = _figures(rotation.angle_between(frame, pose.frames[role]))
    for upper, lower, end, _ in LIMBS.values():
        for part, child in ((upper, lower), (lower, end)):
            along = anatomy.bone(skeleton, target.roles, part, child)
            if along is None or part not in pose.directions:
                continue
            now = rotation.rotate(body_rot[:, target.roles[part]], along / along.norm())
            direction[part] = _figures(torch.atan2(
                torch.linalg.cross(now, pose.directions[part]).norm(dim=-1), (now * pose.directions[part]).sum(-1)
            ))  # fmt: skip
    roles = joint_map.bind(source.skeleton.names)
    theirs = feet_of(source.skeleton, [source.skeleton.names[roles[f"{s}_foot"]] for s in SIDES])
    before = theirs.points(*(x.double() for x in source.fk()))
    order = [list(target.character.feet).index(skeleton.names[target.roles[f"{s}_foot"]]) for s in SIDES]
    after = feet_of(target.character).points(body_pos, body_rot)[:, order]
    touching = pose.touching
    sunk_before = penetration(before, rest_heights(before, source.fps))
    sunk_after = penetration(after)
    stands = bool(touching.any())
    share = outside.double().mean(dim=0)
    return Residuals(
        joint_map=joint_map.name,
        scale=scale,
        direction=direction,
        slide={"source": scale * mean_slide(before, touching, source.fps),
               "result": mean_slide(after, touching, source.fps)},
        penetration={"source": scale * float(sunk_before[touching].mean()) if stands else 0.0,
                     "result": float(sunk_after[touching].mean()) if stands else 0.0},
        deepest=float(sunk_after.max()),
        limits={skeleton.dof_names[d]: float(share[d]) for d in range(skeleton.num_dofs) if share[d] > 0},
        lowered=-float(drop.min()),
    )  # fmt: skip


def _figures(angle: Tensor) -> tuple[float, float]:
    """Mean and 95th percentile in degrees."""
    degrees = angle * (180.0 / math.pi)
    return float(degrees.mean()), float(torch.quantile(degrees, 0.95))
