"""The gRPC load generator against a real gRPC server that answers bytes with bytes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import grpc
import grpc.aio

from bench.grpc_load import drive
from bench.plan import LOCAL, Plan, Result
from bench.process import free_port

METHOD = "/test.Service/Call"
Context = grpc.aio.ServicerContext[bytes, bytes]
Handler = Callable[[bytes, Context], Awaitable[bytes]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[int]:
    """A server on a free port; its port."""
    server = grpc.aio.server()
    method = grpc.unary_unary_rpc_method_handler(handler)  # type: ignore[var-annotated]
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test.Service", {"Call": method})])
    port = server.add_insecure_port(f"{LOCAL}:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


async def load(port: int, connections: int = 1, count: int = 0, seconds: float = 10.0) -> Result:
    requests = [b"one", b"two"]
    return await drive(
        Plan(
            port=port,
            requests=requests,
            connections=connections,
            seconds=seconds,
            count=count,
            method=METHOD,
            answer_timeout_seconds=2.0,
        )
    )


async def test_every_connection_is_one_of_its_own_with_one_call_in_flight() -> None:
    peers: set[str] = set()
    seen: list[bytes] = []
    all_there = asyncio.Event()

    async def answer(request: bytes, context: Context) -> bytes:
        seen.append(request)
        peers.add(context.peer())
        if len(seen) == 4:
            all_there.set()
        await all_there.wait()
        return b"answer"

    async with serving(answer) as port:
        result = await load(port, connections=4, count=40)
    assert (result.answered, result.errors) == (40, {})
    assert len(peers) == 4
    assert seen.count(b"one") == seen.count(b"two") == 20


async def test_a_refused_call_is_an_error_by_its_status() -> None:
    calls = 0

    async def every_other(_: bytes, context: Context) -> bytes:
        nonlocal calls
        calls += 1
        if calls % 2:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")
        return b"answer"

    async with serving(every_other) as port:
        result = await load(port, count=20)
    assert (result.answered, result.errors) == (10, {"RESOURCE_EXHAUSTED": 10})


async def test_a_server_that_is_not_there_is_an_error_and_the_turn_ends() -> None:
    result = await load(free_port(), seconds=0.3)
    assert result.answered == 0
    assert set(result.errors) == {"UNAVAILABLE"}
