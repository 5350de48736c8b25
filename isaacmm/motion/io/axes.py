"""From the axes of a file to ours (x forward, y left, z up).

Everything of a clip is turned, world and body frames alike, so that a character which faces its file's
forward axis at rest faces +x here. A turn of axes is a matrix of 0, 1 and -1: positions are permuted,
and so is the vector part of a quaternion (conjugation by a rotation turns its axis and keeps its angle).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Axes:
    """For each of our axes the file's axis, with its sign; right-handed like ours.

    Attributes:
        order: index of the file's axis that becomes our x, y, z.
        signs: 1 or -1 each.
    """

    order: tuple[int, int, int]
    signs: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def vectors(self, values: np.ndarray | Tensor) -> Tensor:
        """``[..., 3]`` in our axes (float64)."""
        v = torch.as_tensor(np.asarray(values), dtype=torch.float64)
        return v[..., list(self.order)] * v.new_tensor(self.signs)

    def quaternions(self, values: Tensor) -> Tensor:
        """``[..., 4]`` xyzw in our axes."""
        return torch.cat((self.vectors(values[..., :3]), values[..., 3:].double()), dim=-1)

    def vectors_back(self, values: Tensor) -> Tensor:
        """Inverse of :meth:`vectors`."""
        v = values.double() * torch.tensor(self.signs, dtype=torch.float64)
        return v[..., [self.order.index(i) for i in range(3)]]

    def quaternions_back(self, values: Tensor) -> Tensor:
        """Inverse of :meth:`quaternions`."""
        return torch.cat((self.vectors_back(values[..., :3]), values[..., 3:].double()), dim=-1)

    def turn(self) -> Tensor:
        """The rotation ``[4]`` that takes coordinates in the file's axes to ours."""
        from isaacmm import rotation

        return rotation.from_matrix(self.vectors(torch.eye(3, dtype=torch.float64)).T)


#: y up, z forward, x left: BVH, ASF/AMC, SMPL, HumanML3D.
Y_UP_Z_FORWARD = Axes((2, 0, 1))
#: y up, x forward, z right: DeepMimic, OpenSim.
Y_UP_X_FORWARD = Axes((0, 2, 1), (1.0, -1.0, 1.0))
