"""Messages of jobs in a stream of the Redis that holds the records, read by a group of workers.

A worker has a name of its own for each start, so that no dead one is taken for it. What was delivered to a worker whose
connection broke before the reply came stands in its own pending list, and is read from there. What was delivered to a
worker that has ended is claimed once it has been idle for a lease.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any

from redis.exceptions import RedisError, ResponseError

from common.errors import NotReady
from common.jobs.redis.connection import connect
from common.jobs.redis.records import JobMessage

GROUP = "workers"
_MOST_PENDING = 1_000  # messages of this worker's pending list that are looked at
_ADOPT_SECONDS = 1.0  # between two looks for messages of workers that have ended


class RedisStream:
    """A `Queue` on the stream `<root>:queue`, with a connection of its own, since a read waits."""

    def __init__(self, url: str, consumer: str, lease_seconds: float, root: str = "{jobs}") -> None:
        self._redis: Any = connect(url, connections=2)
        self._consumer, self._lease_ms, self._stream = consumer, round(lease_seconds * 1000), f"{root}:queue"
        self._in_doubt = self._open = False
        self._looked_at: set[str] = set()  # messages of the pending list, since the last doubt
        self._adopted, self._cursor = 0.0, "0-0"

    async def receive(self, most: int, seconds: float, running: Collection[str]) -> list[JobMessage]:
        try:
            await self._make_group()
            if self._in_doubt and (found := await self._delivered(most, {*running, *self._looked_at})):
                self._looked_at.update(one.id for one in found)
                return found
            self._in_doubt = False
            self._looked_at.clear()
            while monotonic() - self._adopted > _ADOPT_SECONDS:
                if found := await self._adopt(most, running):
                    return found
            return await self._read(">", most, round(seconds * 1000))
        except ResponseError as error:
            self._open = False  # NOGROUP: the stream has been deleted
            raise NotReady(f"the queue (redis) failed: {error}", retry_after=1) from None
        except (RedisError, TimeoutError) as error:
            self._in_doubt = True
            raise NotReady(f"the queue (redis) failed: {type(error).__name__}", retry_after=1) from None
        except asyncio.CancelledError:
            self._in_doubt = True
            raise

    async def hand_back(self, messages: Sequence[JobMessage]) -> None:
        if not messages:
            return
        numbers = [one.id for one in messages]
        with suppress(RedisError, TimeoutError):  # they are adopted once their idle time is over
            await self._redis.xclaim(
                self._stream, GROUP, self._consumer, 0, numbers, idle=2 * self._lease_ms, justid=True
            )

    async def close(self, running: Collection[str]) -> None:
        with suppress(RedisError, TimeoutError):
            await self.hand_back(await self._delivered(_MOST_PENDING, running))
            if not await self._redis.xpending_range(self._stream, GROUP, "-", "+", 1, self._consumer):
                await self._redis.xgroup_delconsumer(self._stream, GROUP, self._consumer)
        await self._redis.aclose()

    async def _make_group(self) -> None:
        """From the first message on, so that jobs submitted before the first worker are seen."""
        if self._open:
            return
        try:
            await self._redis.xgroup_create(self._stream, GROUP, "0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise
        self._open = True

    async def _read(self, after: str, most: int, milliseconds: int | None = None) -> list[JobMessage]:
        found = await self._redis.xreadgroup(GROUP, self._consumer, {self._stream: after}, most, milliseconds)
        return _messages(found[0][1]) if found else []

    async def _delivered(self, most: int, running: Collection[str]) -> list[JobMessage]:
        """Messages that have been delivered to this worker, and that it has not seen."""
        pending = await self._read("0", _MOST_PENDING)
        return [one for one in pending if one.id not in running][:most]

    async def _adopt(self, most: int, running: Collection[str]) -> list[JobMessage]:
        """Messages that have been idle for a lease. The scan goes on where it stopped."""
        cursor, found, *_ = await self._redis.xautoclaim(
            self._stream, GROUP, self._consumer, self._lease_ms, self._cursor, most
        )
        self._cursor = cursor.decode()
        if self._cursor == "0-0":
            self._adopted = monotonic()
        return [one for one in _messages(found) if one.id not in running]


def _messages(found: Sequence[tuple[bytes, dict[bytes, bytes]]]) -> list[JobMessage]:
    return [JobMessage(fields[b"id"].decode(), number.decode()) for number, fields in found if fields]
