"""Actor, critic and discriminator side by side: the same bits, one thread's draws, errors that arrive."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from isaacmm.errors import ConfigError
from isaacmm.learn import parallel
from isaacmm.learn.parallel import Workers
from tests.learn.test_resume import SHORT, differences, iterate


@pytest.fixture
def workers() -> Iterator[Workers]:
    made = Workers(2)
    yield made
    made.close()


def test_first_here_the_others_elsewhere(workers: Workers) -> None:
    gate = threading.Barrier(3, timeout=10)  # broken unless all three run at the same time

    def name() -> str:
        gate.wait()
        return threading.current_thread().name

    first, *others = workers.together(name, name, name)
    assert first == threading.current_thread().name
    assert len({first, *others}) == 3


def test_every_piece_has_one_torch_thread(workers: Workers) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert workers.together(torch.get_num_threads, torch.get_num_threads) == [1, 1]
        assert torch.get_num_threads() == 2
        assert workers.together(torch.get_num_threads, torch.get_num_threads) == [1, 1]
        assert Workers(0).together(torch.get_num_threads, torch.get_num_threads) == [2, 2]
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("where", [0, 1])
def test_an_error_arrives_after_the_others_have_ended(workers: Workers, where: int) -> None:
    ended = []

    def fail() -> None:
        raise ValueError("broken on purpose")

    def work() -> None:
        time.sleep(0.1)
        ended.append(True)

    tasks = [work, work]
    tasks.insert(where, fail)
    with pytest.raises(ValueError, match="broken on purpose"):
        workers.together(*tasks)
    assert ended == [True, True]
    assert workers.together(lambda: 1, lambda: 2) == [1, 2]


def test_setting() -> None:
    assert parallel.wanted(True, "cpu") and not parallel.wanted(False, "cpu")
    assert not parallel.wanted(True, "cuda:0") and not parallel.wanted("auto", "cuda:0")
    before = torch.get_num_threads()
    try:
        for threads, expected in ((1, False), (2, True), (3, True), (4, False)):
            torch.set_num_threads(threads)
            assert parallel.wanted("auto", "cpu") is expected
    finally:
        torch.set_num_threads(before)
    with pytest.raises(ConfigError, match="parallel_update=sometimes"):
        parallel.wanted("sometimes", "cpu")


def started(tiny_agent: Any, on: bool = True, **changes: Any) -> Any:
    """An agent that learns side by side, or in turn; actions come from torch's common generator, seeded here."""
    agent, _ = tiny_agent(train__params__config__parallel_update=on, **changes)
    assert bool(agent.workers) is on
    agent.start()
    return agent


@pytest.mark.parametrize(
    "changes",
    [
        {"train__params__config__truncate_grads": True, "train__params__config__grad_norm": 0.3},
        {
            "train__params__network__space__continuous__learn_sigma": True,
            "train__params__config__entropy_coef": 0.01,
            "train__params__config__bound_loss_type": "bound",
            "train__params__config__clip_value": True,
        },
        {"train__params__config__truncate_grads": False, "task__env__reference": "residual"},
        {"train__params__config__matmul_precision": "medium"},
    ],
)
def test_the_same_bits(tiny_agent: Any, changes: dict[str, Any]) -> None:
    """Everything a checkpoint holds and everything that is logged, after four iterations."""
    rows, states = [], []
    for on in (False, True):
        agent = started(tiny_agent, on, **SHORT, **changes)
        rows.append(iterate(agent, 4))
        states.append(agent.state_dict())
        states[-1]["counters"].pop("seconds")
    assert rows[0] == rows[1]
    assert differences(states[0], states[1]) == []


def test_nothing_in_an_update_draws_from_the_common_generator(tiny_agent: Any) -> None:
    """Two threads drawing from one generator would make runs unrepeatable."""
    agent = started(tiny_agent)
    batch = agent.rollouts.collect(agent.obs)
    agent._rewards_and_advantages(batch)
    before, env = torch.get_rng_state(), agent.env.generator.get_state()
    threads: dict[str, set[str]] = {"policy": set(), "critic": set()}
    for name, module in (("policy", agent.model.a2c_network.mu), ("critic", agent.model.a2c_network.value)):
        module.register_forward_pre_hook(
            lambda *_, name=name: threads[name].add(threading.current_thread().name)
        )
    agent._update_policy(batch)
    assert torch.equal(before, torch.get_rng_state()) and torch.equal(env, agent.env.generator.get_state())
    assert len(threads["policy"]) == 1 and threads["policy"].isdisjoint(threads["critic"])


@pytest.mark.parametrize("part", ["critic", "discriminator"])
def test_an_error_in_a_worker_ends_the_iteration(tiny_agent: Any, part: str) -> None:
    agent = started(tiny_agent)

    def fail(*_: Any) -> None:
        raise RuntimeError(f"{part} broken on purpose")

    if part == "critic":
        agent.model.a2c_network.value.weight.register_hook(fail)  # in the backward pass, in a worker
    else:
        agent.style.update = fail
    with pytest.raises(RuntimeError, match=f"{part} broken on purpose"):
        agent.iterate()
