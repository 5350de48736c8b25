"""Ends a process that cannot end itself.

A process whose partner is gone may hang inside a library call, on a GPU for good, and hear no signal: Python's
handlers run only between its own instructions. A thread of its own still hears them, knows when the last iteration
was over, and has the last word: saving what there is.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable

#: s between being asked to stop and taking over; torchrun kills after 30.
GRACE = 15.0


class Watch:
    """A context manager around the training loop, to be used in the main thread.

    Args:
        timeout: s without a :meth:`beat` after which the process counts as stuck.
        last_words: called, in the watching thread, with the reason before the process ends.
        grace: s that an orderly end may take after SIGTERM or SIGINT.
        end: how the process ends (its exit code).
    """

    def __init__(
        self,
        timeout: float,
        last_words: Callable[[str], None],
        grace: float = GRACE,
        end: Callable[[int], None] = os._exit,
    ) -> None:
        self._timeout, self._grace = timeout, grace
        self._last_words, self._end = last_words, end
        self._beat = time.monotonic()
        self._over = threading.Event()
        self._ears, self._voice = socket.socketpair()
        for side in (self._ears, self._voice):
            side.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def __enter__(self) -> Watch:
        # the bytes of signals arrive here even while Python itself is not running
        self._before: int | None
        try:
            self._before = signal.set_wakeup_fd(self._voice.fileno(), warn_on_full_buffer=False)
        except ValueError:  # not the main thread: signals are somebody else's
            self._before = None
        self.beat()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._before is not None:
            signal.set_wakeup_fd(self._before)
        with contextlib.suppress(OSError):
            self._voice.send(b"\0")
        self._thread.join(timeout=5.0)
        self._ears.close()
        self._voice.close()

    def beat(self) -> None:
        """Another iteration is done."""
        self._beat = time.monotonic()

    def _run(self) -> None:
        asked: float | None = None
        while not self._over.is_set():
            ready, _, _ = select.select([self._ears], [], [], min(1.0, self._timeout / 4, self._grace / 4))
            heard = self._ears.recv(64) if ready else b""
            if asked is None and any(number in (signal.SIGTERM, signal.SIGINT) for number in heard):
                asked = time.monotonic()
            now = time.monotonic()
            stuck = None
            if asked is not None and now - asked > self._grace:
                stuck = "was asked to stop and cannot: it waits for a process that is gone"
            elif now - self._beat > self._timeout:
                stuck = f"made no progress for {self._timeout:.0f} s: it waits for a process that is gone or stuck"
            if stuck and not self._over.is_set():
                try:
                    self._last_words(stuck)
                finally:
                    self._end(1)
                return
