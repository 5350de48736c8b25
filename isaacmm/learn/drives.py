"""The drives a policy was trained with, kept in its checkpoint: weights mean nothing with others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from isaacmm.character import CharacterModel
from isaacmm.errors import ConfigError

_NAMES = ("kp", "kd", "effort")


def describe(character: CharacterModel) -> dict[str, Any]:
    """Stiffness, damping and torque limit per hinge, as a checkpoint keeps them."""
    return {"name": character.name, **{name: getattr(character, name).cpu().clone() for name in _NAMES}}


def difference(content: Mapping[str, Any]) -> str | None:
    """One sentence when a checkpoint's drives are not those of today's character file, else ``None``."""
    kept = content.get("drives")
    if kept is None:
        return None
    try:
        now = CharacterModel.load(content["config"]["character"])
    except (ConfigError, KeyError):
        return None  # the character is looked for, and missed, with a better message elsewhere
    for name in _NAMES:
        there, here = kept[name], getattr(now, name)
        if there.shape != here.shape or not bool((there.cpu() == here.cpu()).all()):
            return (
                f"the policy was trained with another {name} than {now.mjcf.name} has now; it will move "
                "differently, if it walks at all. Put the old drives back, or train again"
            )
    return None
