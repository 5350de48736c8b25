"""Settings of rsl-rl for the Isaac Lab task: plain PPO on the task reward. Importing this imports Isaac Lab.

isaacmm's own ``cpu`` preset, as far as rsl-rl has the same knobs. A discriminator is not among them: this moves as it
is told, however it likes to. ``python launch.py task=HumanoidMM sim=isaaclab`` trains with one.
"""

from __future__ import annotations

import torch
from isaaclab.utils import configclass
from isaaclab_rl.rsl_rl import RslRlMLPModelCfg, RslRlOnPolicyRunnerCfg, RslRlPpoAlgorithmCfg


@configclass
class HumanoidMMPPORunnerCfg(RslRlOnPolicyRunnerCfg):
    """PPO with rsl-rl."""

    device = "cuda:0" if torch.cuda.is_available() else "cpu"
    num_steps_per_env = 32
    max_iterations = 400
    save_interval = 100
    experiment_name = "isaacmm_humanoid_mm"
    actor = RslRlMLPModelCfg(
        hidden_dims=[512, 256],
        activation="relu",
        obs_normalization=True,
        distribution_cfg=RslRlMLPModelCfg.GaussianDistributionCfg(init_std=0.15),
    )
    critic = RslRlMLPModelCfg(hidden_dims=[512, 256], activation="relu", obs_normalization=True)
    algorithm = RslRlPpoAlgorithmCfg(
        value_loss_coef=1.0,
        use_clipped_value_loss=True,
        clip_param=0.2,
        entropy_coef=0.0,
        num_learning_epochs=4,
        num_mini_batches=4,
        learning_rate=1.0e-4,
        schedule="adaptive",
        gamma=0.99,
        lam=0.95,
        desired_kl=0.03,
        max_grad_norm=1.0,
    )
