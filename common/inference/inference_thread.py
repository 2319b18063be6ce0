"""The thread that runs a model whose runs would hold the event loop for too long."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable


class InferenceThread:
    """One daemon thread, started when it is first needed: a run that never ends must not keep the process alive."""

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
            del work  # which holds a batch, while nothing is to be done
