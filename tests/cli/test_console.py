"""Messages and signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from isaacmm import paths
from isaacmm.cli.console import Console, StopRequest, duration, shown, size


def test_messages_are_printed_and_logged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(tmp_path / "log.txt")
    console.say("hello")
    console.warn("careful")
    console.log("quiet")
    console.table([("motions", "walk\nrun")])
    console.close()
    out = capsys.readouterr().out
    assert "hello\nwarning: careful\n" in out and "quiet" not in out
    assert "  motions       walk\n                run\n" in out
    log = (tmp_path / "log.txt").read_text()
    assert all(word in log for word in ("hello", "careful", "quiet", "walk"))


def test_the_log_is_continued(tmp_path: Path) -> None:
    for text in ("first", "second"):
        console = Console(tmp_path / "log.txt")
        console.log(text)
        console.close()
    assert [line.split()[1] for line in (tmp_path / "log.txt").read_text().splitlines()] == [
        "first",
        "second",
    ]


def test_a_full_disk_does_not_end_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    console = Console(Path("/dev/full"))
    console.say("one")
    console.say("two")
    out = capsys.readouterr().out
    assert "two" in out and out.count("can no longer be written") == 1


def test_artefacts_are_listed_with_sizes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "nn").mkdir()
    (tmp_path / "nn" / "last.pth").write_bytes(b"x" * 2_500_000)
    (tmp_path / ".part").write_text("")
    (tmp_path / "motions").mkdir()
    for number in range(7):
        (tmp_path / "motions" / f"{number}.bvh").write_bytes(b"x" * 1000)
    Console().artefacts(tmp_path)
    out = capsys.readouterr().out
    assert "nn/last.pth" in out and "2.5 MB" in out and ".part" not in out
    assert out.count(".bvh") == 1 and "motions/*.bvh (7 files)" in out and "7.0 kB" in out


def test_sizes_and_durations_read_well() -> None:
    assert [size(n) for n in (5, 1500, 2.5e6, 3e9)] == ["5 B", "1.5 kB", "2.5 MB", "3.0 GB"]
    assert [duration(s) for s in (0.1, 30, 610, 9000)] == [
        "about 1 second",
        "about 30 seconds",
        "about 10 minutes",
        "about 2.5 hours",
    ]


def test_paths_are_shown_from_here(tmp_path: Path) -> None:
    assert shown(Path("runs/x")) == "runs/x"
    assert shown(Path.cwd() / "runs") == "runs"
    assert shown(Path("/somewhere/else")) == "/somewhere/else"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_asks_politely(number: int) -> None:
    before = signal.getsignal(number)
    stop = StopRequest()
    with stop.installed():
        assert not stop
        os.kill(os.getpid(), number)
        assert stop and stop.requested and stop.exit_code == 128 + number
    assert signal.getsignal(number) is before


def test_a_second_signal_ends_at_once() -> None:
    code = (
        "import os, signal; from isaacmm.cli.console import StopRequest\n"
        "stop = StopRequest()\n"
        "with stop.installed():\n"
        "    os.kill(os.getpid(), signal.SIGINT); print('polite', bool(stop), flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGINT); print('never')\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(paths.CHECKOUT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == -signal.SIGINT
    assert done.stdout == "polite True\n"
    assert "a checkpoint is saved first" in done.stderr


def test_other_threads_leave_signals_alone() -> None:
    before = signal.getsignal(signal.SIGINT)
    failures: list[BaseException] = []

    def work() -> None:
        try:
            with StopRequest().installed():
                pass
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not failures and signal.getsignal(signal.SIGINT) is before
