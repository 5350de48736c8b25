"""One launcher for all of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.launcher import Launcher


@pytest.fixture(scope="session")
def launcher() -> Iterator[Launcher]:
    """Starts whole command lines in processes of their own."""
    with Launcher() as made:
        yield made
