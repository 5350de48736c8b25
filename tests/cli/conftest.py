"""A workplace for command-line tests: an empty folder, a clip that is only a name, no GPU."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import pytest
from omegaconf import DictConfig

from isaacmm.cli import compose, settle

_composed: dict[str, DictConfig] = {}
_from_files = compose._from_files


def _composed_once(groups: dict[str, str], clips: bool = True) -> DictConfig:
    """Hydra takes a quarter of a second for the same files again and again; the tests keep its answers."""
    key = f"{compose.paths.CHECKOUT} {sorted(groups.items())} {clips}"
    if key not in _composed:
        _composed[key] = _from_files(groups, clips)
    return deepcopy(_composed[key])


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The test runs inside an empty folder and sees no CUDA device."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(settle, "cuda_available", lambda: False)
    monkeypatch.setattr(compose, "_from_files", _composed_once)
    return tmp_path


@pytest.fixture
def clip(workplace: Path) -> str:
    """``motion=...`` for a clip file that exists; composing never opens it."""
    (workplace / "my walk.npz").write_bytes(b"not read")
    return "motion=my walk.npz"
