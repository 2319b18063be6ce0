"""Requests that outlast their caller's patience go on as jobs: in this process, bounded, and gone when it ends.

An id is signed, so that one which has expired (410) is told from one that never was (404) without being remembered.
"""

from __future__ import annotations

import asyncio
import hmac
import re
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from math import inf
from time import monotonic
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Response

from common.errors import NotFound, Overloaded, ServingError
from common.http.reply import Reply
from common.observability.metrics import Counter
from common.request.context import Headers, RequestContext, current
from common.request.deadline import Deadline
from common.service import Service

_SECONDS = re.compile(r"\d{1,9}(\.\d{1,9})?")
_LATER = {"Retry-After": "1"}
Answer = dict[str, Any]
Work = Callable[[RequestContext], Coroutine[Any, Any, Answer]]


class JobExpired(ServingError):
    status, grpc_code, title = 410, "NOT_FOUND", "Expired"


class JobOver(ServingError):
    status, grpc_code, title = 409, "FAILED_PRECONDITION", "Already over"


class Job:
    """Work begun for a caller; once handed over, it no longer ends when that caller leaves."""

    def __init__(self, identity: str, asked: RequestContext, seconds: float, work: Work) -> None:
        self.id, self.handed_over, self.over_since = identity, False, 0.0

        left: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def leave(_: object) -> None:
            if not self.handed_over and not left.done():
                left.set_result(None)

        asked.disconnected().add_done_callback(leave)
        within = Deadline.after(seconds)
        self.context = RequestContext(asked.method, asked.path, asked.request_id, asked.trace, within, lambda: left)
        self.task = asyncio.create_task(work(self.context))

    @property
    def status(self) -> str:
        """Queued until its picture is decoded, then running until it is over."""
        if not self.task.done():
            return "running" if self.context.stages else "queued"
        return "cancelled" if self.task.cancelled() else "failed" if self.task.exception() else "succeeded"

    async def over(self, within: float) -> bool:
        """Whether it is over, now or after `within` seconds at most."""
        await asyncio.wait([self.task], timeout=max(within, 0.0))
        return self.task.done()

    def document(self) -> Answer:
        told: Answer = {"id": self.id, "status": self.status}
        if self.status == "succeeded":
            return told | {"result": self.task.result(), "stages": self.context.stages}
        if self.status == "failed":
            error = self.task.exception()
            known = error if isinstance(error, ServingError) else ServingError("an internal error; the log has it")
            return told | {"error": {"title": known.title, "status": known.status, "detail": known.detail}}
        return told


@dataclass(frozen=True, slots=True)
class JobPolicy:
    """`limit` jobs are kept, each for `ttl` seconds once it is over; one fails after `timeout` seconds.

    `always`: a caller whose time is up gets a job whether it asked for one or not.
    """

    limit: int
    ttl: float
    timeout: float
    always: bool


class Jobs:
    """All the jobs of this process."""

    def __init__(self, service: Service, policy: JobPolicy) -> None:
        self._policy, self._health, self._log = policy, service.health, service.logs.log
        self._counts = Counter(service.metrics.registry, "serving_jobs", "Jobs by what became of them.", ("state",))
        self._rejected = service.metrics.rejected.labelled("jobs_full")
        self._kept: dict[str, Job] = {}
        self._secret = secrets.token_bytes(32)

    async def answer(self, asked: RequestContext, work: Work) -> Reply:
        """The work's answer within the caller's patience; then 504, or 202 and the work goes on as a job.

        `Prefer: respond-async, wait=2` asks for a job after two seconds, and `always` makes one in place of a 504 while
        there is room. A service that is about to end makes none. Raises Overloaded where one is asked for and too many
        are kept.
        """
        wishes = _preferences(asked.headers)
        job_wished = "respond-async" in wishes
        patience = min(
            float(wishes["wait"]) if "wait" in wishes else 0.0 if job_wished else inf, asked.deadline.remaining
        )
        if self._health.draining or not (job_wished or (self._policy.always and self._has_room())):
            if not job_wished:
                asked.deadline = Deadline.after(patience)
            return Reply(200, orjson.dumps(await work(asked)))
        job = self._begin(asked, work)
        if await job.over(patience):
            del self._kept[job.id]
            asked.stages, asked.model = job.context.stages, job.context.model
            return Reply(200, orjson.dumps(job.task.result()))
        return self._hand_over(job, wishes if job_wished else {})

    def _begin(self, asked: RequestContext, work: Work) -> Job:
        if not self._has_room():
            self._rejected.inc()
            raise Overloaded(f"{len(self._kept)} jobs are kept already, as many as may be", retry_after=1)
        name = secrets.token_hex(8)
        job = Job(f"{name}-{self._mark(name)}", asked, self._policy.timeout, work)
        self._kept[job.id] = job
        job.task.add_done_callback(lambda _: self._ended(job))
        return job

    def _has_room(self) -> bool:
        self._forget_expired()
        return len(self._kept) < self._policy.limit

    def _hand_over(self, job: Job, wishes: Mapping[str, str]) -> Reply:
        job.handed_over = True
        self._counts.labelled("accepted").inc()
        headers = [(b"location", f"/jobs/{job.id}".encode()), (b"retry-after", b"1")]
        if wishes:
            applied = ", ".join(f"{name}={value}" if value else name for name, value in wishes.items())
            headers.append((b"preference-applied", applied.encode()))
        return Reply(202, orjson.dumps(job.document()), headers=headers)

    def _ended(self, job: Job) -> None:
        job.over_since = monotonic()
        if job.handed_over:
            self._counts.labelled(job.status).inc()
            error = None if job.task.cancelled() else job.task.exception()
            if error and not isinstance(error, ServingError):
                self._log.error("a job failed unexpectedly", job=job.id, error=repr(error))

    def find(self, identity: str) -> Job:
        """Raises NotFound for an id that was never given out, JobExpired for one whose job is no longer kept."""
        self._forget_expired()
        job = self._kept.get(identity)
        if job is not None and job.handed_over:
            return job
        name, _, mark = identity.partition("-")
        if hmac.compare_digest(mark.encode(), self._mark(name).encode()):
            raise JobExpired(f"this job was kept for {self._policy.ttl:g} s after its end, and is gone")
        raise NotFound("no such job here; a job ends with the process that has it")

    def _forget_expired(self) -> None:
        oldest = monotonic() - self._policy.ttl
        for job in [one for one in self._kept.values() if one.task.done() and one.over_since < oldest]:
            del self._kept[job.id]

    def _mark(self, name: str) -> str:
        return hmac.new(self._secret, name.encode(), "sha256").hexdigest()[:16]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """At the end, what is under way is cancelled: nobody could fetch it any more."""
        yield
        lost = [job.task for job in self._kept.values() if job.task.cancel()]
        await asyncio.gather(*lost, return_exceptions=True)
        if lost:
            self._log.warning("jobs lost with their process", jobs=len(lost))


def _preferences(headers: Headers) -> dict[str, str]:
    """What this service understands of a `Prefer` header (RFC 7240), the first of each; the rest is to be ignored."""
    found: dict[str, str] = {}
    for part in headers.get(b"prefer", b"").decode("latin-1").split(","):
        name, _, value = (word.strip() for word in part.partition(";")[0].partition("="))
        name, value = name.lower(), value.strip('"')
        if (name == "respond-async" and not value) or (name == "wait" and _SECONDS.fullmatch(value)):
            found.setdefault(name, value)
    return found


def job_routes(jobs: Jobs) -> APIRouter:
    """GET and DELETE /jobs/{id}."""
    router = APIRouter(prefix="/jobs", tags=["jobs"])
    gone: dict[int | str, dict[str, Any]] = {404: {"description": "Never was"}, 410: {"description": "Expired"}}

    @router.get("/{identity}", summary="A job and, once it has succeeded, its result", responses=gone)
    async def show(identity: str, wait: Annotated[float, Query(ge=0, allow_inf_nan=False)] = 0.0) -> Response:
        job = jobs.find(identity)
        over = await job.over(min(wait, current.get().deadline.remaining))
        return Response(orjson.dumps(job.document()), headers=None if over else _LATER, media_type="application/json")

    @router.delete(
        "/{identity}", summary="Cancel a job", status_code=202, responses={**gone, 409: {"description": "Over"}}
    )
    async def cancel(identity: str) -> Response:
        job = jobs.find(identity)
        if not job.task.cancel():
            raise JobOver(f"this job is over: it has {job.status}")
        await job.over(1.0)
        return Response(orjson.dumps(job.document()), 202, media_type="application/json")

    return router
