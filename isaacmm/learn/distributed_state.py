"""Checkpoints of several processes: one file, written by the first, for any number that goes on.

The file is that of a single process (the first one's), plus what the others do not share with it under ``ranks``:
their worlds, replay and random numbers. The same number of processes goes on from it bit for bit. Another number
takes over what is learned (networks, optimisers, statistics, counters) exactly, shares the replay out, and begins
fresh episodes with fresh random numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from isaacmm.learn.distributed import Team

if TYPE_CHECKING:
    from isaacmm.learn.rl_games.agent import AMPAgent

#: Keys of what each process has for itself; of ``style`` everything but SHARED_STYLE.
OWN = ("env", "episodes", "rng")
#: Of the discriminator's state: rows of the agent's past, row by row alike.
_REPLAY = ("replay", "replay_reference")


def rank_seed(seed: int, rank: int, iteration: int = 0) -> int:
    """Seed of a process: the run's own for the first one, unrelated ones for the others.

    ``seed + rank`` would make the second process of a run with seed 1 the first one of a run with seed 2.
    """
    if rank == 0 and iteration == 0:
        return seed
    return int(np.random.SeedSequence((seed, rank, iteration)).generate_state(1)[0] >> 1)


def split(state: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """An agent's state as what all processes share, and what is this one's own."""
    from isaacmm.learn.rl_games.distributed import SHARED_STYLE

    style = state["style"]
    own = {key: state[key] for key in OWN if key in state}
    own["style"] = {key: value for key, value in style.items() if key not in SHARED_STYLE}
    shared = {key: value for key, value in state.items() if key not in (*OWN, "ranks")}
    shared["style"] = {key: style[key] for key in SHARED_STYLE}
    return shared, own


def join(shared: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Inverse of :func:`split`."""
    return {**shared, **own, "style": {**shared["style"], **own["style"]}}


def collect(agent: AMPAgent, team: Team) -> dict[str, Any]:
    """The state of all processes, for the first one to save; every process has to call it. ``{}`` in the others."""
    from isaacmm.learn.rl_games.distributed import moved

    state = agent.state_dict()
    if team.count == 1:
        return state
    shared, own = split(state)
    parts = team.gather(moved(own, "cpu"))
    return {**join(shared, own), "ranks": parts[1:]} if team.first else {}


def broken_off(agent: Any) -> dict[str, Any]:
    """What the first process can save when another is gone: what is shared, after the last complete iteration."""
    assert agent.complete is not None
    content: dict[str, Any] = {**agent.complete, "style": dict(agent.complete["style"]), "ranks": []}
    return content


def with_replay(content: dict[str, Any], agent: AMPAgent) -> dict[str, Any]:
    """Add the first process's replay, where the device still answers."""
    from isaacmm.learn.rl_games.distributed import moved

    state = {name: buffer.state_dict() for name, buffer in _buffers(agent).items()}
    content["style"].update(moved(state, "cpu"))
    return content


def processes(content: Mapping[str, Any]) -> int:
    """How many processes a checkpoint can go on with bit for bit; 0: none, it was saved when one was lost."""
    return 1 + len(content.get("ranks") or ()) if "env" in content else 0


def resume(agent: AMPAgent, content: dict[str, Any] | None, team: Team, seed: int) -> str:
    """Go on where a checkpoint stopped; every process has to call it, the first one with ``content``.

    Args:
        agent: fresh.
        content: the checkpoint, on any device; None in the other processes.
        team: the processes.
        seed: of the run.

    Returns:
        A sentence when not everything is as it was, else ``''``.
    """
    from isaacmm.learn.rl_games.distributed import moved

    made_by = team.broadcast(0 if content is None else processes(content))
    if made_by == team.count == 1:
        assert content is not None
        agent.load_state_dict(content)
        return ""
    shared = parts = None
    if content is not None:
        keys = ("model", "optimizer", "counters", "style", *OWN)
        cpu = moved({key: content[key] for key in keys if key in content}, "cpu")
        shared, own = split(cpu)
        parts = [own, *moved(content.get("ranks") or [], "cpu")]
    shared = team.broadcast(shared)
    assert shared is not None
    device = agent.ppo_device
    if made_by == team.count:
        agent.load_state_dict(moved(join(shared, team.scatter(parts)), device))
        return ""
    rows = team.scatter(None if parts is None else _shared_out(parts, team.count))
    _take_over(agent, moved(shared, device), rows)
    _fresh_numbers(agent, rank_seed(seed, team.rank, agent.epoch_num))
    agent.synchronise()
    agent.start()
    was = "was saved when a process was lost" if not made_by else f"was made by {made_by} process{'es' * (made_by > 1)}"
    now = "" if not made_by else f", now there {'are' if team.count > 1 else 'is'} {team.count}"
    return f"the checkpoint {was}{now}: networks, statistics and counters go on, all worlds begin fresh episodes"


def _buffers(agent: AMPAgent) -> dict[str, Any]:
    """The buffers whose rows belong together, by the names of their state."""
    found = {name: getattr(agent.style, name) for name in _REPLAY}
    return {name: buffer for name, buffer in found.items() if buffer is not None}


def _shared_out(parts: list[dict[str, Any]], count: int) -> list[dict[str, Tensor]]:
    """The replay rows of all processes dealt out to ``count``, like cards: everyone gets rows of every age."""
    pooled = {
        name: torch.cat([part["style"][name]["data"] for part in parts])
        for name in _REPLAY
        if all(name in part["style"] for part in parts)
    }
    return [{name: rows[rank::count].clone() for name, rows in pooled.items()} for rank in range(count)]


def _take_over(agent: AMPAgent, shared: dict[str, Any], rows: Mapping[str, Tensor]) -> None:
    agent.load_policy(shared)
    style = agent.style
    style.discriminator.load_state_dict(shared["style"]["discriminator"])
    style.normalizer.load_state_dict(shared["style"]["normalizer"])
    style.optimizer.load_state_dict(shared["style"]["optimizer"])
    for name, buffer in _buffers(agent).items():
        if name in rows:
            buffer.load_state_dict({"data": rows[name], "next": torch.tensor(0)})


def _fresh_numbers(agent: AMPAgent, seed: int) -> None:
    """Random numbers that no process of the run has seen before."""
    torch.manual_seed(seed)
    for number, generator in enumerate((agent.env.generator, agent.style.generator, agent.shuffle), start=1):
        generator.manual_seed(seed + number)
