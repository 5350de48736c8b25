"""What every search promises, and how the choice between rows of almost the same distance is made."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from isaacmm.errors import ConfigError


class Search(Protocol):
    """Finds nearest rows; ``features [F, W]`` are normalised, only rows allowed for a style are returned.

    All searches return the same rows. The distance that decides is the sum of squared differences of the float32
    numbers, column after column in float64; of equally near rows the first one is returned.
    """

    def __call__(self, query: Tensor, style: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Nearest allowed row ``[Q]`` int64 and its squared distance ``[Q]`` float32 for ``query [Q, W]``.

        ``style [Q]`` int64 chooses a mask per query (0 where not given). A query that is not finite gets its style's
        first allowed row and the distance ``inf``.
        """
        ...


def allowed_rows(features: Tensor, allowed: Tensor | None) -> list[Tensor]:
    """Rows of each style, ascending, from masks ``[S, F]``; None allows all rows for one style.

    Raises:
        ConfigError: masks and features do not belong together, or a style allows no row.
    """
    if allowed is None:
        allowed = torch.ones(1, len(features), dtype=torch.bool, device=features.device)
    if allowed.dim() != 2 or allowed.shape[1] != len(features):
        raise ConfigError(
            f"search: masks of shape {tuple(allowed.shape)} do not fit {len(features)} rows; give [styles, rows]"
        )
    rows = [mask.nonzero().flatten() for mask in allowed]
    for style, found in enumerate(rows):
        if not len(found):
            raise ConfigError(f"search: style {style} allows no row at all; check its tags and the clips' lengths")
    return rows


def exact_cost(query: Tensor, rows: Tensor) -> Tensor:
    """Squared distance ``[P]`` float64 of pairs ``[P, W]``, summed from the first column to the last."""
    square = (query.double() - rows.double()) ** 2
    # a cumulative sum has a fixed order, which makes ties of different searches come out alike
    return square.cumsum(dim=1)[:, -1]
