"""The balancer of the local runtime, between clients and replicas that are asyncio servers here."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from runtimes import balancer
from runtimes.ports import free_ports
from runtimes.replicas import close, end_all, remember


class Backend:
    """A replica that answers its name; `status` and `hangs` make it fail."""

    def __init__(self, name: str) -> None:
        self.name, self.status, self.hangs, self.breaks = name, 200, False, False
        self.asked: list[bytes] = []
        self.left = asyncio.Event()
        self.serving: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        remember(self.serving)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):  # a probe that was cancelled
            await self._answer(reader, writer)
        await close(writer)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"GET /readyz") or not self.breaks:
            length = next((int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"content-length:")), 0)
            body = await reader.readexactly(length)
            self.asked += [head] if not head.startswith(b"GET /readyz") else []
            if self.hangs:
                await reader.read()
                self.left.set()
                self.hangs = False
            answer = self.name.encode() + body
            line = f"HTTP/1.1 {self.status} x\r\nX-Of: {self.name}\r\nContent-Length: {len(answer)}\r\n\r\n"
            writer.write(line.encode() + answer)


@asynccontextmanager
async def balanced(*backends: Backend) -> AsyncIterator[httpx.AsyncClient]:
    async with contextlib.AsyncExitStack() as stack:
        addresses = []
        for backend in backends:
            server = await asyncio.start_server(backend.serve, "127.0.0.1", 0)
            stack.push_async_callback(end_all, backend.serving, 1)
            stack.callback(server.close)
            addresses.append(server.sockets[0].getsockname())
        (port,) = free_ports(1)
        await stack.enter_async_context(balancer.running("127.0.0.1", {port: addresses}, {}, drain_seconds=1))
        yield await stack.enter_async_context(httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10))


async def test_requests_of_one_connection_go_to_the_replicas_in_turn() -> None:
    async with balanced(Backend("a"), Backend("b")) as client:
        answers = [await client.post("/x?y=1", content=b"!" * size) for size in (0, 1, 200_000, 3)]
    assert Counter(answer.text[0] for answer in answers) == {"a": 2, "b": 2}
    assert [len(answer.text) for answer in answers] == [1, 2, 200_001, 4]


async def test_ids_headers_and_errors_pass_through() -> None:
    one = Backend("a")
    one.status = 418
    async with balanced(one) as client:
        answer = await client.get("/x", headers={"X-Request-ID": "order-66", "Upgrade": "h2c", "X-Own": "1"})
    assert (answer.status_code, answer.headers["x-of"]) == (418, "a")
    assert b"x-request-id: order-66" in one.asked[0]
    assert b"x-own: 1" in one.asked[0]
    assert b"upgrade" not in one.asked[0].lower()


@pytest.mark.parametrize("how", ["answers 503", "breaks off"])
async def test_a_replica_that_fails_costs_no_request(how: str) -> None:
    failing, well = Backend("a"), Backend("b")
    failing.status, failing.breaks = (503, False) if how == "answers 503" else (200, True)
    async with balanced(failing, well) as client:
        answers = [await client.post("/x", content=b"?") for _ in range(6)]
    assert [(answer.status_code, answer.text) for answer in answers] == [(200, "b?")] * 6


async def test_without_a_replica_the_answer_is_503_and_says_so() -> None:
    broken = Backend("a")
    broken.breaks = True
    async with balanced(broken) as client:
        answer = await client.get("/x")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["detail"] == "no replica is reachable"


async def test_a_503_of_the_last_replica_is_passed_on() -> None:
    busy = Backend("a")
    busy.status = 503
    async with balanced(busy) as client:
        answer = await client.get("/x")
    assert (answer.status_code, answer.text) == (503, "a")


async def test_a_client_that_leaves_ends_its_request() -> None:
    slow = Backend("a")
    async with balanced(slow) as client:
        slow.hangs = True
        with pytest.raises(httpx.ReadTimeout):
            await client.get("/x", timeout=0.3)
        await asyncio.wait_for(slow.left.wait(), 3)


async def test_what_is_not_http_gets_400() -> None:
    async with balanced(Backend("a")) as client:
        reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        writer.write(b"no http\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 400")
        writer.close()


async def test_other_ports_are_distributed_by_connection_and_pass_a_replica_that_is_gone() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read(100))
        writer.close()

    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        gone, port = free_ports(2)
        addresses = [("127.0.0.1", gone), server.sockets[0].getsockname()]
        async with balancer.running("127.0.0.1", {}, {port: addresses}):
            for _ in range(3):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"hello")
                assert await reader.read() == b"hello"
                writer.close()
