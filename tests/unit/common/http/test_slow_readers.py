"""A response waits to be read for a bounded time, however steadily its client reads."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from uvicorn.protocols.http.flow_control import FlowControl

from common.http.limits import ReadBounds, until_read
from common.observability.metrics import Metrics
from common.request.capacity import Capacity
from common.request.context import RequestContext
from common.request.deadline import Deadline
from common.request.trace import continue_trace

SIZE = 1_000_000
BOUNDS = ReadBounds(stall_seconds=0.2, bytes_per_second=2_000_000)  # 0.7 s for SIZE bytes


class Connection:
    """A transport whose client reads `step` bytes every 10 ms."""

    def __init__(self, step: int) -> None:
        self.left, self.step, self.aborted = SIZE, step, False
        transport: Any = self
        self.flow = FlowControl(transport)
        self.flow.pause_writing()

    def get_write_buffer_size(self) -> int:
        return self.left

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True

    async def read(self) -> None:
        while self.left:
            await asyncio.sleep(0.01)
            self.left = max(self.left - self.step, 0)
        self.flow.resume_writing()


@pytest.mark.parametrize(
    ("step", "read"), [(100_000, True), (5_000, False), (0, False)], ids=["fast", "slow, but steady", "stalled"]
)
async def test_a_response_is_held_for_a_bounded_time(step: int, read: bool) -> None:
    capacity = Capacity(10 * SIZE, 10 * SIZE, 1, Metrics())
    context = RequestContext("GET", "/", "id", continue_trace(None), Deadline.after(60), capacity=capacity)
    one = Connection(step)
    reading = asyncio.create_task(one.read())
    transport: Any = one
    async with asyncio.timeout(20):
        await until_read(transport, one.flow, context, BOUNDS)
    assert one.aborted is not read
    assert (one.left == 0) is read
    assert capacity.held == context.held > 0  # until the envelope ends
    reading.cancel()


def test_a_client_that_reads_at_the_slowest_rate_gets_all_of_the_largest_response() -> None:
    assert ReadBounds().seconds(64_000_000) == pytest.approx(650)
