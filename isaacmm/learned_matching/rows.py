"""The matching database as training data: a row is a moment, a window is several that follow each other in a clip."""

from __future__ import annotations

import torch
from torch import Tensor

from isaacmm import rotation
from isaacmm.errors import MotionError
from isaacmm.learned_matching.pose import Pose, PoseLayout
from isaacmm.matching.controller.table import PoseTable
from isaacmm.matching.database import Database


class Rows:
    """All rows ``[F]`` of a database.

    Attributes:
        features: ``[F, K]`` normalised, what is searched: ``x``.
        poses: ``[F, W]``, what is played (:class:`PoseLayout`): ``y``.
        bodies: ``[F, 3 (B - 1)]`` m, all bodies but the root in the heading frame of the ground track.
        table: of the same database.
    """

    def __init__(self, database: Database, table: PoseTable | None = None) -> None:
        self.database = database
        self.table = table or PoseTable(database)
        self.skeleton = database.character.skeleton
        self.layout = PoseLayout(self.skeleton.dof_names, database.character.feet)
        self.features = database.features
        t = self.table
        pose = Pose(
            t.hip_pos, t.hip_rot, t.dof_pos, t.hip_vel, t.hip_turn, t.dof_vel, database.velocity, database.turn_rate,
            t.sole_height, t.contact,
        )  # fmt: skip
        self.poses = self.layout.encode(pose)
        pieces = torch.arange(len(self)).split(8192)
        self.bodies = torch.cat([self.place(self.poses[rows]) for rows in pieces])

    def __len__(self) -> int:
        return len(self.features)

    def place(self, poses: Tensor) -> Tensor:
        """Bodies ``[n, 3 (B - 1)]`` m of pose vectors ``[n, W]``, in the heading frame."""
        take = self.layout
        dof = poses[:, take["dof_position"]]
        hip, columns = poses[:, take["hip_position"]], poses[:, take["hip_rotation"]]
        turn = rotation.from_two_columns(columns)
        pos, _ = self.skeleton.fk(hip, turn, self.skeleton.dofs_to_joint_rot(dof))
        return pos[:, 1:].flatten(1)

    def starts(self, length: int) -> Tensor:
        """Rows ``[S]`` from which ``length`` rows follow each other within one clip.

        Raises:
            MotionError: no clip is that long.
        """
        rows = torch.arange(len(self), device=self.features.device)
        found = rows[self.database.rows_left(rows) >= length - 1]
        if not len(found):
            seconds = (length - 1) / self.database.rate
            longest = float(self.database.library.lengths.max())
            raise MotionError(
                f"no clip has a window of {seconds:.2f} s ({length} rows); the longest has {longest:.2f} s"
            )
        return found

    def memory(self) -> int:
        """Bytes that a controller needs of the database, 4 per number: features, poses without what can be told from
        neighbouring rows (velocities), ground track; contacts as bits."""
        kept = ("hip_position", "dof_position", "sole_height")
        numbers = self.features.shape[1] + sum(self.layout[k].stop - self.layout[k].start for k in kept) + 4 + 3
        return len(self) * (4 * numbers + 1)
