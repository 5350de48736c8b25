"""Fixtures of all rooms."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from isaacmm import rotation
from isaacmm.character import CharacterModel
from isaacmm.motion.clip import Motion

REPOSITORY = Path(__file__).resolve().parent.parent

# Tests share a machine with each other (pytest-xdist) and are small: more threads only slow them down.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def recorded_motions() -> Path:
    """Folder with recorded clips that are not ours to distribute; the test is skipped where it is absent.

    ``$ISAACMM_MOTIONS``, or ``shared/motions`` beside the checkout.
    """
    folder = Path(os.environ.get("ISAACMM_MOTIONS") or REPOSITORY.parent / "shared" / "motions")
    if not folder.is_dir():
        pytest.skip(f"no recorded motions at {folder} (set ISAACMM_MOTIONS)")
    return folder


@pytest.fixture(scope="session")
def humanoid() -> CharacterModel:
    """The default character."""
    return CharacterModel.load("humanoid")


@pytest.fixture(scope="session")
def make_motion(humanoid: CharacterModel) -> Callable[..., Motion]:
    """``make_motion(frames=60, fps=30.0, seed=0, reach=0.6)``: every hinge of the humanoid swings smoothly
    (at most ``reach`` of its range, about its middle) while the root walks a curve."""

    def make(frames: int = 60, fps: float = 30.0, seed: int = 0, reach: float = 0.6) -> Motion:
        draw = torch.Generator().manual_seed(seed)
        skeleton = humanoid.skeleton
        time = torch.arange(frames, dtype=torch.float64) / fps
        rate, phase = (torch.rand(skeleton.num_dofs, generator=draw, dtype=torch.float64) for _ in range(2))
        low, high = skeleton.dof_limits.double().unbind(1)
        wave = torch.sin(2 * math.pi * (time[:, None] * (0.3 + rate) + phase))
        dof_pos = 0.5 * (low + high) + 0.5 * reach * (high - low) * wave
        yaw = 0.5 * time + torch.rand(1, generator=draw, dtype=torch.float64)
        tilt = torch.stack(
            (0.2 * torch.sin(3 * time), 0.2 * torch.cos(2 * time), torch.zeros_like(time)), dim=1
        )
        root_rot = rotation.multiply(rotation.from_yaw(yaw), rotation.from_rotvec(tilt))
        root_pos = torch.stack((time.cos(), time.sin(), 0.9 + 0.05 * torch.sin(4 * time)), dim=1)
        return Motion.from_dofs(
            skeleton, root_pos.float(), root_rot.float(), dof_pos.float(), fps, name=f"swing_{seed}"
        )

    return make
