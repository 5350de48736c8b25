"""Configurations of the Isaac Lab task. Importing this imports Isaac Lab."""

from __future__ import annotations

from dataclasses import field
from typing import Any

from isaaclab.envs import DirectRLEnvCfg
from isaaclab.utils import configclass
from omegaconf import DictConfig

from isaacmm.character import CharacterModel
from isaacmm.cli.compose import compose
from isaacmm.sim import isaaclab_scene as scenes
from isaacmm.sim import isaaclab_setup as setup
from isaacmm.sim.model import build_model
from isaacmm.sim.simulator import SimConfig


@configclass
class HumanoidMMEnvCfg(DirectRLEnvCfg):
    """HumanoidMM on Newton. ``scene.num_envs``, ``sim.device`` and ``seed`` are Isaac Lab's own settings.

    Attributes:
        physics: ``newton``, ``ovphysx`` or ``physx``.
        words: anything else as on isaacmm's command line: ``["motion=walk_turn", "task.env.reference=observe"]``.
    """

    physics: str = "newton"
    words: list[str] = field(default_factory=list)
    decimation: int = 4
    episode_length_s: float = 10.0
    observation_space: Any = 1  # what they really are is known when the environment is made
    action_space: Any = 1
    seed: int | None = 42

    def __post_init__(self) -> None:
        setup.prepare(self.physics, "cpu")
        cfg = self.compose()
        config, character = sim_config(cfg, 64, self.physics), CharacterModel.load(plain(cfg)["character"])
        mj_model = build_model(character, config)
        self.decimation = config.substeps
        self.episode_length_s = float(cfg.task.env.episode_seconds)
        self.sim = scenes.sim_cfg(mj_model, config, self.physics, str(cfg.sim_device))
        self.scene = scenes.scene_cfg(mj_model, character, config, self.physics)

    def compose(self, *more: str) -> DictConfig:
        """isaacmm's configuration of this task; later words win."""
        return compose(["task=HumanoidMM", "sim=isaaclab", f"physics={self.physics}", *self.words, *more])[0]


@configclass
class HumanoidMMPhysxEnvCfg(HumanoidMMEnvCfg):
    """The same on PhysX, without Isaac Sim."""

    physics: str = "ovphysx"


def sim_config(cfg: DictConfig, num_envs: int, physics: str) -> SimConfig:
    """The simulator's settings in a composed configuration."""
    env = cfg.task.env
    return SimConfig(
        num_envs=num_envs,
        control_hz=int(env.control_hz),
        physics_hz=int(env.physics_hz),
        device=str(cfg.sim_device),
        self_collision=bool(env.get("self_collision", False)),
        contact_force=False,
        nconmax=int(cfg.nconmax),
        njmax=int(cfg.njmax),
        physics=physics,
    )


def plain(cfg: DictConfig) -> dict[str, Any]:
    """``cfg`` as plain dictionaries."""
    from omegaconf import OmegaConf

    container = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}
