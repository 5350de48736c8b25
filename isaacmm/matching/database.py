"""Database: every moment of the clips with its features, ready to be searched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from isaacmm import rotation
from isaacmm.character import CharacterModel
from isaacmm.errors import MotionError, nearest
from isaacmm.matching import track as ground_track
from isaacmm.matching.features import FeatureSet
from isaacmm.motion.grid import TimeGrid
from isaacmm.motion.library import MotionLibrary
from isaacmm.state import MotionState


class Database:
    """Features of all rows of a :class:`TimeGrid`.

    Attributes:
        grid: rows ``[F]``: clip and time of each.
        features: ``[F, 27]`` normalised (:class:`FeatureSet`).
        raw: ``[F, 27]`` as measured.
        offset, scale: ``[27]``.
        track: ground track per row.
        velocity: ``[F, 2]`` m/s of the track in its own heading frame (forward, left).
        turn_rate: ``[F]`` rad/s of the track.
        valid: ``[F]`` bool; rows that a search may return. A clip's last moments are left out, since little can
            follow them, and its first, where a history before them is wanted.

    Args:
        library: the clips.
        character: gives the feet.
        rate: rows per second.
        features: what is compared; the 27 numbers by default.
        tail_seconds: not returned at a clip's end.
        head_seconds: not returned at a clip's beginning.
    """

    def __init__(
        self,
        library: MotionLibrary,
        character: CharacterModel,
        rate: float = 60.0,
        features: FeatureSet | None = None,
        tail_seconds: float = 0.25,
        head_seconds: float = 0.0,
    ) -> None:
        self.library = library
        self.character = character
        self.spec = features or FeatureSet(character.feet)
        self.grid = grid = TimeGrid(library, rate)
        self.rate = rate
        feet = torch.tensor([character.skeleton.body(name) for name in self.spec.feet], device=library.device)
        parts: dict[str, list[Tensor]] = {}
        for state in grid.states():
            rows = {
                "root_pos": state.root_pos,
                "root_rot": state.root_rot,
                "root_vel": state.root_vel,
                "foot_pos": state.body_pos[:, feet],
                "foot_vel": state.body_vel[:, feet],
            }
            for name, value in rows.items():
                parts.setdefault(name, []).append(value)
        flat = {name: torch.cat(values) for name, values in parts.items()}
        self.track = ground_track.of_clips(flat["root_pos"], flat["root_rot"], grid.first, grid.count, rate)
        self.velocity, self.turn_rate = self._motion()
        self.raw = self._raw(flat)
        self.offset, self.scale = self.spec.scales(self.raw)
        self.features = ((self.raw - self.offset) / self.scale).contiguous()
        row = torch.arange(len(grid), device=library.device) - grid.first[grid.clip]
        tail = torch.minimum(torch.tensor(round(tail_seconds * rate), device=row.device), grid.count[grid.clip] // 4)
        self.valid = (row < grid.count[grid.clip] - tail) & (row >= round(head_seconds * rate))
        if not bool(self.valid.any()):
            raise MotionError(
                f"no clip is long enough to be matched: a moment needs {head_seconds:.2f} s of clip before it; "
                f"the longest has {float(library.lengths.max()):.2f} s"
            )

    @classmethod
    def from_config(
        cls,
        config: Mapping[str, Any],
        library: MotionLibrary,
        character: CharacterModel,
        rate: float = 60.0,
        head_seconds: float = 0.0,
    ) -> Database:
        """From a ``matching`` section: ``horizons``, ``weights``, ``tail_seconds``."""
        spec = FeatureSet.from_config(config, character.feet)
        return cls(library, character, rate, spec, float(config.get("tail_seconds", 0.25)), head_seconds)

    def __len__(self) -> int:
        return len(self.grid)

    # ------------------------------------------------------------------ queries
    @property
    def pose(self) -> Tensor:
        """``[F, P]`` normalised pose part of the features."""
        return self.features[:, : self.spec.pose_size]

    @property
    def trajectory(self) -> Tensor:
        """``[F, K]`` normalised trajectory part of the features: what each row goes on to do."""
        return self.features[:, self.spec.pose_size :]

    def condition(self, position: Tensor, facing: Tensor) -> Tensor:
        """Normalised trajectory ``[N, 4K]`` of future positions and facings ``[N, K, 2]`` in the heading frame.

        The numbers that command a policy, query the search and condition the discriminator alike.
        """
        raw = torch.cat((position.flatten(1), facing.flatten(1)), dim=1)
        start = self.spec.pose_size
        return (raw - self.offset[start:]) / self.scale[start:]

    def pose_of(self, state: MotionState, yaw: Tensor) -> Tensor:
        """Normalised pose part ``[N, P]`` of any states, with ``yaw [N]`` as their heading."""
        turn = rotation.inverse(rotation.from_yaw(yaw))
        feet = torch.tensor([self.character.skeleton.body(name) for name in self.spec.feet], device=yaw.device)
        origin = torch.cat((state.root_pos[:, :2], torch.zeros_like(state.root_pos[:, :1])), dim=1)
        raw = _pose(turn, state.body_pos[:, feet] - origin[:, None], state.body_vel[:, feet], state.root_vel)
        return (raw - self.offset[: self.spec.pose_size]) / self.scale[: self.spec.pose_size]

    def allowed(self, tags: Sequence[str]) -> Tensor:
        """``[F]`` bool: valid rows of clips that carry any of ``tags``; no tags allow all.

        Raises:
            MotionError: no clip carries such a tag.
        """
        if not tags:
            return self.valid
        known = sorted({tag for clip in self.library.tags for tag in clip})
        for tag in tags:
            if tag not in known:
                raise MotionError(f"no clip is tagged '{tag}'; {nearest(tag, known)}")
        clips = torch.tensor([bool(set(own) & set(tags)) for own in self.library.tags], device=self.valid.device)
        return self.valid & clips[self.grid.clip]

    def rows_left(self, rows: Tensor) -> Tensor:
        """How many rows of its clip follow each of ``rows``."""
        clip = self.grid.clip[rows]
        return self.grid.first[clip] + self.grid.count[clip] - 1 - rows

    # ------------------------------------------------------------------ details
    def _motion(self) -> tuple[Tensor, Tensor]:
        """Velocity in the heading frame and turn rate of the track, by central differences within each clip."""
        grid, rows = self.grid, torch.arange(len(self.grid), device=self.library.device)
        before = torch.maximum(rows - 1, grid.first[grid.clip])
        after = torch.minimum(rows + 1, grid.first[grid.clip] + grid.count[grid.clip] - 1)
        dt = (after - before).clamp(min=1).float() / self.rate
        velocity = (self.track.position[after] - self.track.position[before]) / dt[:, None]
        turn = (self.track.yaw[after] - self.track.yaw[before]) / dt
        return _turn_back(velocity, self.track.yaw), turn

    def _raw(self, flat: Mapping[str, Tensor]) -> Tensor:
        grid, position, yaw = self.grid, self.track.position, self.track.yaw
        turn = rotation.inverse(rotation.from_yaw(yaw))
        origin = torch.cat((position, torch.zeros_like(position[:, :1])), dim=1)
        pose = _pose(turn, flat["foot_pos"] - origin[:, None], flat["foot_vel"], flat["root_vel"])
        positions, facings = [], []
        for seconds in self.spec.horizons:
            there, facing = ground_track.ahead(self.track, grid.first, grid.count, grid.clip, self.rate, seconds)
            positions.append(_turn_back(there - position, yaw))
            facings.append(torch.stack((torch.cos(facing - yaw), torch.sin(facing - yaw)), dim=-1))
        return torch.cat((pose, torch.cat(positions, 1), torch.cat(facings, 1)), dim=1)


def _pose(turn: Tensor, feet: Tensor, feet_velocity: Tensor, hip_velocity: Tensor) -> Tensor:
    """Pose part ``[n, P]``: vectors ``[n, F, 3]`` and ``[n, 3]`` of the world, turned by ``turn [n, 4]``."""
    vectors = torch.cat((feet, feet_velocity, hip_velocity[:, None]), dim=1)
    return rotation.rotate(turn[:, None], vectors).flatten(1)


def _turn_back(vector: Tensor, yaw: Tensor) -> Tensor:
    """Ground vectors ``[n, 2]`` of the world, in frames that face ``yaw [n]``."""
    cos, sin = torch.cos(yaw), torch.sin(yaw)
    return torch.stack((cos * vector[:, 0] + sin * vector[:, 1], -sin * vector[:, 0] + cos * vector[:, 1]), dim=-1)
