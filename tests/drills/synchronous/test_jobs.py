"""Every job that was answered with 202 ends in one of its states; they are bounded, cancelled for good, and expire."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import httpx
import pytest

from runtimes.base import Stack
from tests.asking.synchronous import CAT, COFFEE
from tests.conftest import Start
from tests.support import metric, soon

pytestmark = pytest.mark.runs_on("local")

LIMIT, TTL = 8, 1.5
OUTCOMES = ["succeeded", "failed", "cancelled", "expired"]
Client = httpx.AsyncClient


@pytest.fixture(scope="module")
def stack(start_for_module: Start) -> Stack:
    limits = {"JOBS_LIMIT": str(LIMIT), "JOB_TTL_SECONDS": str(TTL), "JOB_TIMEOUT_SECONDS": "3"}
    return start_for_module("synchronous", FAULTS="true", ON_TIMEOUT="job", REQUEST_TIMEOUT_SECONDS="5", **limits)


@pytest.fixture
async def client(stack: Stack) -> AsyncIterator[Client]:
    """At the end of each test no fault is on."""
    async with Client(base_url=stack.url(), timeout=20) as client:
        yield client
        await client.post("/faults", json={})


async def expired(client: Client, path: str) -> httpx.Response:
    """The response of a job that has been over for longer than JOB_TTL_SECONDS."""
    deadline = time.monotonic() + 10
    while (response := await client.get(path)).status_code == 200:
        assert time.monotonic() < deadline, f"{path} is still kept"
        await asyncio.sleep(0.05)
    return response


async def ask(client: Client, photo: bytes = CAT, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.post("/classify", content=photo, headers={"Content-Type": "image/jpeg", **named})


async def begin(client: Client, photo: bytes = CAT) -> str:
    answer = await ask(client, photo, Prefer="respond-async")
    assert answer.status_code == 202, answer.text
    return str(answer.headers["Location"])


async def state(client: Client, path: str, wait: float = 0) -> str:
    return str((await client.get(f"{path}?wait={wait}")).json()["status"])


async def counts(stack: Stack, *states: str) -> float:
    def read() -> float:
        return sum(metric(stack.url(), "serving_jobs_total", state=one) for one in states)

    return await asyncio.to_thread(read)


async def test_jobs_are_bounded_and_a_place_comes_free(client: Client) -> None:
    """The first test of the module, while nobody else's job is kept."""
    await client.post("/faults", json={"hang": True})
    paths = await asyncio.gather(*(begin(client) for _ in range(LIMIT)))
    for _ in range(3):
        refused = await ask(client, Prefer="respond-async")
        assert refused.status_code == 503
        assert int(refused.headers["Retry-After"]) >= 1
        assert "jobs" in refused.json()["detail"]
    late = await ask(client, X_Request_Timeout_Seconds="0.3")  # where no job can be made, the limit is the limit
    assert late.status_code == 504
    await client.post("/faults", json={})
    assert (await ask(client)).status_code == 200
    assert [await state(client, path, 5) for path in paths] == ["succeeded"] * LIMIT
    for path in paths:
        assert (await expired(client, path)).status_code == 410
    assert await state(client, await begin(client), 5) == "succeeded"


async def test_too_slow_is_handed_over_and_the_inference_under_way_is_not_thrown_away(
    client: Client, stack: Stack
) -> None:
    before = await asyncio.to_thread(metric, stack.url(), "serving_batch_size_count")
    await client.post("/faults", json={"latency_seconds": 1.0})
    answer = await ask(client, COFFEE, X_Request_Timeout_Seconds="0.3")
    assert answer.status_code == 202
    assert "Preference-Applied" not in answer.headers  # the service's own setting
    path = answer.headers["Location"]
    assert await state(client, path) == "running"
    job = (await client.get(f"{path}?wait=5")).json()
    assert job["result"]["predictions"][0]["label"] == "espresso"
    assert await asyncio.to_thread(metric, stack.url(), "serving_batch_size_count") == before + 1


async def test_a_long_poll_ends_when_its_time_is_up(client: Client) -> None:
    await client.post("/faults", json={"hang": True})
    path = await begin(client)
    answer = await client.get(f"{path}?wait=0.3")
    assert (answer.status_code, answer.json()["status"]) == (200, "running")
    assert int(answer.headers["Retry-After"]) >= 1
    await client.post("/faults", json={})
    assert await state(client, path, 5) == "succeeded"


async def test_a_cancelled_job_never_becomes_succeeded_and_one_that_waits_is_not_inferred(
    client: Client, stack: Stack
) -> None:
    before = await asyncio.to_thread(metric, stack.url(), "serving_batch_size_count")
    await client.post("/faults", json={"hang": True})
    running, waiting = await begin(client), await begin(client)
    await soon(lambda: metric(stack.url(), "serving_queue_depth") == 1, "the second waits for the model")
    for path in (waiting, running):
        answer = await client.delete(path)
        assert (answer.status_code, answer.json()["status"]) == (202, "cancelled")
        assert (await client.delete(path)).status_code == 409
    await client.post("/faults", json={})
    assert (await ask(client)).status_code == 200
    assert [await state(client, path) for path in (running, waiting)] == ["cancelled"] * 2
    assert await asyncio.to_thread(metric, stack.url(), "serving_batch_size_count") == before + 2


async def test_a_job_that_is_over_is_kept_for_its_time_and_410_afterwards(client: Client) -> None:
    path = await begin(client)
    assert await state(client, path, 5) == "succeeded"
    assert (await client.get(path)).status_code == 200
    over = time.monotonic()
    await expired(client, path)
    assert time.monotonic() - over > 0.5 * TTL
    for method in ("GET", "DELETE"):
        answer = await client.request(method, path)
        assert (answer.status_code, answer.json()["title"]) == (410, "Expired")


async def test_every_accepted_job_is_accounted_for(client: Client, stack: Stack) -> None:
    accepted, over = await counts(stack, "accepted"), await counts(stack, *OUTCOMES)
    await begin(client, CAT[:4000])
    await state(client, await begin(client), 5)
    await client.post("/faults", json={"hang": True})
    await client.delete(await begin(client))
    late = await begin(client)
    job = (await client.get(f"{late}?wait=4.5")).json()
    assert job["status"] == "expired"  # JOB_TIMEOUT_SECONDS
    assert await counts(stack, "accepted") == accepted + 4
    assert await counts(stack, *OUTCOMES) == over + 4


async def test_a_job_ends_with_its_process(client: Client, stack: Stack) -> None:
    await client.post("/faults", json={"hang": True})
    path = await begin(client)
    await asyncio.to_thread(stack.kill, "api")
    await asyncio.to_thread(stack.start, "api")
    async with Client(base_url=stack.url(), timeout=20) as again:
        assert (await again.get(path)).status_code == 404
