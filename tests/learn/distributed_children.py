"""What the processes of test_distributed_training do, besides training as usual; results go into files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from isaacmm.cli.compose import compose
from isaacmm.cli.main import main
from isaacmm.learn import distributed, train
from isaacmm.learn.build import make_env
from isaacmm.learn.rl_games.agent import AMPAgent
from isaacmm.learn.rl_games.build import make_agent
from isaacmm.learn.rl_games.rollout import Batch

torch.set_num_threads(1)

ITERATIONS = 2
#: Fields of a batch without a dimension of steps.
_LAST = ("last_obs",)


def learned(agent: AMPAgent) -> dict[str, Tensor]:
    """Everything that all processes must have alike."""
    style = agent.style
    optimizers = {
        f"{name}.{number}.{key}": torch.as_tensor(value)
        for name, optimizer in (("policy", agent.optimizer), ("style", style.optimizer))
        for number, state in optimizer.state_dict()["state"].items()
        for key, value in state.items()
    }
    modules = {"model": agent.model, "discriminator": style.discriminator, "normalizer": style.normalizer}
    states = {f"{name}.{key}": v for name, m in modules.items() for key, v in m.state_dict().items()}
    found = {**states, **optimizers, "learning_rate": torch.tensor(agent.last_lr, dtype=torch.float64)}
    return {name: value.clone() for name, value in found.items()}


def train_and_tell(words: list[str]) -> int:
    """Train; leave what was learned, and where the worlds are, in ``learned_<rank>.pt``."""
    loop = train._loop

    def listen(agent: AMPAgent, *args: Any) -> None:
        loop(agent, *args)
        content = {"learned": learned(agent), "obs": agent.obs, "replay": agent.style.replay.data.clone()}
        torch.save(content, f"learned_{os.environ['RANK']}.pt")

    with mock.patch.object(train, "_loop", listen):
        return main(words)


def make(words: list[str]) -> AMPAgent:
    """A fresh agent in the current team."""
    cfg, _ = compose(words)
    return make_agent(cfg, make_env(cfg), Path("runs/unused"))


def part(batch: Batch, rank: int, count: int) -> Batch:
    """A process's worlds of a batch."""
    fields = {}
    for name in Batch.__dataclass_fields__:
        value = getattr(batch, name)
        if isinstance(value, Tensor) and value.numel():
            value = value.chunk(count, dim=0 if name in _LAST else 1)[rank].contiguous()
        fields[name] = value
    return Batch(**fields)


def order(epoch: int, rank: int, rows: int) -> Tensor:
    """The shuffle of a process in an epoch: rows of its own worlds."""
    return torch.randperm(rows, generator=torch.Generator().manual_seed(17 * epoch + rank))


def order_of_all(epoch: int, steps: int, worlds: int, count: int, minibatch: int) -> Tensor:
    """The same minibatches for one process with all worlds; rows are ``step * worlds + world``."""
    own = worlds // count
    lists = []
    for rank in range(count):
        rows = order(epoch, rank, steps * own)
        lists.append((rows // own * worlds + rank * own + rows % own).split(minibatch // count))
    return torch.cat([torch.cat(pieces) for pieces in zip(*lists, strict=True)])


def learn(agent: AMPAgent, start: dict[str, Any], batches: list[Batch], clips: Tensor, orders: Any) -> None:
    """Iterations of learning from given transitions, with every draw decided by the caller.

    Args:
        start: networks and statistics to begin with.
        batches: transitions of this process's worlds.
        clips: rows of demonstrations, this process's.
        orders: ``orders(epoch)`` -> shuffle.
    """
    agent.load_weights(start)
    agent.style.demos = lambda n, _: clips[:n]
    epochs = iter(range(1000))

    def randint(_: int, size: tuple[int, ...], **__: Any) -> Tensor:
        return torch.arange(size[0])

    def randperm(_: int, **__: Any) -> Tensor:
        with mock.patch.object(torch, "randperm", real):
            return orders(next(epochs))

    real = torch.randperm
    with mock.patch.object(torch, "randint", randint), mock.patch.object(torch, "randperm", randperm):
        for batch in batches:
            agent._rewards_and_advantages(batch)
            agent._update_policy(batch)
            agent._update_style(batch)


def half_of_the_worlds(words: list[str]) -> int:
    """Learn from ``given.pt``, this process's half of it; leave the result in ``half_<rank>.pt``."""
    place = distributed.Place.from_environment()
    assert place is not None
    team = distributed.join(place)
    team.open_lanes("cpu")
    given = torch.load("given.pt", weights_only=False)
    batches = [part(batch, place.rank, place.ranks) for batch in given["batches"]]
    clips = given["clips"].chunk(place.ranks)[place.rank]
    results = []
    for averaging in (True, False):  # the second shows what a forgotten average would look like
        agent = make(words)
        if not averaging:
            agent.team = distributed.Team()  # type: ignore[attr-defined]
        rows = batches[0].samples
        learn(agent, given["start"], batches, clips, lambda epoch, rows=rows: order(epoch, place.rank, rows))
        results.append(learned(agent))
        agent.env.close()
    torch.save(results, f"half_{place.rank}.pt")
    team.leave()
    return 0


def fail_in_the_second(words: list[str]) -> int:
    """Train; the second process's simulator fails in its fourth step."""
    from isaacmm.envs.humanoid_amp import HumanoidAMP
    from isaacmm.errors import SimulatorError

    steps = []
    step = HumanoidAMP.step

    def fail(self: HumanoidAMP, actions: Tensor) -> Any:
        steps.append(1)
        if os.environ["RANK"] == "1" and len(steps) > 20:
            raise SimulatorError("the simulation is broken on purpose")
        return step(self, actions)

    with mock.patch.object(HumanoidAMP, "step", fail):
        return main(words)


def impatient(words: list[str]) -> int:
    """Train; not half a minute but a second is given to who was asked to stop."""
    from isaacmm.learn import distributed_watch

    with mock.patch.object(distributed_watch, "GRACE", 1.0):
        return main(words)
