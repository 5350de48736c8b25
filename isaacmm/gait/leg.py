"""Two-bone inverse kinematics of a leg with a hinge knee."""

from __future__ import annotations

import numpy as np

from isaacmm.gait.body import axis_rotation, euler_xyz


def unit(v: np.ndarray) -> np.ndarray:
    """`v / |v|` along the last axis."""
    return v / np.linalg.norm(v, axis=-1, keepdims=True)


def leg_angles(
    hip: np.ndarray,
    pelvis_rot: np.ndarray,
    ankle: np.ndarray,
    foot_rot: np.ndarray,
    left_axis: np.ndarray,
    thigh: float,
    shin: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Hinge angles that put the ankle at `ankle` with the foot in orientation `foot_rot`.

    Seven hinges for six numbers: the knee's axis is the direction nearest to `left_axis` that is perpendicular
    to the line from hip to ankle.

    Args:
        hip, ankle: world positions `[..., 3]`. pelvis_rot, foot_rot: `[..., 3, 3]`. left_axis: `[..., 3]`.

    Returns:
        Angles `[..., 7]` (hip x y z, knee, ankle x y z; rad) and the share `[...]` of the leg's full length that
        is used; above 1 the target is out of reach and the leg points at it, stretched.
    """
    line = ankle - hip
    distance = np.linalg.norm(line, axis=-1)
    reach = distance / (thigh + shin)
    d = np.clip(distance, 0.2 * (thigh + shin), (thigh + shin) * (1 - 1e-6))
    knee = np.pi - np.arccos(np.clip((thigh**2 + shin**2 - d**2) / (2 * thigh * shin), -1, 1))
    forward = np.arccos(np.clip((thigh**2 + d**2 - shin**2) / (2 * thigh * d), -1, 1))
    z = -line / distance[..., None]
    y = unit(left_axis - (left_axis * z).sum(-1, keepdims=True) * z)
    frame = np.stack([np.cross(y, z), y, z], -1)
    thigh_rot = frame @ axis_rotation(1, -forward)
    shin_rot = thigh_rot @ axis_rotation(1, knee)
    hip_angles = euler_xyz(np.swapaxes(pelvis_rot, -1, -2) @ thigh_rot)
    ankle_angles = euler_xyz(np.swapaxes(shin_rot, -1, -2) @ foot_rot)
    return np.concatenate([hip_angles, knee[..., None], ankle_angles], -1), reach
