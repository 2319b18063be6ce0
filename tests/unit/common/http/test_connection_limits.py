"""The bounds of a connection: heads, targets, chunks, time, and clients that do not read."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from common.http import limits
from tests.unit.common.http.example_app import example_app
from tests.unit.common.http.test_direct_routes import connected, request
from tests.unit.common.observability.captured_log import CapturedLog
from tests.unit.common.polling import PATIENCE_SECONDS, wait_until
from tests.unit.common.serving import RunningServer, served

PATHS = pytest.mark.parametrize("path", ["/direct/echo", "/items"])
MIB = 1 << 20


@pytest.fixture(scope="module")
def running() -> Iterator[RunningServer]:
    with served(example_app(CapturedLog().service(max_body_bytes=2_000_000))) as running:
        yield running


def answer_to(running: RunningServer, *parts: bytes) -> bytes:
    """All that comes back until the server closes the connection; it may do so before everything is sent."""
    with socket.create_connection(("127.0.0.1", running.port), timeout=PATIENCE_SECONDS) as one:

        def send() -> None:
            with suppress(OSError):
                for part in parts:
                    one.sendall(part)

        sender = threading.Thread(target=send)
        sender.start()
        received = b""
        while piece := one.recv(65536):
            received += piece
        sender.join()
    return received


def head(path: str, *fields: str) -> bytes:
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: x", "Content-Length: 0", *fields, "", ""]).encode()


@PATHS
def test_a_head_within_the_bounds_is_taken(running: RunningServer, path: str) -> None:
    also = "Content-Type: application/json", "Connection: close"
    fields = [f"x-{number}: {'v' * 550}" for number in range(limits.MOST_FIELDS - 4)]
    received = answer_to(running, head(f"{path}?{'q' * 8000}", *also, *fields))
    assert received.split()[1] in (b"200", b"422", b"400")


@PATHS
@pytest.mark.parametrize(
    ("start", "status"),
    [
        (f"POST {{path}}?{'q' * 9000} HTTP/1.1\r\nHost: x\r\n\r\n", b"414"),
        (f"POST {{path}} HTTP/1.1\r\nHost: x\r\nx: {'v' * 66_000}\r\n\r\n", b"431"),
        ("POST {path} HTTP/1.1\r\nHost: x\r\n" + "x: v\r\n" * 101 + "\r\n", b"431"),
    ],
    ids=["target", "field", "fields"],
)
def test_a_head_beyond_them_is_refused(running: RunningServer, path: str, start: str, status: bytes) -> None:
    received = answer_to(running, start.format(path=path).encode())
    assert received.split()[1] == status
    assert b"connection: close" in received.lower()


@PATHS
@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ("", b"400"),
        ("Host: x\r\nHost: y\r\n", b"400"),
        ("Host: x\r\nAuthorization: Bearer a\r\nauthorization: Bearer b\r\n", b"400"),
        ("Host: x\r\nContent-Type: text/plain\r\nContent-Type: application/json\r\n", b"400"),
        ("Host: x\r\nTransfer-Encoding: gzip, chunked\r\n", b"501"),
        ("Host: x\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", b"501"),
    ],
    ids=["no host", "two hosts", "two keys", "two types", "gzip", "gzip apart"],
)
def test_a_head_of_two_meanings_is_refused(running: RunningServer, path: str, fields: str, status: bytes) -> None:
    received = answer_to(running, f"POST {path} HTTP/1.1\r\n{fields}\r\n0\r\n\r\n".encode())
    assert received.split()[1] == status
    assert received.count(b"content-length") == 1
    assert b"connection: close" in received.lower()


@PATHS
def test_repeated_lists_and_older_clients_are_taken(running: RunningServer, path: str) -> None:
    lists = "Via: 1.1 a", "via: 1.1 b", "Accept: text/plain", "Accept: */*", "Transfer-Encoding: Chunked"
    with socket.create_connection(("127.0.0.1", running.port), timeout=PATIENCE_SECONDS) as one:
        one.sendall(head(path, *lists).replace(b"Content-Length: 0\r\n", b"") + b"0\r\n\r\n")
        assert one.recv(65536).split()[1] in (b"200", b"422", b"400")
    assert answer_to(running, f"POST {path} HTTP/1.0\r\n\r\n".encode()).split()[1] in (b"200", b"422", b"400")


@pytest.mark.parametrize(
    "start", [b"POST /", b"POST / HTTP/1.1\r\nx: ", b"POST / HTTP/1.1\r\nx"], ids=["target", "value", "name"]
)
def test_an_endless_head_is_refused_and_not_kept(running: RunningServer, start: bytes) -> None:
    began = time.thread_time()
    received = answer_to(running, start, *[b"v" * MIB] * 80)
    assert received.split()[1] in (b"414", b"431")
    assert time.thread_time() - began < 2


@PATHS
def test_a_flood_of_tiny_chunks_is_refused(running: RunningServer, path: str) -> None:
    start = f"POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    received = answer_to(running, start, *[b"1\r\n[\r\n" * 50_000] * 20)
    assert received.split()[1] == b"400"
    assert b"chunks of fewer than 32 bytes" in received


@PATHS
@pytest.mark.parametrize("framing", [b"1;" + b"x" * MIB, b"0\r\nx: " + b"x" * MIB], ids=["extension", "trailer"])
def test_endless_framing_is_refused(running: RunningServer, path: str, framing: bytes) -> None:
    start = f"POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    received = answer_to(running, start, framing, *[b"x" * MIB] * 20)
    assert received.split()[1] == b"400"


@PATHS
@pytest.mark.parametrize("connection", ["close", "keep-alive"])
def test_a_413_reaches_a_client_that_is_still_sending(running: RunningServer, path: str, connection: str) -> None:
    start = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 2500000\r\nConnection: {connection}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", running.port), timeout=PATIENCE_SECONDS) as one:
        one.sendall(start)
        for _ in range(10):
            one.sendall(bytes(150_000))
        assert one.recv(65536).split()[1] == b"413"


@pytest.fixture
def hasty() -> Iterator[RunningServer]:
    with served(example_app(CapturedLog().service(max_body_bytes=8_000_000)), head_seconds=1.0) as running:
        yield running


def test_a_head_that_takes_too_long_ends(hasty: RunningServer) -> None:
    with connected(hasty) as one:
        one.send(b"POST /direct/echo HTTP/1.1\r\n")
        assert one.answer()[0] == 408
        assert one.closed()


def test_a_silent_connection_ends(hasty: RunningServer) -> None:
    with connected(hasty) as one:
        assert one.closed()


def test_a_fastapi_response_that_is_not_read_counts_until_its_client_is_disconnected() -> None:
    service = CapturedLog().service()
    with served(example_app(service)) as running, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", running.port))
        client.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\nX-Request-Timeout-Seconds: 1\r\n\r\n")
        wait_until(lambda: running.app.body_memory.held > MIB, "the response to be counted")
        wait_until(lambda: running.app.body_memory.held == 0, "its client to be disconnected")
    assert service.metrics.in_progress == 0


def test_a_request_after_others_in_the_same_segment_may_be_incomplete(running: RunningServer) -> None:
    with connected(running) as one:
        whole = request("length", b"x" * 100)
        one.send(whole * 2000 + whole[:30])
        for _ in range(2000):
            assert one.answer()[0] == 200
        one.send(whole[30:])
        assert one.answer()[0] == 200


VALID = b"POST /direct/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "wrong",
    [b"GET http://x HTTP/1.1\r\nHost: x\r\n\r\n", b"POST /items HTTP/1.1\r\nHost: x\r\n" + CHUNKED + b"ZZ\r\n"],
    ids=["target", "chunk"],
)
def test_a_wrong_request_does_not_cost_the_one_before_it_its_response(running: RunningServer, wrong: bytes) -> None:
    received = answer_to(running, VALID + wrong)
    assert received.startswith(b"HTTP/1.1 200")
    assert b"hello" in received


def test_a_request_that_is_wrong_after_its_response_gets_no_second_one(running: RunningServer) -> None:
    with socket.create_connection(("127.0.0.1", running.port), timeout=PATIENCE_SECONDS) as one:
        one.sendall(b"GET /direct/echo HTTP/1.1\r\nHost: x\r\n" + CHUNKED)
        received = one.recv(65536)
        assert received.startswith(b"HTTP/1.1 405")
        one.sendall(b"ZZ\r\n")
        while piece := one.recv(65536):
            received += piece
    assert received.count(b"HTTP/1.1") == 1


@PATHS
def test_a_body_is_asked_for_when_the_client_expects_that(running: RunningServer, path: str) -> None:
    body = b'[{"size": 1}]'
    with socket.create_connection(("127.0.0.1", running.port), timeout=PATIENCE_SECONDS) as one:
        also = "Content-Type: application/json", "Expect: 100-continue", "Connection: close"
        one.sendall(head(path, *also).replace(b"Content-Length: 0", b"Content-Length: %d" % len(body)))
        assert one.recv(65536).startswith(b"HTTP/1.1 100")
        one.sendall(body)
        received = b""
        while piece := one.recv(65536):
            received += piece
    assert b"parsing the body" not in received
    assert received.split()[1] in (b"200", b"422")


@pytest.mark.parametrize(("soft", "hard", "bounds"), [(256, 400, (200, 100)), (400, 400, (200, 100))])
def test_connections_are_a_share_of_the_descriptors_that_the_process_may_have(
    soft: int, hard: int, bounds: tuple[int, int]
) -> None:
    code = (
        f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))\n"
        "from common.http import limits\n"
        "limits.raise_descriptor_limit()\n"
        "print((limits.most_connections(), limits.most_grpc_connections()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout == f"{bounds}\n"
