"""From a word to a database: clips by name, file, folder or pattern."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omegaconf import OmegaConf

from isaacmm import paths
from isaacmm.character import CharacterModel
from isaacmm.matching.database import Database
from isaacmm.motion.library import MotionLibrary


def motion_section(word: str) -> dict[str, Any]:
    """The ``motion`` section that ``word`` means: a name of ``cfg/motion``, a clip, a folder, a glob, a yaml.

    Raises:
        ConfigError: nothing is there.
    """
    file = paths.data_folder("cfg") / "motion" / f"{word}.yaml"
    if not file.is_file():
        from isaacmm.cli.compose import motion_from_path

        return motion_from_path(word)
    section = OmegaConf.to_container(OmegaConf.load(file))
    assert isinstance(section, dict)
    for clip in section["clips"]:
        if isinstance(clip, dict) and str(clip["file"]).startswith("motions/"):
            clip["file"] = str(paths.data_folder("motions") / str(clip["file"]).removeprefix("motions/"))
    return {str(key): value for key, value in section.items()}


def open_database(
    motion: str = "full", character: str | Mapping[str, Any] = "humanoid", rate: float = 60.0
) -> Database:
    """Database of the clips that ``motion`` means, at ``rate`` rows per second; ``character`` as
    :meth:`CharacterModel.load` takes it.

    Raises:
        ConfigError, MotionError: nothing is there, or it cannot be used.
    """
    model = CharacterModel.load(character)
    return Database(MotionLibrary.from_config(motion_section(motion), model), model, rate)
