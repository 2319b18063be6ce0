"""HTTP/1.1 on the event loop: a pool of connections whose requests end the moment their caller is cancelled.

Clients that run requests on threads of their own leave a cancelled one running to its end, at the predictor too. Here
the socket belongs to the event loop, and giving up closes it. Parsing is httptools' (llhttp).
"""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import dataclass
from time import monotonic
from typing import cast

import httptools

_LARGE = 65_536


class ConnectionFailed(Exception):
    """The connection could not be made, or broke. `answered` says whether part of an answer had come by then."""

    def __init__(self, reason: str, *, answered: bool = False) -> None:
        super().__init__(reason)
        self.answered = answered


class InvalidResponse(Exception):
    """What came is not HTTP, or is larger than allowed."""


@dataclass(slots=True)
class HttpResponse:
    """A whole response; header names are lower case."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes

    def header(self, name: bytes) -> str:
        """A header's value, "" where it is absent."""
        return self.headers.get(name, b"").decode("latin-1")


class Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self, opened: set[Connection], max_bytes: int) -> None:
        self._opened = opened
        self._max_bytes = max_bytes
        self._parser = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[HttpResponse] | None = None
        self._headers: dict[bytes, bytes] = {}
        self._chunks: list[bytes] = []
        self._received = 0
        self._keep_alive = False
        self.idle_since = 0.0
        self.gone = asyncio.Event()

    async def send(self, head: bytes, body: bytes) -> HttpResponse:
        """Sends a request and waits for its whole answer; raises ConnectionFailed or InvalidResponse."""
        self._headers, self._chunks, self._received, self._keep_alive = {}, [], 0, False
        waiter: asyncio.Future[HttpResponse] = asyncio.get_running_loop().create_future()
        self._waiter = waiter
        if len(body) > _LARGE:
            self._transport.writelines((head, body))
        else:  # joining them costs less than a list of two
            self._transport.write(head + body)
        try:
            return await waiter
        except BaseException:
            self.abort()
            if waiter.done() and not waiter.cancelled():
                waiter.exception()  # seen: it lost a race against a cancellation
            raise
        finally:
            self._waiter = None

    @property
    def reusable(self) -> bool:
        """Whether another request may follow: an answer came whole, and nothing is left over on either side."""
        return self._keep_alive and not self._transport.is_closing() and not self._transport.get_write_buffer_size()

    def abort(self) -> None:
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but its class
        self._opened.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._opened.discard(self)
        self.gone.set()
        reason = "the connection was reset" if error else "the connection was closed"
        self._fail(ConnectionFailed(reason, answered=self._received > 0))

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        if self._waiter is None or self._waiter.done():
            self.abort()  # nobody asked
        elif self._received > self._max_bytes:
            self._fail(self._too_large())
        else:
            self._parse(data)

    def _parse(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(InvalidResponse(f"its answer is not HTTP/1.1: {error}"))

    def on_message_begin(self) -> None:
        if self._waiter is None or self._waiter.done():
            self.abort()  # a second answer to one request

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        length = self._headers.get(b"content-length", b"")
        if length.isdigit() and int(length[:20]) > self._max_bytes:
            self._fail(self._too_large())

    def on_body(self, chunk: bytes) -> None:
        self._chunks.append(chunk)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:  # an interim answer: the real one follows
            self._headers = {}
            return
        if self._waiter is not None and not self._waiter.done():
            self._keep_alive = self._parser.should_keep_alive()
            body = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
            self._waiter.set_result(HttpResponse(status, self._headers, body))

    def _fail(self, error: Exception) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)

    def _too_large(self) -> InvalidResponse:
        return InvalidResponse(f"its answer is larger than {self._max_bytes} bytes")


class HttpPool:
    """Connections to one server. It opens as many as there are requests at once: whoever uses it bounds those."""

    def __init__(
        self, host: str, port: int, *, connect_seconds: float, idle_seconds: float, max_answer_bytes: int
    ) -> None:
        self._host = host
        self._port = port
        self._connect_seconds = connect_seconds
        self._idle_seconds = idle_seconds
        self._max_bytes = max_answer_bytes
        self._opened: set[Connection] = set()
        self._idle: list[Connection] = []

    async def request(self, head: bytes, body: bytes = b"") -> HttpResponse:
        """One request, on the connection used last where one is idle. Raises ConnectionFailed or InvalidResponse."""
        connection = self._take() or await self._connect()
        answer = await connection.send(head, body)
        if connection.reusable:
            connection.idle_since = monotonic()
            self._idle.append(connection)
        else:
            connection.abort()
        return answer

    async def close(self) -> None:
        """Drops every connection, and returns when they are gone."""
        self._idle.clear()
        for connection in tuple(self._opened):
            connection.abort()
            await connection.gone.wait()

    def _take(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.reusable and monotonic() - connection.idle_since < self._idle_seconds:
                return connection
            connection.abort()
        return None

    async def _connect(self) -> Connection:
        connection = Connection(self._opened, self._max_bytes)
        try:
            async with asyncio.timeout(self._connect_seconds):
                await asyncio.get_running_loop().create_connection(lambda: connection, self._host, self._port)
        except BaseException as error:
            self._opened.discard(connection)  # uvloop does not tell of the end of one whose making was cancelled
            if isinstance(error, OSError):
                raise ConnectionFailed(_reason(error)) from error
            raise
        return connection


def _reason(error: OSError) -> str:
    """Why a connection was not made, without the address: callers outside may read it."""
    if isinstance(error, socket.gaierror):
        return "its name does not resolve: it does not run, or is called otherwise"
    if error.errno is None:
        return "no connection in time" if isinstance(error, TimeoutError) else "no connection"
    return os.strerror(error.errno).lower()
