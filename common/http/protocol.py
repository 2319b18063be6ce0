"""uvicorn's HTTP protocol, with a short way for direct routes.

uvicorn hands a request on as ASGI messages and takes the answer back as two more; for a small request that costs more
than everything else in between. A request to a direct route takes none of that: its body goes to the route as it has
come, a large one straight from the socket to where it stays, and its answer leaves in one piece. What is not direct
goes uvicorn's way, to the FastAPI application.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from contextvars import Context
from typing import cast
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from common.http.app import App
from common.http.body import SMALL
from common.http.cycle import DirectRequestCycle


class HttpProtocol(HttpToolsProtocol):
    """What serves one connection."""

    answering: DirectRequestCycle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast(asyncio.Transport, transport))
        self._socket: int = transport.get_extra_info("socket").fileno()

    def send_now(self, data: bytes) -> None:
        """Sends what the socket takes at once, the rest in its time; uvloop alone waits for its turn to end."""
        sent = 0
        if not self.transport.get_write_buffer_size() and not self.transport.is_closing():
            with suppress(OSError):  # a socket that is full takes it later; a broken one tells the transport as well
                sent = os.write(self._socket, data)
        if sent < len(data):
            self.transport.write(data[sent:])

    def on_message_begin(self) -> None:
        self.url, self.headers, self.expect_100_continue = b"", [], False

    def on_headers_complete(self) -> None:
        url = httptools.parse_url(self.url)
        path = url.path.decode("ascii") if url.path else ""
        if "%" in path:
            path = unquote(path)
        route = cast(App, self.app).direct_route(path)
        if route is None:
            self._go_uvicorns_way()
            return
        before, call = self.cycle, DirectRequestCycle(self, route, path, url.query or b"")
        self.cycle = call
        if before is None or before.response_complete:
            self._start_asgi_task(call, self.app)
        else:  # its connection's last request is still being answered
            self.flow.pause_reading()
            self.pipeline.appendleft((call, self.app))

    def _go_uvicorns_way(self) -> None:
        known = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.headers, self.expect_100_continue = known
        self.scope["headers"] = self.headers
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if isinstance(self.cycle, DirectRequestCycle):
            self.cycle.take(body)
        else:
            super().on_body(body)

    def data_received(self, data: bytes) -> None:
        head = len(data) if len(data) <= SMALL else data.find(b"\r\n\r\n") + 4
        super().data_received(data[:head])
        call = self.cycle
        if isinstance(call, DirectRequestCycle) and call.wants > SMALL:
            LargeBodyReader(self, call).begin(data[head:])
        elif head < len(data):
            super().data_received(data[head:])

    def on_response_complete(self) -> None:
        """As the parent's, save that a connection has one timer for its idleness, not one for each request."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            return
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._look_again(self.timeout_keep_alive)

    def timeout_keep_alive_handler(self) -> None:
        self.timeout_keep_alive_task = None
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._look_again(left)
        elif self.cycle.response_complete:  # else its answer looks again
            super().timeout_keep_alive_handler()

    def _look_again(self, seconds: float) -> None:
        # in a context of its own: one request's would live as long as the connection
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler, context=Context())

    def note_activity(self) -> None:
        self._idle_since = self.loop.time()

    _unset_keepalive_if_required = note_activity  # as the parent calls it

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
        if self.answering is not None:
            self.answering.leave()
        for call, _ in self.pipeline:
            if isinstance(call, DirectRequestCycle):
                call.release()
        self.pipeline.clear()

    def go_on(self, data: bytes) -> None:
        """Reads requests again, after a body that the parser has not seen; `data` has come behind it."""
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.on_message_complete()
        if data:
            self.data_received(data)


class LargeBodyReader(asyncio.BufferedProtocol):
    """Reads the rest of a large body to where it stays, past the copies that a parser makes.

    Of one that is refused or answered, what still comes is dropped.
    """

    def __init__(self, http: HttpProtocol, call: DirectRequestCycle) -> None:
        self._http, self._call, self._left = http, call, call.wants
        call.reserve()

    def begin(self, data: bytes) -> None:
        """Takes what has come of it, and the connection's reading where more is to come."""
        size = min(len(data), self._left)
        self.get_buffer(size)[:size] = memoryview(data)[:size]
        self._came(size)
        if self._left:
            self._http.transport.set_protocol(self)
        else:
            self._http.go_on(data[size:])

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._call.room(self._left)

    def buffer_updated(self, nbytes: int) -> None:
        self._came(nbytes)
        self._http.note_activity()
        if not self._left:
            self._http.transport.set_protocol(self._http)
            self._http.go_on(b"")

    def _came(self, size: int) -> None:
        self._left -= size
        self._call.count(size)

    def connection_lost(self, exc: Exception | None) -> None:
        self._http.connection_lost(exc)

    def pause_writing(self) -> None:
        self._http.pause_writing()

    def resume_writing(self) -> None:
        self._http.resume_writing()
