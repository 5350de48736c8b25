"""What is in a clip, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from isaacmm.character import CharacterModel
from isaacmm.errors import MotionError
from isaacmm.motion import repair
from isaacmm.motion.clip import Motion
from isaacmm.motion.io import registry


def facts(path: Path, character: CharacterModel, **options: Any) -> list[tuple[str, str]]:
    """Label and text of everything worth knowing about the clip at ``path``, as the file has it.

    Raises:
        MotionError: the file cannot be read.
    """
    broken = "none"
    try:
        motion = registry.read(path, **options)
    except MotionError as error:
        if "NaN" not in str(error):
            raise
        broken = str(error)
        motion = registry.read(path, nan="interpolate", **options)
    on_character = motion.skeleton.names == character.skeleton.names
    rows = [
        ("file", str(path)),
        ("frames", f"{motion.num_frames} at {motion.fps:g} fps, {motion.duration:.2f} s"),
        ("skeleton", f"{motion.skeleton.num_bodies} bodies, {_whose(motion, character, on_character)}"),
        ("travel", _travel(motion)),
        ("tags", ", ".join(motion.tags) or "none"),
    ]
    rows.append(("NaN frames", broken))
    factor = repair.detect_doubled_frames(motion)
    rows.append(("repeated", f"every frame {factor} times: really {motion.fps / factor:g} fps" if factor > 1 else "no"))
    if on_character:
        motion, _ = repair.repair(motion)
        motion = Motion(
            character.skeleton, motion.root_pos, motion.root_rot, motion.joint_rot, motion.fps, motion.name
        )
        height = repair.sole_height(motion, character)
        _, lift = repair.ground(motion, character)
        lowest, median = 100 * float(height.min()), 100 * float(height.median())
        rows.append(("soles", f"lowest {lowest:+.1f} cm, median {median:+.1f} cm"))
        rows.append(("floor", f"{100 * abs(lift):.1f} cm too {'low' if lift > 0 else 'high'}" if lift else "fits"))
        rows.append(("limits", _limits(motion, character)))
    return rows


def _whose(motion: Motion, character: CharacterModel, same: bool) -> str:
    if same:
        return f"those of '{character.name}'"
    missing = [name for name in character.skeleton.names if name not in motion.skeleton.names]
    return f"not '{character.name}' (it lacks {', '.join(missing[:4])}{' ...' if len(missing) > 4 else ''})"


def _travel(motion: Motion) -> str:
    steps = (motion.root_pos[1:, :2] - motion.root_pos[:-1, :2]).norm(dim=-1)
    way = float(steps.sum())
    straight = float((motion.root_pos[-1, :2] - motion.root_pos[0, :2]).norm())
    speed = way / motion.duration if motion.duration > 0 else 0.0
    return f"{way:.2f} m along the ground ({straight:.2f} m as the crow flies), {speed:.2f} m/s"


def _limits(motion: Motion, character: CharacterModel) -> str:
    dof = motion.dof_pos()
    low, high = character.skeleton.dof_limits.T
    over = torch.maximum(low - dof, dof - high).clamp(min=0.0)
    if float(over.max()) < 1e-3:
        return "kept"
    worst = int(over.amax(dim=0).argmax())
    share = 100 * float((over.amax(dim=1) > 1e-3).float().mean())
    return (
        f"exceeded in {share:.0f}% of the frames, most by {character.skeleton.dof_names[worst]} "
        f"({torch.rad2deg(over.max()):.1f} degrees)"
    )
