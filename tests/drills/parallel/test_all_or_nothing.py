"""STRATEGY=all: the first failure is the response, names its predictor and ends the other calls.

tests/drills/test_every_pattern.py kills, freezes and stops a predictor, and stops the proxy.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from runtimes.base import Stack
from tests.asking.parallel import ROWS, SERVICES, ask, instances
from tests.conftest import Start
from tests.load import connect, request
from tests.support import direct_url, log_lines, metric, soon

pytestmark = pytest.mark.runs_on("local")

BODY = {"instances": instances(ROWS[0])}
PLACES, QUEUE = 4, 4
SLACK = 1.0  # what a busy machine may add
Client = httpx.AsyncClient
Switch = Callable[..., Any]


@pytest.fixture(scope="module")
def stack(start_for_module: Start) -> Stack:
    limits = {"PREDICTOR_CONCURRENCY": str(PLACES), "PREDICTOR_QUEUE": str(QUEUE), "REQUEST_TIMEOUT_SECONDS": "8"}
    return start_for_module("parallel", FAULTS="true", **limits)


@pytest.fixture
async def client(stack: Stack) -> AsyncIterator[Client]:
    """A client of the proxy; afterwards no fault is on and everybody answers."""
    async with httpx.AsyncClient(base_url=stack.url(), timeout=20) as client:
        yield client
        for service in SERVICES.values():
            await switch(stack, service)
        await soon(lambda: ask(stack, BODY).status_code == 200, "everybody answers again", 20)


async def switch(stack: Stack, service: str, **faults: Any) -> None:
    async with httpx.AsyncClient(timeout=10) as client:
        (await client.post(f"{stack.url(service)}/faults", json=faults)).raise_for_status()


def runs(stack: Stack) -> float:
    """Inferences that all predictors have begun and ended."""
    return sum(metric(stack.url(service), "serving_batch_size_count") for service in SERVICES.values())


def left(stack: Stack, service: str) -> int:
    """Callers who left a service before their answer, as its log tells it."""
    return len(log_lines(stack, service, event="request", status="499"))


async def test_a_slow_predictor_is_waited_for(client: Client, stack: Stack) -> None:
    await switch(stack, "iris-mlp", latency_seconds=0.7)
    answer = await client.post("/predict", json=BODY)
    assert (answer.status_code, answer.json()["missing"]) == (200, {})
    assert answer.elapsed.total_seconds() >= 0.7


async def test_the_first_failure_ends_the_other_calls(client: Client, stack: Stack) -> None:
    before = left(stack, "iris-rf")
    await switch(stack, "iris-rf", latency_seconds=5)
    await switch(stack, "iris-mlp", error_share=1)
    answer = await client.post("/predict", json=BODY)
    assert answer.status_code == 502
    assert answer.json()["detail"].startswith("predictor iris_mlp answered 500")
    assert answer.elapsed.total_seconds() < 3
    await soon(lambda: left(stack, "iris-rf") == before + 1, "the slow call was dropped")


async def test_the_stream_ends_with_the_failure(client: Client, stack: Stack) -> None:
    await switch(stack, "iris-rf", latency_seconds=5)
    await switch(stack, "iris-mlp", error_share=1)
    answer = await client.post("/predict/stream", json=BODY)
    assert answer.elapsed.total_seconds() < 3
    last = answer.text.splitlines()[-1]
    assert '"event":"failed","status":502' in last
    assert '"missing":{"iris_mlp":' in last


async def test_a_spent_deadline_starts_no_inference(client: Client, stack: Stack) -> None:
    before = await asyncio.to_thread(runs, stack)
    for path in ("/predict", "/predict/stream"):
        answer = await client.post(path, json=BODY, headers={"X-Request-Timeout-Seconds": "0.000001"})
        assert answer.status_code == 504
    assert await asyncio.to_thread(runs, stack) == before


async def test_a_deadline_spent_while_a_predictor_is_busy_starts_no_inference_there(
    client: Client, stack: Stack
) -> None:
    before = metric(stack.url("iris-rf"), "serving_batch_size_count")
    await switch(stack, "iris-rf", hang=True)
    first = asyncio.create_task(client.post("/predict", json=BODY))
    await soon(lambda: metric(stack.url("iris-rf"), "serving_requests_in_progress") == 2, "a run hangs")
    for _ in range(3):
        answer = await client.post("/predict", json=BODY, headers={"X-Request-Timeout-Seconds": "0.2"})
        assert answer.status_code == 504
    await switch(stack, "iris-rf")
    assert (await first).status_code == 200
    assert (await client.post("/predict", json=BODY)).status_code == 200
    assert metric(stack.url("iris-rf"), "serving_batch_size_count") == before + 2  # the one that hung, the one just now


async def test_a_caller_who_leaves_takes_the_calls_along(client: Client, stack: Stack) -> None:
    at_proxy, at_predictor = left(stack, "proxy"), left(stack, "iris-rf")
    await switch(stack, "iris-rf", hang=True)
    _, writer = await connect(direct_url(stack, "proxy"))
    writer.write(request("/predict", BODY))
    await writer.drain()
    await soon(lambda: metric(stack.url("iris-rf"), "serving_requests_in_progress") == 2, "the call is there")
    writer.close()
    await soon(lambda: left(stack, "proxy") == at_proxy + 1, "the proxy noticed")
    await soon(lambda: left(stack, "iris-rf") == at_predictor + 1, "so did the predictor")


async def test_more_calls_than_a_predictor_has_places_for_are_refused_at_once(client: Client, stack: Stack) -> None:
    await switch(stack, "iris-rf", hang=True)
    held = [asyncio.create_task(client.post("/predict", json=BODY)) for _ in range(PLACES + QUEUE)]
    in_progress = "serving_requests_in_progress"
    await soon(lambda: metric(stack.url(), in_progress) == PLACES + QUEUE + 1, "all places and the queue are taken")
    await soon(
        lambda: metric(stack.url("iris-rf"), in_progress) == PLACES + 1, "no more than the places are at the predictor"
    )
    started = time.monotonic()
    for answer in await asyncio.gather(*(client.post("/predict", json=BODY) for _ in range(5))):
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) >= 1
        assert "calls to predictor iris_rf: 4 are in progress and 4 wait" in answer.json()["detail"]
    assert time.monotonic() - started < 2
    await switch(stack, "iris-rf")
    assert {answer.status_code for answer in await asyncio.gather(*held)} == {200}
