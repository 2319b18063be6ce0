"""Where the records of jobs are kept: the interface, and the store in this process's memory."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from time import monotonic
from typing import Protocol

import msgspec

from common.errors import NotFound, Overloaded
from common.jobs.record import JobExpired, JobOutcome, JobRecord, JobState
from common.request.deadline import Deadline


class JobStore(Protocol):
    """Records by job id. Each method is atomic. All raise NotFound for an unknown id and JobExpired after its TTL."""

    async def create(self, deadline: Deadline, tenant: str = "") -> JobRecord:
        """A new record, queued. Raises Overloaded when the store is full."""

    async def get(self, job_id: str) -> JobRecord:
        """The record as it is now."""

    async def move(self, job_id: str, state: JobState, outcome: JobOutcome) -> JobRecord:
        """Changes the state, if `record.MOVES` allows that. Raises JobFinished when the state is final already."""

    async def hand_over(self, job_id: str) -> JobRecord:
        """Notes that the client has been given the id."""

    async def remove(self, job_id: str) -> None:
        """Forgets a job."""

    async def all(self) -> list[JobRecord]:
        """All records, the newest first."""


class SignedIds:
    """Job ids with a signature, which shows without any memory of old ids that this process has issued them."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)

    def new(self) -> str:
        """An id of 64 random bits and the signature of these."""
        name = secrets.token_hex(8)
        return f"{name}-{self._signature(name)}"

    def issued(self, job_id: str) -> bool:
        """Whether `new` has returned this id."""
        name, _, signature = job_id.partition("-")
        return hmac.compare_digest(signature.encode(), self._signature(name).encode())

    def _signature(self, name: str) -> str:
        return hmac.new(self._secret, name.encode(), "sha256").hexdigest()[:16]


def unknown_job() -> NotFound:
    """The error for an id that this process has not issued, or not to this caller."""
    return NotFound(
        "this process has no job of this id; check the id, and note that jobs are lost when the process restarts"
    )


class MemoryJobStore:
    """A JobStore of at most `limit` records. It ends with the process.

    A record is kept for `ttl_seconds` after its job has finished; one that has not finished is kept without a limit.
    """

    def __init__(self, limit: int, ttl_seconds: float, clock: Callable[[], float] = monotonic) -> None:
        self._limit, self._ttl_seconds, self._clock = limit, ttl_seconds, clock
        self._records: dict[str, JobRecord] = {}
        self._ids = SignedIds()

    async def create(self, deadline: Deadline, tenant: str = "") -> JobRecord:
        self._remove_expired()
        if len(self._records) >= self._limit:
            raise Overloaded(
                f"the store of jobs is full: it keeps {len(self._records)} jobs already, the most that it may; "
                "retry later",
                retry_after=1,
            )
        record = JobRecord(self._ids.new(), deadline, tenant=tenant)
        self._records[record.id] = record
        return record

    async def get(self, job_id: str) -> JobRecord:
        self._remove_expired()
        record = self._records.get(job_id)
        if record is not None:
            return record
        if self._ids.issued(job_id):
            raise JobExpired(f"this job has been deleted: a job is kept for {self._ttl_seconds:g} s after it finishes")
        raise unknown_job()

    async def move(self, job_id: str, state: JobState, outcome: JobOutcome) -> JobRecord:
        record = (await self.get(job_id)).moved(state, self._clock(), outcome)
        self._records[job_id] = record
        return record

    async def hand_over(self, job_id: str) -> JobRecord:
        record = msgspec.structs.replace(await self.get(job_id), handed_over=True)
        self._records[job_id] = record
        return record

    async def remove(self, job_id: str) -> None:
        await self.get(job_id)
        del self._records[job_id]

    async def all(self) -> list[JobRecord]:
        self._remove_expired()
        return list(reversed(self._records.values()))

    def _remove_expired(self) -> None:
        oldest = self._clock() - self._ttl_seconds
        for job_id, record in tuple(self._records.items()):
            if record.finished_at is not None and record.finished_at < oldest:
                del self._records[job_id]
