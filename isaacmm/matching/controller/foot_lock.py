"""FootLock: where feet have to be so that those that stand do not slide."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from isaacmm import rotation
from isaacmm.character import CharacterModel
from isaacmm.matching import springs
from isaacmm.matching.controller.leg import FootPose


@dataclass(frozen=True)
class Locking:
    """When feet are locked and let go.

    Attributes:
        enabled: whether they are at all; below the floor they never go.
        catch_height: m; a foot that is to stand is locked once its sole is lower than this.
        release_distance: m; a foot is let go when the animation has gone that far from it.
        halflife: s; how quickly a foot that is let go returns to the animation.
        settle_halflife: s; how quickly a foot that is locked comes down to its clip's height.
        arrived: m; nearer than this to the animation a foot that was let go may be locked anew.
        step_height: m; how high such a foot is raised on its way, so that it steps instead of skating.
        edge: m; points of a sole this much higher than its lowest hardly hold it.
    """

    enabled: bool = True
    catch_height: float = 0.03
    release_distance: float = 0.2
    halflife: float = 0.1
    settle_halflife: float = 0.04
    arrived: float = 0.03
    step_height: float = 0.03
    edge: float = 0.002


class FootLock:
    """Feet ``[N, F]``: goals beside the animation.

    A goal is the animated foot, turned by ``turn`` about the vertical through its origin and moved by ``shift``. While
    a foot is locked these change so that the points of its sole that touch stay where they are: a foot may roll over
    its heel and toe edges and stand on any part of it, but not slide. Afterwards they die away.

    Attributes:
        locked: ``[N, F]`` bool.
        shift, turn: ``[N, F, 3]`` m, ``[N, F]`` rad.
    """

    def __init__(self, character: CharacterModel, num_envs: int, locking: Locking) -> None:
        self.settings = locking
        self.sole = character.sole
        device, feet = self.sole.device, len(character.feet)
        self.locked = torch.zeros(num_envs, feet, dtype=torch.bool, device=device)
        self.refused = torch.zeros_like(self.locked)
        self.shift = torch.zeros(num_envs, feet, 3, device=device)
        self.shift_velocity = torch.zeros_like(self.shift)
        self.turn = torch.zeros(num_envs, feet, device=device)
        self.turn_velocity = torch.zeros_like(self.turn)
        #: sole points of the last goals ``[N, F, C, 3]``
        self.held = torch.zeros(num_envs, feet, self.sole.shape[1], 3, device=device)
        self.settling = torch.zeros(num_envs, feet, device=device)
        self.settling_velocity = torch.zeros(num_envs, feet, device=device)
        #: how far a foot is raised that goes to another place while the clip has it stand
        self.lift = torch.zeros(num_envs, feet, device=device)
        self.lift_velocity = torch.zeros(num_envs, feet, device=device)

    def reset(self, ids: Tensor) -> None:
        """Worlds ``ids [n]`` begin with free feet."""
        for value in (self.shift, self.shift_velocity, self.turn, self.turn_velocity):
            value[ids] = 0.0
        for value in (self.settling, self.settling_velocity, self.lift, self.lift_velocity):
            value[ids] = 0.0
        self.locked[ids] = self.refused[ids] = False

    def points(self, foot: FootPose) -> Tensor:
        """Points of the soles ``[N, F, C, 3]``."""
        return foot.pos[..., None, :] + torch.einsum("nfij,fcj->nfci", foot.turn, self.sole)

    def step(self, foot: FootPose, last: Tensor, contact: Tensor, height: Tensor, dt: float) -> FootPose:
        """Goals for animated feet.

        Args:
            foot: the animated feet.
            last: ``[N, F, C, 3]`` sole points as they came out in the step before.
            contact: ``[N, F]`` bool: feet that stand in the clip.
            height: ``[N, F]`` m of their soles in the clip.
            dt: s.
        """
        s = self.settings
        before, before_turn = self.shift, self.turn
        points = self.points(foot)
        low = points[..., 2].amin(dim=-1)
        if s.enabled:
            away = (before[..., :2].norm(dim=-1) > s.arrived) | (self.lift > 0.5 * s.step_height)
            self.refused &= contact & away
            near = last[..., 2].amin(dim=-1) < s.catch_height
            locked = contact & ~self.refused & (self.locked | (near & (low + before[..., 2] < s.catch_height)))
        else:
            locked = torch.zeros_like(self.locked)
        caught = locked & ~self.locked
        self.held = torch.where(caught[..., None, None], last, self.held)
        shift, turn = self._hold(foot, points, low)
        # a free foot returns to the animation
        free_shift, free_shift_velocity = springs.decay(before, self.shift_velocity, s.halflife, dt)
        free_turn, free_turn_velocity = springs.decay(before_turn, self.turn_velocity, s.halflife, dt)
        # its sole comes down (or up) to the height that it has in the clip
        rest = height.clamp(min=0.0)
        start = last[..., 2].amin(dim=-1) - rest
        settling = torch.where(caught, start, self.settling)
        settling_velocity = torch.where(caught, torch.zeros_like(start), self.settling_velocity)
        settling, settling_velocity = springs.decay(settling, settling_velocity, s.settle_halflife, dt)
        self.settling = torch.where(locked, settling, torch.zeros_like(settling))
        self.settling_velocity = torch.where(locked, settling_velocity, torch.zeros_like(settling))
        shift = torch.cat((shift, (rest + self.settling - low)[..., None]), dim=-1)
        far = (shift[..., :2].norm(dim=-1) > s.release_distance) & locked
        self.refused |= far
        locked = locked & ~far
        lock = locked[..., None]
        self.shift = torch.where(lock, shift, free_shift)
        self.shift_velocity = torch.where(lock, (shift - before) / dt, free_shift_velocity)
        self.turn = torch.where(locked, turn, free_turn)
        self.turn_velocity = torch.where(locked, rotation.wrap_angle(turn - before_turn) / dt, free_turn_velocity)
        # the catch itself is no motion that a later release should go on with
        self.shift_velocity = torch.where(caught[..., None], torch.zeros_like(shift), self.shift_velocity)
        self.turn_velocity = torch.where(caught, torch.zeros_like(turn), self.turn_velocity)
        self.locked = locked
        # up while it is on its way, down again where it arrives; only then may it be locked anew
        raised = s.step_height * (self.refused & (self.shift[..., :2].norm(dim=-1) > s.arrived)).to(low.dtype)
        self.lift, self.lift_velocity = springs.follow(
            self.lift, self.lift_velocity, raised, 0.0, s.settle_halflife, dt
        )
        self.lift = torch.where(locked, torch.zeros_like(low), self.lift)
        self.lift_velocity = torch.where(locked, torch.zeros_like(low), self.lift_velocity)
        return self._goal(foot, low)

    def release(self, feet: Tensor) -> None:
        """Let ``feet [N, F]`` bool go: they could not be held."""
        self.refused |= feet & self.locked
        self.locked = self.locked & ~feet

    def _goal(self, foot: FootPose, low: Tensor) -> FootPose:
        under = (-(low + self.shift[..., 2] + self.lift)).clamp(min=0.0)
        lift = torch.zeros_like(self.shift)
        lift[..., 2] = under + self.lift
        cos, sin = torch.cos(self.turn), torch.sin(self.turn)
        zero, one = torch.zeros_like(cos), torch.ones_like(cos)
        about = torch.stack((cos, -sin, zero, sin, cos, zero, zero, zero, one), dim=-1).reshape(*cos.shape, 3, 3)
        goal = FootPose(foot.pos + self.shift + lift, about @ foot.turn)
        self.held = self.points(goal)
        return goal

    def _hold(self, foot: FootPose, points: Tensor, low: Tensor) -> tuple[Tensor, Tensor]:
        """Shift ``[N, F, 2]`` and turn ``[N, F]`` that leave the touching points where they are held.

        Weighted rigid registration in the plane: the turn that aligns the two sets of points about their weighted
        means, then the shift that brings the means together.
        """
        # which points touch on the way from the last frame to this one
        height = points[..., 2] - low[..., None] + self.held[..., 2] - self.held[..., 2].amin(dim=-1, keepdim=True)
        weight = torch.exp(-0.5 * height / self.settings.edge)
        weight = (weight / weight.sum(-1, keepdim=True))[..., None]
        local = points[..., :2] - foot.pos[..., None, :2]
        own, held = (weight * local).sum(-2), (weight * self.held[..., :2]).sum(-2)
        a, b = local - own[..., None, :], self.held[..., :2] - held[..., None, :]
        dot = (weight * a * b).sum((-2, -1))
        cross = (weight[..., 0] * (a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0])).sum(-1)
        # a single point says nothing of the turn: then it stays
        tiny = 1e-6
        turn = torch.atan2(cross + tiny * torch.sin(self.turn), dot + tiny * torch.cos(self.turn))
        cos, sin = torch.cos(turn), torch.sin(turn)
        about = torch.stack((cos * own[..., 0] - sin * own[..., 1], sin * own[..., 0] + cos * own[..., 1]), dim=-1)
        return held - about - foot.pos[..., :2], turn
