"""Which joint plays which role: maps in ``cfg/retarget/*.yaml``, chosen by the names that a skeleton has."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from isaacmm import paths
from isaacmm.errors import ConfigError, MotionError, nearest

SIDES = ("left", "right")
#: Without these nothing can be retargeted; arms and toes may be missing.
REQUIRED = ("pelvis", *(f"{s}_{part}" for s in SIDES for part in ("thigh", "shin", "foot")))
#: A bone whose body starts below its joint (robots: one body per hinge) names the body that is at the joint.
STARTS = {f"{s}_{bone}": f"{s}_{joint}" for s in SIDES for bone, joint in (("thigh", "hip"), ("upper_arm", "shoulder"))}
ROLES = (
    *REQUIRED, "chest", "head", *STARTS.values(),
    *(f"{s}_{part}" for s in SIDES for part in ("upper_arm", "lower_arm", "hand", "toe")),
)  # fmt: skip


@dataclass(frozen=True)
class RoleMap:
    """Names of joints by role.

    Attributes:
        name: of the file.
        roles: role -> names that may play it, the preferred one first.
        marks: groups of names; one of each group must be there (tells skeletons with alike names apart).
        read: options for the reader of such files, e.g. ``scale`` of a BVH.
    """

    name: str
    roles: Mapping[str, tuple[str, ...]]
    marks: tuple[tuple[str, ...], ...] = ()
    read: Mapping[str, Any] = field(default_factory=dict)

    def bind(self, names: Sequence[str]) -> dict[str, int]:
        """Role -> index of the joint, for the roles that ``names`` can fill."""
        plain = {bare(n): i for i, n in reversed(list(enumerate(names)))}
        found = {}
        for role, choices in self.roles.items():
            for choice in choices:
                if bare(choice) in plain:
                    found[role] = plain[bare(choice)]
                    break
        return found

    def fits(self, names: Sequence[str]) -> bool:
        """Whether ``names`` have the marks and all required roles."""
        plain = {bare(n) for n in names}
        bound = self.bind(names)
        return all(any(bare(n) in plain for n in group) for group in self.marks) and all(r in bound for r in REQUIRED)


def bare(name: str) -> str:
    """A name without its namespace: ``mixamorig:LeftArm`` and ``mixamorig4_LeftArm`` are ``LeftArm``."""
    return re.sub(r"^mixamorig\d*[_:]?", "", name.rsplit(":", 1)[-1].rsplit("|", 1)[-1])


def load_map(config: str | Path | Mapping[str, Any]) -> RoleMap:
    """A map from ``cfg/retarget/<name>.yaml``, a file, or a mapping.

    Raises:
        ConfigError: no such map, an unknown role, or a required one missing.
    """
    if not isinstance(config, Mapping):
        from omegaconf import OmegaConf

        file = Path(config)
        if file.suffix not in (".yaml", ".yml"):
            file = paths.data_folder("cfg") / "retarget" / f"{config}.yaml"
        if not file.is_file():
            known = [p.stem for p in sorted((paths.data_folder("cfg") / "retarget").glob("*.yaml"))]
            raise ConfigError(f"no joint map '{config}' in cfg/retarget; {nearest(str(config), known)}")
        loaded = OmegaConf.to_container(OmegaConf.load(file), resolve=True)
        if not isinstance(loaded, dict) or not isinstance(loaded.get("roles"), dict):
            raise ConfigError(f"{file}: a joint map has 'name' and 'roles: {{role: joint}}'")
        config = {"name": file.stem, **{str(k): v for k, v in loaded.items()}}
    name = str(config["name"])
    for role in config["roles"]:
        if role not in ROLES:
            raise ConfigError(f"joint map '{name}': unknown role '{role}'; {nearest(str(role), ROLES)}")
    missing = [role for role in REQUIRED if role not in config["roles"]]
    if missing:
        raise ConfigError(f"joint map '{name}': no joint is given for {', '.join(missing)}")

    def split(value: str) -> tuple[str, ...]:
        return tuple(part.strip() for part in str(value).split("|"))

    return RoleMap(
        name,
        {str(role): split(value) for role, value in config["roles"].items()},
        tuple(split(mark) for mark in config.get("marks", ())),
        dict(config.get("read", {})),
    )


@lru_cache(maxsize=1)
def role_maps() -> tuple[RoleMap, ...]:
    """All maps of ``cfg/retarget``, in order of their names."""
    return tuple(load_map(p) for p in sorted((paths.data_folder("cfg") / "retarget").glob("*.yaml")))


def detect(names: Sequence[str]) -> RoleMap:
    """The map whose names are in ``names``; of several, the one with more marks, then more roles.

    Raises:
        MotionError: none fits; the message says which one comes nearest and what it misses.
    """
    fitting = [m for m in role_maps() if m.fits(names)]
    if fitting:
        return max(fitting, key=lambda m: (len(m.marks), len(m.bind(names))))
    best = max(role_maps(), key=lambda m: sum(r in m.bind(names) for r in REQUIRED))
    missing = [" or ".join(best.roles[r]) for r in REQUIRED if r not in best.bind(names)]
    raise MotionError(
        f"no joint map fits this skeleton ({', '.join(names[:5])}, ...). The nearest is '{best.name}', which misses "
        f"{', '.join(missing[:4]) or 'its marks'}. Write one: copy cfg/retarget/{best.name}.yaml, put in your names, "
        "and give it as --map FILE."
    )
