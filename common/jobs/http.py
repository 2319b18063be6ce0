"""Jobs over HTTP: the routes /jobs/{id}, and requests that become jobs when their client does not want to wait.

`Prefer` is RFC 7240: `Prefer: respond-async, wait=2` asks for a job when there is no response after two seconds.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, NamedTuple

import orjson
from fastapi import APIRouter, Query, Response

from common.errors import NotReady, Overloaded
from common.http.reply import Reply
from common.jobs.interface import Jobs, Work
from common.jobs.record import JobInput, JobRecord
from common.request.context import Headers, RequestContext, current
from common.request.deadline import Deadline
from common.request.disconnect import cancel_on_disconnect
from common.service import Service

_SECONDS = re.compile(r"\d{1,9}(\.\d{1,9})?")
_RETRY_SECONDS = "1"  # when to ask again for a job that has not finished

Responses = dict[int | str, dict[str, Any]]


class Preferences(NamedTuple):
    """What a `Prefer` header asks for; `applied` is the same as the header `Preference-Applied` repeats it."""

    respond_async: bool
    wait_seconds: float | None
    applied: str

    def patience(self, remaining: float) -> float:
        """The seconds to wait for the result, when `remaining` are left until the request's deadline."""
        if self.wait_seconds is not None:
            return min(self.wait_seconds, remaining)
        return min(0.0, remaining) if self.respond_async else remaining


def parse_prefer(headers: Headers) -> Preferences:
    """The preferences `respond-async` and `wait`; of each the first one counts. All others are ignored."""
    known: dict[str, str] = {}
    for preference in headers.get(b"prefer", b"").decode("latin-1").split(","):
        name, _, value = (part.strip() for part in preference.partition(";")[0].partition("="))
        name, value = name.lower(), value.strip('"')
        if (name == "respond-async" and not value) or (name == "wait" and _SECONDS.fullmatch(value)):
            known.setdefault(name, value)
    applied = ", ".join(f"{name}={value}" if value else name for name, value in known.items())
    wait = known.get("wait")
    return Preferences("respond-async" in known, None if wait is None else float(wait), applied)


class HandOver:
    """Answers a request with the result of some work, or hands the work over to a job and answers 202.

    A request may become a job when it prefers that, and with `on_timeout` every request may.
    """

    def __init__(self, service: Service, jobs: Jobs, work: Work, *, on_timeout: bool) -> None:
        self._jobs, self._work, self._on_timeout = jobs, work, on_timeout
        self._rejected = service.metrics.rejected

    async def reply(self, context: RequestContext, job_input: JobInput) -> Reply:
        """200 with the result as soon as there is one, or 202 with the job when the client's patience is over.

        Without a job, which is also the case while none are accepted, the request waits until its deadline: that
        raises DeadlineExceeded. A client that prefers a job is told if there is none: Overloaded for too many of them,
        NotReady while their store is away.
        """
        preferences = parse_prefer(context.headers)
        patience = preferences.patience(context.deadline.remaining)
        if self._jobs.accepting and (preferences.respond_async or self._on_timeout):
            try:
                job = await self._jobs.submit(context, job_input)
            except (Overloaded, NotReady) as error:
                if preferences.respond_async:
                    self._rejected.labelled("jobs_full" if isinstance(error, Overloaded) else "jobs_away").inc()
                    raise
            else:
                return await self._wait(context, job, patience, preferences)
        if not preferences.respond_async:
            context.deadline = Deadline.after(patience)
        return Reply(200, orjson.dumps(await self._work(context, job_input)))

    async def _wait(self, context: RequestContext, job: JobRecord, patience: float, preferences: Preferences) -> Reply:
        try:
            async with cancel_on_disconnect(context):
                job = await self._jobs.wait(job.id, patience, context.tenant)
            if not job.finished:
                return accepted(await self._jobs.hand_over(job), preferences)
        except BaseException:
            await self._jobs.discard(job)
            raise
        await self._jobs.discard(job)
        context.stages, context.model = dict(job.outcome.stages), job.outcome.model
        return Reply(200, orjson.dumps(job.result()))


def accepted(job: JobRecord, preferences: Preferences | None = None) -> Reply:
    """202 with the place of a job, and with the preferences that were followed."""
    headers = [(b"location", f"/jobs/{job.id}".encode()), (b"retry-after", _RETRY_SECONDS.encode())]
    if preferences and preferences.respond_async:
        headers.append((b"preference-applied", preferences.applied.encode()))
    return Reply(202, orjson.dumps(job.document()), headers=headers)


def job_routes(jobs: Jobs) -> APIRouter:
    """GET and DELETE /jobs/{id}, DELETE /jobs/{id}/result."""
    router = APIRouter(prefix="/jobs", tags=["jobs"])
    failures: Responses = {
        404: {"description": "There is no job of this id"},
        410: {"description": "The job has finished, and is no longer kept"},
    }

    @router.get("/{identity}", summary="A job and, once it has succeeded, its result", responses=failures)
    async def show(identity: str, wait: Annotated[float, Query(ge=0, allow_inf_nan=False)] = 0.0) -> Response:
        caller = current.get()
        if not wait:
            return _job_response(await jobs.find(identity, caller.tenant), 200)
        return _job_response(await jobs.wait(identity, min(wait, caller.deadline.remaining), caller.tenant), 200)

    finished: Responses = {409: {"description": "The job has finished already"}}

    @router.delete("/{identity}", summary="Cancel a job", status_code=202, responses={**failures, **finished})
    async def cancel(identity: str) -> Response:
        return _job_response(await jobs.cancel(identity, current.get().tenant), 202)

    unfinished: Responses = {409: {"description": "The job has not finished"}}

    @router.delete(
        "/{identity}/result",
        summary="Delete a finished job, its input and its result",
        status_code=204,
        responses={**failures, **unfinished},
    )
    async def erase(identity: str) -> None:
        await jobs.erase(identity, current.get().tenant)

    return router


def _job_response(job: JobRecord, status: int) -> Response:
    headers = None if job.finished else {"Retry-After": _RETRY_SECONDS}
    return Response(orjson.dumps(job.document()), status, headers, "application/json")
