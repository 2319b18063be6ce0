"""Connections that try to harm the server: a hidden request, a client that never reads, a flood of requests."""

from __future__ import annotations

import socket
import threading
from contextlib import ExitStack, suppress

import psutil

from tests.unit.common.http.example_app import example_app
from tests.unit.common.http.test_direct_routes import connected, request
from tests.unit.common.observability.captured_log import CapturedLog
from tests.unit.common.polling import wait_until
from tests.unit.common.serving import served

MOST_PIPELINED = 3000  # requests: about 256 KiB of them, the most that is read at once


def test_http_1_0_gets_no_100_continue() -> None:
    with served(example_app(CapturedLog().service())) as running, connected(running) as one:
        one.send(request("length", b"hello", "Expect: 100-continue", version="1.0"))
        assert one.answer()[0] == 200


def send_until_closed(client: socket.socket, data: bytes) -> None:
    with suppress(OSError):
        client.sendall(data)


def test_a_client_that_does_not_read_is_disconnected_at_the_deadline() -> None:
    service = CapturedLog().service(max_body_bytes=8_000_000, max_buffered_bytes=16_000_000)
    with served(example_app(service)) as running, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", running.port))
        whole = request("echo", b"x" * 6_000_000, "X-Request-Timeout-Seconds: 1")
        sender = threading.Thread(target=send_until_closed, args=(client, whole + whole))
        sender.start()  # it may be disconnected before the server has read all of it
        wait_until(lambda: service.metrics.in_progress == 1, "a response waits for room")
        wait_until(lambda: service.metrics.in_progress == 0, "its end at the deadline")
        sender.join()
        assert running.app.body_memory.held == 0


def test_a_response_that_is_not_read_is_in_memory_once() -> None:
    size, callers = 8_000_000, 6
    service = CapturedLog().service(max_body_bytes=size, access_log=False)
    memory = psutil.Process().memory_info
    body = request("echo", bytes(range(250)) * (size // 250))
    with served(example_app(service)) as running, ExitStack() as kept:
        before = memory().rss
        for _ in range(callers):
            client = kept.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", running.port))
            client.sendall(body)
        least = callers * (size - 3_000_000)  # the rest is with the kernel
        wait_until(lambda: least < running.app.body_memory.held <= callers * size, "all responses wait to be read")
        assert memory().rss - before < 1.5 * callers * size


def test_pipelined_requests_are_not_read_faster_than_they_are_answered() -> None:
    count, longest = 12_000, 0
    with served(example_app(CapturedLog().service())) as running, connected(running) as one:
        sender = threading.Thread(target=one.send, args=(request("length", b"x" * 100) * count,))
        sender.start()
        for _ in range(count):
            assert one.answer()[0] == 200
            longest = max(longest, running.pipelined())
        sender.join()
    assert longest < MOST_PIPELINED
