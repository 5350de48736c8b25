"""A supervised fit from the command line: training, and evaluating again what was trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from omegaconf import DictConfig, OmegaConf

from isaacmm.cli.console import shown
from isaacmm.errors import CheckpointError
from isaacmm.learn import fit_tasks
from isaacmm.learn.fit import FitConfig, check_fits, fit, judged_on, load_fitted, shipped, shipped_step
from isaacmm.learn.fit_log import table

if TYPE_CHECKING:
    from isaacmm.cli.runs import Run


def train(cfg: DictConfig, run: Run) -> None:
    """Fit ``cfg.task`` in ``run.path``: fresh, from another run's weights, or exactly where it stopped."""
    _threads(cfg)
    settings = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(settings, dict)
    fit(
        fit_tasks.make(cfg),
        config_of(cfg),
        run.path,
        resume=run.resume and run.checkpoint is not None,
        start=run.checkpoint,
        settings={str(k): v for k, v in settings.items()},
        stop=lambda: bool(run.stop),
        say=run.console.say,
    )


def test(cfg: DictConfig, run: Run) -> None:
    """Evaluate and export ``run.checkpoint`` again, into ``run.path``.

    Raises:
        CheckpointError: no checkpoint, or one that does not fit.
    """
    if run.checkpoint is None:
        raise CheckpointError("there is nothing to evaluate: give checkpoint=, a file, a run folder or `latest`")
    _threads(cfg)
    task = fit_tasks.make(cfg)
    content = load_fitted(run.checkpoint, task, str(cfg.rl_device))
    torch.manual_seed(int(cfg.seed))
    model = task.build().to(str(cfg.rl_device)).eval().requires_grad_(False)
    check_fits(model, content, task.name, run.checkpoint)
    model.load_state_dict(shipped(content))
    run.console.say(f"Evaluating {shown(run.checkpoint)}, trained for {shipped_step(content)} steps.")
    with torch.no_grad():
        values = task.evaluate(model)
    run.console.say(f"\n{task.name}, {judged_on(task)}:\n{table(values)}\n")
    task.finish(model, run.path, values)


def config_of(cfg: DictConfig) -> FitConfig:
    """The loop's settings of a composed configuration."""
    values = OmegaConf.to_container(cfg.train, resolve=True)
    assert isinstance(values, dict)
    minutes = float(cfg.max_minutes) if cfg.max_minutes not in ("", None) else None
    return FitConfig.from_mapping(
        {str(k): v for k, v in values.items()}, seed=int(cfg.seed), device=str(cfg.rl_device), max_minutes=minutes
    )


def _threads(cfg: DictConfig) -> None:
    if int(cfg.get("threads") or 0):
        torch.set_num_threads(int(cfg.threads))
