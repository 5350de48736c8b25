"""HumanoidMM for people who have Isaac Lab already: importing this registers it with gymnasium.

    import gymnasium as gym
    import isaacmm.isaaclab_task                       # `isaaclab train` finds it by itself
    from isaacmm.isaaclab_task.cfg import HumanoidMMEnvCfg

    env = gym.make("Isaacmm-HumanoidMM-v0", cfg=HumanoidMMEnvCfg())

Registering imports neither Isaac Lab nor torch; making an environment needs Isaac Lab 3 (docs/simulators.md).
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym

#: Environment id -> name of its configuration in :mod:`isaacmm.isaaclab_task.cfg`.
TASKS = {
    "Isaacmm-HumanoidMM-v0": "HumanoidMMEnvCfg",  # Newton
    "Isaacmm-HumanoidMM-PhysX-v0": "HumanoidMMPhysxEnvCfg",
}


def make(**kwargs: Any) -> Any:
    """What gymnasium calls: the environment, or one sentence that says what is missing.

    Raises:
        SimulatorError: Isaac Lab is not here, or not one that fits.
    """
    from isaacmm.errors import SimulatorError
    from isaacmm.sim import isaaclab_setup

    reason = isaaclab_setup.unavailable()
    if reason is not None:
        raise SimulatorError(f"HumanoidMM as an Isaac Lab task cannot be made here: {reason}")
    from isaacmm.isaaclab_task import cfg, env

    asked = str(kwargs.get("env_cfg_entry_point", "")).rpartition(":")[2]
    kwargs["cfg"] = kwargs.get("cfg") or getattr(cfg, asked or "HumanoidMMEnvCfg")()
    return env.HumanoidMMEnv(**kwargs)


for _id, _cfg in TASKS.items():
    if _id not in gym.registry:
        gym.register(
            id=_id,
            entry_point=f"{__name__}:make",
            disable_env_checker=True,
            kwargs={
                "env_cfg_entry_point": f"{__name__}.cfg:{_cfg}",
                "rsl_rl_cfg_entry_point": f"{__name__}.agents:HumanoidMMPPORunnerCfg",
                "rl_games_cfg_entry_point": f"{__name__}:rl_games.yaml",
                "default_agent": "rsl_rl",
            },
        )
