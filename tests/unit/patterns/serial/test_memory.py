"""Pages are decoded only while there is memory for their pixels; the others wait in order, and not too many of them."""

from __future__ import annotations

import asyncio

import pytest

from common.errors import DeadlineExceeded, Overloaded, UpstreamFailed
from common.inference.executor import BoundedExecutor
from common.observability.metrics import CounterValue
from common.preprocessing.pictures import DECODED_BYTES
from common.request.context import RequestContext
from common.request.deadline import Deadline
from common.request.trace import continue_trace
from patterns.serial.memory import PictureMemory
from patterns.serial.pipeline import Pipeline
from patterns.serial.releases import Releases
from patterns.serial.settings import ReadingSettings
from tests.unit.common.polling import until
from tests.unit.common.preprocessing import picture_files as files


class Pages:
    """Pages of several sizes in a memory of 10 bytes, where at most two may wait."""

    def __init__(self) -> None:
        self.refused = CounterValue()
        self.memory, self.inside = PictureMemory(10, 2, self.refused), list[str]()
        self._done: dict[str, asyncio.Event] = {}

    async def start(self, name: str, size: int, seconds: float = 30) -> asyncio.Task[None]:
        self._done[name] = asyncio.Event()
        task = asyncio.create_task(self._read(name, size, Deadline.after(seconds)))
        await asyncio.sleep(0)
        return task

    async def _read(self, name: str, size: int, deadline: Deadline) -> None:
        async with self.memory.hold(deadline, size):
            self.inside.append(name)
            await self._done[name].wait()
            self.inside.remove(name)

    async def end(self, name: str, inside: list[str]) -> None:
        self._done[name].set()
        await until(lambda: self.inside == inside, f"{inside} after {name}")


async def test_pages_wait_in_order_for_memory() -> None:
    pages = Pages()
    for name, size in (("first", 6), ("small", 4), ("large", 50), ("tiny", 1)):
        await pages.start(name, size)
    assert pages.inside == ["first", "small"]
    with pytest.raises(Overloaded, match="too many pictures are being read"):
        await (await pages.start("too many", 1))
    assert pages.refused.value == 1
    await pages.end("first", ["small"])
    await pages.end("small", ["large"])
    await pages.end("large", ["tiny"])
    await pages.end("tiny", [])


async def test_who_leaves_or_is_late_gives_up_its_place() -> None:
    pages = Pages()
    await pages.start("first", 10)
    late = await pages.start("late", 10, 0.01)
    leaves = await pages.start("leaves", 5)
    with pytest.raises(DeadlineExceeded, match="waited for memory"):
        await late
    await pages.start("next", 5)
    leaves.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaves
    await pages.end("first", ["next"])
    await pages.end("next", [])
    await pages.start("last", 10)
    await pages.end("last", [])


class HeldReleases(Releases):
    """Tells the release only when it is let go."""

    def __init__(self) -> None:
        self.asked, self.go = 0, asyncio.Event()

    async def current(self, deadline: Deadline) -> None:  # type: ignore[override]
        self.asked += 1
        await self.go.wait()
        raise UpstreamFailed("no page is read here")


async def test_a_page_is_not_decoded_while_another_takes_the_memory() -> None:
    size = 64 * 32 * DECODED_BYTES
    releases = HeldReleases()
    settings = ReadingSettings.model_validate({})
    with BoundedExecutor(2) as executor:
        pipeline = Pipeline(settings, releases, executor, PictureMemory(2 * size, 1, CounterValue()))
        context = RequestContext("POST", "/read", "id", continue_trace(None), Deadline.after(30))
        asked = [asyncio.create_task(pipeline.read(context, files.png())) for _ in range(4)]
        await until(lambda: sum(task.done() for task in asked) == 1, "the refusal")
        (refused,) = (task for task in asked if task.done())
        assert isinstance(refused.exception(), Overloaded)
        await until(lambda: releases.asked == 2, "two pages")
        releases.go.set()
        await asyncio.wait(asked)
        assert releases.asked == 3
