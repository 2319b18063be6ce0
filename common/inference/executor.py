"""A thread pool for work that would block the event loop, such as decoding an image.

Its queue is bounded, and each call keeps to the deadline of its request.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self, TypeVar, TypeVarTuple

from common.errors import DeadlineExceeded, Overloaded
from common.observability.metrics import CounterValue, Metrics
from common.request.deadline import Deadline

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class BoundedExecutor:
    """`threads` threads, and at most `queue` calls that wait for one. A context manager that ends the threads.

    Calls that are refused because the queue is full are counted in `metrics`.
    """

    def __init__(self, threads: int = 1, queue: int = 64, metrics: Metrics | None = None) -> None:
        self._pool = ThreadPoolExecutor(threads, "executor")
        self._slots = threading.BoundedSemaphore(threads + queue)
        self._refused = metrics.rejected.labelled("preparing_full") if metrics else CounterValue()

    async def run(self, deadline: Deadline, work: Callable[[*Ts], T], *arguments: *Ts) -> T:
        """Calls `work` in a thread and returns its result.

        Raises Overloaded when the queue is full, DeadlineExceeded, and whatever `work` raises. A call that has not
        started is skipped when its deadline has passed or its caller was cancelled. A call that has started runs to
        its end and occupies its thread until then.
        """
        deadline.check("its preparation started")
        if not self._slots.acquire(blocking=False):
            self._refused.inc()
            raise Overloaded("too many requests are being prepared at once; retry later", retry_after=1)
        try:
            future = self._pool.submit(lambda: _before_deadline(deadline, work, *arguments))
        except BaseException:
            self._slots.release()
            raise
        future.add_done_callback(self._release_slot)
        try:
            async with asyncio.timeout(max(deadline.remaining, 0.0)):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            raise DeadlineExceeded("the deadline passed while the request was being prepared") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _release_slot(self, _: Future[T]) -> None:
        self._slots.release()


def _before_deadline(deadline: Deadline, work: Callable[[*Ts], T], *arguments: *Ts) -> T:
    deadline.check("its preparation started")
    return work(*arguments)
