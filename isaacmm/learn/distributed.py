"""Several processes, one training: who is there, and how they agree.

``torchrun`` starts the same command once per process and says in the environment who is who. The processes hold the
same networks and different worlds; what is learned from is averaged wherever a single process would have taken a
mean over all worlds. Tensors that matter to every minibatch travel on the device (nccl on CUDA, gloo on a CPU);
everything else travels over gloo on the CPU, so that a word can be exchanged while a GPU is busy.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from isaacmm.errors import ConfigError, IsaacmmError

T = TypeVar("T")

#: Lines of communication. Policy and discriminator may learn at the same time, in threads of their own.
LANES = ("policy", "style")
TIMEOUT_SETTING = "ISAACMM_RANK_TIMEOUT"
TIMEOUT = 300.0
_REASON = "isaacmm/reason"


class LostContact(IsaacmmError):
    """Another process of the run ended, or cannot be reached any more."""


@dataclass(frozen=True)
class Place:
    """What torchrun says about this process.

    Attributes:
        rank: of this process among ``ranks``, over all machines; 0 writes and speaks.
        ranks: processes of the run.
        local_rank: among those of this machine; the number of its GPU.
        local_ranks: processes on this machine.
    """

    rank: int = 0
    ranks: int = 1
    local_rank: int = 0
    local_ranks: int = 1

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Place | None:
        """The place torchrun has given this process, or None: it was started by hand.

        Raises:
            ConfigError: the variables are there and are no numbers.
        """
        found = os.environ if environment is None else environment
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
        if any(name not in found for name in names):
            return None
        try:
            return cls(*(int(found[name]) for name in names[:4]))
        except ValueError as error:
            raise ConfigError(f"the environment of torchrun is damaged ({error}); start the run again") from error


def timeout_seconds() -> float:
    """How long a process waits for another before it gives the run up, s (``ISAACMM_RANK_TIMEOUT``).

    Raises:
        ConfigError: not a positive number.
    """
    text = os.environ.get(TIMEOUT_SETTING, str(TIMEOUT))
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not seconds > 0:
        raise ConfigError(f"{TIMEOUT_SETTING}={text}: wants a number of seconds above 0, like 300")
    return seconds


class Team:
    """The processes of one run; this base class is a process alone, for which every exchange is itself."""

    place = Place()

    @property
    def rank(self) -> int:
        """Number of this process."""
        return self.place.rank

    @property
    def count(self) -> int:
        """Processes."""
        return self.place.ranks

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and speaks."""
        return self.rank == 0

    def open_lanes(self, device: torch.device | str) -> None:
        """Call once, before anything on ``device`` is exchanged."""

    def sum(self, value: Tensor, lane: str = "policy") -> Tensor:
        """Sum over the processes of a tensor on the device, bit for bit the same in all of them."""
        return value

    def average_gradients(self, parameters: Iterable[Tensor], lane: str = "policy") -> None:
        """Replace the gradients by their means over the processes."""

    def moments(self, mean: Tensor, var: Tensor, count: int, lane: str = "policy") -> tuple[Tensor, Tensor, int]:
        """Mean, (biased) variance and number of the rows of all processes together; all have equally many."""
        return mean, var, count

    def add_up(self, numbers: Sequence[float]) -> list[float]:
        """Sums of host numbers over the processes."""
        return list(numbers)

    def highest(self, numbers: Sequence[float]) -> list[float]:
        """Largest of host numbers over the processes."""
        return list(numbers)

    def broadcast(self, value: T) -> T:
        """What the first process has; plain data and tensors on the CPU."""
        return value

    def gather(self, value: T) -> list[T]:
        """What every process has, in the first one; nothing in the others."""
        return [value]

    def scatter(self, values: Sequence[T] | None) -> T:
        """One of the first process's ``values`` each."""
        assert values is not None
        return values[0]

    def copy_from_first(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite ``tensors`` by the first process's."""

    def tell(self, reason: str) -> None:
        """Leave word why this process ends, for those who will miss it."""

    def leave(self) -> None:
        """Wait for each other, then part."""


class TorchTeam(Team):
    """Processes started by torchrun.

    Every exchange raises :class:`LostContact` when another process has ended, or does not answer in time.

    Args:
        place: of this process.
        timeout: s that a process waits for the others.
    """

    def __init__(self, place: Place, timeout: float) -> None:
        self.place = place
        self.timeout = timeout
        self.device = torch.device("cpu")
        self._lanes: dict[str, Any] = {}
        self._left = False
        with self._contact():
            self._store, _, _ = next(dist.rendezvous("env://", timeout=timedelta(seconds=timeout)))
            dist.init_process_group(
                "gloo", store=dist.PrefixStore("isaacmm", self._store), rank=place.rank, world_size=place.ranks,
                timeout=timedelta(seconds=timeout),
            )  # fmt: skip

    def open_lanes(self, device: torch.device | str) -> None:
        self.device = torch.device(device)
        on_gpu = self.device.type == "cuda" and dist.is_nccl_available()
        # nccl ends the whole process when it runs out of patience: our own watch has to be first
        patience = timedelta(seconds=self.timeout * (2.0 if on_gpu else 1.0))
        with self._contact():
            for lane in LANES:
                self._lanes[lane] = dist.new_group(backend="nccl" if on_gpu else "gloo", timeout=patience)

    # ------------------------------------------------------------- on the device
    def sum(self, value: Tensor, lane: str = "policy") -> Tensor:
        total = value.clone()
        with self._contact():
            dist.all_reduce(total, group=self._lanes[lane])
        return total

    @torch.no_grad()
    def average_gradients(self, parameters: Iterable[Tensor], lane: str = "policy") -> None:
        gradients = [p.grad for p in parameters if p.grad is not None]
        total = torch.cat([g.reshape(-1) for g in gradients])
        with self._contact():
            dist.all_reduce(total, group=self._lanes[lane])
        total /= self.count
        for gradient, part in zip(gradients, total.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    @torch.no_grad()
    def moments(self, mean: Tensor, var: Tensor, count: int, lane: str = "policy") -> tuple[Tensor, Tensor, int]:
        # one exchange of E[x] and E[x^2], in double precision; the numbers are of the order of one
        mean, var = mean.double(), var.double()
        total = self.sum(torch.cat((mean.flatten(), (var + mean**2).flatten())), lane) / self.count
        merged, squares = (part.view_as(mean) for part in total.split(mean.numel()))
        return merged, (squares - merged**2).clamp(min=0.0), count * self.count

    def copy_from_first(self, tensors: Iterable[Tensor]) -> None:
        with self._contact(), torch.no_grad():
            for tensor in tensors:
                copy = tensor.detach().contiguous()
                dist.broadcast(copy, 0, group=self._lanes["policy"])
                tensor.copy_(copy)

    # --------------------------------------------------------------- on the host
    def add_up(self, numbers: Sequence[float]) -> list[float]:
        return self._reduce(numbers, dist.ReduceOp.SUM)

    def highest(self, numbers: Sequence[float]) -> list[float]:
        return self._reduce(numbers, dist.ReduceOp.MAX)

    def _reduce(self, numbers: Sequence[float], how: Any) -> list[float]:
        total = torch.tensor(list(numbers), dtype=torch.float64)
        with self._contact():
            dist.all_reduce(total, how)
        found: list[float] = total.tolist()
        return found

    def broadcast(self, value: T) -> T:
        holder = [value if self.first else None]
        with self._contact():
            dist.broadcast_object_list(holder, 0)
        return holder[0]  # type: ignore[return-value]

    def gather(self, value: T) -> list[T]:
        holder: list[Any] | None = [None] * self.count if self.first else None
        with self._contact():
            dist.gather_object(value, holder, 0)
        return holder or []

    def scatter(self, values: Sequence[T] | None) -> T:
        holder: list[Any] = [None]
        with self._contact():
            dist.scatter_object_list(holder, list(values) if values is not None else None, 0)
        found: T = holder[0]
        return found

    # ------------------------------------------------------------------- the end
    def tell(self, reason: str) -> None:
        # whoever speaks first is the cause; those who fail because of it come later
        try:
            self._store.compare_set(_REASON, "", f"{self.rank} {reason}")
        except Exception:  # the store lives in a process that may be gone as well
            return

    def reason(self) -> tuple[int, str] | None:
        """Rank and words of the first process that said why it ends, if one did."""
        try:
            if not self._store.check([_REASON]):
                return None
            rank, _, text = self._store.get(_REASON).decode().partition(" ")
            return int(rank), text
        except Exception:
            return None

    def leave(self) -> None:
        if self._left:
            return
        with self._contact():
            dist.barrier()
        self._left = True
        dist.destroy_process_group()

    @contextmanager
    def _contact(self) -> Iterator[None]:
        try:
            yield
        except (RuntimeError, TimeoutError) as error:
            raise LostContact(self._explain()) from error

    def _explain(self) -> str:
        if told := self.reason():
            return f"process {told[0]} of this run ended: {told[1]}"
        return (
            f"lost contact with another of the {self.count} processes of this run: it was killed, crashed, or did "
            "not answer in time (torchrun says which)"
        )


_current: Team = Team()


def current() -> Team:
    """The team this process belongs to."""
    return _current


def join(place: Place) -> TorchTeam:
    """Meet the other processes of the run; :func:`current` is their team from now on."""
    global _current
    team = TorchTeam(place, timeout_seconds())
    _current = team
    return team
