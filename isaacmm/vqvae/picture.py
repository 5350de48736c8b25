"""Moments of a clip above the same moments of what the tokenizer made of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from isaacmm import rotation
from isaacmm.character import CharacterModel
from isaacmm.export.video import motion_track
from isaacmm.motion.clip import Motion
from isaacmm.render.camera import Camera
from isaacmm.render.playback import Track, frames
from isaacmm.render.png import write_png

#: Between figures (m), and pixels of a row.
_APART, _SIZE = 0.95, (960, 260)


def compare(path: Path, character: CharacterModel, pairs: list[tuple[Motion, Motion]], poses: int = 7) -> None:
    """Two rows per pair of clips of equal length: the original, and what came back; side views, headings taken out."""
    rows = [_row(character, motion, poses) for pair in pairs for motion in pair]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_png(path, np.concatenate(rows))


def _row(character: CharacterModel, motion: Motion, poses: int) -> np.ndarray:
    ids = torch.linspace(0, motion.num_frames - 1, poses).round().long()
    turn = rotation.inverse(rotation.heading(motion.root_rot))
    placed = Motion(
        character.skeleton,
        torch.cat((torch.zeros_like(motion.root_pos[:, :2]), motion.root_pos[:, 2:]), dim=1),
        rotation.multiply(turn, motion.root_rot),
        motion.joint_rot,
        motion.fps,
    )
    track = motion_track(character, placed)
    moments = []
    for place, i in enumerate(ids.tolist()):
        root = track.root_pos[[i]].copy()
        root[:, 0] += _APART * place
        moments.append(Track(root, track.root_rot[[i]], track.dof_pos[[i]]))
    middle, wide, fovy = 0.5 * _APART * (poses - 1), _APART * poses, 20.0
    away = max(2.1, wide * _SIZE[1] / _SIZE[0]) / (2.0 * np.tan(np.deg2rad(fovy) / 2.0))
    target = np.array([middle, 0.0, 0.86])
    camera = Camera(target + np.array([0.0, -away, 0.12 * away]), target, fovy, *_SIZE)
    return next(frames(character, moments, motion.fps, width=_SIZE[0], height=_SIZE[1], cameras=[camera]))
