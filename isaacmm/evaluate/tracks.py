"""Tracks: recorded worlds and reference clips in one shape, so that one function measures both."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from isaacmm import rotation
from isaacmm.character import CharacterModel
from isaacmm.evaluate.rollout import Rollout
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
    """

    character: CharacterModel
    fps: float
    body_pos: Tensor
    body_rot: Tensor
    direction: Tensor
    speed: Tensor
    episode: Tensor

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
        )

    @classmethod
    def of_motion(cls, motion: Motion, character: CharacterModel, fps: float) -> Tracks:
        """A clip at ``fps``, as if it had been commanded what it does.

        Its command is its own mean speed along the path, in the direction it travels (averaged over a
        second; where it stands, the direction it faces).
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
        return cls(
            character,
            fps,
            pos[:, None],
            rot[:, None],
            direction[:, None],
            speed[:, None],
            torch.zeros(len(root), 1, dtype=torch.int64),
        )
