"""An HTTP/1.1 client on the event loop, with a pool of connections.

Cancelling the calling task closes the connection, so that the server can stop its work as well. A client that runs its
requests in threads cannot do that. httptools (llhttp) parses the responses.
"""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import dataclass
from time import monotonic
from typing import cast

import httptools

_LARGE_BYTES = 65_536


class ConnectionFailed(Exception):
    """The connection could not be opened, or was lost. `response_started`: part of a response had arrived by then."""

    def __init__(self, reason: str, *, response_started: bool = False) -> None:
        super().__init__(reason)
        self.response_started = response_started


class InvalidResponse(Exception):
    """The response is not valid HTTP/1.1, or is larger than allowed."""


@dataclass(slots=True)
class HttpResponse:
    """A complete response; header names are in lower case."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes

    def header(self, name: bytes) -> str:
        """A header's value; "" when the header is absent."""
        return self.headers.get(name, b"").decode("latin-1")


class Connection(asyncio.Protocol):
    """One connection, which carries one request at a time."""

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
        self.closed = asyncio.Event()

    async def send(self, head: bytes, body: bytes) -> HttpResponse:
        """Sends a request and returns its response. Raises ConnectionFailed, InvalidResponse."""
        self._headers, self._chunks, self._received, self._keep_alive = {}, [], 0, False
        waiter: asyncio.Future[HttpResponse] = asyncio.get_running_loop().create_future()
        self._waiter = waiter
        if len(body) > _LARGE_BYTES:
            self._transport.writelines((head, body))
        else:  # to join small pieces costs less than writelines does
            self._transport.write(head + body)
        try:
            return await waiter
        except BaseException:
            self.abort()
            if waiter.done() and not waiter.cancelled():
                waiter.exception()  # else asyncio logs that it was never retrieved, when the task was cancelled as well
            raise
        finally:
            self._waiter = None

    @property
    def reusable(self) -> bool:
        """Whether another request may follow: the last response is complete, and all bytes to send have been sent."""
        return self._keep_alive and not self._transport.is_closing() and not self._transport.get_write_buffer_size()

    def abort(self) -> None:
        """Closes the connection at once."""
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # a cast, since uvloop's transports do not inherit from asyncio.Transport
        self._transport = cast(asyncio.Transport, transport)
        self._opened.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._opened.discard(self)
        self.closed.set()
        reason = "the connection was reset" if error else "the connection was closed"
        self._fail(ConnectionFailed(reason, response_started=self._received > 0))

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        if self._waiter is None or self._waiter.done():
            self.abort()  # these bytes belong to no request
        elif self._received > self._max_bytes:
            self._fail(self._too_large())
        else:
            self._parse(data)

    def _parse(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(InvalidResponse(f"its response is not valid HTTP/1.1: {error}"))

    def on_message_begin(self) -> None:
        if self._waiter is None or self._waiter.done():
            self.abort()  # a second response to one request

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
        if status < 200:  # an interim response: the final one follows
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
        return InvalidResponse(f"its response is larger than the {self._max_bytes} bytes that are allowed")


class HttpPool:
    """Connections to one server. It opens one for each concurrent request; the caller has to limit those."""

    def __init__(
        self, host: str, port: int, *, connect_timeout_seconds: float, idle_seconds: float, max_response_bytes: int
    ) -> None:
        self._host = host
        self._port = port
        self._connect_timeout_seconds = connect_timeout_seconds
        self._idle_seconds = idle_seconds
        self._max_bytes = max_response_bytes
        self._opened: set[Connection] = set()
        self._idle: list[Connection] = []

    async def request(self, head: bytes, body: bytes = b"") -> HttpResponse:
        """Sends one request and returns its response. Raises ConnectionFailed, InvalidResponse.

        It goes out on the idle connection that was used last, or on a new one when none is idle.
        """
        connection = self._take_idle() or await self._connect()
        response = await connection.send(head, body)
        if connection.reusable:
            connection.idle_since = monotonic()
            self._idle.append(connection)
        else:
            connection.abort()
        return response

    async def close(self) -> None:
        """Closes every connection, and returns when all are closed."""
        self._idle.clear()
        for connection in tuple(self._opened):
            connection.abort()
            await connection.closed.wait()

    def _take_idle(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.reusable and monotonic() - connection.idle_since < self._idle_seconds:
                return connection
            connection.abort()
        return None

    async def _connect(self) -> Connection:
        connection = Connection(self._opened, self._max_bytes)
        try:
            async with asyncio.timeout(self._connect_timeout_seconds):
                await asyncio.get_running_loop().create_connection(lambda: connection, self._host, self._port)
        except BaseException as error:
            self._opened.discard(connection)  # uvloop does not call connection_lost when connecting is cancelled
            if isinstance(error, OSError):
                raise ConnectionFailed(_reason(error)) from error
            raise
        return connection


def _reason(error: OSError) -> str:
    """Why a connection could not be opened; without the address, since external callers may read it."""
    if isinstance(error, socket.gaierror):
        return "its name does not resolve; check that it runs and that its URL has the right name"
    if error.errno is None:
        return "connecting timed out" if isinstance(error, TimeoutError) else "no connection could be opened"
    return os.strerror(error.errno).lower()
