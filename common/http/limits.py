"""The bounds of a connection: how large a request's head and framing may be, and how long a client may take.

uvicorn reads a head of any size for any time, and closes a connection in a way that can lose the last response.
tests/unit/common/http/test_connection_limits.py shows each bound.
"""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import NamedTuple, Protocol

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from common.errors import InvalidInput, Overloaded, ServingError
from common.request.context import RequestContext

MOST_TARGET = 8_192  # bytes of a request's target, that is its path and query
MOST_HEAD = 65_536  # bytes of a head: the target and the header fields
MOST_FIELDS = 100  # header fields
HEAD_SECONDS = 10.0  # for a head to arrive, and for a new connection to send its first byte
LINGER_SECONDS = 5.0  # for a client to read its last response while it still sends
LINGER_BYTES = 100_000_000  # that are dropped in this time
FEW_PIECES = 4_096  # pieces of a body that may be of any size
PIECE_BYTES = 32  # bytes that further pieces have on average
MOST_DESCRIPTORS = 16_384  # files and connections of a process
FRAMING_BYTES = 1_048_576  # bytes of a body's framing: chunk extensions and trailers


class Refusal(NamedTuple):
    """A status and one sentence, for a request that is not read to its end."""

    status: int
    text: str

    def response(self) -> bytes:
        """The whole response, after which the connection ends."""
        body = b"%b\n" % self.text.encode()
        head = b"content-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
        return STATUS_LINE[self.status] + head + body

    def error(self) -> ServingError:
        """The same for a request whose head has been taken."""
        return Overloaded(self.text, retry_after=1) if self.status == 503 else InvalidInput.at("body", self.text)


TARGET_TOO_LONG = Refusal(414, f"the request's target is longer than {MOST_TARGET} bytes; send values in the body")
HEAD_TOO_LARGE = Refusal(431, f"the head has more than {MOST_HEAD} bytes or {MOST_FIELDS} header fields; send fewer")
HEAD_TOO_SLOW = Refusal(408, f"the request's head was not complete in time, usually {HEAD_SECONDS:g} s")
TOO_MANY_PIECES = Refusal(400, f"the body comes in chunks of fewer than {PIECE_BYTES} bytes; send larger ones")
TOO_MUCH_FRAMING = Refusal(400, "the body has more bytes of chunk extensions or trailers than are accepted")
TOO_MUCH_QUEUED = Refusal(503, "too much waits behind earlier requests; wait for responses, and retry later")


class RefusedRequestError(Exception):
    """Raised in a callback of the parser, which then stops."""


def raise_descriptor_limit() -> None:
    """Lets this process open as many files and connections as it may, at most MOST_DESCRIPTORS."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MOST_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _descriptors() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_DESCRIPTORS if soft == resource.RLIM_INFINITY else min(soft, MOST_DESCRIPTORS)


def most_connections() -> int:
    """The most HTTP connections of a process: half of its file descriptors, since others are needed as well."""
    return _descriptors() // 2


def most_grpc_connections() -> int:
    """The most gRPC connections of a process: a quarter of its file descriptors."""
    return _descriptors() // 4


class Linger:
    """What is left of a connection whose last response has been written: what still arrives is dropped.

    A socket that is closed while bytes arrive is reset, and then the client may lose the response. So this end is
    closed for writing first, and the socket only when the client has closed it, or has had its time and bytes.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport, self._left = transport, LINGER_BYTES
        self._started = False

    def start(self, flow: FlowControl) -> None:
        """Begins when the response has been written. Reading goes on if it was paused."""
        if self._started or self._transport.is_closing():
            return
        self._started = True
        self._transport.write_eof()
        flow.resume_reading()
        asyncio.get_running_loop().call_later(LINGER_SECONDS, self._transport.abort)

    def drop(self, size: int) -> None:
        """Counts bytes that arrived and are dropped."""
        self._left -= size
        if self._left < 0:
            self._transport.abort()


class CycleTransport:
    """The transport as uvicorn's cycle uses it, but `close` does not lose the response."""

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        self.write, self.close, self.is_closing = transport.write, close, transport.is_closing


class IdleConnection(Protocol):
    """A connection that may be closed when there are too many."""

    transport: asyncio.Transport

    @property
    def idle_since(self) -> float | None: ...


def close_longest_idle(connections: Iterable[IdleConnection]) -> None:
    """Closes the connection that has been idle for the longest time, so that a new one has a file descriptor."""
    idle = [one for one in connections if one.idle_since is not None]
    if idle:
        min(idle, key=attrgetter("idle_since")).transport.abort()


class ReadBounds(NamedTuple):
    """How slowly a client may read a response, which is held in memory until then.

    It reads some of it within `stall_seconds`. All that waits to be sent is read in `stall_seconds` more than it takes
    at `bytes_per_second`, so that a client which reads slowly, but steadily, does not hold it without end.
    """

    stall_seconds: float = 10.0
    bytes_per_second: float = 100_000.0

    def seconds(self, size: int) -> float:
        """The longest time for so many bytes."""
        return self.stall_seconds + size / self.bytes_per_second


READ_BOUNDS = ReadBounds()


async def until_read(
    transport: asyncio.Transport, flow: FlowControl, context: RequestContext, bounds: ReadBounds = READ_BOUNDS
) -> None:
    """Waits until the client has read most of a response, which counts as held. Disconnects one beyond the bounds."""
    time = asyncio.get_running_loop().time
    end = time() + bounds.seconds(transport.get_write_buffer_size())
    while flow.write_paused and not transport.is_closing():
        waiting = transport.get_write_buffer_size()
        context.release()
        context.hold(waiting, even_if_full=True)
        try:
            async with asyncio.timeout(min(bounds.stall_seconds, max(context.deadline.remaining, 1.0), end - time())):
                await flow.drain()
        except TimeoutError:
            if transport.get_write_buffer_size() >= waiting or time() >= end:
                transport.abort()
                return
