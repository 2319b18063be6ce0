"""Work off the loop: it is bounded, keeps the deadline, and never begins once nobody waits for it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest

from common.errors import DeadlineExceeded, Overloaded
from common.inference.executor import BoundedExecutor
from common.observability.metrics import Metrics
from common.request.deadline import Deadline
from tests.unit.common.polling import until


class HeldSession:
    """Work that goes on until it is let go."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.begun = 0

    def work(self) -> int:
        self.begun += 1
        assert self.go.wait(20)
        return 7


@pytest.fixture
def held() -> Iterator[HeldSession]:
    one = HeldSession()
    yield one
    one.go.set()


async def test_the_result_and_what_it_raises_come_back() -> None:
    with BoundedExecutor() as executor:
        assert await executor.run(Deadline.after(10), divmod, 7, 2) == (3, 1)
        with pytest.raises(ZeroDivisionError):
            await executor.run(Deadline.after(10), divmod, 7, 0)


async def test_the_loop_goes_on_meanwhile(held: HeldSession) -> None:
    with BoundedExecutor() as executor:
        task = asyncio.ensure_future(executor.run(Deadline.after(20), held.work))
        await until(lambda: held.begun, "the work")
        held.go.set()
        assert await task == 7


async def test_more_than_fits_is_refused_at_once(held: HeldSession) -> None:
    with BoundedExecutor(threads=1, queue=1) as executor:
        tasks = [asyncio.ensure_future(executor.run(Deadline.after(20), held.work)) for _ in range(2)]
        await until(lambda: held.begun, "the work")
        with pytest.raises(Overloaded):
            await executor.run(Deadline.after(20), held.work)
        held.go.set()
        assert await asyncio.gather(*tasks) == [7, 7]
        assert await executor.run(Deadline.after(20), held.work) == 7


async def test_what_is_refused_is_counted(held: HeldSession) -> None:
    metrics = Metrics()
    refused = metrics.rejected.labelled("preparing_full")
    with BoundedExecutor(threads=1, queue=0, metrics=metrics) as executor:
        task = asyncio.ensure_future(executor.run(Deadline.after(20), held.work))
        await until(lambda: held.begun, "the work")
        assert refused.value == 0
        for _ in range(3):
            with pytest.raises(Overloaded):
                await executor.run(Deadline.after(20), held.work)
        assert refused.value == 3
        held.go.set()
        await task


async def test_what_waits_past_its_deadline_is_never_begun(held: HeldSession) -> None:
    with BoundedExecutor(threads=1, queue=4) as executor:
        first = asyncio.ensure_future(executor.run(Deadline.after(20), held.work))
        await until(lambda: held.begun, "the work")
        began = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            await executor.run(Deadline.after(0.05), held.work)
        assert time.monotonic() - began < 5
        held.go.set()
        await first
        await executor.run(Deadline.after(20), int)
        assert held.begun == 1


async def test_work_that_outlives_its_caller_keeps_its_slot(held: HeldSession) -> None:
    with BoundedExecutor(threads=1, queue=0) as executor:
        with pytest.raises(DeadlineExceeded):
            await executor.run(Deadline.after(0.05), held.work)
        with pytest.raises(Overloaded):
            await executor.run(Deadline.after(20), held.work)
        held.go.set()


async def test_a_spent_deadline_begins_nothing(held: HeldSession) -> None:
    with BoundedExecutor() as executor, pytest.raises(DeadlineExceeded):
        await executor.run(Deadline.after(-1), held.work)
    assert held.begun == 0
