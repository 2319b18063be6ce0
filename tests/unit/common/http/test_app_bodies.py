"""Request bodies are bounded one by one and all together, and may take no longer to arrive than the deadline."""

from __future__ import annotations

import json
import socket
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from common.http.body import BodyMemory, RequestBody
from tests.unit.common.http.example_app import example_app
from tests.unit.common.observability.captured_log import CapturedLog
from tests.unit.common.polling import wait_until
from tests.unit.common.serving import RunningServer, served

LIMIT, ALL = 200_000, 300_000
BOTH_KINDS = pytest.mark.parametrize("path", ["/direct/echo", "/items"])


@pytest.fixture(scope="module")
def running() -> Iterator[RunningServer]:
    with served(example_app(CapturedLog().service(max_body_bytes=LIMIT, max_buffered_bytes=ALL))) as running:
        yield running


@pytest.fixture
def client(running: RunningServer) -> Iterator[httpx.Client]:
    headers = {"Content-Type": "application/json"}
    with httpx.Client(base_url=running.url, timeout=20, headers=headers) as client:
        yield client


class Caller:
    """Someone who sends a request bit by bit."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def begin(self, path: str, size: int, **headers: str) -> None:
        lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {size}", "Content-Type: application/json"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self._connection.sendall("\r\n".join([*lines, "", ""]).encode())

    def send(self, body: bytes) -> None:
        self._connection.sendall(body)

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and what has come of the body."""
        head, _, body = self._read_head().partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        return int(first.split()[1]), headers, body

    def _read_head(self) -> bytes:
        text = b""
        while b"\r\n\r\n" not in text:
            received = self._connection.recv(65536)
            assert received, "the server hung up without an answer"
            text += received
        return text


@contextmanager
def caller(running: RunningServer) -> Iterator[Caller]:
    with socket.create_connection(("127.0.0.1", running.port), timeout=20) as connection:
        yield Caller(connection)


def items(size: int) -> bytes:
    """A JSON body of so many bytes that sums to 1."""
    return b'[{"size":1}' + b" " * (size - 12) + b"]"


@BOTH_KINDS
def test_a_body_at_the_limit_is_taken(client: httpx.Client, path: str) -> None:
    body = items(LIMIT)
    answer = client.post(path, content=body)
    assert answer.status_code == 200
    assert answer.content == (b"1" if path == "/items" else body)


def check_413(answer: httpx.Response) -> None:
    assert answer.status_code == 413
    (error,) = answer.json()["errors"]
    assert error["field"] == "body"
    assert error["reason"].startswith(f"expected at most {LIMIT} bytes, got ")


@BOTH_KINDS
def test_a_larger_body_is_refused_where_it_is_announced(client: httpx.Client, path: str) -> None:
    check_413(client.post(path, content=items(LIMIT + 1)))


@BOTH_KINDS
def test_a_larger_body_is_refused_where_it_is_not(client: httpx.Client, path: str) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(10):
            yield bytes(LIMIT // 9)

    check_413(client.post(path, content=pieces()))


def test_a_body_announced_as_too_large_is_not_waited_for(running: RunningServer) -> None:
    with caller(running) as one:
        one.begin("/direct/echo", 65_000_000)
        one.send(b"x")
        assert one.answer()[0] == 413


@BOTH_KINDS
def test_a_body_in_many_pieces_is_put_together(client: httpx.Client, path: str) -> None:
    body = items(1000)
    answer = client.post(path, content=(body[at : at + 1] for at in range(len(body))))
    assert answer.content == (b"1" if path == "/items" else body)


def test_all_bodies_together_are_bounded(running: RunningServer, client: httpx.Client) -> None:
    bodies = running.app.body_memory
    with caller(running) as first, caller(running) as second:
        first.begin("/direct/echo", LIMIT)
        first.send(bytes(LIMIT - 1))
        wait_until(lambda: bodies.held == LIMIT - 1, "the first request's bytes")
        assert wait_for_a_refusal(second)["retry-after"] == "1"
        first.send(b"x")
        assert first.answer()[0] == 200
    for _ in range(3):  # what was held has been given back, also by the one that was refused
        assert client.post("/direct/echo", content=bytes(LIMIT)).status_code == 200
    wait_until(lambda: bodies.held == 0, "what was held to be given back")


def wait_for_a_refusal(one: Caller) -> dict[str, str]:
    one.begin("/direct/echo", LIMIT)
    one.send(bytes(LIMIT - 1))
    status, headers, body = one.answer()
    assert status == 503
    assert "the requests being handled hold more than 300000 bytes in all; retry later" in json.loads(body)["detail"]
    return headers


@BOTH_KINDS
@pytest.mark.parametrize("sent", [0, 1])
def test_a_body_that_does_not_arrive_in_time_is_given_up(running: RunningServer, path: str, sent: int) -> None:
    with caller(running) as one:
        one.begin(path, 10, X_Request_Timeout_Seconds="0.1")
        one.send(b"[" * sent)
        status, _, body = one.answer()
    assert status == 504
    problem: dict[str, Any] = json.loads(body)
    assert problem["detail"] == "the deadline passed while the request body was still arriving"


@BOTH_KINDS
@pytest.mark.parametrize("sent", [0, 1])
def test_a_client_that_disconnects_within_its_body_leaves_no_request_in_progress(
    running: RunningServer, path: str, sent: int
) -> None:
    metrics = running.app.service.metrics
    with caller(running) as one:
        one.begin(path, LIMIT)
        one.send(b"[" * sent)
        wait_until(lambda: metrics.in_progress == 1, "the request")
    wait_until(lambda: metrics.in_progress == 0, "its end")


def test_a_body_in_small_pieces_takes_about_its_size_in_memory() -> None:
    size, piece = 400_000, 2
    body = RequestBody(BodyMemory(CapturedLog().service(max_body_bytes=size)))
    data = bytes(range(1, 1 + piece))
    tracemalloc.start()
    try:
        for _ in range(size // piece):
            body.feed(bytes(bytearray(data)))
        assert tracemalloc.get_traced_memory()[0] < 2 * size
    finally:
        tracemalloc.stop()
