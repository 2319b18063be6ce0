"""Requests to direct routes as a connection brings them: cut anywhere, one behind another, refused halfway, left."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import IO

import psutil
import pytest

from tests.unit.common.http.example_app import example_app
from tests.unit.common.observability.captured_log import CapturedLog
from tests.unit.common.polling import PATIENCE_SECONDS, wait_until
from tests.unit.common.serving import RunningServer, served

LIMIT = 400_000
LARGE = bytes(range(256)) * 1200  # 307,200 bytes: several reads of a socket


@pytest.fixture(scope="module")
def running() -> Iterator[RunningServer]:
    service = CapturedLog().service(max_body_bytes=LIMIT, max_buffered_bytes=LIMIT)
    with served(example_app(service)) as running:
        yield running


def request(what: str, body: bytes = b"", *headers: str, method: str = "POST", version: str = "1.1") -> bytes:
    lines = [f"{method} /direct/{what} HTTP/{version}", "Host: x", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


class Connection:
    """One connection, its answers read one by one."""

    def __init__(self, connection: socket.socket, answers: IO[bytes]) -> None:
        self.socket, self._read = connection, answers

    def send(self, *parts: bytes) -> None:
        for part in parts:
            self.socket.sendall(part)

    def answer(self, *, bodiless: bool = False) -> tuple[int, dict[str, str], bytes]:
        status = int(self._read.readline().split()[1])
        headers: dict[str, str] = {}
        while (line := self._read.readline().strip()) != b"":
            name, _, value = line.decode().partition(": ")
            headers[name] = value
        return status, headers, b"" if bodiless else self._read.read(int(headers.get("content-length", 0)))

    def closed(self) -> bool:
        return self._read.read(1) == b""


@contextmanager
def connected(running: RunningServer) -> Iterator[Connection]:
    address = ("127.0.0.1", running.port)
    with (
        socket.create_connection(address, timeout=PATIENCE_SECONDS) as connection,
        connection.makefile("rb") as answers,
    ):
        yield Connection(connection, answers)


@pytest.mark.parametrize("cut", [1, 20, 100, 150, 200, 70_000, 300_000])
def test_a_large_body_arrives_whole_wherever_it_is_cut(running: RunningServer, cut: int) -> None:
    whole = request("echo", LARGE)
    with connected(running) as one:
        for _ in range(2):  # the connection goes on after it
            one.send(whole[:cut])
            one.send(whole[cut:])
            assert one.answer()[::2] == (200, LARGE)


def test_a_body_that_holds_what_looks_like_a_request_is_a_body(running: RunningServer) -> None:
    body = request("refuse") + LARGE + request("refuse")
    with connected(running) as one:
        one.send(request("echo", body))
        assert one.answer()[::2] == (200, body)
        one.send(request("echo", b"next"))
        assert one.answer()[::2] == (200, b"next")


@pytest.mark.parametrize("body", [b"small", LARGE])
def test_requests_sent_without_waiting_are_answered_in_their_order(running: RunningServer, body: bytes) -> None:
    with connected(running) as one:
        one.send(request("echo", body) + request("left") + request("echo", b"last" + body[:10]))
        assert one.answer()[::2] == (200, body)
        assert float(one.answer()[2]) > 0
        assert one.answer()[2] == b"last" + body[:10]


def test_routes_of_both_kinds_share_a_connection(running: RunningServer) -> None:
    hello = b"GET /hello/you HTTP/1.1\r\nHost: x\r\n\r\n"
    with connected(running) as one:
        one.send(hello + request("echo", b"x") + hello)
        assert json.loads(one.answer()[2])["hello"] == "you"
        assert one.answer()[2] == b"x"
        assert json.loads(one.answer()[2])["hello"] == "you"


def test_the_rest_of_a_refused_large_body_is_discarded_and_the_connection_kept(running: RunningServer) -> None:
    bodies = running.app.body_memory
    with connected(running) as first, connected(running) as second:
        first.send(request("echo", LARGE)[:-1])
        wait_until(lambda: bodies.held == len(LARGE) - 1, "the first body")
        second.send(request("echo", LARGE))
        assert second.answer()[0] == 503
        first.send(LARGE[-1:])
        assert first.answer()[0] == 200
        second.send(request("echo", LARGE))
        assert second.answer()[::2] == (200, LARGE)
    wait_until(lambda: bodies.held == 0, "nothing to be held")


def test_the_rest_of_a_late_large_body_is_discarded_and_the_connection_kept(running: RunningServer) -> None:
    with connected(running) as one:
        whole = request("echo", LARGE, "X-Request-Timeout-Seconds: 0.2")
        one.send(whole[:100_000])
        assert one.answer()[0] == 504
        one.send(whole[100_000:], request("echo", b"next"))
        assert one.answer()[::2] == (200, b"next")


def test_a_large_body_is_freed_when_its_client_disconnects(running: RunningServer) -> None:
    with connected(running) as one:
        one.send(request("echo", LARGE)[:200_000])
        wait_until(lambda: running.app.body_memory.held > 100_000, "its bytes")
    wait_until(lambda: running.app.body_memory.held == 0, "them to be given back")
    wait_until(lambda: running.app.service.metrics.in_progress == 0, "the request's end")


def test_expect_continue_is_answered_100_unless_the_body_is_too_large(running: RunningServer) -> None:
    with connected(running) as one:
        head, body = request("echo", LARGE, "Expect: 100-continue")[: -len(LARGE)], LARGE
        one.send(head)
        assert one.answer()[0] == 100
        one.send(body)
        assert one.answer()[::2] == (200, LARGE)
    with connected(running) as one:
        one.send(request("echo", b"", "Expect: 100-continue").replace(b"Length: 0", b"Length: 900000"))
        assert one.answer()[0] == 413


def test_a_chunked_body_is_put_together(running: RunningServer) -> None:
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (b"a", b"bc", LARGE)) + b"0\r\n\r\n"
    with connected(running) as one:
        one.send(request("echo").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked") + chunks)
        assert one.answer()[::2] == (200, b"abc" + LARGE)


def test_a_content_length_with_leading_zeros_cannot_smuggle_a_request(running: RunningServer) -> None:
    body = b"x" * 70_000 + request("echo", b"smuggled")
    stated = f"Content-Length: {len(body):021d}".encode()
    with connected(running) as one:
        one.send(request("echo").replace(b"Content-Length: 0", stated) + body, request("echo", b"next"))
        status, _, text = one.answer()
        assert (status, b"Content-Length" in text) == (400, True)
        assert one.answer()[::2] == (200, b"next")
    with connected(running) as one:
        one.send(request("echo").replace(b"Content-Length: 0", stated.replace(b"0" * 5, b"0")) + body)
        assert one.answer()[::2] == (200, body)


def test_a_large_body_is_freed_after_its_response() -> None:
    size, callers = 8_000_000, 8
    service = CapturedLog().service(max_body_bytes=size, max_buffered_bytes=2 * size)
    body = request("length", bytes(size))
    memory = psutil.Process().memory_info
    with served(example_app(service)) as running, ExitStack() as kept:
        for one in (kept.enter_context(connected(running)) for _ in range(2)):
            one.send(body)
            assert one.answer()[2] == b"%d" % size
        before = memory().rss
        for one in (kept.enter_context(connected(running)) for _ in range(callers)):
            one.send(body)
            assert one.answer()[2] == b"%d" % size
        assert memory().rss - before < callers * size / 4


def test_the_answer_to_head_has_no_body(running: RunningServer) -> None:
    with connected(running) as one:
        one.send(request("echo", method="HEAD"))
        status, headers, _ = one.answer(bodiless=True)
        assert (status, headers["allow"]) == (405, "POST")
        one.send(request("echo", b"x"))
        assert one.answer()[2] == b"x"


@pytest.mark.parametrize(
    ("asked", "closes"), [("1.0", True), ("1.1", False)], ids=["the older version", "the newer version"]
)
def test_a_connection_is_kept_only_in_http_1_1(running: RunningServer, asked: str, closes: bool) -> None:
    with connected(running) as one:
        one.send(request("echo", b"x", version=asked))
        _, headers, body = one.answer()
        assert body == b"x"
        assert ("close" in headers.get("connection", "")) == closes
        if closes:
            assert one.closed()


def test_a_connection_is_closed_when_the_client_asks_for_it(running: RunningServer) -> None:
    with connected(running) as one:
        one.send(request("echo", b"x", "Connection: close"))
        assert one.answer()[1]["connection"] == "close"
        assert one.closed()


def test_an_idle_connection_is_closed_after_the_keep_alive_time() -> None:
    with served(example_app(CapturedLog().service()), keep_alive_seconds=1) as running, connected(running) as one:
        for _ in range(2):
            sent = time.monotonic()
            one.send(request("echo", b"x"))
            one.answer()
        assert one.closed()  # by the server, within this socket's timeout
        assert time.monotonic() - sent > 0.9


def test_a_slow_reader_gets_the_whole_response(running: RunningServer) -> None:
    with connected(running) as one:
        one.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32_768)
        one.send(request("echo", LARGE))
        wait_until(lambda: running.app.service.metrics.in_progress == 0, "the answer to be on its way")
        assert one.answer()[::2] == (200, LARGE)
