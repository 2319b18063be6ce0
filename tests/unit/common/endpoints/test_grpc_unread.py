"""Calls whose client does not read the response count until it has left, and it is disconnected in bounded time."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest

from common.endpoints.grpc_unread import CALL, shut_down_connection
from common.endpoints.oip_grpc import serve_grpc
from common.http.limits import READ_BOUNDS, ReadBounds
from common.protocol.grpc import oip_pb2 as pb
from common.protocol.grpc import oip_pb2_grpc as pb_grpc
from common.protocol.tensors import TensorSpec
from common.request.capacity import Capacity
from tests.unit.common.endpoints.fake_backend import FakeBackend, FakeModel
from tests.unit.common.observability.captured_log import CapturedLog
from tests.unit.common.polling import until
from tests.unit.common.ports import free_port
from tests.unread import UnreadCalls

SIZE, BUDGET, CALLS = 2_000_000, 21_000_000, 20
PATH = "/inference.GRPCInferenceService/"
QUICK = ReadBounds(stall_seconds=0.3, bytes_per_second=20_000_000)  # 0.4 s for SIZE bytes
MEGABYTE = 1_000_000


def question(size: int) -> pb.ModelInferRequest:
    tensor = pb.ModelInferRequest.InferInputTensor(name="x", datatype="INT64", shape=[1])
    return pb.ModelInferRequest(model_name="wide", inputs=[tensor], raw_input_contents=[np.int64(size).tobytes()])


LARGE, SMALL = question(SIZE), question(1)


def wide() -> FakeModel:
    """As many bytes as it is asked for."""
    specs = [TensorSpec("x", "INT64", (-1,))], [TensorSpec("y", "UINT8", (-1,))]
    return FakeModel("wide", *specs, lambda inputs: {"y": np.full(int(inputs["x"][0]), 7, np.uint8)})


@asynccontextmanager
async def serving(bounds: ReadBounds = READ_BOUNDS) -> AsyncIterator[tuple[Capacity, str]]:
    """What the calls of a server hold, and its address."""
    service = CapturedLog().service(max_body_bytes=BUDGET // 2, max_buffered_bytes=BUDGET, access_log=False)
    address = f"127.0.0.1:{free_port()}"
    async with serve_grpc(FakeBackend(wide()), service, "127.0.0.1", int(address[10:]), read_bounds=bounds):
        yield service.capacity, address


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


async def test_unread_responses_count_until_their_client_leaves() -> None:
    async with serving() as (capacity, address), grpc.aio.insecure_channel(address) as channel:
        stub: Any = pb_grpc.GRPCInferenceServiceStub(channel)
        before = resident()
        async with UnreadCalls(address) as client:
            for _ in range(CALLS):
                client.call(PATH + "ModelInfer", LARGE.SerializeToString())
            await until(lambda: client.refused == CALLS - BUDGET // (2 * SIZE), "the calls beyond the budget")
            assert BUDGET - 2 * SIZE < capacity.held <= BUDGET
            assert resident() - before < BUDGET + 20 * MEGABYTE
            with pytest.raises(grpc.aio.AioRpcError, match="hold more than"):
                await stub.ModelInfer(LARGE)
            assert (await stub.ModelInfer(SMALL)).model_name == "wide"
            assert (await stub.ServerLive(pb.ServerLiveRequest())).live
        await until(lambda: not capacity.held, "everything given back")
        assert len((await stub.ModelInfer(LARGE)).raw_output_contents[0]) == SIZE
        await until(lambda: not capacity.held, "the response that was read given back")


async def test_a_client_that_does_not_read_is_disconnected_and_others_stay() -> None:
    async with serving(QUICK) as (capacity, address), grpc.aio.insecure_channel(address) as channel:
        watch: Any = health_pb2_grpc.HealthStub(channel).Watch(HealthCheckRequest())
        await watch.read()
        async with UnreadCalls(address) as client, UnreadCalls(address) as probing:
            client.call(PATH + "ModelInfer", LARGE.SerializeToString())
            probing.call(PATH + "ServerLive", b"")
            await asyncio.wait_for(client.closed.wait(), 10)
            await asyncio.wait_for(probing.closed.wait(), 10)
        await until(lambda: capacity.held == CALL, "the bytes of unread responses given back")
        watch.cancel()
        await until(lambda: not capacity.held, "the bytes of the watch given back")


async def test_a_probe_keeps_no_large_message() -> None:
    async with serving() as (capacity, address), grpc.aio.insecure_channel(address) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        before, large, calls = resident(), HealthCheckRequest(service="x" * 5 * MEGABYTE), []
        for _ in range(20):
            with pytest.raises(grpc.aio.AioRpcError, match="expected a message of at most 65536 bytes"):
                await health.Check(large)
            calls.append(health.Watch(large))
            with pytest.raises(grpc.aio.AioRpcError, match="expected a message of at most 65536 bytes"):
                await calls[-1].read()
        assert resident() - before < 60 * MEGABYTE
        await until(lambda: not capacity.held, "everything given back")


async def test_connections_beyond_the_most_are_closed() -> None:
    service, port = CapturedLog().service(access_log=False), free_port()
    async with serve_grpc(FakeBackend(wide()), service, "127.0.0.1", port, most_connections=5):
        with ExitStack() as kept:
            clients = [kept.enter_context(socket.create_connection(("127.0.0.1", port), 10)) for _ in range(7)]
            received = await asyncio.gather(*(asyncio.to_thread(one.recv, 1) for one in clients))
            assert received.count(b"") == 2  # all others have got the server's settings
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub: Any = pb_grpc.GRPCInferenceServiceStub(channel)
            assert (await stub.ServerLive(pb.ServerLiveRequest(), wait_for_ready=True, timeout=10)).live


async def test_a_connection_with_ipv6_is_found_by_the_name_that_grpcio_gives() -> None:
    with (
        socket.create_server(("::1", 0), family=socket.AF_INET6) as listener,
        socket.create_connection(listener.getsockname()[:2]) as client,
        listener.accept()[0] as accepted,
    ):
        shut_down_connection(f"ipv6:%5B::1%5D:{client.getsockname()[1]}")
        assert client.recv(1) == b""
        assert accepted.recv(1) == b""
