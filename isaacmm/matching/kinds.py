"""What kinds of motion clips hold, and how far they go: what one may reasonably command."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from isaacmm.matching.database import Database

#: Below this a character stands (m/s); above the other it runs (people change over at 1.9 to 2.1 m/s).
STANDING, RUNNING = 0.2, 2.0
#: A kind counts when a clip does it for this long in all (s).
SECONDS = 0.5
#: Share of a clip's moments at either end of a range that is left out as unusual.
UNUSUAL = 0.02


def tags(database: Database) -> list[set[str]]:
    """Tags of every clip: its own, or, for a clip without any, the kinds of motion that its ground track shows.

    Those are ``idle``, ``walk``, ``run``, ``side`` and ``back``, by speed and direction.
    """
    forward, left = database.velocity[:, 0], database.velocity[:, 1]
    speed = database.velocity.norm(dim=-1)
    sideways = left.abs() > forward.abs()
    going = speed >= STANDING
    kinds = {
        "idle": ~going,
        "side": going & sideways,
        "back": going & ~sideways & (forward < 0),
        "walk": going & ~sideways & (forward > 0) & (speed < RUNNING),
        "run": going & ~sideways & (forward > 0) & (speed >= RUNNING),
    }
    clip, clips = database.grid.clip, database.library.num_clips
    found: list[set[str]] = [set(own) for own in database.library.tags]
    bare = [i for i, own in enumerate(found) if not own]
    for kind, rows in kinds.items():
        seconds = torch.bincount(clip[rows], minlength=clips) / database.rate
        for i in bare:
            # of a clip shorter than that, most of it
            if float(seconds[i]) >= min(SECONDS, 0.5 * float(database.library.lengths[i])):
                found[i].add(kind)
    return found


def reach(database: Database, clips: Sequence[int]) -> Tensor:
    """Lowest and highest forward speed, speed to the left (m/s) and turn rate (rad/s) of some clips, ``[3, 2]``."""
    chosen = torch.zeros(database.library.num_clips, dtype=torch.bool, device=database.grid.clip.device)
    chosen[list(clips)] = True
    rows = chosen[database.grid.clip]
    values = torch.cat((database.velocity[rows], database.turn_rate[rows, None]), dim=1)
    ends = torch.tensor([UNUSUAL, 1.0 - UNUSUAL], device=values.device)
    return torch.stack([torch.quantile(column[:: len(column) // 1_000_000 + 1], ends) for column in values.T])
