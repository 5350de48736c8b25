"""CharacterModel: everything the project knows of a character, parsed once from its MJCF.

Another character is a config (``cfg/character/*.yaml``), not code: nothing else in the package
knows a body or joint by number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from isaacmm import paths
from isaacmm.errors import ConfigError, nearest
from isaacmm.skeleton import Skeleton


@dataclass(frozen=True, eq=False)
class CharacterModel:
    """A simulated character.

    Attributes:
        name: of its config.
        mjcf: path of the MJCF file.
        skeleton: bodies and hinges.
        kp, kd, effort, armature: ``[D]`` N m/rad, N m s/rad, N m, kg m^2. ``kd`` is the joint's damping
            and ``effort`` the servo's force limit, both as the MJCF has them.
        body_mass: ``[B]`` kg.
        feet, key_bodies, head: body names with a role (contacts, observation, fall detection).
        sole: ``[F, C, 3]`` m, lowest points of each foot in the foot's frame.
    """

    name: str
    mjcf: Path
    skeleton: Skeleton
    kp: Tensor
    kd: Tensor
    effort: Tensor
    armature: Tensor
    body_mass: Tensor
    feet: tuple[str, ...]
    key_bodies: tuple[str, ...]
    head: str
    sole: Tensor

    @property
    def foot_ids(self) -> list[int]:
        """Body indices of the feet."""
        return [self.skeleton.body(name) for name in self.feet]

    @property
    def key_ids(self) -> list[int]:
        """Body indices of the key bodies."""
        return [self.skeleton.body(name) for name in self.key_bodies]

    @property
    def head_id(self) -> int:
        """Body index of the head."""
        return self.skeleton.body(self.head)

    def to(self, device: torch.device | str) -> CharacterModel:
        """The same model with its tensors on ``device``."""
        tensors = {n: getattr(self, n).to(device) for n in ("kp", "kd", "effort", "armature", "body_mass", "sole")}
        return replace(self, skeleton=self.skeleton.to(device), **tensors)

    def sole_points(self, body_pos: Tensor, body_rot: Tensor) -> Tensor:
        """World positions of the sole points ``[..., F, C, 3]`` from ``body_pos [..., B, 3]``."""
        from isaacmm import rotation

        feet = self.foot_ids
        return body_pos[..., feet, None, :] + rotation.rotate(
            body_rot[..., feet, None, :], self.sole.to(body_pos)
        )

    @classmethod
    def load(cls, config: str | Mapping[str, Any] = "humanoid") -> CharacterModel:
        """From a config mapping, or the name of a file in ``cfg/character``.

        Raises:
            ConfigError: unknown name, missing MJCF, or a role given to a body that does not exist.
        """
        if isinstance(config, str):
            from omegaconf import OmegaConf

            folder = paths.data_folder("cfg") / "character"
            file = folder / f"{config}.yaml"
            if not file.exists():
                names = [p.stem for p in sorted(folder.glob("*.yaml"))]
                raise ConfigError(f"no character '{config}' in cfg/character; {nearest(config, names)}")
            loaded = OmegaConf.to_container(OmegaConf.load(file), resolve=True)
            assert isinstance(loaded, dict)
            config = {str(k): v for k, v in loaded.items()}
        path = paths.resolve(str(config["mjcf"]))
        if not path.exists():
            raise ConfigError(f"character '{config.get('name')}': its MJCF file {path} does not exist")
        return cls._parse(path, config)

    @classmethod
    def _parse(cls, path: Path, config: Mapping[str, Any]) -> CharacterModel:
        import mujoco

        try:
            m = mujoco.MjModel.from_xml_path(str(path))
        except ValueError as error:
            raise ConfigError(f"{path}: MuJoCo cannot read this model: {error}") from error
        skeleton = Skeleton.from_mujoco(m, source=str(path))
        name = str(config.get("name", path.stem))
        for role in ("feet", "key_bodies"):
            for body in config[role]:
                if body not in skeleton.names:
                    raise ConfigError(f"character '{name}', {role}: no body '{body}'; {nearest(body, skeleton.names)}")
        kp, kd, effort, armature = [], [], [], []
        actuators = {int(m.actuator_trnid[a, 0]): a for a in range(m.nu)}
        for dof in skeleton.dof_names:
            joint = m.joint(dof).id
            address = int(m.jnt_dofadr[joint])
            actuator = actuators.get(joint)
            if actuator is None:
                raise ConfigError(f"{path}: joint '{dof}' has no actuator; give every joint a <position> actuator")
            kp.append(float(m.actuator_gainprm[actuator, 0]))
            kd.append(float(m.dof_damping[address]))
            limited = bool(m.actuator_forcelimited[actuator])
            effort.append(float(m.actuator_forcerange[actuator, 1]) if limited else float("inf"))
            armature.append(float(m.dof_armature[address]))
        ids = [m.body(n).id for n in skeleton.names]
        return cls(
            name=name,
            mjcf=path,
            skeleton=skeleton,
            kp=torch.tensor(kp),
            kd=torch.tensor(kd),
            effort=torch.tensor(effort),
            armature=torch.tensor(armature),
            body_mass=torch.as_tensor(m.body_mass[ids], dtype=torch.float32),
            feet=tuple(config["feet"]),
            key_bodies=tuple(config["key_bodies"]),
            head=str(config["head"]),
            sole=torch.stack([_sole(m, m.body(n).id) for n in config["feet"]]),
        )


def _sole(m: Any, body: int) -> Tensor:
    """Lowest points of a foot in its own frame: box corners, or the bottoms of spheres and capsule ends."""
    import mujoco
    import numpy as np

    points = []
    for g in range(m.ngeom):
        if m.geom_bodyid[g] != body or not (m.geom_contype[g] or m.geom_conaffinity[g]):
            continue
        size, centre = m.geom_size[g], m.geom_pos[g]
        flat = np.zeros(9)
        mujoco.mju_quat2Mat(flat, m.geom_quat[g])
        turn = flat.reshape(3, 3)
        if m.geom_type[g] == mujoco.mjtGeom.mjGEOM_BOX:
            corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * size
            corners = corners @ turn.T + centre
            points.extend(corners[np.argsort(corners[:, 2])[:4]])
        elif m.geom_type[g] == mujoco.mjtGeom.mjGEOM_CAPSULE:
            for end in (-1, 1):
                points.append(centre + turn[:, 2] * size[1] * end - np.array([0, 0, size[0]]))
        else:
            points.append(centre - np.array([0, 0, size[0]]))
    if not points:
        points.append(np.zeros(3))
    return torch.as_tensor(np.array(points), dtype=torch.float32)
