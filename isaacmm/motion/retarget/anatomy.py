"""How the bones of any skeleton stand: the directions of its limbs and the axes its knees and elbows bend about.

A file's zero pose may be a T, an A, or nothing a body can take (all bones in one line, as in several
libraries), so it is used only where it makes sense. Bone directions are in the offsets of every skeleton;
what is missing is the turn of each limb about its own length. That is read off the motion: a knee or elbow
that bends shows its axis (Kovar and Gleicher's observation that a two-bone limb has one free turn once its
ends are given; cf. Tolani et al. 2000, "Real-time inverse kinematics techniques for anthropomorphic
limbs").
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from isaacmm import rotation
from isaacmm.errors import MotionError
from isaacmm.motion.clip import Motion
from isaacmm.motion.contacts import Feet, contacts, feet_of, rest_heights, speeds
from isaacmm.motion.retarget.geometry import limb_frame, reject, shortest, smoothstep, trunk_frame, unit
from isaacmm.motion.retarget.roles import SIDES, STARTS
from isaacmm.skeleton import Skeleton

#: Share of the zero pose (or of the straight limb) in a hinge axis that the motion shows.
_PRIOR = 0.02
#: Bend (rad) from which on a limb's own plane is trusted a little, and wholly.
_BEND = (math.radians(12.0), math.radians(35.0))
#: Arms and legs: upper, lower, end, and which way they bend about the left axis.
LIMBS = {
    f"{side}_{name}": (f"{side}_{upper}", f"{side}_{lower}", f"{side}_{end}", sign)
    for side in SIDES
    for name, upper, lower, end, sign in (("arm", "upper_arm", "lower_arm", "hand", -1.0),
                                          ("leg", "thigh", "shin", "foot", 1.0))
}  # fmt: skip


@dataclass(eq=False)
class Pose:
    """What a clip shows, in frames that all skeletons share (identity: standing, arms hanging, facing +x).

    Attributes:
        frames: role -> world rotation ``[T, 4]`` for trunk, head, limbs and feet.
        directions: role of a limb's bone -> its world direction ``[T, 3]``.
        hips: middle of the hip joints ``[T, 3]`` m.
        ankles: ``[T, 2, 3]`` m, left and right.
        touching: ``[T, 2]`` bool, left and right.
        ankle_height: m above the floor's level at which ankles come to rest.
        leg: thigh and shin together, m.
    """

    frames: dict[str, Tensor]
    directions: dict[str, Tensor]
    hips: Tensor
    ankles: Tensor
    touching: Tensor
    ankle_height: float
    leg: float


@lru_cache(maxsize=16)
def rest(skeleton: Skeleton) -> tuple[Tensor, Tensor]:
    """Body positions ``[B, 3]`` and rotations ``[B, 4]`` of the zero pose (float64)."""
    zero = torch.zeros(3, dtype=torch.float64)
    one = rotation.identity(dtype=torch.float64)
    return skeleton.fk(zero, one, one.expand(skeleton.num_joints, 4))


def upright(skeleton: Skeleton, roles: dict[str, int]) -> Tensor:
    """Rotation ``[4]`` of the trunk's anatomical frame in the zero pose: left from the hips, up along the spine."""
    pos, _ = rest(skeleton)
    right, left = (pos[start(roles, f"{side}_thigh")] for side in ("right", "left"))
    if float((left - right).norm()) < 1e-4:
        raise MotionError("the two hip joints are in one place; this skeleton cannot be retargeted")
    top = roles.get("head", roles.get("chest"))
    if top is None:
        raise MotionError("a skeleton needs a chest or a head to tell which way is up")
    up = pos[top] - 0.5 * (left + right)
    # A spine that is bent in the zero pose tells nothing; its first bone is fixed to the pelvis.
    first = pos[_child_towards(skeleton, roles["pelvis"], top)] - pos[roles["pelvis"]]
    if float(first.norm()) > 0.02 and float(unit(first) @ unit(up)) < 0.8:
        up = first
    vertical = up.new_tensor([0.0, 0.0, 1.0])
    # A zero pose that stands upright says so better than the spine, which leans.
    if float(unit(up) @ vertical) > math.cos(math.radians(25.0)):
        up = vertical
    return trunk_frame(left - right, up)


def start(roles: dict[str, int], part: str) -> int:
    """The body at whose origin a bone begins: the bone's own, or the one that the map names for its joint."""
    return roles.get(STARTS.get(part, part), roles[part])


def bone(skeleton: Skeleton, roles: dict[str, int], part: str, child: str) -> Tensor | None:
    """Direction and length ``[3]`` m of a bone in its own body's frame; None if nothing tells it."""
    if part not in roles:
        return None
    body = roles[part]
    if child in roles:
        pos, rot = rest(skeleton)
        found = rotation.rotate_inverse(rot[body], pos[start(roles, child)] - pos[start(roles, part)])
    elif skeleton.names[body] in skeleton.end_sites:
        found = torch.tensor(skeleton.end_sites[skeleton.names[body]], dtype=torch.float64)
    else:
        return None
    return found if float(found.norm()) > 1e-4 else None


def zero_pose_axis(skeleton: Skeleton, roles: dict[str, int], limb: str) -> Tensor | None:
    """Left axis of a limb in its upper bone's frame, from a zero pose in which both limbs of that kind hang or are
    held out.

    None where they could not be so: legs that do not point down, arms that point up or inwards.
    """
    kinds = ["leg"] if limb.endswith("leg") else ["leg", "arm"]
    if not all(_held(skeleton, roles, f"{side}_{kind}") for kind in kinds for side in SIDES):
        return None
    upper, lower, _, _ = LIMBS[limb]
    first = bone(skeleton, roles, upper, lower)
    assert first is not None
    _, rot = rest(skeleton)
    frame = upright(skeleton, roles)
    a = unit(rotation.rotate_inverse(frame, rotation.rotate(rot[roles[upper]], first)))
    left = rotation.rotate(shortest(a.new_tensor([0.0, 0.0, -1.0]), a), a.new_tensor([0.0, 1.0, 0.0]))
    return rotation.rotate_inverse(rot[roles[upper]], rotation.rotate(frame, left))


def _held(skeleton: Skeleton, roles: dict[str, int], limb: str) -> bool:
    """Whether the limb, in the zero pose, hangs (legs) or is somewhere between hanging and held out (arms)."""
    upper, lower, end, _ = LIMBS[limb]
    first, second = bone(skeleton, roles, upper, lower), bone(skeleton, roles, lower, end)
    if first is None or second is None:
        return False
    _, rot = rest(skeleton)
    frame = upright(skeleton, roles)
    a = unit(rotation.rotate_inverse(frame, rotation.rotate(rot[roles[upper]], first)))
    b = unit(rotation.rotate_inverse(frame, rotation.rotate(rot[roles[lower]], second)))
    down, outward = -float(a[2]), float(a[1]) * (1.0 if limb.startswith("left") else -1.0)
    held = down > 0.7 if limb.endswith("leg") else max(down, outward) > 0.6 and down > -0.5
    return held and float(a @ b) > 0.3


def _trunk(skeleton: Skeleton, roles: dict[str, int], body_pos: Tensor, body_rot: Tensor) -> dict[str, Tensor]:
    """Anatomical frames ``[T, 4]`` of pelvis, chest and head.

    A zero pose that stands gives all of them. Otherwise each tells by what hangs on it: the hips on the pelvis,
    shoulders and neck on the chest; the head is taken to look, on the whole, where the chest faces.
    """
    zero_pos, zero_rot = rest(skeleton)
    stand = upright(skeleton, roles)
    fixed: dict[str, Tensor] = {
        role: rotation.multiply(rotation.inverse(zero_rot[roles[role]]), stand)
        for role in ("pelvis", "chest", "head")
        if role in roles
    }
    if not all(_held(skeleton, roles, f"{side}_leg") for side in SIDES):

        def across(role: str, part: str) -> Tensor:
            """From right to left, seen from a body, on average over the clip."""
            left, right = (body_pos[:, start(roles, f"{side}_{part}")] for side in SIDES)
            return rotation.rotate_inverse(body_rot[:, roles[role]], left - right).mean(dim=0)

        up = rotation.rotate(fixed["pelvis"], zero_pos.new_tensor([0.0, 0.0, 1.0]))
        fixed["pelvis"] = trunk_frame(across("pelvis", "thigh"), up)
        if {"chest", "head", "left_upper_arm", "right_upper_arm"} <= set(roles):
            chest = roles["chest"]
            top = zero_pos[_child_towards(skeleton, chest, roles["head"])] - zero_pos[chest]
            if float(top.norm()) < 0.02:
                top = zero_pos[roles["head"]] - zero_pos[chest]
            up = rotation.rotate_inverse(zero_rot[chest], top)
            fixed["chest"] = trunk_frame(across("chest", "upper_arm"), up)
        if "head" in roles:
            holder = "chest" if "chest" in roles else "pelvis"
            frame = rotation.multiply(body_rot[:, roles[holder]], fixed[holder])
            steep = rotation.rotate(frame, frame.new_tensor([0.0, 0.0, 1.0]))[:, 2] < 0.8
            level = torch.where(steep[:, None], frame, rotation.heading(frame))
            relative = rotation.multiply(rotation.inverse(body_rot[:, roles["head"]]), level)
            fixed["head"] = _mean_rotation(relative)
    return {role: rotation.multiply(body_rot[:, roles[role]], q) for role, q in fixed.items()}


def _child_towards(skeleton: Skeleton, body: int, descendant: int) -> int:
    """The child of ``body`` on the way to ``descendant`` (itself, if it is not below ``body``)."""
    at = descendant
    while skeleton.parents[at] not in (body, -1):
        at = skeleton.parents[at]
    return at if skeleton.parents[at] == body else descendant


def _mean_rotation(q: Tensor) -> Tensor:
    """Mean ``[4]`` of rotations ``[T, 4]``: the largest eigenvector of their outer products (Markley et al. 2007)."""
    return torch.linalg.eigh(q.T @ q).eigenvectors[:, -1]


def read_pose(motion: Motion, roles: dict[str, int]) -> Pose:
    """Everything the transfer needs to know of a clip. See :class:`Pose`."""
    skeleton = motion.skeleton
    body_pos, body_rot = skeleton.fk(motion.root_pos.double(), motion.root_rot.double(), motion.joint_rot.double())
    frames = _trunk(skeleton, roles, body_pos, body_rot)
    directions: dict[str, Tensor] = {}
    for limb, (upper, lower, end, sign) in LIMBS.items():
        first, second = bone(skeleton, roles, upper, lower), bone(skeleton, roles, lower, end)
        if first is None or second is None:
            continue
        a = unit(rotation.rotate(body_rot[:, roles[upper]], first))
        b = unit(rotation.rotate(body_rot[:, roles[lower]], second))
        directions[upper], directions[lower] = a, b
        trunk = frames["pelvis" if limb.endswith("leg") or "chest" not in frames else "chest"]
        side = _bend_axis(a, b, sign, body_rot[:, roles[upper]], trunk, zero_pose_axis(skeleton, roles, limb))
        frames[upper], frames[lower] = limb_frame(a, side), limb_frame(b, side)
    feet = _feet(skeleton, roles)
    points = feet.points(body_pos, body_rot)
    touching = contacts(motion, feet)
    for k, side_name in enumerate(SIDES):
        fixed = _sole(skeleton, roles, side_name, points[:, k], touching[:, k], body_rot, frames["pelvis"], motion.fps)
        frames[f"{side_name}_foot"] = rotation.multiply(body_rot[:, roles[f"{side_name}_foot"]], fixed)
    resting = rest_heights(points, motion.fps)[:, 0]
    return Pose(
        frames={role: rotation.make_continuous(q) for role, q in frames.items()},
        directions=directions,
        hips=body_pos[:, [start(roles, f"{side}_thigh") for side in SIDES]].mean(dim=1),
        ankles=body_pos[:, [roles["left_foot"], roles["right_foot"]]],
        touching=touching,
        ankle_height=float(resting.mean()),
        leg=leg_length(skeleton, roles),
    )


def leg_length(skeleton: Skeleton, roles: dict[str, int]) -> float:
    """Thigh and shin together (m), the mean of both sides."""
    total = 0.0
    for side in SIDES:
        for part, child in (("thigh", "shin"), ("shin", "foot")):
            found = bone(skeleton, roles, f"{side}_{part}", f"{side}_{child}")
            if found is None:
                raise MotionError(f"the {side} {part} has no length; this skeleton cannot be retargeted")
            total += 0.5 * float(found.norm())
    return total


def _feet(skeleton: Skeleton, roles: dict[str, int]) -> Feet:
    """Feet, left and right, by role: all joints below the ankle count."""
    return feet_of(skeleton, [skeleton.names[roles[f"{side}_foot"]] for side in SIDES])


def _bend_axis(a: Tensor, b: Tensor, sign: float, upper_rot: Tensor, trunk: Tensor, prior: Tensor | None) -> Tensor:
    """The left axis of a limb in the world ``[T, 3]``: normal of its own plane where it bends, carried along
    with its upper bone where it is straight.

    Args:
        a, b: directions of the upper and the lower bone ``[T, 3]``.
        sign: +1 if bending turns about the left axis (knees), -1 if against it (elbows).
        upper_rot: world rotation of the upper bone ``[T, 4]``.
        trunk: anatomical frame that the limb hangs on ``[T, 4]``.
        prior: left axis in the upper bone's frame from the zero pose, or None.
    """
    normal = sign * torch.linalg.cross(a, b)
    bend = torch.atan2(normal.norm(dim=-1), (a * b).sum(-1))
    own = unit(normal)
    if prior is None:
        # straight limb: its axis is the trunk's, swung along, and the surer the nearer it is to hanging
        down = rotation.rotate(trunk, a.new_tensor([0.0, 0.0, -1.0]))
        left = rotation.rotate(shortest(down, a), rotation.rotate(trunk, a.new_tensor([0.0, 1.0, 0.0])))
        weight = (0.5 + 0.5 * (down * a).sum(-1, keepdim=True)).square()
        prior = unit((weight * rotation.rotate_inverse(upper_rot, left)).mean(dim=0))
    shown = (rotation.rotate_inverse(upper_rot, own) * bend.sin().square()[:, None]).mean(dim=0)
    carried = rotation.rotate(upper_rot, unit(shown + _PRIOR * prior))
    trust = smoothstep((bend - _BEND[0]) / (_BEND[1] - _BEND[0])) * ((own * carried).sum(-1) > 0.3)
    return unit(reject(carried + trust[:, None] * (own - carried), a))


def _sole(
    skeleton: Skeleton, roles: dict[str, int], side: str, points: Tensor, touching: Tensor, body_rot: Tensor,
    pelvis: Tensor, fps: float,
) -> Tensor:  # fmt: skip
    """Rotation ``[4]`` of a foot's anatomical frame (x to the toes, z out of the sole) in its own frame.

    The floor is what a standing foot is parallel to: the vertical, seen from the foot, in frames in which
    ankle and toe are both still and low. A zero pose that stands decides where the clip has no such frames
    or contradicts it by more than 25 degrees (a clip on tiptoe).
    """
    ankle = roles[f"{side}_foot"]
    rot = body_rot[:, ankle]
    toe = bone(skeleton, roles, f"{side}_foot", f"{side}_toe")
    vertical = rot.new_tensor([0.0, 0.0, 1.0])
    _, zero_rot = rest(skeleton)
    from_zero = None
    if zero_pose_axis(skeleton, roles, f"{side}_leg") is not None:
        stand = upright(skeleton, roles)
        up = rotation.rotate(stand, vertical)
        ahead = rotation.rotate(stand, vertical.roll(1))
        if toe is not None and float(reject(rotation.rotate(zero_rot[ankle], toe), up).norm()) > 0.3 * toe.norm():
            ahead = rotation.rotate(zero_rot[ankle], toe)
        from_zero = rotation.multiply(rotation.inverse(zero_rot[ankle]), _foot_frame(ahead, up))
    height = points[:, 0, 2]
    moving = speeds(points, fps).amax(dim=-1)
    flat = touching & (height < torch.quantile(height, 0.5) + 1e-6)
    if int(flat.sum()) >= 3:
        flat &= moving <= torch.quantile(moving[flat], 0.5)
    if int(flat.sum()) < 3:
        if from_zero is not None:
            return from_zero
        flat = height <= torch.quantile(height, 0.2)
    up = unit(rotation.rotate_inverse(rot[flat], vertical).median(dim=0).values)
    if toe is not None:
        ahead = toe
    elif from_zero is not None:
        ahead = rotation.rotate(from_zero, vertical.roll(1))
    else:
        ahead = unit(rotation.rotate_inverse(rot[flat], rotation.rotate(pelvis[flat], vertical.roll(1))).mean(dim=0))
    seen = _foot_frame(ahead, up)
    if from_zero is not None and float(rotation.angle_between(seen, from_zero)) > math.radians(25.0):
        return from_zero
    return seen


def _foot_frame(ahead: Tensor, up: Tensor) -> Tensor:
    z = unit(up)
    x = unit(reject(ahead, z))
    return rotation.from_matrix(torch.stack((x, torch.linalg.cross(z, x), z), dim=-1))
