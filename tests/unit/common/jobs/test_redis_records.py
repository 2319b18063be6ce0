"""Records in Redis: each job is over once, in one state; a worker that has lost its job changes nothing."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import Any

import pytest

from common.errors import InvalidInput, NotFound, NotReady, Overloaded
from common.jobs.record import JobExpired, JobFinished, JobOutcome, JobState, KeyReused
from common.jobs.redis.records import Attempt, Carrier, Claim, JobLimits, JobMessage, NewJob, RedisRecords

_ids = count(1)


def records(redis: Any, carrier: Carrier = Carrier.STREAM, **policy: Any) -> RedisRecords:
    return RedisRecords(redis, JobLimits(**{"lease_seconds": 30.0, **policy}), carrier)


def new(**given: Any) -> NewJob:
    return NewJob(**{"id": f"job-{next(_ids)}", "input": b"picture", "seconds": 60.0, "ttl_seconds": 60.0, **given})


async def messages(redis: Any) -> list[JobMessage]:
    """The messages in the stream, in order."""
    return [
        JobMessage(fields[b"id"].decode(), number.decode()) for number, fields in await redis.xrange("{jobs}:queue")
    ]


async def claimed(redis: Any, jobs: RedisRecords, holder: str = "w") -> list[Claim]:
    return await jobs.claim(await messages(redis), holder)


async def attempt_at(redis: Any, jobs: RedisRecords, **given: Any) -> Attempt:
    """The first attempt at a new job."""
    await jobs.submit(new(**given))
    (claim,) = await claimed(redis, jobs)
    assert claim.attempt is not None
    return claim.attempt


async def test_a_job_runs_to_its_result_and_leaves_nothing_but_its_record(redis: Any) -> None:
    jobs = records(redis)
    attempt = await attempt_at(redis, jobs, fields={"traceparent": "00-1"})
    assert (attempt.number, attempt.input, attempt.fields["traceparent"]) == (1, b"picture", "00-1")
    assert 59 < attempt.deadline.remaining <= 60
    assert (await jobs.get(attempt.job)).state is JobState.RUNNING
    assert await jobs.finish([(attempt, JobOutcome({"label": "cat"}, None, "m", {"infer": 2.0}))]) == ["succeeded"]
    record = await jobs.get(attempt.job)
    assert record.document() == {
        "id": attempt.job, "status": "succeeded", "result": {"label": "cat"}, "stages": {"infer": 2.0},
    }  # fmt: skip
    kept = {key.decode().removeprefix("{jobs}:") for key in await redis.keys()}
    own = {f"{kind}:{attempt.job}" for kind in ("job", "result", "gone")}
    assert kept == {*own, "list:", "bytes", "counts", "queue"}
    assert (await redis.get("{jobs}:bytes"), await redis.xlen("{jobs}:queue")) == (b"0", 0)


async def test_a_failed_job_says_its_error(redis: Any) -> None:
    jobs = records(redis)
    attempt = await attempt_at(redis, jobs)
    await jobs.finish([(attempt, JobOutcome(error=InvalidInput("expected a picture")))])
    error = {"title": "Invalid input", "status": 400, "detail": "expected a picture"}
    assert (await jobs.get(attempt.job)).document() == {"id": attempt.job, "status": "failed", "error": error}


async def test_a_submit_whose_answer_was_lost_is_repeated_safely(redis: Any) -> None:
    jobs, job = records(redis), new()
    assert (await jobs.submit(job)).id == (await jobs.submit(job)).id == job.id
    assert len(await messages(redis)) == 1


async def test_a_hundred_submits_of_one_idempotency_key_are_one_job(redis: Any) -> None:
    jobs = records(redis)
    submitted = await asyncio.gather(*(jobs.submit(new(once="k", fingerprint="f")) for _ in range(100)))
    ids = {one.id for one in submitted}
    assert len(ids) == len(await messages(redis)) == 1
    with pytest.raises(KeyReused, match="'k' was used for another request"):
        await jobs.submit(new(once="k", fingerprint="other"))
    assert (await jobs.submit(new(once="k", fingerprint="other", tenant="another"))).id not in ids


@pytest.mark.parametrize(("policy", "most"), [({"most_jobs": 2}, "2 jobs"), ({"most_bytes": 15}, "15 bytes of input")])
async def test_beyond_the_limit_a_job_is_refused_until_one_is_over(
    redis: Any, policy: dict[str, Any], most: str
) -> None:
    jobs = records(redis, **policy)
    first = await attempt_at(redis, jobs)
    await jobs.submit(new())
    with pytest.raises(Overloaded, match=f"it holds {most} already"):
        await jobs.submit(new())
    await jobs.finish([(first, JobOutcome({}))])
    await jobs.submit(new())


async def test_a_cancelled_job_never_succeeds(redis: Any) -> None:
    jobs = records(redis)
    attempt = await attempt_at(redis, jobs)
    assert (await jobs.cancel(attempt.job)).state is JobState.CANCELLED
    assert await jobs.renew("w", [attempt]) == {attempt.job}
    assert await jobs.finish([(attempt, JobOutcome({}))]) == ["cancelled"]
    with pytest.raises(JobFinished, match="has cancelled already"):
        await jobs.cancel(attempt.job)


async def test_a_job_cancelled_before_it_began_is_left_to_a_worker_which_drops_it(redis: Any) -> None:
    jobs = records(redis)
    await jobs.cancel((await jobs.submit(new())).id)
    assert len(await messages(redis)) == 1  # to delete it here would hide the queue's length from an autoscaler
    (claim,) = await claimed(redis, jobs)
    assert (claim.fate, await messages(redis)) == ("drop", [])


async def test_a_worker_that_lost_its_lease_changes_nothing(redis: Any) -> None:
    jobs = records(redis, lease_seconds=0.0)
    lost = await attempt_at(redis, jobs)
    await jobs.sweep()
    (claim,) = await claimed(redis, jobs, "another")
    again = claim.attempt
    assert again is not None
    assert (again.job, again.number, again.alone) == (lost.job, 2, True)
    assert await jobs.renew("w", [lost]) == {lost.job}
    assert await jobs.finish([(lost, JobOutcome({"by": "lost"}))]) == ["running"]
    assert await jobs.give_back([lost]) == ["running"]
    assert await jobs.finish([(again, JobOutcome({"by": "again"}))]) == ["succeeded"]
    assert await jobs.finish([(lost, JobOutcome({"by": "lost"}))]) == ["succeeded"]
    assert (await jobs.get(lost.job)).outcome.result == {"by": "again"}


async def test_a_message_of_a_running_job_waits_and_a_second_one_is_dropped(redis: Any) -> None:
    jobs = records(redis)
    attempt = await attempt_at(redis, jobs)
    (same,) = await messages(redis)
    claims = await jobs.claim([same, JobMessage(attempt.job, "0-1"), JobMessage("x", "0-2")], "v")
    assert [one.fate for one in claims] == ["wait", "drop", "drop"]


async def test_a_job_whose_workers_stop_again_and_again_is_a_dead_letter(redis: Any) -> None:
    jobs = records(redis, lease_seconds=0.0, attempts=2)
    attempt = await attempt_at(redis, jobs)
    for _ in range(2):
        await jobs.sweep()
        await claimed(redis, jobs)
    record = await jobs.get(attempt.job)
    assert record.state is JobState.FAILED
    assert record.outcome.error is not None
    assert "the worker stopped during each of 2 attempts" in record.outcome.error.detail
    assert await redis.get(f"{{jobs}}:input:{attempt.job}") == b"picture"  # for a replay


async def test_a_failed_attempt_is_repeated_after_a_pause_and_an_interrupted_one_does_not_count(redis: Any) -> None:
    jobs = records(redis, attempts=2)
    attempt = await attempt_at(redis, jobs)
    for _ in range(5):  # its worker stops, and gives it back
        assert await jobs.give_back([attempt]) == ["queued"]
        (claim,) = await claimed(redis, jobs)
        assert claim.attempt is not None
        attempt = claim.attempt
    assert attempt.number == 1
    failure = NotReady("the predictor cannot be reached")
    assert await jobs.give_back([attempt], failure, pause_seconds=0.05) == ["queued"]
    assert await messages(redis) == []
    await asyncio.sleep(0.06)
    await jobs.sweep()
    (claim,) = await claimed(redis, jobs)
    assert claim.attempt is not None
    assert claim.attempt.number == 2
    assert await jobs.give_back([claim.attempt], failure) == ["dead"]


async def test_a_job_expires_before_and_while_it_runs(redis: Any) -> None:
    jobs = records(redis)
    waiting = (await jobs.submit(new(seconds=0.0))).id
    (claim,) = await claimed(redis, jobs)
    assert claim.fate == "drop"
    running = await attempt_at(redis, jobs, seconds=0.05)
    await asyncio.sleep(0.06)
    await jobs.sweep()
    assert [(await jobs.get(one)).state for one in (waiting, running.job)] == [JobState.EXPIRED] * 2
    assert await jobs.finish([(running, JobOutcome({}))]) == ["expired"]


async def test_jobs_of_an_ordering_key_run_one_after_the_other(redis: Any) -> None:
    jobs = records(redis)
    ids = [(await jobs.submit(new(order="a"))).id for _ in range(4)]
    other = (await jobs.submit(new(order="b"))).id
    await jobs.cancel(ids[2])
    seen: list[str] = []
    while found := [one.attempt for one in await claimed(redis, jobs) if one.attempt]:
        seen += [one.job for one in found]
        await jobs.finish([(one, JobOutcome({})) for one in found])
    assert seen == [ids[0], other, ids[1], ids[3]]


async def test_a_job_is_kept_for_its_time_to_live_after_its_end_and_is_known_afterwards(redis: Any) -> None:
    jobs = records(redis)
    attempt = await attempt_at(redis, jobs, ttl_seconds=0.05, tenant="t")
    await asyncio.sleep(0.06)
    assert (await jobs.get(attempt.job, "t")).state is JobState.RUNNING  # what is open does not go
    await jobs.finish([(attempt, JobOutcome({}))])
    await asyncio.sleep(0.06)
    with pytest.raises(JobExpired):
        await jobs.get(attempt.job, "t")
    for job, tenant in ((attempt.job, ""), ("never", "t")):
        with pytest.raises(NotFound):
            await jobs.get(job, tenant)
        with pytest.raises(NotFound):
            await jobs.cancel(job, tenant)


async def test_with_another_broker_a_job_is_queued_once_its_message_is_confirmed(redis: Any) -> None:
    jobs = records(redis, Carrier.OUTBOX)
    job = (await jobs.submit(new())).id
    assert await jobs.sweep(resend_seconds=0.0) == [job]
    await jobs.published([job])
    assert await jobs.sweep(resend_seconds=0.0) == []
    (claim,) = await jobs.claim([JobMessage(job, "7")], "w")
    assert claim.fate == "run"
    # a message that overtakes its confirmation is as good
    early = (await jobs.submit(new())).id
    (claim,) = await jobs.claim([JobMessage(early, "8")], "w")
    assert claim.fate == "run"
    await jobs.published([early])
    assert (await jobs.get(early)).state is JobState.RUNNING


async def test_without_memory_no_job_is_accepted_and_those_that_run_come_to_their_end(redis: Any) -> None:
    jobs = records(redis)
    attempt = await attempt_at(redis, jobs, input=bytes(1_000_000))
    await redis.config_set("maxmemory", 1_000_000)
    try:
        with pytest.raises(NotReady, match="OutOfMemoryError"):
            await jobs.submit(new())
        assert await jobs.finish([(attempt, JobOutcome({"label": "cat"}))]) == ["succeeded"]
        assert (await jobs.get(attempt.job)).outcome.result == {"label": "cat"}
    finally:
        await redis.config_set("maxmemory", 0)
    await jobs.submit(new())


async def test_a_redis_that_may_evict_jobs_is_named(redis: Any) -> None:
    jobs = records(redis)
    assert await jobs.eviction() is None
    await redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        assert await jobs.eviction() == "expected maxmemory-policy noeviction, got allkeys-lru"
    finally:
        await redis.config_set("maxmemory-policy", "noeviction")


@pytest.mark.parametrize("lost", [b"XTRIM {jobs}:queue MAXLEN 0", b"DEL {jobs}:queue"])
async def test_a_job_whose_message_was_lost_is_sent_again(redis: Any, lost: bytes) -> None:
    jobs = records(redis)
    running, waiting = await attempt_at(redis, jobs), (await jobs.submit(new())).id
    await redis.execute_command(*lost.split())
    assert await jobs.renew("w", [running]) == set()
    await jobs.sweep(resend_seconds=0.0)
    assert [one.job for one in await messages(redis)] == [waiting]
    await jobs.sweep(resend_seconds=0.0)
    assert len(await messages(redis)) == 1
    assert await jobs.finish([(running, JobOutcome({}))]) == ["succeeded"]
