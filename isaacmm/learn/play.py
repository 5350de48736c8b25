"""Playing a checkpoint: ``test=True``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from omegaconf import DictConfig

from isaacmm.cli.console import shown
from isaacmm.errors import CheckpointError, IsaacmmError
from isaacmm.learn.artefacts import Artefacts

if TYPE_CHECKING:
    from isaacmm.cli.runs import Run

#: A film of a steered world shows the whole script, but no more than this.
MOST_FILM_SECONDS = 60.0


def play(cfg: DictConfig, run: Run) -> None:
    """Play ``run.checkpoint`` in ``cfg.num_envs`` worlds; print numbers and leave what ``cfg`` asks for.

    One fresh episode in every world, with the policy's best actions; with ``command`` all worlds do what that says.
    ``export_bvh`` writes motions, ``export_onnx`` the policy, ``capture_video`` a film; all go to ``run.path``. A part
    that fails is a warning; the others are made all the same.

    Raises:
        CheckpointError: no checkpoint, or not one of a policy.
        ConfigError: ``command`` names nothing, or the keyboard where there is no terminal.
        IsaacmmError: the policy could not be played at all.
    """
    if run.checkpoint is None:
        raise CheckpointError("there is nothing to play: give checkpoint=, a file, a run folder or `latest`")
    made = Artefacts(cfg, run, run.checkpoint)
    samples = int(made.content.get("counters", {}).get("samples", 0))
    run.console.say(f"Playing {shown(run.checkpoint)}, trained on {samples / 1e6:.2f} M samples.")
    seconds = float(cfg.task.env.episode_seconds)
    if word := str(cfg.get("command") or ""):
        made.steer(word, int(cfg.num_envs), seed=int(cfg.seed))
        seconds = MOST_FILM_SECONDS
    else:
        made.evaluate(int(cfg.num_envs), seed=int(cfg.seed))
    if made.rollout is None:
        if run.stop:
            return
        raise IsaacmmError(f"{shown(run.checkpoint)} could not be played; the warning above says why")
    if cfg.export_onnx:
        made.onnx()
    if cfg.export_bvh:
        made.bvh()
    if cfg.capture_video:
        made.film(seconds)
