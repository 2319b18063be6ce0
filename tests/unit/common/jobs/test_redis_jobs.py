"""Jobs in Redis as the HTTP routes see them: whoever waits is told at once, whichever process does the work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from common.errors import NotFound
from common.jobs.record import JobInput, JobOutcome, JobRecord, JobState
from common.jobs.redis.events import JobEvents
from common.jobs.redis.jobs import RedisJobs, job_input
from common.jobs.redis.records import Attempt, JobLimits, JobMessage, RedisRecords
from common.request.context import RequestContext
from common.request.deadline import Deadline
from common.request.trace import continue_trace
from tests.unit.common.observability.captured_log import CapturedLog


class Site:
    """Jobs, and a worker in another process, whose moves the test makes."""

    def __init__(self, redis: Any) -> None:
        self.redis, self.records = redis, RedisRecords(redis, JobLimits())
        self.events = JobEvents(redis)
        self.jobs = RedisJobs(self.records, self.events, 60.0, 60.0, CapturedLog().service().metrics)

    async def submit(self, tenant: str = "") -> JobRecord:
        caller = RequestContext("POST", "/x", "id-1", continue_trace(None), Deadline.after(1))
        caller.tenant = tenant
        return await self.jobs.submit(caller, JobInput(b"picture", {"top": "3"}))

    async def begin(self) -> Attempt:
        ((number, fields),) = await self.redis.xrange("{jobs}:queue", count=1)
        (claim,) = await self.records.claim([JobMessage(fields[b"id"].decode(), number.decode())], "w")
        assert claim.attempt
        return claim.attempt


@asynccontextmanager
async def listening(redis: Any) -> AsyncIterator[Site]:
    site = Site(redis)
    async with site.events.running():
        yield site


async def test_a_worker_is_given_what_the_request_gave(redis: Any) -> None:
    site = Site(redis)
    job = await site.submit()
    attempt = await site.begin()
    given = job_input(attempt)
    assert (attempt.job, given.body, given.parameters) == (job.id, b"picture", {"top": "3"})
    assert attempt.fields["request_id"] == "id-1"


async def test_two_thousand_who_wait_are_told_as_soon_as_a_job_is_over(redis: Any) -> None:
    async with listening(redis) as site:
        job = await site.submit()
        waiting = [asyncio.create_task(site.jobs.wait(job.id, 20.0)) for _ in range(2000)]
        attempt = await site.begin()
        await asyncio.sleep(0.1)
        assert not any(one.done() for one in waiting)
        await site.records.finish([(attempt, JobOutcome({"n": 1}))])
        async with asyncio.timeout(4.0):  # less than the time between two looks
            found = await asyncio.gather(*waiting)
        assert {one.state for one in found} == {JobState.SUCCEEDED}


async def test_news_that_were_missed_while_the_connection_was_away_are_looked_up(redis: Any) -> None:
    async with listening(redis) as site:
        job = await site.submit()
        waiting = asyncio.create_task(site.jobs.wait(job.id, 20.0))
        attempt = await site.begin()
        await asyncio.sleep(0.1)
        await redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        await site.records.finish([(attempt, JobOutcome({}))])
        async with asyncio.timeout(4.0):
            assert (await waiting).finished


async def test_who_waits_too_long_is_given_the_job_as_it_is(redis: Any) -> None:
    async with listening(redis) as site:
        job = await site.submit()
        assert (await site.jobs.wait(job.id, 0.05)).state is JobState.QUEUED
        assert (await site.jobs.wait(job.id, 0.0)).state is JobState.QUEUED


async def test_another_tenants_job_is_unknown(redis: Any) -> None:
    site = Site(redis)
    job = await site.submit("ours")
    assert (await site.jobs.find(job.id, "ours")).id == job.id
    for call in (site.jobs.find(job.id, "x"), site.jobs.wait(job.id, 1.0, "x"), site.jobs.cancel(job.id, "x")):
        with pytest.raises(NotFound):
            await call


async def test_a_job_whose_request_has_gone_is_forgotten(redis: Any) -> None:
    site = Site(redis)
    job = await site.submit()
    attempt = await site.begin()
    await site.jobs.discard(job)
    with pytest.raises(NotFound):
        await site.jobs.find(job.id)
    assert await site.records.finish([(attempt, JobOutcome({}))]) == ["gone"]
