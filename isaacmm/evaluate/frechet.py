"""Frechet distance between the poses of two motions, in the features that motion matching compares."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from isaacmm import rotation
from isaacmm.evaluate.tracks import Tracks
from isaacmm.matching.database import Database
from isaacmm.state import MotionState

#: Fewer poses than this say little about their distribution.
FEWEST = 100


def distance(a: Tensor, b: Tensor) -> float:
    """``|mu_a - mu_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2))`` of samples ``[n, W]`` and ``[m, W]``.

    The squared 2-Wasserstein distance of the Gaussians with their means and covariances (Dowson and Landau 1982; as
    FID, Heusel et al. 2017). NaN with fewer than :data:`FEWEST` of either.
    """
    if min(len(a), len(b)) < FEWEST:
        return math.nan
    a, b = a.double(), b.double()
    first, second = torch.cov(a.T), torch.cov(b.T)
    values, vectors = torch.linalg.eigh(first)
    root = (vectors * values.clamp(min=0.0).sqrt()) @ vectors.T
    # (S_a S_b)^(1/2) has the trace of the symmetric (S_a^(1/2) S_b S_a^(1/2))^(1/2)
    cross = torch.linalg.eigvalsh(root @ second @ root).clamp(min=0.0).sqrt().sum()
    shift = (a.mean(0) - b.mean(0)).square().sum()
    return float((shift + first.trace() + second.trace() - 2.0 * cross).clamp(min=0.0))


def poses(tracks: Tracks, database: Database) -> Tensor:
    """Matching pose features ``[T - 2, N, P]`` of frames 1 to T-2: feet and their velocities, velocity of the hips.

    In the heading frame of the root, velocities by central differences, both for clips and for simulated motion;
    normalised and weighted as in the matching database.
    """
    pos, rot = tracks.body_pos, tracks.body_rot
    middle, shape = pos[1:-1].flatten(0, 1), pos[1:-1].shape[:2]
    speed = ((pos[2:] - pos[:-2]) * (0.5 * tracks.fps)).flatten(0, 1)
    turned = rot[1:-1].flatten(0, 1)
    none = torch.zeros(len(middle), 0)
    state = MotionState(
        middle[:, 0], turned[:, 0], speed[:, 0], speed[:, 0], none, none, middle, turned, speed, torch.zeros_like(speed)
    )
    return database.pose_of(state, rotation.yaw(turned[:, 0])).unflatten(0, shape)
