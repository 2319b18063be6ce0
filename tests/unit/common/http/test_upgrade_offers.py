"""An offer to upgrade the connection, as Java's HttpClient and `curl --http2` make it, is ignored (RFC 9110, 7.8)."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from tests.unit.common.http.example_app import example_app
from tests.unit.common.http.test_direct_routes import LARGE, LIMIT, connected, request
from tests.unit.common.observability.captured_log import CapturedLog
from tests.unit.common.serving import RunningServer, served

OFFER = (
    "Connection: Upgrade, HTTP2-Settings",
    "Upgrade: h2c",
    "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA",
)
HELLO = b"GET /hello/me HTTP/1.1\r\nHost: x\r\n%b\r\n\r\n" % "\r\n".join(OFFER).encode()

# what Java 17's HttpClient sends, byte by byte but for the target and the port; its fields stand in this order
JAVA = (
    "{0} HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\n{1}Host: 127.0.0.1\r\n"
    "HTTP2-Settings: AAEAAEAAAAIAAAAAAAMAAAAAAAQBAAAAAAUAAEAAAAYABgAA\r\n{2}Upgrade: h2c\r\n"
    "User-Agent: Java-http-client/17.0.15\r\n{3}\r\n"
)
TYPE = "Content-Type: application/json\r\n"


@pytest.fixture(scope="module")
def running() -> Iterator[RunningServer]:
    service = CapturedLog().service(max_body_bytes=LIMIT, max_buffered_bytes=LIMIT)
    with served(example_app(service)) as running:
        yield running


@pytest.mark.parametrize("offer", [OFFER, ("connection: keep-alive,UPGRADE", "upgrade: websocket"), ()])
@pytest.mark.parametrize("body", [b"", b"small", LARGE, request("refuse")], ids=["none", "small", "large", "a request"])
def test_the_request_is_answered_and_the_connection_kept(
    running: RunningServer, offer: tuple[str, ...], body: bytes
) -> None:
    with connected(running) as one:
        for _ in range(2):
            one.send(request("echo", body, *offer))
            status, headers, found = one.answer()
            assert (status, found, headers.get("connection")) == (200, body, None)


def test_java_is_answered(running: RunningServer) -> None:
    with connected(running) as one:
        one.send(JAVA.format("GET /readyz", "Content-Length: 0\r\n", "", "").encode())
        assert one.answer()[::2] == (200, b'{"status":"ok"}')
        one.send(JAVA.format("POST /direct/echo", "Content-Length: 5\r\n", "", TYPE).encode(), b"[1.5]")
        assert one.answer()[::2] == (200, b"[1.5]")
        expecting = "Expect: 100-Continue\r\n", "Transfer-encoding: chunked\r\n", TYPE
        one.send(JAVA.format("POST /direct/echo", *expecting).encode())
        assert one.answer()[0] == 100
        one.send(b"5\r\n[1.5]\r\n0\r\n\r\n")
        assert one.answer()[::2] == (200, b"[1.5]")


@pytest.mark.parametrize("cut", [1, 30, 60, 100, 150, 200, 230, 100_000])
def test_it_may_arrive_in_pieces(running: RunningServer, cut: int) -> None:
    whole = request("echo", LARGE, *OFFER)
    with connected(running) as one:
        one.send(whole[:cut])
        one.send(whole[cut:])
        assert one.answer()[::2] == (200, LARGE)


def test_a_chunked_body_is_put_together(running: RunningServer) -> None:
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (b"a", b"bc", LARGE)) + b"0\r\n\r\n"
    head = request("echo", b"", *OFFER).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    with connected(running) as one:
        one.send(head + chunks + HELLO)
        assert one.answer()[::2] == (200, b"abc" + LARGE)
        assert json.loads(one.answer()[2])["hello"] == "me"


def test_pipelined_requests_are_answered_in_their_order(running: RunningServer) -> None:
    with connected(running) as one:
        one.send(request("echo", b"1", *OFFER) + HELLO + request("echo", b"3") + request("echo", b"4", *OFFER) + HELLO)
        assert one.answer()[2] == b"1"
        assert json.loads(one.answer()[2])["hello"] == "me"
        assert [one.answer()[2], one.answer()[2]] == [b"3", b"4"]
        assert json.loads(one.answer()[2])["hello"] == "me"


def test_its_wish_to_close_and_to_continue_are_respected(running: RunningServer) -> None:
    offer = ("Connection: Upgrade, close", "Upgrade: h2c", "Expect: 100-continue")
    with connected(running) as one:
        one.send(request("echo", b"x", *offer)[:-1])
        assert one.answer()[0] == 100
        one.send(b"x")
        assert one.answer()[1]["connection"] == "close"
        assert one.closed()


def test_a_body_of_two_lengths_is_refused(running: RunningServer) -> None:
    with connected(running) as one:
        one.send(request("echo", b"x", *OFFER, "Transfer-Encoding: chunked"))
        assert one.answer()[0] == 400
        assert one.closed()


def test_connect_is_refused(running: RunningServer) -> None:
    with connected(running) as one:
        one.send(b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n" + request("echo", b"hidden"))
        assert one.answer()[0] in (400, 404, 405)
        assert one.closed()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_with_its_offer_is_answered(running: RunningServer) -> None:
    url = f"{running.url}/direct/echo"
    asked = ["curl", "--silent", "--http2", "--data", "hello", "--write-out", " %{http_code}", url]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout == "hello 200"
