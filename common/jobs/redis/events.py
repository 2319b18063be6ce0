"""The changes of jobs, as Redis publishes them: one subscription for all waiting requests of a process.

An event may be missed, since publishing keeps nothing, so who waits also reads the record every few seconds.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

_RECONNECT_SECONDS = 0.5


class JobEvents:
    """Wakes those who wait for a job when its state changes."""

    def __init__(self, redis: Redis, root: str = "{jobs}") -> None:
        self._redis, self._channel = redis, f"{root}:events"
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Listens until the context is left."""
        task = asyncio.create_task(self._listen())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            self.wake_all()

    @asynccontextmanager
    async def of(self, job_id: str) -> AsyncIterator[asyncio.Event]:
        """An event that is set at each change of this job."""
        changed = asyncio.Event()
        self._waiting[job_id].add(changed)
        try:
            yield changed
        finally:
            self._waiting[job_id].discard(changed)
            if not self._waiting[job_id]:
                del self._waiting[job_id]

    def wake_all(self) -> None:
        """Makes everybody look: changes may have been missed."""
        for waiting in self._waiting.values():
            for changed in waiting:
                changed.set()

    async def _listen(self) -> None:
        while True:
            try:
                async with self._redis.pubsub() as subscription:
                    await subscription.subscribe(self._channel)
                    async for message in subscription.listen():
                        self._notice(message)
            except (RedisError, OSError, TimeoutError):
                await asyncio.sleep(_RECONNECT_SECONDS)

    def _notice(self, message: dict[str, Any]) -> None:
        if message["type"] == "subscribe":  # the client connects again by itself
            self.wake_all()
        elif message["type"] == "message":
            job_id = message["data"].split(b" ", 1)[0].decode()
            for changed in self._waiting.get(job_id, ()):
                changed.set()
