"""From a configuration to the things it describes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from isaacmm.amp.reward import RewardCombiner
from isaacmm.amp.trainer import StyleConfig
from isaacmm.character import CharacterModel
from isaacmm.envs.humanoid_amp import HumanoidAMP
from isaacmm.envs.humanoid_mm import HumanoidMM
from isaacmm.learn import distributed, distributed_clips
from isaacmm.motion.library import MotionLibrary
from isaacmm.sim import make_simulator


def make_env(cfg: DictConfig, num_envs: int | None = None, contact_force: bool = False) -> HumanoidAMP:
    """Character, clips, simulator and environment of a composed configuration."""
    plain = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(plain, dict)
    env = plain["task"]["env"]
    # MuJoCo computes on the CPU and puts its state wherever learning wants it; other engines keep theirs where it is
    device = str(cfg.rl_device if str(cfg.sim) == "mujoco" else cfg.sim_device)
    character = CharacterModel.load(plain["character"])
    library = MotionLibrary.from_config(plain["motion"], character, device)
    place = distributed.current().place
    if plain.get("shard_clips") and place.ranks > 1:
        library = distributed_clips.shard(library, env, str(plain["task"]["name"]), place)
    simulator = make_simulator(
        str(cfg.sim),
        character,
        {
            "num_envs": int(num_envs or cfg.num_envs),
            "control_hz": int(env["control_hz"]),
            "physics_hz": int(env["physics_hz"]),
            "threads": int(plain.get("threads") or 0),
            "device": device,
            "self_collision": bool(env.get("self_collision", False)),
            "contact_force": contact_force,
            "nconmax": int(plain.get("nconmax") or 0),
            "njmax": int(plain.get("njmax") or 0),
            "physics": str(plain.get("physics") or "") if str(cfg.sim) == "isaaclab" else "",
        },
    )
    task = HumanoidMM if str(plain["task"]["name"]) == "HumanoidMM" else HumanoidAMP
    return task(env, simulator, library, character, int(cfg.seed), device)


def style_config(params: Mapping[str, Any]) -> StyleConfig:
    """Discriminator settings from training parameters (their names are the classic AMP config's)."""
    c = params["config"]
    rate = c.get("disc_learning_rate") or c["learning_rate"]
    batches = -(-int(c["num_actors"]) * int(c["horizon_length"]) // int(c["minibatch_size"]))
    return StyleConfig(
        loss=str(c.get("disc_loss", "bce")),
        coef=float(c["disc_coef"]),
        gradient_penalty=float(c["disc_grad_penalty"]),
        logit_reg=float(c["disc_logit_reg"]),
        weight_decay=float(c["disc_weight_decay"]),
        learning_rate=float(rate),
        reward_scale=float(c["disc_reward_scale"]),
        # the classic recipe takes one discriminator step with every minibatch of the policy
        updates=int(c.get("disc_updates") or batches * int(c["mini_epochs"])),
        batch=int(c["amp_minibatch_size"]),
        replay=int(c["amp_replay_buffer_size"]),
        demo_buffer=int(c["amp_obs_demo_buffer_size"]),
        demo_fetch=int(c["amp_batch_size"]),
        replay_keep=float(c["amp_replay_keep_prob"]),
        normalize=bool(c["normalize_amp_input"]),
        normalizer=str(c.get("amp_normalizer", "running")),
        units=tuple(int(u) for u in params["network"]["disc"]["units"]),
        conditioning=str(c.get("disc_cond", "none")),
        mismatch=float(c.get("disc_mismatch", 0.0)),
    )


def combiner(params: Mapping[str, Any]) -> RewardCombiner:
    """How task and style become one reward."""
    c = params["config"]
    scale = float(c["disc_reward_scale"])
    # the reward of a discriminator that cannot tell: what a perfect imitation earns
    even = scale * (0.75 if c.get("disc_loss") == "lsgan" else float(torch.log(torch.tensor(2.0))))
    return RewardCombiner(
        str(c["reward_combine"]),
        float(c["task_reward_w"]),
        float(c["disc_reward_w"]),
        style_scale=float(c.get("geo_style_scale") or even),
        floor_start=float(c.get("geo_floor_start", 0.3)),
        floor_end=float(c.get("geo_floor_end", 0.05)),
    )
