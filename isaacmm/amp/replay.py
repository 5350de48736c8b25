"""A ring of past observations, so that the discriminator does not forget earlier failures."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class ReplayBuffer:
    """Keeps up to ``capacity`` rows ``[S]``; when full, new rows replace the oldest."""

    def __init__(
        self, capacity: int, size: int, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> None:
        self.data = torch.zeros(capacity, size, device=device, dtype=dtype)
        self.next = 0
        self.filled = 0

    @property
    def capacity(self) -> int:
        """Rows it can hold."""
        return self.data.shape[0]

    def __len__(self) -> int:
        return self.filled

    def add(self, rows: Tensor) -> None:
        """Store ``rows [n, S]``; of more than ``capacity`` rows the last ones are kept."""
        rows = rows[-self.capacity :]
        n = rows.shape[0]
        first = min(n, self.capacity - self.next)
        self.data[self.next : self.next + first] = rows[:first]
        self.data[: n - first] = rows[first:]
        self.next = (self.next + n) % self.capacity
        self.filled = min(self.capacity, self.filled + n)

    def draw(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Places ``[n]`` of ``n`` rows, evenly and with repeats; buffers filled alike can be read at the same ones."""
        if self.filled == 0:
            raise RuntimeError("the replay buffer is empty: add rows before sampling")
        return torch.randint(self.filled, (n,), generator=generator, device=self.data.device)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """``n`` rows, evenly and with repeats."""
        return self.data[self.draw(n, generator)]

    def state_dict(self) -> dict[str, Tensor]:
        """The rows in use and the write position."""
        return {"data": self.data[: self.filled].clone(), "next": torch.tensor(self.next)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Inverse of :meth:`state_dict`; a buffer of another capacity keeps what fits."""
        rows = state["data"]
        if len(rows) > self.capacity:
            order = torch.arange(len(rows)).roll(-int(state["next"]))
            rows, position = rows[order[-self.capacity :]], 0
        else:
            position = int(state["next"]) if len(rows) == self.capacity else len(rows) % self.capacity
        self.data[: len(rows)] = rows.to(self.data.device)
        self.filled, self.next = len(rows), position
