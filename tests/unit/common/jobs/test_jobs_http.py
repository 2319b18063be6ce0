"""The routes and the hand-over, over jobs that are kept elsewhere: all that they know is the interface."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import httpx
import msgspec
import pytest

from common.errors import NotFound, NotReady, Overloaded, ServingError
from common.http.app import App
from common.http.fastapi_app import build_app
from common.http.reply import Reply
from common.jobs.http import HandOver, job_routes, parse_prefer
from common.jobs.interface import AS_USUAL, JobPage, Submission
from common.jobs.record import JobExpired, JobInput, JobOutcome, JobRecord, JobState, JobUnfinished, Result
from common.protocol.json_body import Payload
from common.request.context import RequestContext
from common.request.deadline import Deadline
from tests.unit.common.observability.captured_log import CapturedLog
from tests.unit.common.polling import wait_until
from tests.unit.common.serving import served


class RecordedJobs:
    """Jobs that never run: each is as it is put here. `calls` are the methods that were called, in order."""

    def __init__(self) -> None:
        self.records: dict[str, JobRecord] = {}
        self.accepting, self.full, self.submitted = True, False, JobRecord("j1", Deadline.after(10))
        self.calls: list[str] = []

    async def submit(self, context: RequestContext, job_input: JobInput, how: Submission = AS_USUAL) -> JobRecord:
        self.calls.append("submit")
        if self.full:
            raise Overloaded("too many jobs", retry_after=1)
        self.records["j1"] = self.submitted
        return self.submitted

    async def hand_over(self, job: JobRecord) -> JobRecord:
        self.calls.append("hand_over")
        return self.records[job.id]

    async def discard(self, job: JobRecord) -> None:
        self.calls.append("discard")
        del self.records[job.id]

    async def find(self, job_id: str, tenant: str = "") -> JobRecord:
        if job_id == "expired":
            raise JobExpired("deleted")
        if job_id not in self.records or self.records[job_id].tenant != tenant:
            raise NotFound("no such job")
        return self.records[job_id]

    async def wait(self, job_id: str, seconds: float, tenant: str = "") -> JobRecord:
        self.calls.append(f"wait {seconds:.0f}")
        if not (await self.find(job_id, tenant)).finished:
            await asyncio.sleep(seconds)
        return await self.find(job_id, tenant)

    async def cancel(self, job_id: str, tenant: str = "") -> JobRecord:
        record = (await self.find(job_id, tenant)).moved(JobState.CANCELLED, 0.0, JobOutcome())
        self.records[job_id] = record
        return record

    async def erase(self, job_id: str, tenant: str = "") -> None:
        if not (await self.find(job_id, tenant)).finished:
            raise JobUnfinished("still running")
        del self.records[job_id]

    async def list(self, tenant: str, state: JobState | None, after: str | None, most: int) -> JobPage:
        self.calls.append(f"list {tenant!r} {state} {after} {most}")
        return JobPage(list(self.records.values()), "j1")


class Route:
    """POST /work."""

    def __init__(self, hand_over: HandOver) -> None:
        self._hand_over = hand_over

    def match(self, path: str) -> bool:
        return path == "/work"

    async def handle(self, context: RequestContext, body: Payload) -> Reply:
        return await self._hand_over.reply(context, JobInput(body))

    def document(self) -> dict[str, Any]:
        return {"paths": {}, "components": {"schemas": {}}}


async def inline(context: RequestContext, job_input: JobInput) -> Result:
    """The work of requests that do not become jobs: it succeeds at once, unless little time is left."""
    context.deadline.check("the work started")
    return {"inline": True}


class Site:
    """A server, its jobs, and a client of it."""

    def __init__(self, client: httpx.Client, jobs: RecordedJobs, app: App) -> None:
        self.client, self.jobs, self.app = client, jobs, app

    def post(self, **headers: str) -> httpx.Response:
        return self.client.post("/work", content=b"x", headers=headers)


def start(on_timeout: bool) -> Iterator[Site]:
    jobs, service = RecordedJobs(), CapturedLog().service()
    route = Route(HandOver(service, jobs, inline, on_timeout=on_timeout))
    app = build_app(service, routers=[job_routes(jobs)], direct=[route], resources=nullcontext)
    with served(app) as server, httpx.Client(base_url=server.url, timeout=20) as client:
        yield Site(client, jobs, app)


@pytest.fixture
def site() -> Iterator[Site]:
    """Requests become jobs when they prefer that."""
    yield from start(on_timeout=False)


@pytest.fixture
def job_site() -> Iterator[Site]:
    """Every request may become a job."""
    yield from start(on_timeout=True)


def succeeded(result: Result) -> JobRecord:
    return JobRecord("j1", Deadline.after(10), JobState.SUCCEEDED, outcome=JobOutcome(result, stages={"infer": 2.0}))


# --- Prefer


@pytest.mark.parametrize(
    ("header", "respond_async", "wait", "applied"),
    [
        (b"", False, None, ""),
        (b"respond-async", True, None, "respond-async"),
        (b"respond-async, wait=2", True, 2.0, "respond-async, wait=2"),
        (b'wait="10", RESPOND-ASYNC', True, 10.0, "wait=10, respond-async"),
        (b"respond-async;x=1 , wait = 0.5; y", True, 0.5, "respond-async, wait=0.5"),
        (b"wait=10, wait=0", False, 10.0, "wait=10"),
        (b"respond-async=yes, wait=-1, wait=nan, wait=1e9, handling=lenient, ,;=,", False, None, ""),
        (b"wait=" + b"9" * 10, False, None, ""),
    ],
)
def test_prefer_is_read_as_rfc_7240_has_it(
    header: bytes, respond_async: bool, wait: float | None, applied: str
) -> None:
    assert parse_prefer({b"prefer": header}) == (respond_async, wait, applied)


@pytest.mark.parametrize(
    ("header", "remaining", "patience"),
    [
        (b"", 5.0, 5.0),
        (b"wait=2", 5.0, 2.0),
        (b"wait=9", 5.0, 5.0),
        (b"respond-async", 5.0, 0.0),
        (b"respond-async, wait=2", 5.0, 2.0),
        (b"respond-async, wait=9", 5.0, 5.0),
    ],
)
def test_a_client_waits_as_it_prefers_but_not_past_its_deadline(
    header: bytes, remaining: float, patience: float
) -> None:
    assert parse_prefer({b"prefer": header}).patience(remaining) == patience


# --- the hand-over


def test_a_request_that_prefers_no_job_is_answered_without_one(site: Site) -> None:
    assert site.post().json() == {"inline": True}
    assert site.post(Prefer="wait=5").json() == {"inline": True}
    assert site.post(Prefer="wait=0").status_code == 504
    assert site.jobs.calls == []


def test_a_job_that_has_not_finished_in_time_is_handed_over(site: Site) -> None:
    response = site.post(Prefer="respond-async, wait=0")
    assert (response.status_code, response.json()) == (202, {"id": "j1", "status": "queued"})
    assert response.headers["Location"] == "/jobs/j1"
    assert response.headers["Retry-After"] == "1"
    assert response.headers["Preference-Applied"] == "respond-async, wait=0"
    assert site.jobs.calls == ["submit", "wait 0", "hand_over"]


def test_a_job_that_has_finished_in_time_is_the_response_and_is_discarded(site: Site) -> None:
    site.jobs.submitted = succeeded({"n": 1})
    response = site.post(Prefer="respond-async, wait=5")
    assert (response.status_code, response.json()) == (200, {"n": 1})
    assert "infer;dur=2.000" in response.headers["Server-Timing"]
    assert "Location" not in response.headers
    assert site.jobs.calls == ["submit", "wait 5", "discard"]


@pytest.mark.parametrize(
    ("state", "error", "status"),
    [(JobState.FAILED, NotReady("the model is loading"), 503), (JobState.CANCELLED, None, 503)],
)
def test_a_job_without_a_result_is_never_200(
    site: Site, state: JobState, error: ServingError | None, status: int
) -> None:
    site.jobs.submitted = msgspec.structs.replace(succeeded({}), state=state, outcome=JobOutcome(error=error))
    assert site.post(Prefer="respond-async, wait=5").status_code == status
    assert site.jobs.records == {}
    assert error is None or error.__traceback__ is None  # which would keep the request's body


def test_a_full_store_refuses_only_requests_that_prefer_a_job(job_site: Site) -> None:
    job_site.jobs.full = True
    refused = job_site.post(Prefer="respond-async")
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
    assert job_site.post().json() == {"inline": True}
    text = job_site.client.get("/metrics").text
    assert 'serving_rejected_total{reason="jobs_full"} 1.0' in text


def test_on_timeout_any_request_becomes_a_job(job_site: Site) -> None:
    response = job_site.post(**{"X-Request-Timeout-Seconds": "0.05"})
    assert response.status_code == 202
    assert "Preference-Applied" not in response.headers


def test_where_no_job_is_accepted_the_request_waits_for_its_result(job_site: Site) -> None:
    job_site.jobs.accepting = False
    for prefer in ("respond-async", "respond-async, wait=0", "wait=5"):
        assert job_site.post(Prefer=prefer).json() == {"inline": True}
    assert job_site.jobs.calls == []


def test_a_client_that_disconnects_before_the_hand_over_discards_its_job(job_site: Site) -> None:
    with pytest.raises(httpx.ReadTimeout):
        job_site.client.post("/work", content=b"x", timeout=0.3)
    wait_until(lambda: "discard" in job_site.jobs.calls, "the job to be discarded")
    assert "hand_over" not in job_site.jobs.calls


# --- the routes


def test_a_finished_job_is_shown_with_its_result(site: Site) -> None:
    site.jobs.records["j1"] = succeeded({"n": 1})
    response = site.client.get("/jobs/j1")
    assert response.json() == {"id": "j1", "status": "succeeded", "result": {"n": 1}, "stages": {"infer": 2.0}}
    assert "Retry-After" not in response.headers


def test_a_job_that_runs_is_shown_and_says_when_to_ask_again(site: Site) -> None:
    site.jobs.records["j1"] = JobRecord("j1", Deadline.after(10), JobState.RUNNING)
    response = site.client.get("/jobs/j1?wait=0.05")
    assert response.json() == {"id": "j1", "status": "running"}
    assert response.headers["Retry-After"] == "1"
    assert site.jobs.calls == ["wait 0"]


def test_a_job_is_cancelled_once(site: Site) -> None:
    site.jobs.records["j1"] = JobRecord("j1", Deadline.after(10), JobState.RUNNING)
    response = site.client.delete("/jobs/j1")
    assert (response.status_code, response.json()) == (202, {"id": "j1", "status": "cancelled"})
    assert site.client.delete("/jobs/j1").status_code == 409


def test_the_job_of_another_api_key_does_not_exist(site: Site) -> None:
    site.jobs.records["j1"] = JobRecord("j1", Deadline.after(10), JobState.RUNNING, tenant="somebody")
    for method in ("GET", "DELETE"):
        assert site.client.request(method, "/jobs/j1").status_code == 404
    assert site.jobs.records["j1"].state is JobState.RUNNING


@pytest.mark.parametrize(("job_id", "status"), [("expired", 410), ("unknown", 404)])
def test_an_expired_job_is_410_and_an_unknown_one_404(site: Site, job_id: str, status: int) -> None:
    for method in ("GET", "DELETE"):
        response = site.client.request(method, f"/jobs/{job_id}")
        assert response.status_code == status
        assert response.headers["Content-Type"] == "application/problem+json"
