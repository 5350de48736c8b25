"""What steps say about a clip's frame rate.

Whoever walks or runs ahead of themselves takes steps whose length and rate grow together: length over rate, the
walk ratio, is 0.0055 to 0.0075 m/(steps/min) for people of ordinary size at all ordinary speeds of walking (Sekiya and
Nagasaki 1998), about the same in running, and 0.004 in the shuffle of a tired or old person. A wrong frame rate changes
the rate of the steps and not their length. So a clip whose steps are both far too many and far too short for their
rate (or far too few and too long) is called mislabelled.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from isaacmm import rotation

if TYPE_CHECKING:
    from isaacmm.character import CharacterModel
    from isaacmm.motion.clip import Motion

#: Usual walk ratio, m per step/min, of legs of one metre's three quarters and a bit (thigh and shin of the humanoid).
_RATIO, _LEG = 0.0064, 0.83
#: Steps per minute and ratio beyond both of which nobody walks or runs: too many short ones, too few long ones.
_FAST, _SLOW = (190.0, 0.0046), (95.0, 0.0092)
#: Fewest steps that tell; by how much their durations may differ (of the median); how straight ahead the way goes.
_STEPS, _EVEN, _AHEAD = 4, 0.35, math.radians(35.0)


@dataclass(frozen=True)
class Steps:
    """Mean ``length`` m and ``rate`` steps per minute of a clip's steps, and the frame rate ``fps`` they speak for."""

    length: float
    rate: float
    fps: float


def steps(motion: Motion, character: CharacterModel) -> Steps | None:
    """The steps of a clip that walks or runs ahead evenly; None for any other.

    A step begins where one foot, in the root's heading frame, has swung farthest ahead of the other; that needs no
    contacts, whose search by speed depends on the frame rate.
    """
    feet = character.foot_ids
    if motion.num_frames < 8 or len(feet) != 2:
        return None
    body_pos, _ = motion.fk()
    heading = rotation.heading(motion.root_rot)
    apart = rotation.rotate_inverse(heading, body_pos[:, feet[0]] - body_pos[:, feet[1]])[:, 0]
    low, high = float(apart.min()), float(apart.max())
    leg = _leg(character)
    if high < 0.12 * leg or low > -0.12 * leg:  # feet that do not pass each other
        return None
    # half-way marks both ways (a trigger with hysteresis): one crossing per step, whatever the noise
    state, marks = 0, []
    for frame, value in enumerate(apart.tolist()):
        side = 1 if value > 0.4 * high else -1 if value < 0.4 * low else 0
        if side and side != state:
            if state:
                marks.append(frame)
            state = side
    if len(marks) < _STEPS + 1:
        return None
    taken = torch.diff(torch.tensor(marks)).double()
    if float((taken / taken.median() - 1).abs().quantile(0.8)) > _EVEN:
        return None
    first, last = marks[0], marks[-1]
    way = torch.diff(motion.root_pos[first : last + 1, :2], dim=0)
    ahead = rotation.rotate_inverse(heading[first:last], torch.nn.functional.pad(way, (0, 1)))
    angle = float(torch.atan2(ahead[:, 1].sum().abs(), ahead[:, 0].sum()))
    if angle > _AHEAD:
        return None
    length = float(ahead[:, 0].sum()) / (len(marks) - 1)
    rate = 60.0 * motion.fps * (len(marks) - 1) / (last - first)
    usual = _RATIO * (leg / _LEG) ** 1.5  # lengths grow with the leg, rates with one over its root
    return Steps(length, rate, motion.fps * length / usual / rate)


def mislabelled(motion: Motion, character: CharacterModel) -> Steps | None:
    """The steps of a clip if nobody takes such steps at its frame rate, else None."""
    found = steps(motion, character)
    if found is None:
        return None
    size = _leg(character) / _LEG
    rate, ratio = found.rate * size**0.5, found.length / found.rate / size**1.5
    feet = character.foot_ids
    height = motion.fk()[0][..., 2]
    upright = float(height[:, character.head_id].median() - height[:, feet].amin(dim=1).median())
    if upright < 0.9 * _leg(character):
        return None
    fast, slow = rate > _FAST[0] and ratio < _FAST[1], rate < _SLOW[0] and ratio > _SLOW[1]
    return found if fast or slow else None


def _leg(character: CharacterModel) -> float:
    """Length of a leg from hip to ankle along the bones of the zero pose (m)."""
    skeleton, total = character.skeleton, 0.0
    body = character.foot_ids[0]
    while skeleton.parents[body] > 0:
        total += float(skeleton.offsets[body].norm())
        body = skeleton.parents[body]
    return total
