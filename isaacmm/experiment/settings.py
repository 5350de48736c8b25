"""Whether a run that is there was made as it would be made now: an experiment that goes on must not mix two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from isaacmm.cli import keys, runs

#: What a run learns, and from what. Keys of the machine, of exports and of names are left out.
SECTIONS = ("task.", "train.", "motion.", "character.")
WHOLE = ("num_envs", "sim")
#: Parts of these that say where or how fast, not what.
IGNORED = ("torch_threads", "full_experiment_name", "seed", "load_path", "load_checkpoint", "device", "multi_gpu")
#: Differences that are named.
NAMED = 3


def changed(folder: Path, cfg: DictConfig) -> str:
    """What differs between the configuration of the run in ``folder`` and ``cfg``, in words; empty: nothing.

    Keys that only one of them has are no difference: the run may be older than a key.
    """
    path = folder / runs.CONFIG_FILE
    if not path.is_file():
        return ""
    try:
        saved = OmegaConf.load(path)
    except (OSError, yaml.YAMLError, OmegaConfBaseException):
        return f"{path.name} cannot be read"
    if not isinstance(saved, DictConfig):
        return f"{path.name} cannot be read"
    had, wanted = _told(saved), _told(cfg)
    found = [f"{key}={had[key]}, not {wanted[key]}" for key in wanted if key in had and had[key] != wanted[key]]
    more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return "; ".join(found[:NAMED]) + more


def _told(cfg: DictConfig) -> dict[str, str]:
    plain = OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))
    assert isinstance(plain, DictConfig)
    found = {key: value for key, value in keys.leaves(plain).items() if key.startswith(SECTIONS) or key in WHOLE}
    return {key: _shown(key, value) for key, value in found.items() if key.rsplit(".", 1)[-1] not in IGNORED}


def _shown(key: str, value: Any) -> str:
    if key == "motion.clips":  # the same clips may lie in another checkout
        clips = [clip if not isinstance(clip, str) else {"file": clip} for clip in value]
        return ", ".join(f"{Path(str(clip.get('file'))).name} x {float(clip.get('weight', 1.0)):g}" for clip in clips)
    return keys.show(value)
