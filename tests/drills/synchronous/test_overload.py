"""What is more than the service can do is refused at once, before and after decoding; what it has taken is answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import httpx
import pytest
from PIL import Image

from patterns.synchronous.inspection import ClassifyClient, InspectionLine
from runtimes.base import Stack
from tests.asking.synchronous import CAT, COFFEE, names, saved
from tests.conftest import Start
from tests.support import metric, soon

pytestmark = pytest.mark.runs_on("local")

QUEUE, DECODE_QUEUE = 3, 2
LARGE = saved(Image.new("RGB", (4000, 3000)), "PNG")  # some tenths of a second to decode, 35 kB to send
Client = httpx.AsyncClient


@pytest.fixture(scope="module")
def stack(start_for_module: Start) -> Stack:
    return start_for_module("synchronous", FAULTS="true", QUEUE_LIMIT=str(QUEUE), DECODE_QUEUE=str(DECODE_QUEUE))


@pytest.fixture
async def client(stack: Stack) -> AsyncIterator[Client]:
    async with Client(base_url=stack.url(), timeout=30) as client:
        yield client
        await client.post("/faults", json={})


def ask(client: Client, photo: bytes) -> asyncio.Task[httpx.Response]:
    return asyncio.create_task(client.post("/classify", content=photo, headers={"Content-Type": "image/jpeg"}))


async def fill(client: Client, stack: Stack) -> list[asyncio.Task[httpx.Response]]:
    """A run that does not end, and as many requests behind it as the queue takes."""
    await client.post("/faults", json={"hang": True})
    held = [ask(client, CAT)]
    await soon(lambda: metric(stack.url(), "serving_requests_in_progress") == 2, "the run has begun")
    for count in range(1, QUEUE + 1):
        held.append(ask(client, COFFEE))
        await soon(lambda count=count: metric(stack.url(), "serving_queue_depth") == count, "it waits")  # type: ignore[misc]
    return held


async def test_a_full_queue_refuses_at_once_and_answers_what_it_has_taken(client: Client, stack: Stack) -> None:
    held = await fill(client, stack)
    start = time.monotonic()
    for _ in range(5):
        refused = await ask(client, CAT)
        assert refused.status_code == 503
        assert int(refused.headers["Retry-After"]) >= 1
        assert "queue of the model is full" in refused.json()["detail"]
    assert time.monotonic() - start < 3
    assert (await client.get("/livez")).status_code == (await client.get("/readyz")).status_code == 200
    await client.post("/faults", json={})
    answers = await asyncio.gather(*held)
    assert [names(one)[0] for one in answers] == ["tiger cat", *["espresso"] * QUEUE]


async def test_an_overloaded_service_stops_the_inspection_line(client: Client, stack: Stack) -> None:
    held = await fill(client, stack)
    line = InspectionLine(ClassifyClient(stack.url()), frozenset({"tabby"}), seconds=5)
    verdict = await asyncio.to_thread(line.inspect, "1", CAT)
    assert verdict.action == "stop"
    assert "503" in verdict.reason
    await client.post("/faults", json={})
    await asyncio.gather(*held)


async def test_more_pictures_than_can_be_decoded_are_refused_at_once(client: Client) -> None:
    answers = await asyncio.gather(*(ask(client, LARGE) for _ in range(16)))
    refused = [one for one in answers if one.status_code == 503]
    assert len(refused) + sum(one.status_code == 200 for one in answers) == 16
    assert 1 <= len(refused) <= 16 - 1 - DECODE_QUEUE
    for one in refused:
        assert int(one.headers["Retry-After"]) >= 1
        assert "prepared" in one.json()["detail"]
    assert names(await ask(client, COFFEE))[0] == "espresso"


async def test_probes_answer_while_pictures_are_decoded(client: Client) -> None:
    busy = [ask(client, LARGE) for _ in range(DECODE_QUEUE + 1)]
    while not all(one.done() for one in busy):
        start = time.monotonic()
        assert (await client.get("/livez")).status_code == 200
        assert time.monotonic() - start < 1
    assert {(await one).status_code for one in busy} == {200}
