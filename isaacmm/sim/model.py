"""The MuJoCo model that a character and a simulator's settings make. Shared by the MuJoCo engines."""

from __future__ import annotations

import mujoco

from isaacmm.character import CharacterModel
from isaacmm.errors import ConfigError
from isaacmm.sim.simulator import SimConfig


def build_model(model: CharacterModel, config: SimConfig) -> mujoco.MjModel:
    """Compile the character's MJCF with the settings of ``config``.

    * ``timestep`` from ``physics_hz``.
    * Body geoms that collide at all meet the world's geoms, and each other only with
      ``self_collision``. MuJoCo itself leaves out parent-child pairs, and ``<exclude>`` pairs of the
      MJCF stay excluded.
    * With ``contact_force``, one accelerometer-like sensor: it is what makes MuJoCo compute
      ``cfrc_ext``, the external force on every body.

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
        if config.contact_force:
            spec.add_sensor(
                name="isaacmm_contact",
                type=mujoco.mjtSensor.mjSENS_FRAMELINACC,
                objtype=mujoco.mjtObj.mjOBJ_BODY,
                objname=model.skeleton.names[0],
            )
        return spec.compile()
    except ValueError as error:
        raise ConfigError(f"{model.mjcf}: MuJoCo cannot compile this model: {error}") from error
