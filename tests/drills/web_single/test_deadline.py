"""A deadline is kept: the caller hears 504 in time, and no inference is started for a caller who no longer waits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import httpx
import pytest

from common.protocol.grpc import oip_pb2 as pb
from common.protocol.grpc import oip_pb2_grpc as pb_grpc
from runtimes.base import Stack
from tests.conftest import Start
from tests.load import connect, request
from tests.support import INFER, SETOSA, direct_url, log_lines, metric, question, soon

pytestmark = pytest.mark.runs_on("local")

TIMEOUT = "X-Request-Timeout-Seconds"
SLACK = 1.0  # what a busy machine may add
Client = httpx.AsyncClient


@pytest.fixture(scope="module")
def stack(start_for_module: Start) -> Stack:
    return start_for_module("web_single", FAULTS="true", REQUEST_TIMEOUT_SECONDS="2")


@pytest.fixture
async def client(stack: Stack) -> AsyncIterator[Client]:
    async with httpx.AsyncClient(base_url=stack.url(), timeout=20) as client:
        yield client
        await client.post("/faults", json={})


async def runs(stack: Stack) -> float:
    return await asyncio.to_thread(metric, stack.url(), "serving_inference_duration_seconds_count", stage="infer")


def depth(stack: Stack) -> float:
    return metric(stack.url(), "serving_queue_depth")


def left(stack: Stack) -> int:
    """Callers who left before their answer, as the log tells it."""
    return len(log_lines(stack, event="request", status="499"))


async def hang(client: Client, stack: Stack) -> asyncio.Task[httpx.Response]:
    """A run that does not end; what comes after it waits."""
    await client.post("/faults", json={"hang": True})
    held = asyncio.create_task(client.post(INFER, json=question(SETOSA)))
    await soon(lambda: metric(stack.url(), "serving_requests_in_progress") == 2, "the run has begun")
    return held


async def ask(client: Client, seconds: float) -> tuple[httpx.Response, float]:
    start = time.monotonic()
    answer = await client.post(INFER, json=question(SETOSA), headers={TIMEOUT: str(seconds)})
    return answer, time.monotonic() - start


async def test_a_spent_deadline_is_504_in_time_and_starts_no_inference(client: Client, stack: Stack) -> None:
    before = await runs(stack)
    held = await hang(client, stack)
    for answer, took in await asyncio.gather(*(ask(client, 0.3) for _ in range(5))):
        assert answer.status_code == 504
        assert "deadline passed" in answer.json()["error"]
        assert 0.3 <= took < 0.3 + SLACK
    await client.post("/faults", json={})
    await held
    assert (await client.post(INFER, json=question(SETOSA))).status_code == 200
    assert await runs(stack) == before + 2  # the one that hung, and the one just now


async def test_a_service_has_a_deadline_of_its_own_and_none_may_ask_for_more(client: Client, stack: Stack) -> None:
    held = await hang(client, stack)
    answer, took = await ask(client, 60)
    assert answer.status_code == 504
    assert 2 <= took < 2 + SLACK
    assert (await held).status_code == 504


async def test_a_run_under_way_is_not_waited_for_beyond_the_deadline(client: Client) -> None:
    await client.post("/faults", json={"latency_seconds": 1.5})
    answer, took = await ask(client, 0.3)
    assert answer.status_code == 504
    assert 0.3 <= took < 0.3 + SLACK


async def test_a_caller_who_left_is_not_inferred_for(client: Client, stack: Stack) -> None:
    held = await hang(client, stack)
    before = await runs(stack)
    left_before = left(stack)
    for _ in range(3):
        _, writer = await connect(direct_url(stack))
        writer.write(request(INFER, question(SETOSA)))
        await writer.drain()
        await soon(lambda: depth(stack) == 1, "the request waits")
        writer.close()
        await soon(lambda: depth(stack) == 0, "it has left the queue")
    await client.post("/faults", json={})
    await held
    assert await runs(stack) == before + 1
    await soon(lambda: left(stack) == left_before + 3, "the log says that they left")


async def test_over_grpc_a_spent_deadline_starts_no_inference_either(client: Client, stack: Stack) -> None:
    before = await runs(stack)
    held = await hang(client, stack)
    features: dict[str, Any] = {"name": "features", "datatype": "FP32", "shape": [1, 4]}
    asked = pb.ModelInferRequest(model_name="iris", inputs=[features | {"contents": {"fp32_contents": SETOSA}}])
    async with grpc.aio.insecure_channel(stack.grpc()) as channel:
        stub: Any = pb_grpc.GRPCInferenceServiceStub(channel)
        for _ in range(3):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.ModelInfer(asked, timeout=0.3)
            assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        await client.post("/faults", json={})
        await held
        await stub.ModelInfer(asked, timeout=10)
    assert await runs(stack) == before + 2
