"""A watch over operations that would wait for a GPU, for tests on machines that have none."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

#: What a GPU has to be waited for, or asks the host for numbers.
WAITING = {"nonzero", "_local_scalar_dense", "masked_select", "is_nonzero", "equal", "_unique2", "unique_dim"}


class NobodyWaits(TorchDispatchMode):
    """Collects operations that would wait for a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.physics = False

    def __enter__(self) -> Any:
        """Numbers that are brought from the host are noticed where they are asked for: on a CPU nothing moves."""
        self._kept = torch.tensor, torch.as_tensor, Tensor.__getitem__, Tensor.__setitem__

        def noted(name: str, kept: Any, place: int) -> Any:
            def made(*args: Any, **kwargs: Any) -> Any:
                parts = args[place] if isinstance(args[place], tuple) else (args[place],)
                lists = any(isinstance(part, list) for part in parts)
                if not self.physics and (lists if place else not isinstance(args[0], Tensor)):
                    self.seen.append(name)
                return kept(*args, **kwargs)

            return made

        torch.tensor, torch.as_tensor = (
            noted("tensor", torch.tensor, 0),
            noted("as_tensor", torch.as_tensor, 0),
        )
        Tensor.__getitem__ = noted("list index", Tensor.__getitem__, 1)
        Tensor.__setitem__ = noted("list index", Tensor.__setitem__, 1)
        return super().__enter__()

    def __exit__(self, *args: Any) -> None:
        torch.tensor, torch.as_tensor, Tensor.__getitem__, Tensor.__setitem__ = self._kept
        super().__exit__(*args)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        masked = name in ("index", "index_put", "index_put_", "_index_put_impl_") and any(
            isinstance(i, Tensor) and i.dtype == torch.bool for i in args[1]
        )
        if (name in WAITING or masked) and not self.physics:
            self.seen.append(name)
        return func(*args, **(kwargs or {}))
