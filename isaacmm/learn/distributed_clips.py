"""Clips shared out among processes, for collections that one of them cannot hold.

Averaging over processes weighs each of them alike, so each must hold clips of the same total weight: the clips are
poured into the processes one after the other like into glasses, and a clip that overflows one goes on in the next with
the rest of its weight. What all processes draw together is then what a single one with all clips would draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from isaacmm.errors import ConfigError
from isaacmm.learn.distributed import Place
from isaacmm.motion.library import MotionLibrary


def shares(weights: Sequence[float], count: int) -> list[dict[int, float]]:
    """Clip -> weight for each of ``count`` processes; every process gets the same total.

    Heavy clips are in several processes; all weights of a clip add up to what it had.
    """
    weight = torch.as_tensor(list(weights), dtype=torch.float64)
    weight = weight / weight.sum() * count
    end = weight.cumsum(0)
    begin = end - weight
    found = []
    for rank in range(count):
        part = (end.clamp(max=rank + 1) - begin.clamp(min=rank)).clamp(min=0.0)
        # what is left of a clip by rounding is no reason to hold it
        found.append({int(clip): float(part[clip]) for clip in (part > 1e-6).nonzero().flatten()})
    return found


def shard(library: MotionLibrary, env: dict[str, Any], task: str, place: Place) -> MotionLibrary:
    """This process's share of a library.

    Args:
        library: all clips.
        env: ``task.env``; a range of speeds that follows from the clips is settled here from all of them.
        task: its name.
        place: of this process.

    Raises:
        ConfigError: the task needs all clips in every process.
    """
    if task == "HumanoidMM":
        raise ConfigError(
            "shard_clips=True: the twins of HumanoidMM must be free to answer with any clip, and what they are asked "
            "is scaled by all clips; every process needs them all. It works with task=HumanoidAMP."
        )
    command = env.setdefault("command", {})
    if command.get("speed", "auto") == "auto":
        speed = library.mean_speed()
        command["speed"] = [float(speed.min()), float(speed.max())]
    own = shares(library.weights.tolist(), place.ranks)[place.rank]
    clips = [library.motions[clip] for clip in own]
    return MotionLibrary(clips, library.skeleton.to("cpu"), list(own.values()), library.end, library.device)
