"""The MuJoCo model that a character and a simulator's settings make. Shared by the MuJoCo engines."""

from __future__ import annotations

from collections.abc import Sequence

import mujoco

from isaacmm.character import CharacterModel
from isaacmm.errors import ConfigError, SimulatorError
from isaacmm.sim.simulator import SimConfig

_NET_FORCE = 3  # a contact sensor's reduction: sum over the contacts, in world axes


def contact_sensor(body: str) -> str:
    """Name of the sensor that measures the contact force of ``body``."""
    return f"isaacmm_contact_{body}"


def build_model(model: CharacterModel, config: SimConfig) -> mujoco.MjModel:
    """Compile the character's MJCF with the settings of ``config``.

    * ``timestep`` from ``physics_hz``.
    * Body geoms that collide at all meet the world's geoms, and each other only with
      ``self_collision``. MuJoCo itself leaves out parent-child pairs, and ``<exclude>`` pairs of the
      MJCF stay excluded.
    * With ``contact_force``, one contact sensor per body, in the skeleton's order: the net force of
      all its contacts in world axes. It costs 2 % of a step and has the same bits as the contact part
      of ``cfrc_ext``, which costs 6 %.

    Raises:
        ConfigError: the MJCF cannot be compiled.
    """
    try:
        spec = mujoco.MjSpec.from_file(str(model.mjcf))
        spec.option.timestep = 1.0 / config.physics_hz
        for geom in spec.geoms:
            if not (geom.contype or geom.conaffinity):
                continue
            in_world = geom.parent.name == "world"
            geom.contype = 1 if in_world or config.self_collision else 0
            geom.conaffinity = 0 if in_world else 1
        for body in model.skeleton.names if config.contact_force else ():
            spec.add_sensor(
                name=contact_sensor(body),
                type=mujoco.mjtSensor.mjSENS_CONTACT,
                objtype=mujoco.mjtObj.mjOBJ_BODY,
                objname=body,
                intprm=[1 << int(mujoco.mjtConDataField.mjCONDATA_FORCE), _NET_FORCE, 1],
            )
        return spec.compile()
    except ValueError as error:
        raise ConfigError(f"{model.mjcf}: MuJoCo cannot compile this model: {error}") from error


def run_of(ids: Sequence[int]) -> slice:
    """``ids`` as a slice, so that indexing makes views. A character's parts always follow each other.

    Raises:
        SimulatorError: they do not.
    """
    if list(ids) != list(range(ids[0], ids[0] + len(ids))):
        raise SimulatorError(f"the parts of the character do not follow each other in MuJoCo's arrays: {list(ids)}")
    return slice(ids[0], ids[0] + len(ids))
