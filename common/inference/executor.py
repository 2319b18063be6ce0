"""Work for the processor that must not hold the event loop, such as decoding pictures: bounded, within the deadline."""

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
    """Some threads, and a bounded number of calls that may wait for one. A context manager that ends the threads.

    The service's metrics count the calls for which there was no place.
    """

    def __init__(self, threads: int = 1, queue: int = 64, metrics: Metrics | None = None) -> None:
        self._pool = ThreadPoolExecutor(threads, "executor")
        self._places = threading.BoundedSemaphore(threads + queue)
        self._refused = metrics.rejected.labelled("preparing_full") if metrics else CounterValue()

    async def run(self, deadline: Deadline, work: Callable[[*Ts], T], *arguments: *Ts) -> T:
        """The work's result. Raises Overloaded where too much waits, DeadlineExceeded, and what the work raises.

        Nothing is begun once the deadline has passed or the caller was cancelled; what has begun runs to its end and
        keeps its place until then.
        """
        deadline.check("its work was begun")
        if not self._places.acquire(blocking=False):
            self._refused.inc()
            raise Overloaded("too many requests are being prepared at once", retry_after=1)
        try:
            future = self._pool.submit(lambda: _in_time(deadline, work, *arguments))
        except BaseException:
            self._places.release()
            raise
        future.add_done_callback(self._leave)
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

    def _leave(self, _: Future[T]) -> None:
        self._places.release()


def _in_time(deadline: Deadline, work: Callable[[*Ts], T], *arguments: *Ts) -> T:
    deadline.check("its work was begun")
    return work(*arguments)
