"""Tracks: recorded worlds and reference clips in one shape, so that one function measures both."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from isaacmm import rotation
from isaacmm.character import CharacterModel
from isaacmm.evaluate.rollout import Rollout
from isaacmm.matching import track
from isaacmm.motion.clip import Motion

#: Below this speed (m/s) a clip has no direction of travel: it is asked to face the way it faces.
_STANDING = 0.2


@dataclass(eq=False)
class Tracks:
    """``N`` characters side by side over ``T`` frames. World frame, SI.

    Attributes:
        character: whose bodies.
        fps: frames per second.
        body_pos, body_rot: ``[T, N, B, 3]`` m, ``[T, N, B, 4]`` xyzw; body 0 is the root.
        direction, speed: ``[T, N, 2]`` and ``[T, N]``: the command.
        episode: ``[T, N]`` int64; differences are taken only between frames of equal numbers.
        velocity: ``[T, N, 2]`` m/s commanded, as the spring has it, forward and left of ``facing``; None where only
            direction and speed are commanded, as are the following.
        facing: ``[T, N]`` rad commanded, world, as the spring has it.
        turn_rate: ``[T, N]`` rad/s.
        goal_velocity: ``[T, N, 2]`` m/s that the spring goes for; None where there is none.
    """

    character: CharacterModel
    fps: float
    body_pos: Tensor
    body_rot: Tensor
    direction: Tensor
    speed: Tensor
    episode: Tensor
    velocity: Tensor | None = None
    facing: Tensor | None = None
    turn_rate: Tensor | None = None
    goal_velocity: Tensor | None = None

    def unbroken(self, frames: int) -> Tensor:
        """``[T - frames, N]`` bool: frame ``t`` and frame ``t + frames`` are of one episode."""
        return self.episode[frames:] == self.episode[: self.episode.shape[0] - frames]

    def root_velocity(self) -> Tensor:
        """``[T - 2, N, 3]`` m/s of frames 1 to T-2, central differences of the root's position."""
        root = self.body_pos[:, :, 0]
        return (root[2:] - root[:-2]) * (0.5 * self.fps)

    def sole_points(self) -> Tensor:
        """``[T, N, F, C, 3]`` m."""
        return self.character.sole_points(self.body_pos, self.body_rot)

    @classmethod
    def of_rollout(cls, rollout: Rollout) -> Tracks:
        """All worlds whose frames were kept."""
        skeleton = rollout.character.skeleton
        pos, rot = skeleton.fk(
            rollout.root_pos, rollout.root_rot, skeleton.dofs_to_joint_rot(rollout.dof_pos)
        )
        return cls(
            rollout.character,
            rollout.fps,
            pos,
            rot,
            rollout.command["direction"],
            rollout.command["speed"],
            rollout.episode,
            *(rollout.command.get(name) for name in ("velocity", "facing", "turn_rate", "goal_velocity")),
        )

    @classmethod
    def of_motion(cls, motion: Motion, character: CharacterModel, fps: float, ground: bool = False) -> Tracks:
        """A clip at ``fps``, as if it had been commanded what it does.

        Its command is its own mean speed along the path, in the direction it travels (averaged over a
        second; where it stands, the direction it faces). With ``ground`` it is also commanded the velocity and
        facing of its ground track (:mod:`isaacmm.matching.track`), which do not sway with the hips.
        """
        clip = motion.resample(fps)
        pos, rot = clip.fk()
        root = pos[:, 0, :2]
        span = max(1, min(round(0.5 * fps), (len(root) - 1) // 2))
        index = torch.arange(len(root))
        ahead, behind = (index + span).clamp(max=len(root) - 1), (index - span).clamp(min=0)
        travel = (root[ahead] - root[behind]) * (fps / (ahead - behind).clamp(min=1))[:, None]
        pace = travel.norm(dim=-1, keepdim=True)
        yaw = rotation.yaw(rot[:, 0])
        facing = torch.stack((torch.cos(yaw), torch.sin(yaw)), dim=-1)
        direction = torch.where(pace > _STANDING, travel / pace.clamp(min=1e-6), facing)
        path = (root[1:] - root[:-1]).norm(dim=-1).sum()
        speed = (path / max(clip.duration, 1e-6)).expand(len(root))
        tracks = cls(
            character,
            fps,
            pos[:, None],
            rot[:, None],
            direction[:, None],
            speed[:, None],
            torch.zeros(len(root), 1, dtype=torch.int64),
        )
        if ground:
            tracks._follow_ground()
        return tracks

    def _follow_ground(self) -> None:
        """Command one clip what its ground track does."""
        count = torch.tensor([len(self.body_pos)])
        path = track.of_clips(self.body_pos[:, 0, 0], self.body_rot[:, 0, 0], torch.zeros_like(count), count, self.fps)
        index = torch.arange(int(count))
        ahead, behind = (index + 1).clamp(max=len(index) - 1), (index - 1).clamp(min=0)
        rate = self.fps / (ahead - behind).clamp(min=1)
        velocity = (path.position[ahead] - path.position[behind]) * rate[:, None]
        cos, sin = torch.cos(path.yaw), torch.sin(path.yaw)
        forward = cos * velocity[:, 0] + sin * velocity[:, 1]
        left = cos * velocity[:, 1] - sin * velocity[:, 0]
        self.velocity = torch.stack((forward, left), dim=-1)[:, None]
        self.facing = path.yaw[:, None]
        self.turn_rate = ((path.yaw[ahead] - path.yaw[behind]) * rate)[:, None]
