"""When one process of several is gone, the first saves what all of them shared."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from isaacmm.errors import CheckpointError
from isaacmm.learn import checkpoint, distributed_state, distributed_watch
from isaacmm.learn.distributed import Team, TorchTeam
from isaacmm.learn.distributed_watch import Watch

if TYPE_CHECKING:
    from isaacmm.cli.runs import Run


class Unwatched:
    """A single process needs no watch: it waits for nobody."""

    def beat(self) -> None:
        """Nothing."""


@contextmanager
def watched(agent: Any, cfg: DictConfig, run: Run, team: Team) -> Iterator[Watch | Unwatched]:
    """Around the training loop: whatever breaks it off in one of several processes, a checkpoint is saved."""
    if not isinstance(team, TorchTeam):
        yield Unwatched()
        return

    def last_words(reason: str) -> None:
        team.tell(reason)
        text = f"process {team.rank} {reason}."
        if team.first:
            text += " " + _save(agent, cfg, run, replay=team.device.type == "cpu")
        print(f"\nerror: {text}", file=sys.stderr, flush=True)

    # gloo gives up by itself after the team's timeout; a process stuck on a GPU is ended a little later
    with Watch(team.timeout * 1.2 + 10.0, last_words, distributed_watch.GRACE) as watch:
        try:
            yield watch
        except Exception:
            if team.first:
                run.console.say(f"\n{_save(agent, cfg, run, replay=True)}")
            raise


def _save(agent: Any, cfg: DictConfig, run: Run, replay: bool) -> str:
    """Write the last complete iteration; returns what to say about it. Only the first caller writes."""
    from isaacmm.cli.runs import LAST
    from isaacmm.learn.train import content_of

    if not agent.writing.acquire(blocking=False):
        return "Its last complete iteration is being saved."
    content = distributed_state.broken_off(agent)
    if replay:
        content = distributed_state.with_replay(content, agent)
    iteration = content["counters"]["iteration"]
    try:
        checkpoint.save(run.nn / LAST, content_of(agent, cfg, content))
    except CheckpointError as error:
        return f"The last complete iteration, {iteration}, could not be saved: {error}"
    return (
        f"Saved what the processes shared after iteration {iteration}, the last complete one. To go on, with as many "
        f"processes as you like: torchrun ... launch.py multi_gpu=True resume=True experiment={cfg.experiment}"
    )
