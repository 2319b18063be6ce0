"""SIGTERM under load loses no request: what was sent is answered, and nobody is refused before it said "unready"."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import pytest

from common.protocol.grpc import oip_pb2 as pb
from common.protocol.grpc import oip_pb2_grpc as pb_grpc
from runtimes.base import Stack
from tests.conftest import Start
from tests.load import Load, connect, read_answer, request
from tests.support import INFER, SETOSA, VIRGINICA, direct_url, eventually, exit_code, metric, question, soon

GRACE = 25.0
REQUESTS = [request(INFER, question(SETOSA)), request(INFER, question(VIRGINICA, SETOSA))]


@pytest.fixture(scope="module")
def service(start_for_module: Start) -> Stack:
    return start_for_module("web_single", FAULTS="true", DRAIN_DELAY_SECONDS="0.5")


@pytest.fixture
def stack(service: Stack) -> Iterator[Stack]:
    """Up at the start of each test, which ends it."""
    if exit_code(service) is not None:
        service.start("api")
    yield service
    eventually(lambda: exit_code(service) is not None, GRACE, "the service has ended")


def right(body: bytes) -> bool:
    return body.startswith(b'{"model_name":"iris","model_version":"1","outputs":[')


async def first_unready(base: str) -> float:
    """When GET /readyz first said 503, on the monotonic clock."""
    ask = b"GET /readyz HTTP/1.1\r\nHost: service\r\nConnection: close\r\n\r\n"
    while True:
        reader, writer = await connect(base)
        writer.write(ask)
        asked = time.monotonic()
        status, _, _ = await read_answer(reader)
        writer.close()
        if status == 503:
            return asked
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("before", [0, 50, 400], ids=["at the start of the load", "early", "in full flow"])
async def test_what_was_sent_is_answered(stack: Stack, before: int) -> None:
    base = direct_url(stack)
    async with Load(base, REQUESTS, right, callers=16) as load:
        await load.answered(before)
        watch = asyncio.create_task(first_unready(base))
        await asyncio.to_thread(stack.signal, "api", signal.SIGTERM)
        unready_at = await asyncio.wait_for(watch, GRACE)
        await load.refused(GRACE)
    tally = load.tally
    assert tally.lost == []
    assert tally.sent == tally.answered == tally.statuses[200]
    assert tally.wrong == []
    assert unready_at < min(tally.refused_at)
    await soon(lambda: exit_code(stack) is not None, "the service has ended", GRACE)
    assert exit_code(stack) == 0


async def test_a_new_connection_for_every_request_is_answered_or_refused(stack: Stack) -> None:
    base = direct_url(stack)
    one_each = [request(INFER, question(SETOSA), Connection="close")]
    async with Load(base, one_each, right, callers=8) as load:
        await load.answered(100)
        await asyncio.to_thread(stack.signal, "api", signal.SIGTERM)
        await load.refused(GRACE)
    assert load.tally.lost == []
    assert load.tally.sent == load.tally.answered == load.tally.statuses[200]


async def test_a_slow_request_in_flight_is_answered(stack: Stack, http: httpx.Client) -> None:
    await asyncio.to_thread(http.post, f"{direct_url(stack)}/faults", json={"latency_seconds": 3.0})
    reader, writer = await connect(direct_url(stack))
    writer.write(REQUESTS[0])
    await soon(lambda: metric(direct_url(stack), "serving_requests_in_progress") == 2, "the request is in flight")
    stack.signal("api", signal.SIGTERM)
    status, headers, body = await asyncio.wait_for(read_answer(reader), GRACE)
    writer.close()
    assert status == 200
    assert right(body)
    assert headers["connection"] == "close"
    await soon(lambda: exit_code(stack) is not None, "the service has ended", GRACE)
    assert exit_code(stack) == 0


async def asking_on(stub: Any) -> None:
    """Calls until one is refused."""
    while True:
        await stub.ServerLive(pb.ServerLiveRequest(), timeout=GRACE)


async def test_a_slow_grpc_call_in_flight_is_answered_and_a_new_one_is_refused(
    stack: Stack, http: httpx.Client
) -> None:
    await asyncio.to_thread(http.post, f"{direct_url(stack)}/faults", json={"latency_seconds": 3.0})
    features: dict[str, Any] = {"name": "features", "datatype": "FP32", "shape": [1, 4]}
    asked = pb.ModelInferRequest(model_name="iris", inputs=[features | {"contents": {"fp32_contents": SETOSA}}])
    async with grpc.aio.insecure_channel(stack.grpc()) as channel:
        stub: Any = pb_grpc.GRPCInferenceServiceStub(channel)
        call = asyncio.ensure_future(stub.ModelInfer(asked, timeout=GRACE))
        await soon(lambda: metric(direct_url(stack), "serving_requests_in_progress") == 2, "the call is in flight")
        await asyncio.to_thread(stack.signal, "api", signal.SIGTERM)
        assert (await call).model_name == "iris"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await asking_on(stub)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    await soon(lambda: exit_code(stack) is not None, "the service has ended", GRACE)
    assert exit_code(stack) == 0


async def test_a_body_that_is_still_arriving_is_waited_for(stack: Stack) -> None:
    reader, writer = await connect(direct_url(stack))
    writer.write(REQUESTS[0][:-10])
    await asyncio.sleep(0.1)
    stack.signal("api", signal.SIGTERM)
    await first_unready(direct_url(stack))
    writer.write(REQUESTS[0][-10:])
    status, _, body = await asyncio.wait_for(read_answer(reader), GRACE)
    writer.close()
    assert status == 200
    assert right(body)


def test_a_stuck_model_does_not_keep_the_process_from_ending(start_own: Start, http: httpx.Client) -> None:
    stack = start_own("web_single", FAULTS="true", DRAIN_TIMEOUT_SECONDS="1")
    http.post(f"{direct_url(stack)}/faults", json={"hang": True})
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(direct_url(stack) + INFER, json=question(SETOSA), timeout=0.5)
    stack.signal("api", signal.SIGTERM)
    eventually(lambda: exit_code(stack) is not None, 10, "the service has ended")
