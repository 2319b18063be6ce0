"""The thread for runs of a model that would block the event loop for too long."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable


class InferenceThread:
    """One thread, started at its first call.

    It is a daemon thread, so a run that never ends does not keep the process alive.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def call(self, work: Callable[[], None]) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()
        self._calls.put(work)

    def end(self) -> None:
        self._calls.put(None)

    def _work(self) -> None:
        while (work := self._calls.get()) is not None:
            work()
            del work  # otherwise its batch stays in memory until the next call
