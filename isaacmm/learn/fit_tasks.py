"""The tasks of the supervised loop by name. Their modules are imported only when asked for.

Each module offers ``make(cfg) -> FitTask``, with ``cfg`` the resolved configuration: ``cfg.task`` is its own section,
``cfg.motion`` and ``cfg.character`` say which clips and whose, ``cfg.seed`` and ``cfg.rl_device`` what they say.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from isaacmm.errors import ConfigError, nearest

if TYPE_CHECKING:  # the command line reads the names below, which must stay quick
    from omegaconf import DictConfig

    from isaacmm.learn.fit import FitTask

MODULES = {
    "MotionInbetween": "isaacmm.inbetween.task",
    "MotionVQVAE": "isaacmm.vqvae.task",
    "LearnedMM": "isaacmm.learned_matching.task",
}


def make(cfg: DictConfig) -> FitTask:
    """The task that ``cfg`` describes, its clips read.

    Raises:
        ConfigError: there is no such task.
        MotionError: clips that cannot be used.
    """
    name = str(cfg.task.name)
    if name not in MODULES:
        raise ConfigError(f"task={name}: is not learned from clips alone; {nearest(name, MODULES)}")
    found: FitTask = importlib.import_module(MODULES[name]).make(cfg)
    return found
