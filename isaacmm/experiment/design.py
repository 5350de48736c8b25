"""What an experiment consists of: factors, levels, cells and seeds."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from isaacmm import paths
from isaacmm.errors import ConfigError, nearest


@dataclass(frozen=True)
class Cell:
    """One combination of levels.

    Attributes:
        levels: factor -> level.
        words: what is added to the command line.
    """

    levels: Mapping[str, str]
    words: tuple[str, ...]

    @property
    def name(self) -> str:
        """E.g. ``matched-command-mul``."""
        return "-".join(self.levels.values())


@dataclass(frozen=True)
class Design:
    """An experiment as in ``cfg/experiment/<name>.yaml``.

    Attributes:
        name, title: for folders and figures.
        base: words of every run.
        factors: factor -> level -> words.
        presets: name -> factor -> levels it is narrowed to.
        seeds: how many per cell: 1, 2, ...
        samples: millions of samples per run.
    """

    name: str
    title: str
    base: tuple[str, ...]
    factors: Mapping[str, Mapping[str, tuple[str, ...]]]
    presets: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    seeds: int = 3
    samples: float = 1.0

    def cells(self, narrowed: Mapping[str, Sequence[str]] | None = None) -> list[Cell]:
        """All combinations, or those with only the given levels of some factors.

        Raises:
            ConfigError: an unknown factor or level.
        """
        narrowed = {factor: tuple(dict.fromkeys(levels)) for factor, levels in (narrowed or {}).items()}
        for factor, levels in narrowed.items():
            if factor not in self.factors:
                raise ConfigError(f"experiment '{self.name}' has no factor '{factor}'; {nearest(factor, self.factors)}")
            for level in levels:
                if level not in self.factors[factor]:
                    hint = nearest(level, self.factors[factor])
                    raise ConfigError(f"{factor}={level}: the factor has no such level; {hint}")
        chosen = [[(f, level) for level in narrowed.get(f, tuple(ls))] for f, ls in self.factors.items()]
        return [
            Cell(dict(combination), tuple(w for f, level in combination for w in self.factors[f][level]))
            for combination in itertools.product(*chosen)
        ]


def names() -> list[str]:
    """Experiments there are."""
    return sorted(path.stem for path in (paths.data_folder("cfg") / "experiment").glob("*.yaml"))


def load(name: str) -> Design:
    """By name, or from a yaml file of one's own.

    Raises:
        ConfigError: unknown, or not an experiment.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else paths.data_folder("cfg") / "experiment" / f"{name}.yaml"
    if not path.is_file():
        raise ConfigError(f"ablation={name}: there is no such experiment; {nearest(name, names())}")
    try:
        content: Any = OmegaConf.to_container(OmegaConf.load(path))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    try:
        made = Design(
            name=str(content["name"]),
            title=str(content.get("title", content["name"])),
            base=_words(content.get("base", ())),
            factors={
                str(f): {str(level): _words(words) for level, words in levels.items()}
                for f, levels in content["factors"].items()
            },
            presets={
                str(p): {str(f): tuple(str(v) for v in levels) for f, levels in narrowed.items()}
                for p, narrowed in dict(content.get("presets", {})).items()
            },
            seeds=int(content.get("seeds", 3)),
            samples=float(content.get("samples", 1.0)),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ConfigError(f"{path}: not an experiment ({error}); it needs name, base and factors") from None
    if not made.factors or not all(made.factors.values()):
        raise ConfigError(f"{path}: factors is empty, or one of them has no levels; there is nothing to compare")
    if made.seeds < 1 or not 0 < made.samples < math.inf:
        raise ConfigError(f"{path}: seeds is at least 1 and samples (millions per run) above 0")
    return made


def _words(given: Any) -> tuple[str, ...]:
    """Words of a command line; a single one need not be a list."""
    return (given,) if isinstance(given, str) else tuple(str(word) for word in given or ())
