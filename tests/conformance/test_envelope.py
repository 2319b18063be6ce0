"""What every response carries, and that a request's deadline is kept."""

from __future__ import annotations

import re
import socket
import time

import pytest

from tests.conformance.served import Served

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TIMEOUT = "X-Request-Timeout-Seconds"
SLACK = 2.0  # what a busy machine may add


def test_every_response_carries_request_id_trace_and_timing(served: Served) -> None:
    given = {"X-Request-ID": "order-66", "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
    own = served.row.requests[0].path
    for method, path in (
        ("GET", "/"), ("GET", "/docs"), ("GET", "/livez"), ("GET", "/readyz"), ("GET", "/metrics"),
        ("GET", "/metadata"), ("GET", "/v2"), ("GET", "/v2/models/tulips"), ("GET", "/nowhere"), ("POST", "/livez"),
        ("POST", served.infer_path), ("GET", served.infer_path), ("POST", own), ("GET", own),
    ):  # fmt: skip
        response = served.ask(method, path, headers=given)
        assert response.headers["X-Request-ID"] == "order-66", path
        assert re.fullmatch(rf"00-{TRACE}-(?!00f067aa0ba902b7)[0-9a-f]{{16}}-01", response.headers["traceparent"]), path
        assert re.search(r"total;dur=[0-9.]+$", response.headers["Server-Timing"]), path


def test_an_id_or_a_trace_that_is_not_valid_is_replaced(served: Served) -> None:
    for given in ("a b", "x" * 129, "<script>", 'quote"'):
        response = served.get("/livez", headers={"X-Request-ID": given})
        assert re.fullmatch(r"[0-9a-f]{32}", response.headers["X-Request-ID"])
    for given in ("nonsense", f"00-{'0' * 32}-00f067aa0ba902b7-01", f"ff-{TRACE}-00f067aa0ba902b7-01"):
        found = re.fullmatch(
            r"00-([0-9a-f]{32})-[0-9a-f]{16}-0[01]",
            served.get("/livez", headers={"traceparent": given}).headers["traceparent"],
        )
        assert found
        assert found[1] not in (TRACE, "0" * 32)


def test_server_timing_names_every_stage_and_the_total(served: Served) -> None:
    timing = served.answered(served.row.requests[0]).headers["Server-Timing"]
    entries = [entry.split(";dur=") for entry in timing.split(", ")]
    assert [name for name, _ in entries] == [*served.row.stages, "total"]
    spent = [float(milliseconds) for _, milliseconds in entries]
    assert all(one >= 0 for one in spent)
    assert max(spent) == spent[-1] > 0


def test_a_deadline_that_has_passed_is_504(served: Served) -> None:
    before = served.counted(served.row.answering, "serving_requests_total", code="504")
    for response in (
        served.send(served.row.requests[0], **{TIMEOUT: "0.000001"}),
        served.infer_binary(**{TIMEOUT: "0.000001"}),
    ):
        assert response.status_code == 504, response.text
        assert "deadline" in response.text
    assert served.counted(served.row.answering, "serving_requests_total", code="504") == before + 2


@pytest.mark.parametrize("value", ["0", "-3.5", "soon", "nan", "inf"])
def test_a_deadline_that_is_none_is_refused(served: Served, value: str) -> None:
    for response in (
        served.send(served.row.requests[0], **{TIMEOUT: value}),
        served.infer_binary(**{TIMEOUT: value}),
    ):
        assert response.status_code == 400
        assert TIMEOUT in response.text


def test_a_body_that_does_not_arrive_ends_with_its_deadline(served: Served) -> None:
    if served.balanced:
        pytest.skip("the balancer waits for the whole body by its own limit")
    for path in (served.infer_path, served.row.requests[0].path):
        media = served.row.requests[0].content_type if path != served.infer_path else "application/json"
        lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Type: {media}", "Content-Length: 99", f"{TIMEOUT}: 0.3"]
        started = time.monotonic()
        with socket.create_connection(served.address, timeout=10) as connection:
            connection.sendall("\r\n".join([*lines, "", "{"]).encode())
            assert connection.recv(4000).startswith(b"HTTP/1.1 504")
        assert 0.3 <= time.monotonic() - started < 0.3 + SLACK
