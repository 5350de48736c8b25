"""Two cores, one training: independent pieces of an update side by side, each on one torch thread.

Threads inside an operation (torch's own) share a small matrix product badly: two of them make a training
step of 512-256 networks 1.6 times as fast. Whole networks share nothing until their gradients meet, and
torch lets go of Python's lock while it computes, so they can run in threads of their own, with the very
same operations in the same order and therefore the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor

from isaacmm.errors import ConfigError
from isaacmm.learn import arithmetic

T = TypeVar("T")
_SETTING = "train.params.config.parallel_update"


def wanted(setting: Any, device: torch.device | str) -> bool:
    """Whether ``parallel_update`` (True, False or ``auto``) asks for workers on ``device``.

    ``auto`` means on a CPU with two or three torch threads: there are only three pieces, so with more cores
    threads inside the operations may well be the better use of them (not measured). A GPU has its own queue.

    Raises:
        ConfigError: another value.
    """
    if setting not in ("auto", True, False):
        raise ConfigError(f"{_SETTING}={setting}: is True, False or auto")
    if torch.device(device).type != "cpu":
        return False
    return torch.get_num_threads() in (2, 3) if setting == "auto" else bool(setting)


class Workers:
    """A few threads that wait for work; none are started before there is some.

    Args:
        count: threads besides the caller's. With 0 everything runs in the caller, in order and with as
            many torch threads as are set.
    """

    def __init__(self, count: int = 2) -> None:
        self._pool: ThreadPoolExecutor | None = None
        if count:
            self._pool = ThreadPoolExecutor(count, "update", initializer=arithmetic.worker)

    def __bool__(self) -> bool:
        return self._pool is not None

    def submit(self, task: Callable[[], T]) -> Future[T]:
        """Start ``task`` in a worker. Its grad mode is torch's default there, not the caller's."""
        assert self._pool is not None
        return self._pool.submit(task)

    def together(self, first: Callable[[], Any], *others: Callable[[], Any]) -> list[Any]:
        """Results of all tasks; ``first`` runs in the calling thread. The tasks must share nothing they write.

        Returns, or raises what a task raised (the first one's before the others'), only when all have ended,
        so that nothing goes on changing behind the caller's back.
        """
        if self._pool is None:
            return [task() for task in (first, *others)]
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # MKL's number is the whole process's
        futures = [self.submit(task) for task in others]
        try:
            result = first()
        finally:
            wait(futures)
            torch.set_num_threads(threads)
        return [result, *(future.result() for future in futures)]

    def by_halves(self, task: Callable[..., Tensor], *rows: Tensor) -> Tensor:
        """``task(*rows)`` for a task that treats every row by itself, in two pieces, one after the other or at once.

        Cut in the same place with and without workers: a matrix product's last bits may depend on its size.
        """
        pieces = zip(*(tensor.tensor_split(2) for tensor in rows), strict=True)
        return torch.cat(self.together(*(partial(task, *piece) for piece in pieces)))

    def close(self) -> None:
        """Let the threads end."""
        if self._pool is not None:
            self._pool.shutdown()
