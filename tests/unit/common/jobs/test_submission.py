"""POST /jobs and its headers, and the list of jobs, with records in memory and in Redis."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import httpx
import pytest

from common.http.fastapi_app import build_app
from common.jobs.durable import DurableJobs
from common.jobs.http import job_routes
from common.jobs.in_process import InProcessJobs
from common.jobs.record import JobInput, Result
from common.jobs.redis.records import JobLimits
from common.jobs.store import MemoryJobStore
from common.jobs.submission import JobsRoute
from common.protocol.json_body import Payload
from common.request.context import RequestContext
from tests.unit.common.observability.captured_log import CapturedLog
from tests.unit.common.polling import wait_until
from tests.unit.common.serving import served

KEY = {"Idempotency-Key": '"order-7"'}


async def work(context: RequestContext, job_input: JobInput) -> Result:
    return {"size": len(job_input.body)}


def read(context: RequestContext, body: Payload) -> JobInput:
    return JobInput(body, {"query": context.query.decode()})


@contextmanager
def site(jobs: Any, service: Any) -> Iterator[httpx.Client]:
    running = jobs.running if hasattr(jobs, "_worker") else nullcontext
    app = build_app(service, routers=[job_routes(jobs)], direct=[JobsRoute(jobs, read, dict)], resources=running)
    with served(app) as server, httpx.Client(base_url=server.url, timeout=20) as client:
        yield client


@pytest.fixture
def durable(redis: Any, valkey: Path) -> Iterator[httpx.Client]:
    service = CapturedLog().service()
    limits = JobLimits()
    jobs = DurableJobs(service, f"unix://{valkey}", work, limits=limits, timeout_seconds=60.0, ttl_seconds=60.0)
    with site(jobs, service) as client:
        yield client


@pytest.fixture
def in_memory() -> Iterator[httpx.Client]:
    service = CapturedLog().service()
    with site(InProcessJobs(service, MemoryJobStore(10, 60.0), work, 60.0), service) as client:
        yield client


@pytest.mark.parametrize("where", ["durable", "in_memory"])
def test_a_job_is_submitted_listed_and_erased(where: str, request: pytest.FixtureRequest) -> None:
    client: httpx.Client = request.getfixturevalue(where)
    ids = []
    for _ in range(3):
        response = client.post("/jobs", content=b"abc")
        assert (response.status_code, response.headers["Retry-After"]) == (202, "1")
        ids.append(response.json()["id"])
        assert response.headers["Location"] == f"/jobs/{ids[-1]}"
    for job in ids:
        assert client.get(f"/jobs/{job}?wait=10").json()["result"] == {"size": 3}
    assert client.get("/jobs").json() == {
        "jobs": [{"id": one, "status": "succeeded"} for one in reversed(ids)],
        "next": None,
    }
    first = client.get("/jobs?limit=2").json()
    assert ([one["id"] for one in first["jobs"]], first["next"]) == ([ids[2], ids[1]], ids[1])
    assert [one["id"] for one in client.get(f"/jobs?after={first['next']}").json()["jobs"]] == [ids[0]]
    assert client.get("/jobs?status=cancelled").json() == {"jobs": [], "next": None}
    assert client.get("/jobs?status=done").status_code == 400
    assert client.get("/jobs?after=none").json()["errors"][0]["field"] == "after"
    assert client.delete(f"/jobs/{ids[0]}/result").status_code == 204
    assert [client.get(f"/jobs/{ids[0]}").status_code, client.delete(f"/jobs/{ids[0]}/result").status_code] == [410] * 2
    assert client.delete("/jobs/never/result").status_code == 404


def test_the_same_key_gives_the_same_job_and_another_body_is_refused(durable: httpx.Client) -> None:
    first = durable.post("/jobs", content=b'{"a": 1, "b": 2}', headers=KEY)
    again = durable.post("/jobs", content=b'{"b":2,"a":1}', headers=KEY)
    assert first.json()["id"] == again.json()["id"]
    for path, body in (("/jobs", b'{"a": 2, "b": 2}'), ("/jobs?top=3", b'{"a": 1, "b": 2}')):
        other = durable.post(path, content=body, headers=KEY)
        assert (other.status_code, other.json()["title"]) == (422, "Idempotency key reused")


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("Idempotency-Key", "order-7", 'expected "text" in quotes'),
        ("Idempotency-Key", '""', "of 1 to 255 characters"),
        ("X-Ordering-Key", "a b", "without spaces"),
        ("X-Job-Deadline-Seconds", "0", "more than 0"),
        ("X-Job-TTL-Seconds", "1e9", "at most 2592000 seconds"),
        ("X-Job-TTL-Seconds", "nan", "got 'nan'"),
    ],
)
def test_a_wrong_header_is_named(durable: httpx.Client, name: str, value: str, expected: str) -> None:
    response = durable.post("/jobs", content=b"x", headers={name: value})
    assert response.status_code == 400
    (error,) = response.json()["errors"]
    assert error["field"] == name
    assert expected in error["reason"]


@pytest.mark.parametrize(
    ("name", "value"), [("Idempotency-Key", '"k"'), ("X-Ordering-Key", "k"), ("X-Job-TTL-Seconds", "5")]
)
def test_what_jobs_in_memory_cannot_promise_is_refused(in_memory: httpx.Client, name: str, value: str) -> None:
    response = in_memory.post("/jobs", content=b"x", headers={name: value})
    assert (response.status_code, response.json()["errors"][0]["field"]) == (400, name)
    assert "JOBS_URL" in response.text


def test_a_time_to_live_is_the_callers(durable: httpx.Client) -> None:
    job = durable.post("/jobs", content=b"x", headers={"X-Job-TTL-Seconds": "0.1"}).json()["id"]
    wait_until(lambda: durable.get(f"/jobs/{job}").status_code == 410, "the job's time to be over")
