"""What all requests of a process share: the memory that they may hold, and the thread for large work.

Request bodies, gRPC messages, decoded tensors and responses that wait to be sent count against one budget,
MAX_BUFFERED_BYTES. Large bodies are decoded, and large responses encoded, in one thread, one after another, so that the
event loop stays free and at most one request needs the memory of half-decoded JSON.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

from common.errors import Overloaded, PayloadTooLarge
from common.inference.executor import BoundedExecutor
from common.observability.metrics import Metrics
from common.request.deadline import Deadline

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

SMALL = 65_536  # bytes; less is not counted, since the socket buffers use as much
LARGE = 262_144  # bytes; more is decoded and encoded in the thread: about two milliseconds of JSON


class Capacity:
    """The bounds that a service's requests have together. `held` is the number of bytes that are counted now."""

    def __init__(self, most_each: int, most_together: int, most_rows: int, metrics: Metrics) -> None:
        """`most_each` and `most_together` are bytes, of one body and of all requests."""
        self.most_each, self._all, self.most_rows = most_each, most_together, most_rows
        self._rejected = metrics.rejected
        self._thread = BoundedExecutor(metrics=metrics)
        self.held = 0

    def check_size(self, size: int) -> None:
        """Raises PayloadTooLarge for a body or message of more bytes than one may have."""
        if size > self.most_each:
            self._rejected.labelled("body_too_large").inc()
            raise PayloadTooLarge.at("body", f"expected at most {self.most_each} bytes, got at least {size}")
        if size > self._all:
            raise self._too_large(size)

    def hold(self, size: int, even_if_full: bool = False, own: int = 0) -> None:
        """Counts bytes as held, in addition to the `own` bytes that the same request has counted already.

        Raises, and counts none, when all requests together would hold too many: PayloadTooLarge for a request that
        needs so many by itself, else Overloaded.
        """
        if self.held + size > self._all and not even_if_full:
            if own + size > self._all:
                raise self._too_large(own + size)
            self._rejected.labelled("bodies_full").inc()
            raise Overloaded(
                f"the requests being handled hold more than {self._all} bytes in all; retry later", retry_after=1
            )
        self.held += size

    def _too_large(self, size: int) -> PayloadTooLarge:
        self._rejected.labelled("body_too_large").inc()
        return PayloadTooLarge(
            f"this request and its answer need about {size} bytes at once, but MAX_BUFFERED_BYTES allows {self._all} "
            "for all requests together; send less in one request, ask for binary outputs, or raise MAX_BUFFERED_BYTES"
        )

    def give_back(self, size: int) -> None:
        """Counts bytes as no longer held."""
        self.held -= size

    async def in_thread(self, deadline: Deadline, work: Callable[[*Ts], T], *arguments: *Ts) -> T:
        """Calls `work` in the thread. Raises Overloaded when too many calls wait, DeadlineExceeded, what it raises."""
        return await self._thread.run(deadline, _uncollected, lambda: work(*arguments))


def _uncollected(work: Callable[[], T]) -> T:
    """Calls `work` without garbage collection, which looks at millions of new objects again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        return work()
    finally:
        if enabled:
            gc.enable()
            gc.collect(1)  # errors in cycles with the frames that held a large request
