"""Checkpoints: complete or not there at all, and never code."""

from __future__ import annotations

import errno
import pickle
import resource
import signal
import stat
from pathlib import Path
from typing import Any

import pytest
import torch

from isaacmm.errors import CheckpointError
from isaacmm.learn import checkpoint

torch.set_num_threads(1)

CONTENT = {"weights": torch.arange(50_000.0), "name": "walk", "nested": {"list": [1, 2.5, "x", None, True]}}


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "nn" / "last.pth"
    checkpoint.save(path, CONTENT)
    content = checkpoint.load(path)
    assert torch.equal(content.pop("weights"), CONTENT["weights"])
    assert content == {
        "format": checkpoint.FORMAT, "version": checkpoint.VERSION, "name": "walk", "nested": CONTENT["nested"],
    }  # fmt: skip
    assert files(path.parent) == ["last.pth"]


def test_others_may_read_it(tmp_path: Path) -> None:
    path, plain = tmp_path / "last.pth", tmp_path / "plain"
    checkpoint.save(path, CONTENT)
    plain.touch()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


@pytest.mark.parametrize("earlier", [False, True])
@pytest.mark.parametrize("where", ["write", "flush to disk", "move"])
def test_full_disk_leaves_everything_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, earlier: bool, where: str
) -> None:
    path = tmp_path / "last.pth"
    if earlier:
        checkpoint.save(path, {"name": "earlier"})
    before = files(tmp_path)

    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    target, name = {
        "write": (torch, "save"),
        "flush to disk": (checkpoint.os, "fsync"),
        "move": (checkpoint.os, "replace"),
    }[where]
    monkeypatch.setattr(target, name, full)
    with pytest.raises(CheckpointError, match="No space left on device") as caught:
        checkpoint.save(path, CONTENT)
    monkeypatch.undo()
    assert ("The earlier checkpoint there is untouched" in str(caught.value)) == earlier
    assert "Free some disk space" in str(caught.value)
    assert files(tmp_path) == before
    if earlier:
        assert checkpoint.load(path)["name"] == "earlier"


def test_a_disk_that_really_fills_up_half_way(tmp_path: Path) -> None:
    """The system itself refuses the 100,001st byte, through torch's own writer."""
    path = tmp_path / "last.pth"
    checkpoint.save(path, {"name": "earlier"})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        with pytest.raises(CheckpointError, match="could not write the checkpoint"):
            checkpoint.save(path, CONTENT)  # 200 kB
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)
    assert files(tmp_path) == ["last.pth"]
    assert checkpoint.load(path)["name"] == "earlier"


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "nn").write_text("a file where the folder should be")
    with pytest.raises(CheckpointError, match="could not write"):
        checkpoint.save(tmp_path / "nn" / "last.pth", CONTENT)


def test_killed_while_saving_is_tidied_by_the_next_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.pth"
    checkpoint.save(path, {"name": "earlier"})

    def killed(*args: Any) -> None:
        raise KeyboardInterrupt  # nothing of save's own may handle it, as with SIGKILL

    monkeypatch.setattr(checkpoint.os, "fsync", killed)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(path, CONTENT)
    monkeypatch.undo()
    assert checkpoint.load(path)["name"] == "earlier"
    checkpoint.save(path, {"name": "later"})
    assert files(tmp_path) == ["last.pth"]
    assert checkpoint.load(path)["name"] == "later"


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_truncated(tmp_path: Path, share: float) -> None:
    path = tmp_path / "last.pth"
    checkpoint.save(path, CONTENT)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(CheckpointError, match="truncated, or was not written by isaacmm"):
        checkpoint.load(path)


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        checkpoint.load(tmp_path / "no.pth")


class Harmful:
    """Runs code when unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("how", ["pickle", "torch"])
def test_a_foreign_pickle_is_refused_and_not_run(tmp_path: Path, how: str) -> None:
    path, marker = tmp_path / "evil.pth", tmp_path / "ran"
    if how == "pickle":
        path.write_bytes(pickle.dumps({"format": checkpoint.FORMAT, "x": Harmful(marker)}))
    else:
        torch.save({"format": checkpoint.FORMAT, "version": 1, "x": Harmful(marker)}, path)
    with pytest.raises(CheckpointError, match="not written by isaacmm"):
        checkpoint.load(path)
    assert not marker.exists()
    pickle.loads(pickle.dumps(Harmful(marker)))  # the trap is real
    assert marker.exists()


@pytest.mark.parametrize("content", [{"model": {}}, {"format": "other"}, [1, 2]])
def test_somebody_elses_checkpoint(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match="is not an isaacmm checkpoint"):
        checkpoint.load(tmp_path / "x.pth")


def test_a_newer_version_is_refused(tmp_path: Path) -> None:
    torch.save({"format": checkpoint.FORMAT, "version": checkpoint.VERSION + 1}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=f"newer isaacmm .*version {checkpoint.VERSION + 1}"):
        checkpoint.load(tmp_path / "x.pth")
