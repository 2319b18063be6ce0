"""Messages in a stream: nothing that was delivered is lost, and nothing keeps a worker from what is new."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from common.errors import NotReady
from common.jobs.brokers.redis_streams import RedisStream

Open = Callable[..., RedisStream]


@pytest.fixture
async def stream(redis: Any, valkey: Path) -> AsyncIterator[Open]:
    """Opens a worker's access to the messages, with a lease of a tenth of a second unless another is given."""
    async with AsyncExitStack() as opened:

        def open_stream(consumer: str, lease_seconds: float = 0.1) -> RedisStream:
            found = RedisStream(f"unix://{valkey}", consumer, lease_seconds)
            opened.push_async_callback(found.close, ())
            return found

        yield open_stream


async def send(redis: Any, *jobs: str) -> None:
    for one in jobs:
        await redis.xadd("{jobs}:queue", {"id": one})


async def break_connections(redis: Any) -> None:
    """Once a worker waits for messages."""
    own = await redis.client_id()
    for _ in range(500):
        if any("b" in one["flags"] for one in await redis.client_list()):
            break
        await asyncio.sleep(0.01)
    for client in await redis.client_list():
        if int(client["id"]) != own:
            await redis.client_kill_filter(_id=client["id"])


async def received(queue: RedisStream, most: int = 10, running: tuple[str, ...] = ()) -> list[str]:
    return [one.job for one in await queue.receive(most, 0.01, running)]


async def test_what_was_delivered_when_a_connection_broke_is_read_again_once_before_what_is_new(
    redis: Any, stream: Open
) -> None:
    queue = stream("w", lease_seconds=60.0)
    await send(redis, "a")
    (known,) = await queue.receive(1, 0.01, ())
    reading = asyncio.create_task(queue.receive(1, 5.0, ()))
    await break_connections(redis)
    with pytest.raises(NotReady):
        await reading
    # as if the reply to that read had been lost
    await send(redis, "b", "c")
    await redis.xreadgroup("workers", "w", {"{jobs}:queue": ">"})
    await send(redis, "d")
    running = (known.id,)  # the worker knows of the first; it has never seen the second and third
    assert await received(queue, 1, running) == ["b"]
    assert await received(queue, 1, running) == ["c"]
    assert await received(queue, 1, running) == ["d"]


async def test_messages_of_a_worker_that_ended_are_adopted_once_they_are_idle_for_a_lease(
    redis: Any, stream: Open
) -> None:
    ended, queue = stream("ended"), stream("w")
    await send(redis, *(f"job-{number}" for number in range(250)))
    assert len(await received(ended, 250)) == 250
    assert await received(queue) == []
    found: list[str] = []
    async with asyncio.timeout(10):
        while len(found) < 250:
            found += await received(queue, 100)
    assert len(set(found)) == 250


async def test_what_is_handed_back_goes_to_another_worker_at_once(redis: Any, stream: Open) -> None:
    stopping, queue = stream("stopping", 60.0), stream("w", 60.0)
    await send(redis, "a")
    await stopping.hand_back(await stopping.receive(1, 0.01, ()))
    assert await received(queue) == ["a"]


async def test_a_stream_that_was_deleted_is_made_again(redis: Any, stream: Open) -> None:
    queue = stream("w")
    await received(queue)
    await redis.delete("{jobs}:queue")
    with pytest.raises(NotReady, match="NOGROUP"):
        await received(queue)
    await send(redis, "a")
    assert await received(queue) == ["a"]
