"""W3C trace context: continued where it is valid, begun anew where it is not."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.request.context import RequestContext
from common.request.deadline import Deadline
from common.request.trace import continue_trace

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
VALID = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


@pytest.mark.parametrize("ending", ["-01", "-00", "-ff"])
def test_a_valid_trace_is_continued(ending: str) -> None:
    trace = continue_trace(f"00-{TRACE}-{PARENT}{ending}", "vendor=1")
    assert (trace.trace_id, trace.parent_id, trace.state) == (TRACE, PARENT, "vendor=1")
    assert trace.span_id != PARENT
    assert trace.header() == f"00-{TRACE}-{trace.span_id}{ending}"


def test_a_later_version_of_the_header_is_read_as_far_as_it_is_known() -> None:
    assert continue_trace(f"cc-{TRACE}-{PARENT}-01-what-comes-later").trace_id == TRACE


@pytest.mark.parametrize(
    "given",
    [
        None,
        "",
        "none",
        f"00-{TRACE}-{PARENT}",
        f"ff-{TRACE}-{PARENT}-01",
        f"cc-{TRACE}-{PARENT}-01.what",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[1:]}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01\n",
        f" 00-{TRACE}-{PARENT}-01",
    ],
)
def test_an_invalid_one_begins_a_new_trace(given: str | None) -> None:
    trace = continue_trace(given, "vendor=1")
    assert trace.trace_id != TRACE
    assert (trace.parent_id, trace.state) == (None, "")
    assert VALID.fullmatch(trace.header())


@given(st.text(max_size=60) | st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}.?", fullmatch=True))
def test_a_valid_header_is_sent_on_whatever_was_received(given: str) -> None:
    assert VALID.fullmatch(continue_trace(given).header())


def test_every_trace_is_a_new_one() -> None:
    assert len({continue_trace(None).trace_id for _ in range(1000)}) == 1000


def test_the_next_hop_gets_request_id_and_trace() -> None:
    trace = continue_trace(f"00-{TRACE}-{PARENT}-01", "vendor=1")
    headers = RequestContext("POST", "/", "my-id", trace, Deadline.after(5)).outgoing_headers()
    assert headers["X-Request-ID"] == "my-id"
    assert headers["traceparent"] == trace.header()
    assert headers["tracestate"] == "vendor=1"
    assert "X-Request-Timeout-Seconds" not in headers  # each call states what is left for it
    alone = RequestContext("POST", "/", "my-id", continue_trace(None), Deadline.after(-5)).outgoing_headers()
    assert "tracestate" not in alone
