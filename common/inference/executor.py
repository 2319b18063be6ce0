"""A thread pool for work that would block the event loop, such as decoding an image.

Its queue is bounded, and each call keeps to the deadline of its request.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, Self, TypeVar, TypeVarTuple

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
        call = _WaitingCall(deadline, lambda: work(*arguments))
        try:
            future = self._pool.submit(call.run)
        except BaseException:
            self._slots.release()
            raise
        future.add_done_callback(self._release_slot)
        try:
            async with asyncio.timeout(max(deadline.remaining, 0.0)):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            raise DeadlineExceeded("the deadline passed while the request was being prepared") from None
        finally:
            call.work = None
            del future  # its error refers to this frame, and so to the arguments, until the garbage collector runs

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _release_slot(self, _: Future[T]) -> None:
        self._slots.release()


class _WaitingCall(Generic[T]):
    """A call that waits for the thread. The pool keeps it until then, so its work is dropped once nobody waits."""

    def __init__(self, deadline: Deadline, work: Callable[[], T]) -> None:
        self._deadline = deadline
        self.work: Callable[[], T] | None = work

    def run(self) -> T:
        work = self.work
        self._deadline.check("its preparation started")
        if work is None:
            raise DeadlineExceeded("the deadline passed before its preparation started")
        return work()
