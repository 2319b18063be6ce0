"""The store in memory: bounded, and a finished job is kept for its TTL, after which its id is still recognised."""

from __future__ import annotations

import pytest

from common.errors import NotFound, Overloaded
from common.jobs.record import JobExpired, JobFinished, JobOutcome, JobRecord, JobState
from common.jobs.store import MemoryJobStore, SignedIds
from common.request.deadline import Deadline

TTL = 60.0


class Clock:
    """A clock that stands until it is set."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def store(clock: Clock, limit: int = 2) -> MemoryJobStore:
    return MemoryJobStore(limit, TTL, clock)


async def finished(jobs: MemoryJobStore) -> JobRecord:
    record = await jobs.create(Deadline.after(10))
    await jobs.move(record.id, JobState.RUNNING, JobOutcome())
    return await jobs.move(record.id, JobState.SUCCEEDED, JobOutcome({"n": 1}))


async def test_a_record_is_read_as_it_was_moved_last() -> None:
    jobs = store(Clock())
    record = await jobs.create(Deadline.after(10))
    assert (await jobs.get(record.id)).state is JobState.QUEUED
    await jobs.move(record.id, JobState.RUNNING, JobOutcome())
    assert (await jobs.get(record.id)).state is JobState.RUNNING
    await jobs.hand_over(record.id)
    await jobs.move(record.id, JobState.SUCCEEDED, JobOutcome({"n": 1}))
    found = await jobs.get(record.id)
    assert (found.state, found.outcome.result, found.handed_over) == (JobState.SUCCEEDED, {"n": 1}, True)


async def test_a_move_that_is_refused_changes_nothing() -> None:
    jobs = store(Clock())
    record = await finished(jobs)
    with pytest.raises(JobFinished):
        await jobs.move(record.id, JobState.CANCELLED, JobOutcome())
    assert await jobs.get(record.id) == record


async def test_a_full_store_refuses_and_takes_a_job_again_once_one_is_removed() -> None:
    jobs = store(Clock(), limit=2)
    first, _ = await jobs.create(Deadline.after(10)), await jobs.create(Deadline.after(10))
    with pytest.raises(Overloaded, match="2 jobs") as refused:
        await jobs.create(Deadline.after(10))
    assert refused.value.retry_after == 1
    await jobs.remove(first.id)
    await jobs.create(Deadline.after(10))


async def test_a_finished_job_is_kept_for_its_ttl_and_expired_afterwards() -> None:
    clock = Clock()
    jobs = store(clock, limit=1)
    record = await finished(jobs)
    clock.now += TTL
    assert await jobs.get(record.id) == record
    clock.now += 0.001
    with pytest.raises(JobExpired, match="60 s"):
        await jobs.get(record.id)
    await jobs.create(Deadline.after(10))  # its place is free again


async def test_a_job_that_has_not_finished_does_not_expire() -> None:
    clock = Clock()
    jobs = store(clock)
    record = await jobs.create(Deadline.after(10))
    clock.now += 100 * TTL
    assert await jobs.get(record.id) == record


async def test_an_id_that_this_store_has_not_issued_is_not_found() -> None:
    jobs = store(Clock())
    foreign = await store(Clock()).create(Deadline.after(10))
    for job_id in (foreign.id, "nothing", "", "-", "é-ü", "a-b-c"):
        with pytest.raises(NotFound, match="no job of this id"):
            await jobs.get(job_id)


def test_a_changed_id_is_not_recognised() -> None:
    ids = SignedIds()
    issued = ids.new()
    assert ids.issued(issued)
    for position, character in enumerate(issued):
        changed = "0" if character != "0" else "1"
        assert not ids.issued(issued[:position] + changed + issued[position + 1 :])
    assert len({ids.new() for _ in range(100)}) == 100
