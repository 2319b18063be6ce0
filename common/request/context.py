"""One request on its way through a service: its id, trace, deadline, and where its time went."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from time import perf_counter
from typing import Any

from common.observability.tracing import Trace
from common.request.deadline import Deadline

_SAFE_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")


Disconnected = Callable[[], asyncio.Future[None]]


def _never() -> asyncio.Future[None]:
    """The `disconnected` of a protocol that cancels the handler itself when the caller leaves."""
    return asyncio.get_running_loop().create_future()


class OutgoingHeaders(dict[str, str]):
    """Headers that go with every call to a next hop; `lines` is what a client has made of them, once for all calls."""

    __slots__ = ("lines",)

    def __init__(self, headers: Mapping[str, str]) -> None:
        super().__init__(headers)
        self.lines = ""


class RequestContext:
    """What is known of one request while it is answered; reachable anywhere below it as `current.get()`.

    `query` is the URL's query string and `accept` the header of that name, undecoded; empty over gRPC. `stages` are
    milliseconds by name; they go out as `Server-Timing`. `request_parameters` are those of an Open Inference Protocol
    request, `response_parameters` go out with its answer. `choices` are the turns that a composition has taken.
    `disconnected` gives a future that is done once the caller has left: for callbacks, not to be cancelled.
    """

    __slots__ = (
        "_outgoing_headers",
        "accept",
        "bytes_in",
        "choices",
        "deadline",
        "disconnected",
        "error",
        "method",
        "model",
        "path",
        "query",
        "request_id",
        "request_parameters",
        "response_parameters",
        "route",
        "stages",
        "started",
        "trace",
    )  # fmt: skip

    def __init__(
        self,
        method: str,
        path: str,
        request_id: str,
        trace: Trace,
        deadline: Deadline,
        disconnected: Disconnected = _never,
    ) -> None:
        self.started = perf_counter()
        self.method = method
        self.path = path
        self.query = b""
        self.accept = b""
        self.request_id = request_id
        self.trace = trace
        self.deadline = deadline
        self.disconnected = disconnected
        self.route = "unmatched"
        self.model = ""
        self.error = ""
        self.bytes_in = 0
        self.stages: dict[str, float] = {}
        self._outgoing_headers: OutgoingHeaders | None = None
        self.choices: dict[str, str] = {}
        self.request_parameters: Mapping[str, Any] = {}
        self.response_parameters: dict[str, bool | int | float | str] = {}

    def server_timing(self) -> str:
        """The `Server-Timing` header: each stage and the total so far, in milliseconds."""
        stages = tuple(self.stages)
        if stages not in _TIMING:
            _TIMING[stages] = ", ".join(f"{name};dur=%.3f" for name in (*stages, "total"))
        total = (perf_counter() - self.started) * 1e3
        return _TIMING[stages] % (*self.stages.values(), total)

    def response_headers(self) -> bytes:
        """The lines that every answer bears."""
        trace = self.trace
        return (
            f"x-request-id: {self.request_id}\r\ntraceparent: 00-{trace.trace_id}-{trace.span_id}-{trace.flags}\r\n"
            f"server-timing: {self.server_timing()}\r\n"
        ).encode()

    def outgoing_headers(self) -> OutgoingHeaders:
        """Headers for calls to the next hop: request id and trace; what is left of the deadline, each call states."""
        if self._outgoing_headers is None:
            self._outgoing_headers = OutgoingHeaders(
                {"X-Request-ID": self.request_id, "traceparent": self.trace.header()}
            )
            if self.trace.state:
                self._outgoing_headers["tracestate"] = self.trace.state
        return self._outgoing_headers


# the header's format by the names of the stages, which come from the code and are few
_TIMING: dict[tuple[str, ...], str] = {}
current: ContextVar[RequestContext] = ContextVar("context")


def request_id(given: bytes | None, trace: Trace) -> str:
    """The caller's request id where it is safe to log and echo, else the trace's."""
    if given is not None and _SAFE_ID.fullmatch(given):
        return given.decode()
    return trace.trace_id
