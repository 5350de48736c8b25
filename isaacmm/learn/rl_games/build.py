"""An AMPAgent from a configuration."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from omegaconf import DictConfig, OmegaConf
from rl_games.common import a2c_common, tr_helpers
from rl_games.common.algo_observer import AlgoObserver

from isaacmm.amp.trainer import StyleTrainer
from isaacmm.envs.humanoid_amp import HumanoidAMP
from isaacmm.envs.humanoid_mm import HumanoidMM
from isaacmm.learn import build, distributed, distributed_launch
from isaacmm.learn.allocator import keep_freed_memory
from isaacmm.learn.rl_games import env as env_adapter
from isaacmm.learn.rl_games import network
from isaacmm.learn.rl_games.agent import AMPAgent
from isaacmm.learn.rl_games.distributed import DistributedAgent

log = logging.getLogger(__name__)


class _NoSummaries:
    """Instead of rl-games' own summary writer, which would leave an empty event file at every start."""

    def __init__(self, *_: Any) -> None: ...

    def add_scalar(self, *_: Any) -> None: ...

    def close(self) -> None: ...


def make_agent(cfg: DictConfig, env: HumanoidAMP, folder: Path) -> AMPAgent:
    """Networks, optimisers, discriminator, all seeded.

    Args:
        cfg: the composed configuration.
        env: built from the same one.
        folder: the run's; only the first of several processes touches it.
    """
    team = distributed.current()
    params: dict[str, Any] = OmegaConf.to_container(cfg.train.params, resolve=True)  # type: ignore[assignment]
    threads = int(params.get("torch_threads") or 0)
    if threads:
        torch.set_num_threads(threads)
    keep_freed_memory()
    seed = int(cfg.seed)
    torch.manual_seed(seed)
    env_adapter.register(env)
    network.register()
    config = params["config"]
    config.update(
        env_name=env_adapter.NAME,
        num_actors=env.num_envs,
        device=str(cfg.rl_device),
        train_dir=str(folder.parent),
        full_experiment_name=folder.name,
        reward_shaper=tr_helpers.DefaultRewardsShaper(**dict(config.get("reward_shaper") or {"scale_value": 1})),
        features={"observer": AlgoObserver()},
        combiner=build.combiner(params),
        style=StyleTrainer(
            env.amp_observation_size,
            env.demo_obs,
            distributed_launch.share_buffers(build.style_config(params), team),
            seed + 1,
            str(cfg.rl_device),
            env.condition_size,
            env.paired_demos if isinstance(env, HumanoidMM) else None,
        ),
    )
    # rl-games prints what it builds; a person who trains a humanoid needs none of it
    talk = io.StringIO()
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.redirect_stdout(talk))
        stack.enter_context(mock.patch.object(a2c_common, "SummaryWriter", _NoSummaries))
        if not team.first:  # rl-games makes the folder of a run wherever it is told to
            config["train_dir"] = stack.enter_context(tempfile.TemporaryDirectory())
        alone = not isinstance(team, distributed.TorchTeam)
        agent = AMPAgent("run", params) if alone else DistributedAgent("run", params, team)
    log.debug("rl-games: %s", talk.getvalue())
    return agent


__all__ = ["make_agent"]
