"""Which clips a model learns from and which it is judged by."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatch

import torch

from isaacmm.errors import ConfigError

_MIRROR = re.compile(r"[_\-. ]?(mirror(ed)?|flip(ped)?)$", re.IGNORECASE)
_SIDE = re.compile(r"(?<![a-z])(left|right)(?![a-z])", re.IGNORECASE)


def family(name: str) -> str:
    """What a clip and its mirror image have in common: the name without side and mark of reflection.

    >>> family("walk_1.0_left_0.50") == family("walk_1.0_right_0.50_mirrored")
    True
    """
    return _SIDE.sub("side", _MIRROR.sub("", name)).lower()


def split_clips(names: Sequence[str], share: float | str, seed: int) -> tuple[list[int], list[int]]:
    """Hold whole clips back, never windows of a clip that is learned from.

    A clip and its mirror image (``walk_left`` and ``walk_right``, ``walk`` and ``walk_mirrored``) stay on one
    side: what differs by a reflection only would otherwise be judged by what was learned by heart.

    Args:
        names: of the clips; the order does not matter for who is held out, only names and seed do.
        share: of the clips to hold out, in ``[0, 1)``; with two or more families at least one is, if ``share > 0``.
            Or a pattern of names, such as ``*subject5*``: then the clips it fits are held out, and no others.
        seed: draws which.

    Returns:
        Indices to learn from and indices held out, both ascending. A single family leaves nothing to hold out:
        the second list is empty, and what is measured must say that it is measured on what was learned.

    Raises:
        ConfigError: an impossible share, a pattern that fits no clip or all, or no clips.
    """
    if not names:
        raise ConfigError("there are no clips to learn from")
    if isinstance(share, str):
        return _by_name(names, share)
    if not 0.0 <= share < 1.0:
        raise ConfigError(f"held_out={share:g}: is the share of clips kept for judging, from 0 to below 1")
    families: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        families.setdefault(family(name), []).append(index)
    keys = sorted(families)
    order = torch.randperm(len(keys), generator=torch.Generator().manual_seed(seed)).tolist()
    wanted = share * len(names)
    held: list[int] = []
    for k in order[: len(keys) - 1]:  # one family always remains to learn from
        members = families[keys[k]]
        # take the family if that comes closer to the share than leaving it, or if nothing is held out yet
        if wanted and (not held or abs(len(held) + len(members) - wanted) < abs(len(held) - wanted)):
            held.extend(members)
        if len(held) >= wanted:
            break
    chosen = set(held)
    return [i for i in range(len(names)) if i not in chosen], sorted(chosen)


def _by_name(names: Sequence[str], pattern: str) -> tuple[list[int], list[int]]:
    held = [i for i, name in enumerate(names) if fnmatch(name, pattern)]
    if not held or len(held) == len(names):
        raise ConfigError(
            f"held_out={pattern}: fits {'all' if held else 'none'} of the {len(names)} clips "
            f"({', '.join(names[:4])}, ...); give a pattern that fits some, or a share from 0 to below 1"
        )
    return [i for i in range(len(names)) if i not in set(held)], held
