"""Jobs behind the HTTP routes whose records are in Redis: a worker, in whatever process, works on them."""

from __future__ import annotations

import asyncio
import secrets

import orjson

from common.jobs.interface import AS_USUAL, JobPage, Submission, job_counter, unfinished, unknown_place
from common.jobs.record import JobInput, JobRecord, JobState
from common.jobs.redis.events import JobEvents
from common.jobs.redis.records import Attempt, NewJob, RedisRecords
from common.observability.metrics import Metrics
from common.request.context import RequestContext

_LOOK_SECONDS = 5.0  # between two looks at a job that somebody waits for, if no event comes


class RedisJobs:
    """`Jobs` that outlive this process. A job is accepted once Redis has it; `timeout_seconds` is its deadline."""

    accepting = True

    def __init__(
        self, records: RedisRecords, events: JobEvents, timeout_seconds: float, ttl_seconds: float, metrics: Metrics
    ) -> None:
        self._records, self._events = records, events
        self._timeout_seconds, self._ttl_seconds = timeout_seconds, ttl_seconds
        self._jobs = job_counter(metrics)

    def count(self, state: str) -> None:
        """Counts a job that has come into this state."""
        self._jobs.labelled(state).inc()

    async def submit(self, context: RequestContext, job_input: JobInput, how: Submission = AS_USUAL) -> JobRecord:
        job = NewJob(
            id=secrets.token_hex(16),
            input=bytes(job_input.body),
            seconds=how.seconds or self._timeout_seconds,
            ttl_seconds=how.ttl_seconds or self._ttl_seconds,
            tenant=context.tenant,
            order=how.order,
            once=how.once,
            fingerprint=how.fingerprint,
            fields={
                "request_id": context.request_id,
                "traceparent": context.trace.header(),
                "parameters": orjson.dumps(dict(job_input.parameters)).decode(),
            },
        )
        return await self._records.submit(job)

    async def hand_over(self, job: JobRecord) -> JobRecord:
        self.count("accepted")
        return job

    async def discard(self, job: JobRecord) -> None:
        await self._records.discard(job.id)

    async def find(self, job_id: str, tenant: str = "") -> JobRecord:
        return await self._records.get(job_id, tenant)

    async def wait(self, job_id: str, seconds: float, tenant: str = "") -> JobRecord:
        end = asyncio.get_running_loop().time() + seconds
        async with self._events.of(job_id) as changed:
            while True:
                job = await self._records.get(job_id, tenant)
                left = end - asyncio.get_running_loop().time()
                if job.finished or left <= 0:
                    return job
                try:
                    async with asyncio.timeout(min(left, _LOOK_SECONDS)):
                        await changed.wait()
                except TimeoutError:
                    continue
                finally:
                    changed.clear()

    async def cancel(self, job_id: str, tenant: str = "") -> JobRecord:
        job = await self._records.cancel(job_id, tenant)
        self.count("cancelled")
        return job

    async def erase(self, job_id: str, tenant: str = "") -> None:
        if not await self._records.erase(job_id, tenant):
            raise unfinished(await self._records.get(job_id, tenant))

    async def list(self, tenant: str, state: JobState | None, after: str | None, most: int) -> JobPage:
        page = await self._records.list(tenant, state, after, most)
        if page is None:
            raise unknown_place(after or "")
        return page


def job_input(attempt: Attempt) -> JobInput:
    """What the request gave to `submit`."""
    return JobInput(attempt.input, orjson.loads(attempt.fields["parameters"]))
