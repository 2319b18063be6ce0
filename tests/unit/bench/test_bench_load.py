"""The HTTP load generator against a real server on the loopback whose answers each test writes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import pytest

from bench.load import Malformed, drive, parse_head
from bench.messages import http_request
from bench.plan import LOCAL, Plan, Result
from bench.process import free_port, run_plan

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
Answer = Callable[[int], Awaitable[list[bytes]]]


class Scripted:
    """Sends what `answer` says for the n-th request, piece by piece; no pieces: hangs up."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.requests = self.in_flight = self.most_in_flight = 0
        self.lengths: set[int] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self.exchange(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    async def exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        self.lengths.add(length)
        self.requests += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            pieces = await self.answer(self.requests)
        finally:
            self.in_flight -= 1
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        return bool(pieces)


@asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[tuple[Scripted, Callable[..., Awaitable[Result]]]]:
    """A running server, and a function that loads it."""
    scripted = Scripted(answer)
    server = await asyncio.start_server(scripted.serve, LOCAL, 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        yield scripted, partial(load, port)


async def load(port: int, body: bytes = b"{}", **changes: object) -> Result:
    """Ten seconds at most, on one connection, but for the changes."""
    plan = {"connections": 1, "seconds": 10.0, "answer_timeout_seconds": 5.0} | changes
    return await drive(Plan(port=port, requests=[http_request("/", body, {})], **plan))  # type: ignore[arg-type]


async def always(answer: bytes, _: int) -> list[bytes]:
    return [answer]


async def test_every_request_of_a_counted_turn_is_sent_once_and_booked_once() -> None:
    async with serving(partial(always, OK)) as (server, run):
        result = await run(count=50, connections=4)
    assert (result.answered, result.errors, server.requests) == (50, {}, 50)
    assert 0 < result.p50 <= result.p99 <= result.longest


async def test_a_turn_ends_by_time() -> None:
    async with serving(partial(always, OK)) as (_, run):
        result = await run(seconds=0.2, warm_up_seconds=0.1)
    assert 0 < result.answered < result.answered_in_all
    assert 0.2 <= result.seconds < 1.0


async def test_each_connection_has_one_request_in_flight_and_no_more() -> None:
    all_there = asyncio.Event()

    async def together(number: int) -> list[bytes]:
        if number == 8:
            all_there.set()
        await all_there.wait()
        return [OK]

    async with serving(together) as (server, run):
        result = await run(count=80, connections=8)
    assert result.answered == 80
    assert server.most_in_flight == 8


async def test_an_answer_that_lacks_a_text_it_should_have_is_an_error_however_it_arrives() -> None:
    async def in_pieces(number: int) -> list[bytes]:
        body = b'{"all":"there"}' if number % 4 else b'{"all":"other"}'
        return [b"HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n" + body[:9], body[9:]]

    async with serving(in_pieces) as (_, run):
        result = await run(count=40, contains=[b'"there"', b'"all"'])
    assert (result.answered, result.errors) == (30, {"incomplete": 10})


async def test_answers_other_than_200_are_errors_and_no_throughput() -> None:
    async def every_other(number: int) -> list[bytes]:
        return [OK if number % 2 else BUSY]

    async with serving(every_other) as (_, run):
        result = await run(count=40)
    assert (result.answered, result.errors) == (20, {"status 503": 20})


async def test_a_dropped_connection_is_an_error_and_is_replaced() -> None:
    async def third_is_dropped(number: int) -> list[bytes]:
        return [] if number == 3 else [OK]

    async with serving(third_is_dropped) as (_, run):
        result = await run(count=10)
    assert (result.answered, result.errors) == (9, {"disconnected": 1})


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 200 OK\r\n\r\n", b"SMTP\r\ncontent-length: 0\r\n\r\n", OK + b"more than was promised"]
)
async def test_an_incomplete_response_is_an_error(answer: bytes) -> None:
    async with serving(partial(always, answer)) as (_, run):
        result = await run(count=2)
    assert (result.answered, result.errors) == (0, {"malformed": 2})


async def test_a_hung_server_leaves_its_requests_unanswered() -> None:
    never = asyncio.Event()

    async def hang(_: int) -> list[bytes]:
        await never.wait()
        return [OK]

    async with serving(hang) as (_, run):
        result = await run(connections=3, seconds=0.1, answer_timeout_seconds=0.1)
        never.set()
    assert (result.answered, result.errors) == (0, {"unanswered": 3})


async def test_a_response_after_the_end_counts_only_for_latency() -> None:
    async def slow(_: int) -> list[bytes]:
        await asyncio.sleep(0.3)
        return [OK]

    async with serving(slow) as (_, run):
        result = await run(seconds=0.1)
    assert (result.answered, result.errors) == (0, {})
    assert result.longest >= 0.3


async def test_a_server_that_is_not_there_is_an_error_and_no_endless_loop() -> None:
    result = await load(free_port(), seconds=0.2)
    assert result.answered == 0
    assert set(result.errors) == {"refused"}
    assert result.errors["refused"] < 20


async def test_an_answer_in_pieces_is_one_answer() -> None:
    whole = b"HTTP/1.1 200 OK\r\ncontent-length: 300000\r\n\r\n" + b"x" * 300_000

    async def pieces(_: int) -> list[bytes]:
        return [whole[:9], whole[9:30], whole[30:1000], whole[1000:]]

    async with serving(pieces) as (server, run):
        result = await run(count=5)
    assert (result.answered, result.errors, server.requests) == (5, {}, 5)


async def test_a_large_body_arrives_whole() -> None:
    async with serving(partial(always, OK)) as (server, run):
        result = await run(body=b"x" * 5_000_000, count=6, connections=2)
    assert (result.answered, result.errors) == (6, {})
    assert server.lengths == {5_000_000}


async def test_the_generator_is_a_process_of_its_own() -> None:
    async with serving(partial(always, OK)) as (_, run):
        port = run.args[0]  # type: ignore[attr-defined]
        plan = Plan(port=port, requests=[http_request("/", b"{}", {})], connections=2, seconds=10.0, count=20)
        result = await asyncio.to_thread(run_plan, ["bench.load"], plan, 0)
    assert (result.answered, result.errors) == (20, {})


def test_the_length_is_found_however_it_is_spelled() -> None:
    assert parse_head(b"HTTP/1.1 404 Not Found\r\nserver: x\r\nContent-LENGTH:  12\r\nx: y") == (404, 12)
    with pytest.raises(Malformed):
        parse_head(b"HTTP/1.1 200 OK\r\nx-content-length: 3")
