"""Back-pressure is exact: what fits into the queue waits and is answered, what does not is refused at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import httpx
import pytest

from runtimes.base import Stack
from tests.conftest import Start
from tests.support import INFER, SETOSA, VIRGINICA, labels, log_lines, metric, question, soon

pytestmark = pytest.mark.runs_on("local")

QUEUE = 4
Client = httpx.AsyncClient


@pytest.fixture(scope="module")
def stack(start_for_module: Start) -> Stack:
    return start_for_module("web_single", FAULTS="true", QUEUE_LIMIT=str(QUEUE))


@pytest.fixture
async def client(stack: Stack) -> AsyncIterator[Client]:
    async with httpx.AsyncClient(base_url=stack.url(), timeout=20) as client:
        yield client
        await client.post("/faults", json={})


def depth(stack: Stack) -> float:
    return metric(stack.url(), "serving_queue_depth")


def in_progress(stack: Stack) -> float:
    """Requests being answered, besides the one that asks."""
    return metric(stack.url(), "serving_requests_in_progress") - 1


async def fill(client: Client, stack: Stack) -> list[asyncio.Task[httpx.Response]]:
    """A run that does not end, and as many requests behind it as the queue takes."""
    await client.post("/faults", json={"hang": True})
    held = [asyncio.create_task(client.post(INFER, json=question(SETOSA)))]
    await soon(lambda: in_progress(stack) == 1, "the run has begun")
    held += [asyncio.create_task(client.post(INFER, json=question(VIRGINICA, SETOSA))) for _ in range(QUEUE)]
    await soon(lambda: depth(stack) == QUEUE, "the queue is full")
    return held


async def test_a_full_queue_refuses_at_once_and_answers_what_it_has_taken(client: Client, stack: Stack) -> None:
    refused_before = await asyncio.to_thread(metric, stack.url(), "serving_rejected_total", reason="queue_full")
    held = await fill(client, stack)
    start = time.monotonic()
    refused = await asyncio.gather(*(client.post(INFER, json=question(SETOSA)) for _ in range(10)))
    assert time.monotonic() - start < 2
    for one in refused:
        assert one.status_code == 503
        assert int(one.headers["Retry-After"]) >= 1
        assert one.json()["error"] == f"the queue of the model is full: {QUEUE} requests wait already; retry later"
    assert await asyncio.to_thread(metric, stack.url(), "serving_rejected_total", reason="queue_full") == (
        refused_before + 10
    )
    assert not any(one.done() for one in held)

    await client.post("/faults", json={})
    answers = await asyncio.gather(*held)
    assert [one.status_code for one in answers] == [200] * (QUEUE + 1)
    assert [labels(one.json()) for one in answers] == [[0], *[[2, 0]] * QUEUE]
    assert (await client.post(INFER, json=question(SETOSA))).status_code == 200


async def test_probes_and_metrics_answer_while_the_queue_is_full(client: Client, stack: Stack) -> None:
    held = await fill(client, stack)
    for path in ("/livez", "/readyz", "/metrics", "/metadata", "/v2/models/iris"):
        assert (await client.get(path)).status_code == 200
    await client.post("/faults", json={})
    await asyncio.gather(*held)


async def test_callers_who_left_give_their_places_to_others(client: Client, stack: Stack) -> None:
    held = await fill(client, stack)
    for one in held[1:]:
        one.cancel()
    await asyncio.gather(*held[1:], return_exceptions=True)
    await soon(lambda: depth(stack) == 0, "they have left the queue")
    others = [asyncio.create_task(client.post(INFER, json=question(SETOSA))) for _ in range(QUEUE)]
    await soon(lambda: depth(stack) == QUEUE, "the queue is full again")
    await client.post("/faults", json={})
    answers = await asyncio.gather(held[0], *others)
    assert [one.status_code for one in answers] == [200] * (QUEUE + 1)
    left = log_lines(stack, event="request", status="499")
    assert len(left) == QUEUE
