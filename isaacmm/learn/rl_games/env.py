"""Our environment as rl-games wants to see one."""

from __future__ import annotations

from typing import Any

from rl_games.common import env_configurations, vecenv
from rl_games.common.ivecenv import IVecEnv
from torch import Tensor

from isaacmm.envs.humanoid_amp import HumanoidAMP

NAME = "isaacmm"


class AMPVecEnv(IVecEnv):
    """Adapter; the agent reaches everything else through :attr:`env`."""

    def __init__(self, env: HumanoidAMP) -> None:
        self.env = env

    def step(self, actions: Tensor) -> tuple[Tensor, Tensor, Tensor, dict[str, Any]]:
        """rl-games' four values: time-outs are in ``info['time_outs']``."""
        obs, reward, terminated, truncated, info = self.env.step(actions)
        info["time_outs"] = truncated
        return obs, reward, terminated | truncated, info

    def reset(self) -> Tensor:
        """First observation."""
        return self.env.reset()[0]

    def get_env_info(self) -> dict[str, Any]:
        """Spaces."""
        return {
            "observation_space": self.env.single_observation_space,
            "action_space": self.env.single_action_space,
            "amp_observation_space": self.env.amp_observation_space,
            "agents": 1,
            "value_size": 1,
        }


def register(env: HumanoidAMP) -> None:
    """Make rl-games build exactly this environment when it asks for ``isaacmm``."""
    vecenv.register("ISAACMM", lambda config_name, num_actors, **kwargs: AMPVecEnv(env))
    env_configurations.register(NAME, {"vecenv_type": "ISAACMM", "env_creator": lambda **kwargs: env})


__all__ = ["NAME", "AMPVecEnv", "register"]
