"""SIGTERM loses nothing that has reached the service, on both protocols and however far a request has come."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import pytest

from common.protocol.grpc import oip_pb2 as pb
from common.protocol.grpc import oip_pb2_grpc as pb_grpc
from runtimes.base import Stack
from tests.conftest import Start
from tests.drills.faults import switch
from tests.load import Load, connect, first_unready, read_answer, request
from tests.support import INFER, SETOSA, direct_url, eventually, exit_code, metric, question, soon

pytestmark = pytest.mark.runs_on("local")

GRACE = 25.0
DRAIN_DELAY, DRAIN_TIMEOUT = 0.3, 2
SLOW = 0.7  # seconds of a run: two of them, one after the other, outlast the delay and not the timeout
REQUEST = request(INFER, question(SETOSA))
FEATURES: dict[str, Any] = {
    "name": "features",
    "datatype": "FP32",
    "shape": [1, 4],
    "contents": {"fp32_contents": SETOSA},
}


@pytest.fixture(scope="module")
def service(start_for_module: Start) -> Stack:
    delays = {"DRAIN_DELAY_SECONDS": str(DRAIN_DELAY), "DRAIN_TIMEOUT_SECONDS": str(DRAIN_TIMEOUT)}
    return start_for_module("web_single", FAULTS="true", **delays)


@pytest.fixture
def stack(service: Stack) -> Iterator[Stack]:
    """Up at the start of each test, which ends it."""
    if exit_code(service) is not None:
        service.start("api")
    yield service
    eventually(lambda: exit_code(service) is not None, GRACE, "the service has ended")


def right(body: bytes) -> bool:
    return body.startswith(b'{"model_name":"iris","model_version":"1","outputs":[')


async def test_a_stop_at_the_start_of_the_load_loses_no_request(stack: Stack) -> None:
    base = direct_url(stack)
    async with Load(base, [REQUEST], right, callers=16) as load:
        await asyncio.to_thread(stack.signal, "api", signal.SIGTERM)
        await load.refused(GRACE)
    tally = load.tally
    assert (tally.lost, tally.wrong) == ([], [])
    assert tally.statuses in ({200: tally.sent}, {})


async def infer_until_refused(stub: Any, first: asyncio.Event) -> int:
    """Infers over gRPC, one call after the other, until a call is refused; how many were answered."""
    answered, refused = 0, None
    while refused is None:
        call = stub.ModelInfer(pb.ModelInferRequest(model_name="iris", inputs=[FEATURES]), timeout=GRACE)
        first.set()
        try:
            answered += (await call).model_name == "iris"
        except grpc.aio.AioRpcError as error:
            refused = error.code()
    assert refused == grpc.StatusCode.UNAVAILABLE
    return answered


async def test_a_stop_under_the_load_of_both_protocols_loses_nothing(stack: Stack) -> None:
    async with (
        grpc.aio.insecure_channel(stack.grpc()) as channel,
        Load(direct_url(stack), [REQUEST], right, callers=8) as load,
    ):
        stub = pb_grpc.GRPCInferenceServiceStub(channel)
        calls = [asyncio.create_task(infer_until_refused(stub, asyncio.Event())) for _ in range(12)]
        await load.answered(200)
        await asyncio.to_thread(stack.signal, "api", signal.SIGTERM)
        answered = await asyncio.wait_for(asyncio.gather(*calls), GRACE)
        await load.refused(GRACE)
    assert min(answered) > 0
    assert (load.tally.lost, load.tally.wrong, set(load.tally.statuses)) == ([], [], {200})


async def test_what_is_in_flight_at_a_stop_is_answered_on_every_protocol(stack: Stack) -> None:
    """A slow request over HTTP, a slow call over gRPC, and a request whose body has not come whole yet."""
    base = direct_url(stack)
    await asyncio.to_thread(switch, stack, "api", latency_seconds=SLOW)
    slow, slow_writer = await connect(base)
    slow_writer.write(REQUEST)
    late, late_writer = await connect(base)
    late_writer.write(REQUEST[:-10])
    async with grpc.aio.insecure_channel(stack.grpc()) as channel:
        called = asyncio.Event()
        calls = asyncio.create_task(infer_until_refused(pb_grpc.GRPCInferenceServiceStub(channel), called))
        await called.wait()
        await soon(lambda: metric(base, "serving_requests_in_progress") == 4, "the three are in flight, and this one")
        await asyncio.to_thread(stack.signal, "api", signal.SIGTERM)
        await asyncio.wait_for(first_unready(base), GRACE)
        late_writer.write(REQUEST[-10:])
        for reader, writer in ((slow, slow_writer), (late, late_writer)):
            status, headers, body = await asyncio.wait_for(read_answer(reader), GRACE)
            writer.close()
            assert (status, headers["connection"], right(body)) == (200, "close", True)
        assert await asyncio.wait_for(calls, GRACE) >= 1
    await soon(lambda: exit_code(stack) is not None, "the service has ended", GRACE)
    assert exit_code(stack) == 0


def test_a_run_that_never_ends_does_not_keep_the_process_from_ending(stack: Stack) -> None:
    switch(stack, "api", hang=True)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(direct_url(stack) + INFER, json=question(SETOSA), timeout=0.3)
    stack.signal("api", signal.SIGTERM)
    eventually(lambda: exit_code(stack) is not None, 10, "the service has ended")
