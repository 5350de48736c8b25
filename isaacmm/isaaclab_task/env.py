"""HumanoidMM as an Isaac Lab ``DirectRLEnv``. Importing this imports Isaac Lab."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from isaaclab.envs import DirectRLEnv
from torch import Tensor

from isaacmm.character import CharacterModel
from isaacmm.envs.humanoid_mm import HumanoidMM
from isaacmm.isaaclab_task.cfg import HumanoidMMEnvCfg, plain, sim_config
from isaacmm.motion.library import MotionLibrary
from isaacmm.sim.isaaclab import IsaacLabSimulator
from isaacmm.sim.isaaclab_scene import Stage


class HumanoidMMEnv(DirectRLEnv):
    """Isaac Lab steps its own simulation and scene; isaacmm says what is commanded, seen, rewarded and started from.

    ``step`` returns ``{"policy": obs [N, O]}``, the *task* reward ``[N]``, ``terminated``, ``truncated`` and extras.
    Worlds reset themselves in the step in which they end, and what they ended with is in the extras:
    ``final_obs {"policy": [N, O]}``, ``amp_obs [N, H*F]`` (what the discriminator sees, newest frame first),
    ``condition [N, K]`` and ``reference [N]`` (what it is told of the command, and which clip row answers it),
    ``diverged [N]``, and ``log`` with means of the reward's terms. ``motion.demo_obs(n)`` and
    ``motion.paired_demos(...)`` give what a discriminator shall call real. With the task reward alone a policy moves
    as told, but not like a person.

    Args:
        cfg: settings; None: the default ones.
        render_mode: as in Isaac Lab.

    Attributes:
        motion: the :class:`isaacmm.envs.humanoid_mm.HumanoidMM` inside.
    """

    cfg: HumanoidMMEnvCfg

    def __init__(self, cfg: HumanoidMMEnvCfg | None = None, render_mode: str | None = None, **kwargs: Any) -> None:
        super().__init__(cfg or HumanoidMMEnvCfg(), render_mode, **kwargs)

    def _configure_gym_env_spaces(self) -> None:
        """Isaac Lab calls this when physics runs: the first moment at which our side can be made."""
        device, n = str(self.device), self.num_envs
        own = self.cfg.compose(f"num_envs={n}", f"sim_device={device}", f"rl_device={device}")
        settings = plain(own)
        character = CharacterModel.load(settings["character"])
        config = sim_config(own, n, self.cfg.physics)
        stage = Stage(self.sim, self.scene, character, self.cfg.physics)
        self.simulator = IsaacLabSimulator(character, config, stage)
        library = MotionLibrary.from_config(settings["motion"], character, device)
        seed = int(self.cfg.seed if self.cfg.seed is not None else own.seed)
        self.motion = HumanoidMM(settings["task"]["env"], self.simulator, library, character, seed, device)
        self.cfg.observation_space = self.motion.observation_size
        self.cfg.action_space = self.motion.single_action_space
        self._started = torch.zeros(n, dtype=torch.bool, device=self.device)  # worlds that judge() has reset already
        self._reward = torch.zeros(n, device=self.device)
        super()._configure_gym_env_spaces()

    # --- what Isaac Lab asks for, in the order in which it asks
    def _pre_physics_step(self, actions: Tensor) -> None:
        self.simulator.aim(self.motion.targets(actions))

    def _apply_action(self) -> None:
        """Targets hold for the whole control step."""

    def _get_dones(self) -> tuple[Tensor, Tensor]:
        self.simulator.arrive()
        self.motion.steps.copy_(self.episode_length_buf - 1)  # which a runner may have set; judge() counts this step
        _, self._reward, terminated, truncated, info = self.motion.judge()
        terms = info.pop("reward_terms")
        self._started = terminated | truncated
        info["final_obs"] = {"policy": info["final_obs"]}
        self.extras.update(info, log={f"reward/{name}": term.mean() for name, term in terms.items()})
        return terminated, truncated

    def _get_rewards(self) -> Tensor:
        return self._reward

    def _reset_envs_from_buffer(self) -> Tensor | None:
        final = self.extras["final_obs"]
        ids: Tensor | None = super()._reset_envs_from_buffer()
        self.extras["final_obs"] = final  # with compute_final_obs it would be that of the new episode
        return ids

    def _reset_idx(self, env_ids: Sequence[int] | Tensor) -> None:
        super()._reset_idx(env_ids)
        ids = torch.as_tensor(env_ids, device=self.device).long()
        waiting = ids[~self._started[ids]]
        self._started[ids] = False
        if len(waiting):
            self.motion._reset(waiting)

    def _get_observations(self) -> dict[str, Tensor]:
        return {"policy": self.motion.current_observation()}

    def seed(self, seed: int = -1) -> int:
        """Isaac Lab's generators, and ours."""
        used: int = super().seed(seed)
        if hasattr(self, "motion"):
            self.motion.generator.manual_seed(used)
        return used

    def close(self) -> None:
        """End the simulation."""
        if not self._is_closed and hasattr(self, "simulator"):
            self.simulator.close("its environment was closed")
        super().close()
