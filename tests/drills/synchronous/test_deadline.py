"""A limit on waiting holds: 504 in time or a job that goes on, no inference for who waits no longer, no part unseen."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping

import httpx
import pytest

from patterns.synchronous.inspection import ClassifyClient, InspectionLine
from runtimes.base import Stack
from tests.asking.synchronous import CAT, COFFEE, names
from tests.conftest import Start
from tests.load import connect, request
from tests.support import direct_url, eventually, log_lines, metric, soon

pytestmark = pytest.mark.runs_on("local")

LIMIT, SLACK = 2.0, 1.0  # seconds of the service's own deadline; what a busy machine may add
TIMEOUT = "X-Request-Timeout-Seconds"
Client = httpx.AsyncClient


@pytest.fixture(scope="module")
def stack(start_for_module: Start) -> Stack:
    return start_for_module("synchronous", FAULTS="true", REQUEST_TIMEOUT_SECONDS=str(LIMIT))


@pytest.fixture
async def client(stack: Stack) -> AsyncIterator[Client]:
    async with Client(base_url=stack.url(), timeout=20) as client:
        yield client
        await client.post("/faults", json={})


def ask(client: Client, photo: bytes = CAT, headers: Mapping[str, str] | None = None) -> asyncio.Task[httpx.Response]:
    sent = client.post("/classify", content=photo, headers={"Content-Type": "image/jpeg", **(headers or {})})
    return asyncio.create_task(sent)


async def runs(stack: Stack) -> float:
    return await asyncio.to_thread(metric, stack.url(), "serving_inference_duration_seconds_count", stage="infer")


async def hang(client: Client, stack: Stack) -> asyncio.Task[httpx.Response]:
    """A run that does not end; what comes after it waits."""
    await client.post("/faults", json={"hang": True})
    held = ask(client)
    await soon(lambda: metric(stack.url(), "serving_requests_in_progress") == 2, "the run has begun")
    return held


async def waiting(stack: Stack, count: int) -> None:
    await soon(lambda: metric(stack.url(), "serving_queue_depth") == count, f"{count} wait for the model")


@pytest.mark.parametrize(
    ("headers", "limit"),
    [({TIMEOUT: "0.4"}, 0.4), ({"Prefer": "wait=0.4"}, 0.4), ({}, LIMIT), ({TIMEOUT: "60"}, LIMIT)],
    ids=["by the caller", "by its preference", "by the service", "nobody may ask for more"],
)
async def test_a_slow_model_is_504_within_the_limit(client: Client, headers: dict[str, str], limit: float) -> None:
    await client.post("/faults", json={"latency_seconds": LIMIT + 2})
    start = time.monotonic()
    answer = await ask(client, headers=headers)
    assert answer.status_code == 504
    assert limit <= time.monotonic() - start < limit + SLACK
    assert "deadline passed" in answer.json()["detail"]


async def test_a_spent_deadline_starts_no_inference(client: Client, stack: Stack) -> None:
    held = await hang(client, stack)
    before = await runs(stack)
    spent = [ask(client, headers={TIMEOUT: "0.3"}) for _ in range(5)]
    assert {(await one).status_code for one in spent} == {504}
    await client.post("/faults", json={})
    assert (await held).status_code == 200
    assert names(await ask(client))[0] == "tiger cat"
    assert await runs(stack) == before + 2  # the one that hung, and the one just now


async def test_a_caller_who_left_is_not_inferred_for(client: Client, stack: Stack) -> None:
    held = await hang(client, stack)
    before = await runs(stack)
    raw = request("/classify", CAT).replace(b"application/json", b"image/jpeg")
    for prefer in (b"", b"Prefer: respond-async, wait=60\r\n"):
        _, writer = await connect(direct_url(stack))
        writer.write(raw.replace(b"\r\n", b"\r\n" + prefer, 1))
        await waiting(stack, 1)
        writer.close()
        await waiting(stack, 0)
    await client.post("/faults", json={})
    await held
    assert await runs(stack) == before + 1
    await soon(lambda: len(log_lines(stack, event="request", status="499")) >= 2, "the log says that they left")


async def test_a_frozen_service_keeps_nobody_and_goes_on_once_it_can(client: Client, stack: Stack) -> None:
    stack.freeze("api")
    try:
        with pytest.raises(httpx.ReadTimeout):
            await client.post("/classify", content=CAT, headers={"Content-Type": "image/jpeg"}, timeout=0.5)
        verdict = await asyncio.to_thread(
            InspectionLine(ClassifyClient(stack.url()), frozenset({"tabby"}), seconds=0.5).inspect, "1", CAT
        )
        assert (verdict.action, "timed out" in verdict.reason) == ("stop", True)
    finally:
        stack.thaw("api")
    assert names(await ask(client, COFFEE))[0] == "espresso"


@pytest.mark.parametrize("faults", [{"hang": True}, {"error_share": 1.0}], ids=["504", "500"])
async def test_the_inspection_line_stops_and_goes_on_once_the_fault_is_over(
    client: Client, stack: Stack, faults: dict[str, object]
) -> None:
    line = InspectionLine(ClassifyClient(stack.url()), frozenset({"espresso"}), seconds=5)
    await client.post("/faults", json=faults)
    seen = await asyncio.to_thread(list, line.run([("1", COFFEE), ("2", COFFEE)]))
    assert [one.action for one in seen] == ["stop"]
    assert seen[0].reason.startswith("no prediction: 50")
    await client.post("/faults", json={})
    seen = await asyncio.to_thread(list, line.run([("1", COFFEE), ("2", CAT)]))
    assert seen[0].action == "pass"


def test_health_is_told_all_the_while(stack: Stack) -> None:
    eventually(lambda: httpx.get(f"{stack.url()}/readyz").status_code == 200, 5, "ready")
    assert httpx.get(f"{stack.url()}/livez").status_code == 200
