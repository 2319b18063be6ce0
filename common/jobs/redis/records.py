"""Records of jobs in Redis, which outlive the processes that submit them and work on them.

A record changes in scripts alone (the folder lua), each of which is atomic. A state changes by one function of theirs,
from the state and the attempt that the caller knows: a worker that has lost its job changes nothing any more. Time is
the server's clock. Whichever broker carries the messages, the record decides, and a message only wakes a worker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
import orjson
from redis.asyncio import Redis
from redis.commands.core import AsyncScript
from redis.exceptions import RedisError

from common.errors import NotReady, Overloaded, ServingError
from common.jobs.interface import JobPage
from common.jobs.record import JobExpired, JobFinished, JobOutcome, JobRecord, JobState, KeyReused, Result
from common.jobs.redis.connection import ANSWER_SECONDS
from common.jobs.store import unknown_job
from common.request.deadline import Deadline

_LUA = Path(__file__).parent / "lua"
_STATES = {"accepting": JobState.QUEUED, "dead": JobState.FAILED} | {one.value: one for one in JobState}


class Carrier(StrEnum):
    """Where messages go: into a stream of the same Redis, or to another broker, which confirms them later."""

    STREAM = "stream"
    OUTBOX = "outbox"


class JobLimits(msgspec.Struct, frozen=True):
    """What holds for all jobs. Sizes are bytes of the inputs of open jobs."""

    most_jobs: int = 10_000
    most_bytes: int = 256_000_000
    attempts: int = 3
    lease_seconds: float = 30.0


class NewJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job to be submitted. `seconds` is its deadline from now, `ttl_seconds` how long it is kept once it is over.

    Jobs of one `order` (an ordering key) run one after the other. A second job of the same `once` (an idempotency key)
    is the first one, if `fingerprint` is the same. `fields` are kept with the record for the worker.
    """

    id: str
    input: bytes
    seconds: float
    ttl_seconds: float
    tenant: str = ""
    order: str = ""
    once: str = ""
    fingerprint: str = ""
    fields: Mapping[str, str] = {}


class JobMessage(NamedTuple):
    """What a broker has delivered: a job's id, and the broker's own id of the message."""

    job: str
    id: str


class Attempt(msgspec.Struct, frozen=True):
    """An attempt at a job, which its worker holds until the lease ends. `alone`: its worker stopped in the last one."""

    job: str
    number: int
    input: bytes
    deadline: Deadline
    fields: Mapping[str, str]
    alone: bool


class Claim(NamedTuple):
    """What becomes of a message: an attempt begins, or it is dropped, or it waits for the attempt of another worker."""

    message: JobMessage
    fate: Literal["run", "drop", "wait"]
    attempt: Attempt | None


class StoredFailure(ServingError):
    """The error with which a job has failed, as its record has it."""

    def __init__(self, title: str, status: int, detail: str) -> None:
        super().__init__(detail)
        self.title, self.status = title, status  # type: ignore[misc]  # of one error, and not of a class


class RedisRecords:
    """The records. Its methods raise NotReady when Redis does not answer; to repeat a call is safe then."""

    def __init__(
        self, redis: Redis, limits: JobLimits, carrier: Carrier = Carrier.STREAM, root: str = "{jobs}"
    ) -> None:
        """`root` begins the name of every key; the braces keep all of them on one node of a cluster."""
        self._redis, self._limits, self._carrier, self.root = redis, limits, carrier, root
        prelude = (_LUA / "prelude.lua").read_text()
        self._scripts: dict[str, AsyncScript] = {
            path.stem: redis.register_script(_head(path.stem) + prelude + path.read_text())
            for path in _LUA.glob("*.lua")
            if path.stem != "prelude"
        }

    async def submit(self, job: NewJob) -> JobRecord:
        """Accepts a job and gives its record: that of an earlier one for the same idempotency key.

        Raises KeyReused for the key of a job with another fingerprint, Overloaded for too many jobs.
        """
        limits = self._limits
        fields = {"tenant": job.tenant, "order": job.order, "once": job.once, **job.fields}
        kind, value = await self._call(
            "submit", job.id, job.input, limits.most_jobs, limits.most_bytes, _ms(job.seconds), _ms(job.ttl_seconds),
            job.fingerprint, *_flat(fields),
        )  # fmt: skip
        if kind == b"conflict":
            raise KeyReused(f"Idempotency-Key {job.once!r} was used for another request; send another key")
        if kind == b"full":
            most = f"{limits.most_jobs} jobs" if value == b"jobs" else f"{limits.most_bytes} bytes of input"
            raise Overloaded(
                f"the queue is full: it holds {most} already, the most that it may; retry later", retry_after=1
            )
        if kind == b"again":
            return await self.get(value.decode(), job.tenant)
        return JobRecord(job.id, Deadline.after(job.seconds), handed_over=True, tenant=job.tenant)

    async def published(self, jobs: Sequence[str]) -> None:
        """Notes that the broker has confirmed the messages of these jobs."""
        await self._call("published", *jobs)

    async def claim(self, messages: Sequence[JobMessage], holder: str) -> list[Claim]:
        """Begins an attempt at each job of these messages that may run now."""
        lease, attempts = _ms(self._limits.lease_seconds), self._limits.attempts
        flat = (word for one in messages for word in one)
        found = await self._call("claim", holder, lease, attempts, *flat)
        return [_claim(one) for one in found]

    async def renew(self, consumer: str, held: Iterable[Attempt]) -> set[str]:
        """Prolongs the leases of attempts; gives the jobs of those that this worker has lost."""
        lost = await self._call("renew", consumer, _ms(self._limits.lease_seconds), *_held(held))
        return {one.decode() for one in lost}

    async def finish(self, outcomes: Sequence[tuple[Attempt, JobOutcome]]) -> list[str]:
        """Ends attempts with their outcomes. Gives the state that each job has then."""
        words: list[str | bytes | int] = []
        for attempt, outcome in outcomes:
            state = JobState.SUCCEEDED if outcome.error is None else JobState.FAILED
            fields = _outcome_fields(outcome)
            result = orjson.dumps(outcome.result)
            words += [attempt.job, attempt.number, state.value, result, len(fields), *_flat(fields)]
        return [one.decode() for one in await self._call("finish", *words)]

    async def give_back(
        self, held: Iterable[Attempt], error: ServingError | None = None, pause_seconds: float = 0.0
    ) -> list[str]:
        """Ends attempts without a result. Those that failed with an `error` count, and the last one ends the job."""
        counted, text = ("1", _error(error)) if error else ("", b"")
        words = self._limits.attempts, counted, _ms(pause_seconds), text, *_held(held)
        return [one.decode() for one in await self._call("give_back", *words)]

    async def sweep(self, most: int = 100, resend_seconds: float = 5.0) -> list[str]:
        """Ends leases, deadlines and pauses that are over. Gives the jobs whose messages are to be sent again."""
        stopped = NotReady(f"the worker stopped during each of {self._limits.attempts} attempts")
        found = await self._call("sweep", most, self._limits.attempts, _error(stopped), _ms(resend_seconds))
        return [one.decode() for one in found]

    async def cancel(self, job_id: str, tenant: str = "") -> JobRecord:
        """Cancels a job. Raises NotFound, JobExpired, JobFinished."""
        before = (await self._call("cancel", job_id, tenant)).decode()
        record = await self.get(job_id, tenant)
        if before not in ("accepting", "queued", "running"):
            raise JobFinished(f"job {job_id} has {record.state} already, so it cannot become cancelled")
        return record

    async def discard(self, job_id: str) -> None:
        """Ends a job if it is not over, and deletes all of it."""
        await self._call("discard", job_id)

    async def get(self, job_id: str, tenant: str = "") -> JobRecord:
        """The job as it is now. Raises NotFound, also for a job of another tenant, and JobExpired after its TTL."""
        kind, *found = await self._call("show", job_id, tenant)
        if kind == b"gone":
            raise JobExpired("this job has been deleted: the time for which it was kept after its end is over")
        if kind == b"unknown":
            raise unknown_job()
        now, flat, result = found
        return _record(_fields(flat), int(now), orjson.loads(result) if result else None)

    async def erase(self, job_id: str, tenant: str = "") -> bool:
        """Deletes a job that is over. False for one that is not. Raises NotFound, JobExpired."""
        kind = await self._call("erase", job_id, tenant)
        if kind in (b"gone", b"unknown"):
            await self.get(job_id, tenant)  # raises
        return bool(kind == b"erased")

    async def list(self, tenant: str, state: JobState | None, after: str | None, most: int) -> JobPage | None:
        """Some of a tenant's jobs, the newest first; None if `after` is none of them."""
        states = [inside for inside, outside in _STATES.items() if state in (None, outside)]
        kind, *found = await self._call("list", tenant, after or "", most, *states)
        if kind == b"unknown":
            return None
        now, place, *jobs = found
        return JobPage([_record(_fields(one), int(now), None) for one in jobs], place.decode() or None)

    async def eviction(self) -> str | None:
        """What is wrong with the Redis: it may delete jobs that are not over. None if it does not."""
        memory = await self._answer(self._redis.info("memory"))
        policy = memory.get("maxmemory_policy", "noeviction")
        return None if policy == "noeviction" else f"expected maxmemory-policy noeviction, got {policy}"

    async def counts(self) -> dict[str, int]:
        """How many jobs have come into each state so far; a retried job counts again as queued and running."""
        found = await self._answer(self._redis.hgetall(f"{self.root}:counts"))
        return {name.decode(): int(number) for name, number in found.items()}

    async def _call(self, script: str, *words: str | bytes | int) -> Any:
        return await self._answer(self._scripts[script](keys=[self.root], args=[self._carrier.value, *words]))

    async def _answer(self, answer: Any) -> Any:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await answer
        except TimeoutError:
            raise NotReady(
                f"the store of jobs (redis) did not answer within {ANSWER_SECONDS:g} s", retry_after=1
            ) from None
        except RedisError as error:
            raise NotReady(f"the store of jobs (redis) failed: {type(error).__name__}", retry_after=1) from error


def _head(script: str) -> str:
    """A Redis without memory accepts no more jobs, but lets those that it has come to their end, which frees memory."""
    return "#!lua\n" if script == "submit" else "#!lua flags=allow-oom\n"


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _flat(fields: Mapping[str, str | bytes]) -> list[str | bytes]:
    return [word for pair in fields.items() for word in pair]


def _held(attempts: Iterable[Attempt]) -> list[str | int]:
    return [word for one in attempts for word in (one.job, one.number)]


def _fields(flat: Sequence[bytes]) -> dict[str, str]:
    words = [one.decode() for one in flat]
    return dict(zip(words[::2], words[1::2], strict=True))


def _error(error: ServingError) -> bytes:
    return orjson.dumps([error.title, error.status, error.detail])


def _outcome_fields(outcome: JobOutcome) -> dict[str, str | bytes]:
    fields: dict[str, str | bytes] = {"model": outcome.model, "stages": orjson.dumps(dict(outcome.stages))}
    return fields if outcome.error is None else {**fields, "error": _error(outcome.error)}


def _claim(found: Sequence[Any]) -> Claim:
    message = JobMessage(found[0].decode(), found[1].decode())
    fate = found[2].decode()
    if fate != "run":
        return Claim(message, fate, None)
    fields = _fields(found[5])
    seconds = (int(fields["deadline"]) - int(found[4])) / 1000
    attempt = Attempt(
        message.job, int(fields["attempt"]), found[3], Deadline.after(seconds), fields, bool(fields["alone"])
    )
    return Claim(message, "run", attempt)


def _record(fields: Mapping[str, str], now: int, result: Result | None) -> JobRecord:
    error = StoredFailure(*orjson.loads(fields["error"])) if fields.get("error") else None
    stages = orjson.loads(fields["stages"]) if fields.get("stages") else {}
    return JobRecord(
        id=fields["id"],
        deadline=Deadline.after((int(fields["deadline"]) - now) / 1000),
        state=_STATES[fields["state"]],
        handed_over=True,
        finished_at=int(fields["finished"]) / 1000 if "finished" in fields else None,
        outcome=JobOutcome(result, error, fields.get("model", ""), stages),
        tenant=fields["tenant"],
    )
