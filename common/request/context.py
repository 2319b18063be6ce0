"""One request on its way through a service: its id, trace, deadline, headers, and where its time went."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from time import perf_counter
from typing import TypeVar, TypeVarTuple

from common.request.capacity import SMALL, Capacity
from common.request.deadline import Deadline
from common.request.trace import Trace

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
_SAFE_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")

Headers = Mapping[bytes, bytes]
"""Header or metadata values by name; names are in lower case."""
Disconnected = Callable[[], asyncio.Future[None]]
"""Gives a future that is done once the client has disconnected."""


def never_disconnected() -> asyncio.Future[None]:
    """For a protocol that cancels the handler itself when the client disconnects, such as gRPC."""
    return asyncio.get_running_loop().create_future()


class OutgoingHeaders(dict[str, str]):
    """Headers that go with every call to another service; `lines` caches them as a client has encoded them."""

    __slots__ = ("lines",)

    def __init__(self, headers: Mapping[str, str]) -> None:
        super().__init__(headers)
        self.lines = ""


class RequestContext:
    """What is known of one request while it is handled; reachable anywhere below its handler as `current.get()`.

    `headers` are the HTTP headers or the gRPC metadata, `query` is the URL's query string (empty over gRPC). `stages`
    are milliseconds by name; they go out as `Server-Timing`. `choices` are the branches that a composition has taken.
    `capacity` is what this request shares with the others, and `held` are the bytes that it has counted there, beside
    the `body_held` of its body, which the connection counts.
    `tenant` is the name of the caller's API key, where keys are needed.
    `disconnected` gives a future that is done once the client has disconnected; add callbacks to it, do not cancel it.
    """

    __slots__ = (
        "_outgoing_headers", "body_held", "bytes_in", "capacity", "choices", "deadline", "disconnected", "error",
        "headers", "held", "method", "model", "path", "query", "request_id", "route", "stages", "started", "tenant",
        "trace",
    )  # fmt: skip

    def __init__(
        self,
        method: str,
        path: str,
        request_id: str,
        trace: Trace,
        deadline: Deadline,
        disconnected: Disconnected = never_disconnected,
        headers: Headers | None = None,
        query: bytes = b"",
        capacity: Capacity | None = None,
    ) -> None:
        self.started = perf_counter()
        self.method = method
        self.path = path
        self.query = query
        self.headers: Headers = {} if headers is None else headers
        self.request_id = request_id
        self.trace = trace
        self.deadline = deadline
        self.disconnected = disconnected
        self.route = "unmatched"
        self.model = ""
        self.tenant = ""
        self.error = ""
        self.bytes_in = self.held = self.body_held = 0
        self.capacity = capacity
        self.stages: dict[str, float] = {}
        self.choices: dict[str, str] = {}
        self._outgoing_headers: OutgoingHeaders | None = None

    @property
    def most_rows(self) -> int:
        """The most rows that this request may have."""
        return self.capacity.most_rows if self.capacity is not None else sys.maxsize

    def hold(self, size: int, even_if_full: bool = False) -> None:
        """Counts bytes that this request holds until it ends, unless they are few. Raises Overloaded, PayloadTooLarge.

        `even_if_full`: it holds them already, so they are counted and nothing is raised.
        """
        if size > SMALL and self.capacity is not None:
            self.capacity.hold(size, even_if_full, self.body_held + self.held)
            self.held += size

    def release(self) -> None:
        """Counts what this request has held as given back."""
        if self.held and self.capacity is not None:
            self.capacity.give_back(self.held)
            self.held = 0

    def recount(self, estimated: int, size: int) -> None:
        """Counts `size` bytes in place of those that were held as an estimate. They exist, so nothing is raised."""
        if estimated > SMALL and self.capacity is not None:
            self.capacity.hold(size - estimated, even_if_full=True)
            self.held += size - estimated

    async def in_thread(self, work: Callable[[*Ts], T], *arguments: *Ts) -> T:
        """Calls `work` in the thread for large work, within the deadline. Raises Overloaded and DeadlineExceeded."""
        if self.capacity is None:
            return work(*arguments)
        return await self.capacity.in_thread(self.deadline, work, *arguments)

    def server_timing(self) -> str:
        """The `Server-Timing` header: each stage and the total so far, in milliseconds."""
        stages = tuple(self.stages)
        if stages not in _TIMING_FORMATS:
            _TIMING_FORMATS[stages] = ", ".join(f"{name};dur=%.3f" for name in (*stages, "total"))
        total = (perf_counter() - self.started) * 1e3
        return _TIMING_FORMATS[stages] % (*self.stages.values(), total)

    def response_headers(self) -> bytes:
        """The header lines that every HTTP response has."""
        trace = self.trace
        return (
            f"x-request-id: {self.request_id}\r\ntraceparent: 00-{trace.trace_id}-{trace.span_id}-{trace.flags}\r\n"
            f"server-timing: {self.server_timing()}\r\n"
        ).encode()

    def outgoing_headers(self) -> OutgoingHeaders:
        """Request id and trace for calls to other services. Each call adds the time that is left for it."""
        if self._outgoing_headers is None:
            headers = OutgoingHeaders({"X-Request-ID": self.request_id, "traceparent": self.trace.header()})
            if self.trace.state:
                headers["tracestate"] = self.trace.state
            self._outgoing_headers = headers
        return self._outgoing_headers


# the header's format by the names of its stages; those come from the code, so there are few
_TIMING_FORMATS: dict[tuple[str, ...], str] = {}
current: ContextVar[RequestContext] = ContextVar("request_context")


async def beside_loop(large: bool, work: Callable[[*Ts], T], *arguments: *Ts) -> T:
    """Calls `work`, in the thread for large work if it is large and part of a request."""
    context = current.get(None)
    if not large or context is None:
        return work(*arguments)
    return await context.in_thread(work, *arguments)


def request_id(given: bytes | None, trace: Trace) -> str:
    """The caller's request id when it is safe to log and send back, else the trace id."""
    if given is not None and _SAFE_ID.fullmatch(given):
        return given.decode()
    return trace.trace_id
