"""Jobs in Redis and a worker on them in the same process: what a service hands over outlives that process.

Another process of the same service goes on with a job whose process has ended, once its lease is over.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from common.errors import NotReady
from common.jobs.brokers.redis_streams import RedisStream
from common.jobs.interface import Work
from common.jobs.record import Result
from common.jobs.redis.connection import connect
from common.jobs.redis.events import JobEvents
from common.jobs.redis.jobs import RedisJobs, job_input
from common.jobs.redis.records import Attempt, JobLimits, RedisRecords
from common.jobs.worker import Worker, WorkerPolicy
from common.request.context import RequestContext
from common.service import Service

_DRAIN_SECONDS = 2.0  # for jobs that nearly are done; the others go back, which costs nothing but their work so far


class DurableJobs(RedisJobs):
    """Jobs at `redis://host:port` that services of this pattern and name share; `at_once` of them run here together."""

    def __init__(
        self,
        service: Service,
        url: str,
        work: Work,
        *,
        limits: JobLimits,
        timeout_seconds: float,
        ttl_seconds: float,
        at_once: int = 4,
    ) -> None:
        settings = service.settings
        root = f"{{{settings.pattern}:{settings.service}:jobs}}"
        self._redis, self._log = connect(url), service.logs.log
        records, events = RedisRecords(self._redis, limits, root=root), JobEvents(self._redis, root)
        super().__init__(records, events, timeout_seconds, ttl_seconds, service.metrics)

        async def run(context: RequestContext, attempt: Attempt) -> Result:
            return await work(context, job_input(attempt))

        holder = f"{settings.service}-{secrets.token_hex(8)}"
        queue = RedisStream(url, holder, limits.lease_seconds, root)
        policy = WorkerPolicy(at_once, limits.lease_seconds, drain_seconds=_DRAIN_SECONDS)
        self._worker = Worker(service, records, queue, run, holder, policy, self.count)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Works on jobs until the context is left; what is not finished then goes back."""
        stop = asyncio.Event()
        await self._warn_of_eviction()
        async with self._redis, self._events.running():
            working = asyncio.create_task(self._worker.run(stop))
            try:
                yield
            finally:
                stop.set()
                await working

    async def _warn_of_eviction(self) -> None:
        with suppress(NotReady):  # it is not there yet
            if reason := await self._records.eviction():
                self._log.warning("the store of jobs may lose them", reason=reason)
