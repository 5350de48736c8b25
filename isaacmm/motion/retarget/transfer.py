"""A clip of one skeleton becomes a clip of a character.

Trunk and head take over orientations, limbs take over directions (so that a pose keeps its look whatever the
proportions), the way over the ground is scaled by the length of the legs, feet roll on the floor where the
source's feet stand, and everything stays within the character's joint limits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from isaacmm import rotation
from isaacmm.character import CharacterModel
from isaacmm.errors import MotionError
from isaacmm.motion.angles import dof_curves
from isaacmm.motion.clip import Motion
from isaacmm.motion.retarget import anatomy, residuals
from isaacmm.motion.retarget.anatomy import LIMBS, Pose
from isaacmm.motion.retarget.feet import lower_hips, plant
from isaacmm.motion.retarget.geometry import gaussian, limb_frame, unit
from isaacmm.motion.retarget.ik import Point, reach, two_bone
from isaacmm.motion.retarget.residuals import Residuals
from isaacmm.motion.retarget.roles import SIDES, RoleMap, detect, load_map
from isaacmm.motion.retarget.target import Target

#: A leg is stretched to at most this share of its length: fully straight, the knee would snap.
_STRETCH = 0.9995
#: A hinge whose correction in one frame is this far (rad) from those around it has popped out of line.
_POP = 0.12


@dataclass(eq=False)
class Retargeted:
    """The clip on the character, what was lost on the way, and the source's joints ``[T, B, 3]`` m as scaled."""

    motion: Motion
    residuals: Residuals
    placed: Tensor


def retarget(
    motion: Motion,
    character: CharacterModel,
    joint_map: str | Path | Mapping[str, Any] | RoleMap | None = None,
    *,
    feet: bool = True,
) -> Retargeted:
    """Put a clip of any mapped skeleton onto a character.

    Args:
        motion: the clip on its own skeleton (``registry.read(path)``), z up.
        character: onto whom.
        joint_map: name in ``cfg/retarget``, file or mapping; None: found by the joints' names.
        feet: keep standing feet standing; False only copies directions.

    Raises:
        MotionError: no map fits, or the skeleton has no legs to measure by.
    """
    motion.validate()
    found = joint_map if isinstance(joint_map, RoleMap) else load_map(joint_map) if joint_map else None
    found = found or detect(motion.skeleton.names)
    if not found.fits(motion.skeleton.names):
        some = ", ".join(motion.skeleton.names[:5])
        raise MotionError(f"joint map '{found.name}' does not fit this skeleton ({some}, ...)")
    target = Target(character, detect(character.skeleton.names).bind(character.skeleton.names))
    pose = anatomy.read_pose(motion, found.bind(motion.skeleton.names))
    scale = target.leg / pose.leg
    origin = torch.cat((pose.hips[0, :2], pose.hips.new_tensor([pose.ankle_height])))
    shift = torch.cat((origin[:2], origin.new_tensor([target.ankle_height])))
    hips, ankles = (scale * (p - origin) + shift for p in (pose.hips, pose.ankles))
    root_rot = target.body_rot("pelvis", pose.frames["pelvis"])

    skeleton = character.skeleton
    dof, wanted = _angles(target, pose, root_rot)
    low, high = skeleton.dof_limits.double().unbind(-1)
    outside = (wanted < low - 2e-3) | (wanted > high + 2e-3)
    root_pos = hips - rotation.rotate(root_rot, target.sockets.mean(dim=0))
    drop = torch.zeros_like(root_pos[:, 0])
    if feet:
        root_pos, dof, drop = _stand(target, pose, root_pos, root_rot, dof, ankles, motion.fps)
    result = Motion.from_dofs(
        skeleton, root_pos.float(), rotation.make_continuous(root_rot).float(), dof.float(), motion.fps, motion.name,
        tags=motion.tags,
    )  # fmt: skip
    result.contacts = pose.touching[:, target.feet_order]
    report = residuals.measure(motion, found, pose, result, target, outside, drop, scale)
    return Retargeted(result, report, scale * (motion.fk()[0].double() - origin) + shift)


def plant_on_character(motion: Motion, character: CharacterModel, touching: Tensor) -> Motion:
    """A clip that is on the character's skeleton, with its standing feet planted; all else stays.

    Args:
        motion: on the floor already (:func:`isaacmm.motion.repair.ground`).
        character: whose clip it is.
        touching: ``[T, F]`` bool, in the order of the character's feet.
    """
    target, pose, root_rot, dof = _own_pose(motion, character)
    root_pos = motion.root_pos.double()
    pose.touching = touching[:, [target.feet_order.index(k) for k in range(2)]]
    root_pos, dof, _ = _stand(target, pose, root_pos, root_rot, dof, pose.ankles, motion.fps)
    return replace(
        motion, root_pos=root_pos.float(), joint_rot=character.skeleton.dofs_to_joint_rot(dof.float())
    )


def limit_on_character(motion: Motion, character: CharacterModel) -> Motion:
    """A clip that is on the character's skeleton, with every hinge within its limits.

    What a limit takes from a body, the bodies on it make up for as far as they can, from the trunk outwards.
    """
    target, pose, root_rot, _ = _own_pose(motion, character)
    dof, _ = _angles(target, pose, root_rot)
    return replace(motion, joint_rot=character.skeleton.dofs_to_joint_rot(dof.float()))


def _own_pose(motion: Motion, character: CharacterModel) -> tuple[Target, Pose, Tensor, Tensor]:
    """A clip of the character itself, read as :func:`anatomy.read_pose` reads foreign ones, but exactly."""
    skeleton = character.skeleton
    target = Target(character, detect(skeleton.names).bind(skeleton.names))
    root_pos, root_rot = motion.root_pos.double(), motion.root_rot.double()
    dof = dof_curves(skeleton, motion.joint_rot.double(), motion.fps)
    body_pos, body_rot = skeleton.fk(root_pos, root_rot, motion.joint_rot.double())
    frames = {role: rotation.multiply(body_rot[:, target.roles[role]], q) for role, q in target.fixed.items()}
    down = root_pos.new_tensor([0.0, 0.0, -1.0])
    directions = {part: rotation.rotate(frames[part], down)
                  for limb in LIMBS.values() for part in limb[:2] if part in frames}  # fmt: skip
    ankles = body_pos[:, [target.roles[f"{s}_foot"] for s in SIDES]]
    nobody = torch.zeros(len(root_pos), 2, dtype=torch.bool)
    return target, Pose(frames, directions, root_pos, ankles, nobody, target.ankle_height, target.leg), root_rot, dof


def _stand(
    target: Target, pose: Pose, root_pos: Tensor, root_rot: Tensor, dof: Tensor, ankles: Tensor, fps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Root and hinges with standing feet planted near ``ankles [T, 2, 3]`` m, and the root's drop ``[T]`` m."""
    foot_rot = [target.body_rot(f"{s}_foot", pose.frames[f"{s}_foot"]) for s in SIDES]
    planted = torch.stack(
        [plant(ankles[:, k], foot_rot[k], target.soles[k], pose.touching[:, k]) for k in range(2)], dim=1
    )
    # the body goes where its feet went, slowly, so that legs keep their directions
    root_pos = root_pos.clone()
    root_pos[:, :2] += gaussian((planted - ankles)[..., :2].mean(dim=1), 0.15 * fps)
    hip_joints = root_pos[:, None] + rotation.rotate(root_rot[:, None], target.sockets)
    drop = lower_hips(hip_joints, planted, pose.touching, _STRETCH * target.leg, fps)
    root_pos[:, 2] += drop
    hip_joints[..., 2] += drop[:, None]
    for k, side in enumerate(SIDES):
        dof = _leg(target, pose, side, root_pos, root_rot, dof, hip_joints[:, k], planted[:, k], foot_rot[k])
    return root_pos, dof, drop


def _angles(target: Target, pose: Pose, root_rot: Tensor) -> tuple[Tensor, Tensor]:
    """Hinge angles ``[T, D]`` within the limits that show ``pose``, and the angles that would show it exactly."""
    skeleton = target.character.skeleton
    frames = len(root_rot)
    dof = torch.zeros(frames, skeleton.num_dofs, dtype=torch.float64)
    wanted = dof.clone()
    zero_pos = torch.zeros(frames, 3, dtype=torch.float64)
    low, high = skeleton.dof_limits.double().unbind(-1)
    # from the trunk outwards: what a limit keeps from a body is made up for by the bodies on it
    for role in ("chest", "head", *(r for limb in LIMBS.values() for r in limb[:3])):
        if role not in pose.frames or role not in target.fixed:
            continue
        body = target.roles[role]
        chain = target.chain(role)
        if not chain:
            continue
        _, rot = skeleton.fk(zero_pos, root_rot, skeleton.dofs_to_joint_rot(dof))
        parent = rotation.multiply(rot[:, skeleton.parents[body]], skeleton.rest_rotations[body].double())
        joint_rot = rotation.identity(frames, skeleton.num_joints, dtype=torch.float64)
        joint_rot[:, body - 1] = rotation.multiply(
            rotation.inverse(parent), target.body_rot(role, pose.frames[role])
        )
        wanted[:, chain] = target.folded.angles(joint_rot)[:, chain]
        dof[:, chain] = wanted[:, chain].clamp(low[chain], high[chain])
    for limb, (upper, lower, end, _) in LIMBS.items():
        if limb.endswith("arm") and upper in pose.directions and lower in target.fixed:
            dof = _arm(target, pose, upper, lower, end, root_rot, dof, wanted)
    return dof, wanted


def _arm(
    target: Target, pose: Pose, upper: str, lower: str, end: str, root_rot: Tensor, dof: Tensor, wanted: Tensor
) -> Tensor:
    """Where limits took something from an arm, elbow and hand are brought as near to their places as they can be."""
    chain = target.chain(upper, lower)
    clipped = (dof[:, chain] - wanted[:, chain]).abs().amax(dim=-1) > 1e-3
    skeleton = target.character.skeleton
    first = anatomy.bone(skeleton, target.roles, upper, lower)
    second = anatomy.bone(skeleton, target.roles, lower, end)
    if not bool(clipped.any()) or first is None or second is None:
        return dof
    zero_pos = torch.zeros(len(dof), 3, dtype=torch.float64)
    pos, _ = skeleton.fk(zero_pos, root_rot, skeleton.dofs_to_joint_rot(dof))
    elbow = pos[:, anatomy.start(target.roles, upper)] + first.norm() * pose.directions[upper]
    hand = elbow + second.norm() * pose.directions[lower]
    points = [Point(target.roles[upper], target.tip(upper, lower), elbow), Point(target.roles[lower], second, hand)]
    better = reach(skeleton, zero_pos, root_rot, dof, chain, points, damping=0.03)
    # ease over at the edges of the stretches in which a limit is met
    share = gaussian(clipped.double(), 1.5).clamp(max=1.0)[:, None]
    return dof + share * (better - dof)


def _leg(
    target: Target, pose: Pose, side: str, root_pos: Tensor, root_rot: Tensor, dof: Tensor,
    socket: Tensor, ankle: Tensor, foot_rot: Tensor,
) -> Tensor:  # fmt: skip
    """Hinge angles with one leg brought to its ankle (closed form), then its sole within the limits."""
    skeleton = target.character.skeleton
    thigh, shin, foot = (f"{side}_{part}" for part in ("thigh", "shin", "foot"))
    first = anatomy.bone(skeleton, target.roles, thigh, shin)
    second = anatomy.bone(skeleton, target.roles, shin, foot)
    assert first is not None and second is not None
    a, b = float(first.norm()), float(second.norm())
    way = ankle - socket
    near = unit(way) * way.norm(dim=-1, keepdim=True).clamp(max=_STRETCH * (a + b))
    left = rotation.rotate(pose.frames[thigh], ankle.new_tensor([0.0, 1.0, 0.0]))
    upper, lower = two_bone(socket, socket + near, left, a, b)
    rots = {
        thigh: target.body_rot(thigh, limb_frame(upper, left)),
        shin: target.body_rot(shin, limb_frame(lower, left)),
        foot: foot_rot,
    }
    joint_rot = rotation.identity(len(dof), skeleton.num_joints, dtype=torch.float64)
    inner, parent = 0, root_rot
    _, zero = anatomy.rest(skeleton)
    for role, rot in rots.items():
        body = target.roles[role]
        above = rotation.multiply(parent, rotation.multiply(rotation.inverse(zero[inner]), zero[body]))
        joint_rot[:, body - 1] = rotation.multiply(rotation.inverse(above), rot)
        inner, parent = body, rot
    chain = target.chain(thigh, shin, foot)
    low, high = skeleton.dof_limits.double()[chain].unbind(-1)
    dof = dof.clone()
    dof[:, chain] = target.folded.angles(joint_rot)[:, chain].clamp(low, high)
    sole = target.soles[SIDES.index(side)]
    goals = (socket + near)[:, None] + rotation.rotate(foot_rot[:, None], sole)
    points = [Point(target.roles[foot], spot, goals[:, i]) for i, spot in enumerate(sole)]
    found = reach(skeleton, root_pos, root_rot, dof, chain, points)
    # a goal that limits put out of reach leaves hinges free: a single frame that wandered off is held near the others
    usual = torch.nn.functional.pad((found - dof).T[None], (2, 2), mode="replicate")[0].T.unfold(0, 5, 1).median(-1)[0]
    off = ((found - dof - usual).abs().amax(dim=1) > _POP).nonzero().flatten()
    if len(off) and len(dof) > 4:
        points = [Point(p.body, p.offset, p.goal[off]) for p in points]
        found[off] = reach(skeleton, root_pos[off], root_rot[off], (dof + usual)[off], chain, points, keep=0.05)
    return found
