"""How long a piece of work keeps the event loop from everything else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

from common.observability.metrics import Metrics
from common.request.capacity import Capacity
from common.request.context import RequestContext
from common.request.deadline import Deadline
from common.request.trace import continue_trace


def large_request(path: str, headers: dict[bytes, bytes] | None = None) -> RequestContext:
    """A request of a service with the default bounds."""
    capacity = Capacity(64_000_000, 128_000_000, 100_000, Metrics())
    return RequestContext(
        "POST", path, "id", continue_trace(None), Deadline.after(60), headers=headers or {}, capacity=capacity
    )


async def longest_piece(work: Coroutine[Any, Any, Any]) -> tuple[Any, float]:
    """The result, and the processor time of the longest piece that ran on the event loop."""
    before, longest = time.thread_time(), 0.0
    task = asyncio.create_task(work)
    while not task.done():
        await asyncio.sleep(0.001)
        now = time.thread_time()
        longest, before = max(longest, now - before), now
    return await task, longest


async def longest_share(work: Coroutine[Any, Any, Any]) -> tuple[Any, float]:
    """The result, and the longest piece that ran on the event loop, as a share of all processor time that it took.

    Both are processor time, so other processes of this machine do not change them.
    """
    whole = time.process_time()
    result, longest = await longest_piece(work)
    return result, longest / (time.process_time() - whole)
