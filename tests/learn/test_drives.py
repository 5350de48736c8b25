"""A checkpoint remembers the drives it was trained with."""

from __future__ import annotations

from isaacmm.character import CharacterModel
from isaacmm.learn import drives

CONFIG = {"config": {"character": "humanoid"}}


def test_same_drives_say_nothing() -> None:
    assert drives.difference({"drives": drives.describe(CharacterModel.load()), **CONFIG}) is None


def test_other_drives_are_named() -> None:
    kept = drives.describe(CharacterModel.load())
    kept["kp"] = kept["kp"] * 2
    message = drives.difference({"drives": kept, **CONFIG})
    assert message is not None and "another kp than humanoid.xml" in message


def test_checkpoints_without_drives_are_taken_as_they_are() -> None:
    assert drives.difference(CONFIG) is None
