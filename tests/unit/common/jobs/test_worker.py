"""A worker on a real server: each job it takes is accounted for, whatever happens to its work, its store or itself."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

from common.errors import InvalidInput, UpstreamFailed
from common.jobs.brokers.redis_streams import RedisStream
from common.jobs.record import Result
from common.jobs.redis.records import Attempt, JobLimits, NewJob, RedisRecords
from common.jobs.worker import Worker, WorkerPolicy
from common.request.context import RequestContext
from tests.unit.common.observability.captured_log import CapturedLog
from tests.unit.common.polling import until

PATIENCE = 15.0


class Site:
    """Jobs whose input says what their work does; `hold` keeps those back that wait for it."""

    def __init__(self, redis: Any, url: str, **policy: Any) -> None:
        self.log, self.hold, self.redis, self.url = CapturedLog(), asyncio.Event(), redis, url
        self.lease = policy.pop("lease_seconds", 30.0)
        self.policy = WorkerPolicy(lease_seconds=self.lease, **{"retry_seconds": 0.01, **policy})
        self.records = RedisRecords(redis, JobLimits(lease_seconds=self.lease))
        self.away, self.at_once, self.most_at_once = False, 0, 0
        self.attempts = Counter[str]()
        self._names = count(1)

    async def work(self, context: RequestContext, attempt: Attempt) -> Result:
        self.attempts[attempt.job] += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            return await self._answer(attempt)
        finally:
            self.at_once -= 1

    async def _answer(self, attempt: Attempt) -> Result:
        if self.away:
            raise UpstreamFailed("the predictor cannot be reached")
        match attempt.input:
            case b"refuse":
                raise InvalidInput("expected a picture")
            case b"defect":
                raise RuntimeError("a defect")
            case b"hold":
                await self.hold.wait()
            case b"pause":
                await asyncio.sleep(0.01)
        return {"attempt": attempt.number}

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[asyncio.Event]:
        """A worker that stops at the end, or once the event is set."""
        name, stop = f"w{next(self._names)}", asyncio.Event()
        queue = RedisStream(self.url, name, self.lease)
        worker = Worker(self.log.service(), self.records, queue, self.work, name, self.policy)
        task = asyncio.create_task(worker.run(stop))
        try:
            yield stop
        finally:
            stop.set()
            assert await asyncio.wait_for(task, PATIENCE) == 0

    async def submit(self, *inputs: bytes) -> list[str]:
        ids = [f"job-{next(self._names)}" for _ in inputs]
        for job, text in zip(ids, inputs, strict=True):
            await self.records.submit(NewJob(id=job, input=text, seconds=60.0, ttl_seconds=60.0))
        return ids

    async def over(self, ids: list[str], seconds: float = PATIENCE) -> list[str]:
        """The states of jobs, once all are over."""
        end = asyncio.get_running_loop().time() + seconds
        while True:
            found = [await self.records.get(one) for one in ids]
            if all(one.finished for one in found):
                return [one.state.value for one in found]
            assert asyncio.get_running_loop().time() < end, ([one.state for one in found], self.log.lines())
            await asyncio.sleep(0.02)

    async def pending(self) -> int:
        return int((await self.redis.xpending("{jobs}:queue", "workers"))["pending"])


def site(redis: Any, valkey: Path, **policy: Any) -> Site:
    return Site(redis, f"unix://{valkey}", **policy)


async def test_jobs_submitted_before_the_first_worker_are_worked_on_several_at_a_time(redis: Any, valkey: Path) -> None:
    jobs = site(redis, valkey, at_once=4)
    ids = await jobs.submit(*[b"pause"] * 50)
    async with jobs.worker():
        assert await jobs.over(ids) == ["succeeded"] * 50
    assert (max(jobs.attempts.values()), jobs.most_at_once, await jobs.pending()) == (1, 4, 0)


async def test_a_refused_job_fails_at_once_and_a_defect_is_tried_again_before_it_is_a_dead_letter(
    redis: Any, valkey: Path
) -> None:
    jobs = site(redis, valkey)
    ids = await jobs.submit(b"refuse", b"defect", b"")
    async with jobs.worker():
        assert await jobs.over(ids) == ["failed", "failed", "succeeded"]
    assert [jobs.attempts[one] for one in ids] == [1, 3, 1]
    assert (await redis.hget("{jobs}:counts", "dead")) == b"1"
    assert len(jobs.log.lines("job failed unexpectedly")) == 3


async def test_while_the_predictor_is_away_no_attempt_is_used_up(redis: Any, valkey: Path) -> None:
    jobs = site(redis, valkey)
    jobs.away = True
    ids = await jobs.submit(*[b""] * 20)
    async with jobs.worker():
        await until(lambda: sum(jobs.attempts.values()) > 2, "the work is there")
        jobs.away = False
        assert await jobs.over(ids) == ["succeeded"] * 20
    results = [(await jobs.records.get(one)).outcome.result for one in ids]
    assert results == [{"attempt": 1}] * 20
    assert len(jobs.log.lines("takes no jobs")) == 1


async def test_a_stop_finishes_what_has_begun_and_gives_back_the_rest_at_once(redis: Any, valkey: Path) -> None:
    jobs = site(redis, valkey, at_once=2, drain_seconds=0.2)
    ids = await jobs.submit(*[b"hold"] * 4)
    async with jobs.worker() as stop:
        await until(lambda: jobs.at_once == 2, "the work is there")
        stop.set()
    assert jobs.log.lines("jobs given back at the stop")[0]["jobs"] == 2
    jobs.hold.set()
    async with jobs.worker():
        assert await jobs.over(ids, 5) == ["succeeded"] * 4
    assert {str((await jobs.records.get(one)).outcome.result) for one in ids} == {"{'attempt': 1}"}


async def test_a_cancelled_job_is_stopped_while_it_is_worked_on(redis: Any, valkey: Path) -> None:
    jobs = site(redis, valkey, lease_seconds=0.3)
    (job,) = await jobs.submit(b"hold")
    async with jobs.worker():
        await until(lambda: jobs.at_once == 1, "the work is there")
        await jobs.records.cancel(job)
        await until(lambda: jobs.at_once == 0, "the work is there")
    assert await jobs.over([job]) == ["cancelled"]


async def test_a_job_of_many_leases_has_one_attempt(redis: Any, valkey: Path) -> None:
    jobs = site(redis, valkey, lease_seconds=0.3)
    (job,) = await jobs.submit(b"hold")
    async with jobs.worker(), jobs.worker():
        await until(lambda: jobs.at_once == 1, "the work is there")
        await asyncio.sleep(1.5)
        jobs.hold.set()
        assert await jobs.over([job]) == ["succeeded"]
    assert jobs.attempts[job] == 1


async def test_nothing_waits_for_a_lease_when_connections_break_again_and_again(redis: Any, valkey: Path) -> None:
    jobs = site(redis, valkey, at_once=4)
    own = await redis.client_id()
    ids: list[str] = []
    async with jobs.worker(), jobs.worker():
        for _ in range(30):
            ids += await jobs.submit(b"", b"")
            for client in await redis.client_list():
                if int(client["id"]) != own:
                    await redis.execute_command("CLIENT", "KILL", "ID", client["id"])
            await asyncio.sleep(0.01)
        assert await jobs.over(ids) == ["succeeded"] * 60


async def test_workers_that_end_leave_no_name_behind(redis: Any, valkey: Path) -> None:
    jobs = site(redis, valkey)
    for _ in range(3):
        async with jobs.worker():
            await jobs.over(await jobs.submit(b""))
    assert await redis.xinfo_consumers("{jobs}:queue", "workers") == []


async def test_after_a_crash_each_job_of_a_batch_runs_alone(redis: Any, valkey: Path) -> None:
    jobs = site(redis, valkey, lease_seconds=0.5)
    ids = await jobs.submit(*[b"pause"] * 6)
    crashed = RedisStream(jobs.url, "crashed", 0.5)
    await jobs.records.claim(await crashed.receive(6, 1.0, ()), "crashed")
    async with jobs.worker():
        assert await jobs.over(ids) == ["succeeded"] * 6
    assert (jobs.most_at_once, {str((await jobs.records.get(one)).outcome.result) for one in ids}) == (
        1,
        {"{'attempt': 2}"},
    )
    await crashed.close(())


async def test_a_stop_does_not_wait_for_a_job_that_runs_alone(redis: Any, valkey: Path) -> None:
    jobs = site(redis, valkey, lease_seconds=0.3, drain_seconds=0.1)
    ids = await jobs.submit(b"hold", b"hold")
    crashed = RedisStream(jobs.url, "crashed", 0.3)
    await jobs.records.claim(await crashed.receive(2, 1.0, ()), "crashed")
    async with jobs.worker():
        await until(lambda: jobs.at_once == 1, "one runs alone")
    assert {(await jobs.records.get(one)).state.value for one in ids} == {"queued"}
    await crashed.close(())
