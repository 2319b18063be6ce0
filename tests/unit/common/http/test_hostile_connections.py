"""Connections that try to harm the server: a client that never reads, a flood of requests, requests behind the last."""

from __future__ import annotations

import socket
import threading
from contextlib import ExitStack, suppress

import psutil
import pytest

from common.http.pipelining import AT_ONCE, MOST_QUEUED
from tests.unit.common.http.example_app import example_app
from tests.unit.common.http.test_direct_routes import connected, request
from tests.unit.common.observability.captured_log import CapturedLog
from tests.unit.common.polling import wait_until
from tests.unit.common.serving import served


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


ITEMS = (
    b"POST /items HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n"
    + b'[{"size": 1}]'
)
LIVE = b"GET /livez HTTP/1.1\r\nHost:\r\n\r\n"


@pytest.mark.parametrize(("whole", "count"), [(request("length", b"x" * 100), 12_000), (LIVE, 3_000), (ITEMS, 1_000)])
def test_pipelined_requests_are_not_parsed_faster_than_they_are_answered(whole: bytes, count: int) -> None:
    longest = 0
    with served(example_app(CapturedLog().service())) as running, connected(running) as one:
        sender = threading.Thread(target=one.send, args=(whole * count,))
        sender.start()
        for _ in range(count):
            assert one.answer()[0] == 200
            longest = max(longest, running.pipelined())
        sender.join()
    assert 0 < longest <= MOST_QUEUED + AT_ONCE // len(whole)


def test_what_waits_to_be_parsed_is_one_segment() -> None:
    most = 0
    with served(example_app(CapturedLog().service(access_log=False))) as running, connected(running) as one:

        def send() -> None:
            with suppress(OSError):  # it ends when the connection does
                one.send(ITEMS * 100_000)

        sender = threading.Thread(target=send)
        sender.start()
        for _ in range(1_000):
            assert one.answer()[0] == 200
            most = max(most, running.unparsed())
        one.socket.shutdown(socket.SHUT_RDWR)
        sender.join()
    assert 0 < most < 300_000


def test_what_waits_to_be_parsed_counts_as_held() -> None:
    service = CapturedLog().service(max_body_bytes=100_000, max_buffered_bytes=100_000, access_log=False)
    with served(example_app(service)) as running, connected(running) as one:
        one.send(request("echo", b"x")[:-1])
        wait_until(lambda: service.metrics.in_progress == 1, "the request to begin")
        one.send(b"x" + request("echo", b"y") * 5_000)
        answers = 1
        while one.answer()[1].get("connection") != "close":
            answers += 1
        assert answers < 100
        assert one.closed()
    wait_until(lambda: not running.app.body_memory.held, "everything given back")


def test_many_requests_of_all_kinds_in_one_segment_are_answered_in_their_order() -> None:
    item = b'[{"size": 7}]\r\n\r\n'
    head = b"POST /items HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    chunks = b"4\r\n\r\n\r\n\r\n" + b"%x\r\n%b\r\n0\r\n\r\n" % (3_000, b"\r\n\r\nab" * 500)
    kinds = [
        (request("echo", b"\r\n\r\n" * 700), b"\r\n\r\n" * 700),
        (
            request("echo").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked") + chunks,
            chunks[3:7] + chunks[14:-7],
        ),
        (head + b"Content-Length: %d\r\n\r\n" % len(item) + item, b"7"),
        (head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(item), item), b"7"),
        (b"\r\n\r\n" + request("echo", b"x" * 70_000), b"x" * 70_000),
        (request("length", b"", "Connection: upgrade", "Upgrade: h2c"), b"0"),
    ]
    with served(example_app(CapturedLog().service())) as running, connected(running) as one:
        sender = threading.Thread(target=one.send, args=(b"".join(whole for whole, _ in kinds) * 40,))
        sender.start()
        for number in range(40):
            for kind, (_, expected) in enumerate(kinds):
                assert one.answer()[::2] == (200, expected), (number, kind)
        sender.join()
        assert running.app.body_memory.held == 0


@pytest.mark.parametrize("last", [request("echo", b"1"), ITEMS])
@pytest.mark.parametrize("more", [request("echo", b"2") * 2_000, request("echo", b"2") + b"POST /"], ids=len)
def test_requests_behind_the_last_response_before_a_stop_are_not_run(last: bytes, more: bytes) -> None:
    log = CapturedLog()
    with served(example_app(log.service())) as running, connected(running) as one:
        one.send(last[:-1])
        wait_until(lambda: running.app.service.metrics.in_progress == 1, "the request to begin")
        running.app.service.health.draining = True
        one.send(last[-1:] + request("echo", b"2") + more)
        assert one.answer()[1]["connection"] == "close"
        assert one.closed()
    assert len(log.lines("request")) == 1
    assert not [line for line in log.lines() if line["level"] not in ("info", "debug")]
