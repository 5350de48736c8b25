"""PoseTable: what the controller plays, relative to the ground track, one row per row of the database."""

from __future__ import annotations

import torch
from torch import Tensor

from isaacmm import rotation
from isaacmm.matching.database import Database
from isaacmm.motion.contacts import with_contacts
from isaacmm.motion.grid import TimeGrid


class PoseTable:
    """Poses of all rows ``[F]``.

    The root of the matched motion is the ground track; hips are relative to it: seen from its place and heading.

    Attributes:
        dof_pos, dof_vel: ``[F, D]`` rad, rad/s.
        hip_pos, hip_vel: ``[F, 3]`` m, m/s; z is the height over the floor.
        hip_rot, hip_turn: ``[F, 4]`` and its rate ``[F, 3]`` rad/s.
        contact: ``[F, feet]`` bool.
        sole_height: ``[F, feet]`` m, of each foot's lowest point.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        grid, track = database.grid, database.track
        parts: dict[str, list[Tensor]] = {"root_pos": [], "root_rot": [], "dof_pos": [], "sole": []}
        for state in grid.states():
            parts["root_pos"].append(state.root_pos)
            parts["root_rot"].append(state.root_rot)
            parts["dof_pos"].append(state.dof_pos)
            sole = database.character.sole_points(state.body_pos, state.body_rot)
            parts["sole"].append(sole[..., 2].amin(dim=-1))
        flat = {name: torch.cat(values) for name, values in parts.items()}
        back = rotation.inverse(rotation.from_yaw(track.yaw))
        ground = torch.cat((track.position, torch.zeros_like(track.position[:, :1])), dim=1)
        self.dof_pos, self.sole_height = flat["dof_pos"], flat["sole"]
        self.hip_pos = rotation.rotate(back, flat["root_pos"] - ground)
        self.hip_rot = rotation.multiply(back, flat["root_rot"])
        before, after, time = _neighbours(grid)
        self.dof_vel = (self.dof_pos[after] - self.dof_pos[before]) / time
        self.hip_vel = (self.hip_pos[after] - self.hip_pos[before]) / time
        turn = rotation.multiply(self.hip_rot[after], rotation.inverse(self.hip_rot[before]))
        self.hip_turn = rotation.to_rotvec(turn) / time
        self.contact = _contacts(database)

    def travel(self, start: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
        """Way ``[N, 2]`` m, in the heading frame of the start, and turn ``[N]`` rad of the track from row to row."""
        track = self.database.track
        way = track.position[end] - track.position[start]
        cos, sin = torch.cos(track.yaw[start]), torch.sin(track.yaw[start])
        local = torch.stack((cos * way[:, 0] + sin * way[:, 1], -sin * way[:, 0] + cos * way[:, 1]), dim=-1)
        return local, track.yaw[end] - track.yaw[start]


def _neighbours(grid: TimeGrid) -> tuple[Tensor, Tensor, Tensor]:
    """Rows before and after each row within its clip, and the time ``[F, 1]`` s between them."""
    rows = torch.arange(len(grid), device=grid.clip.device)
    first = grid.first[grid.clip]
    before, after = torch.maximum(rows - 1, first), torch.minimum(rows + 1, first + grid.count[grid.clip] - 1)
    return before, after, ((after - before).clamp(min=1).float() / grid.rate)[:, None]


def _contacts(database: Database) -> Tensor:
    """Contacts ``[F, feet]`` of the clips' nearest frames; found by height and speed where a clip brings none."""
    grid, library = database.grid, database.library
    rows = []
    for clip, motion in enumerate(library.motions):  # once, when the table is made
        known = with_contacts(motion, database.character).contacts
        assert known is not None  # a character has soles
        part = slice(int(grid.first[clip]), int(grid.first[clip] + grid.count[clip]))
        frame = (grid.time[part].cpu() * motion.fps + 0.5).long().clamp(max=len(known) - 1)
        rows.append(known.bool().cpu()[frame])
    return torch.cat(rows).to(library.device)
