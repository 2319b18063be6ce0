"""uvicorn's HTTP protocol, with a short way for direct routes.

uvicorn passes a request on as ASGI messages and takes the response back as two more. For a small request that costs
more than everything else in between. A request to a direct route has no such messages: its body goes to the route as
it arrives, a large one straight from the socket to where it stays, and its response is written in one piece. Every
other request is uvicorn's, and goes to the FastAPI application.
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

from common.http.app import App, plain_path
from common.http.body import SMALL
from common.http.cycle import DirectRequestCycle


class HttpProtocol(HttpToolsProtocol):
    """Serves one connection."""

    running: DirectRequestCycle | None = None
    """The direct request that is being handled."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast(asyncio.Transport, transport))
        self._socket: int = transport.get_extra_info("socket").fileno()

    def send_now(self, data: bytes) -> None:
        """Writes what the socket takes at once and the rest when it can; uvloop alone waits for the end of its turn."""
        sent = 0
        if not self.transport.get_write_buffer_size() and not self.transport.is_closing():
            with suppress(OSError):  # a full socket takes it later; a broken one is reported to the transport as well
                sent = os.write(self._socket, data)
        if sent < len(data):
            self.transport.write(data[sent:])

    def on_message_begin(self) -> None:
        self.url, self.headers, self.expect_100_continue = b"", [], False

    def on_headers_complete(self) -> None:
        url = httptools.parse_url(self.url)
        path = url.path.decode("ascii") if url.path else ""
        path = plain_path(unquote(path) if "%" in path else path)
        app = cast(App, self.app)
        route = app.direct_route(path)
        if route is None:
            self._start_uvicorns_cycle()
            return
        before, cycle = self.cycle, DirectRequestCycle(self, app, route, path, url.query or b"")
        self.cycle = cycle
        if before is None or before.response_complete:
            self._start_asgi_task(cycle, self.app)
        else:  # the connection's previous request is still being handled
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, self.app))

    def _start_uvicorns_cycle(self) -> None:
        known = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.headers, self.expect_100_continue = known
        self.scope["headers"] = self.headers
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if isinstance(self.cycle, DirectRequestCycle):
            self.cycle.request_body.feed(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if isinstance(self.cycle, DirectRequestCycle):
            self.cycle.more_body = False
            self.cycle.request_body.complete()
        else:
            super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        head = len(data) if len(data) <= SMALL else data.find(b"\r\n\r\n") + 4
        super().data_received(data[:head])
        cycle = self.cycle
        if isinstance(cycle, DirectRequestCycle) and cycle.request_body.missing > SMALL:
            LargeBodyReader(self, cycle).begin(data[head:])
        elif head < len(data):
            super().data_received(data[head:])

    def on_response_complete(self) -> None:
        """As the parent's, but a connection has one timer for its idleness, not one for each request."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            return
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._start_idle_timer(self.timeout_keep_alive)

    def timeout_keep_alive_handler(self) -> None:
        self.timeout_keep_alive_task = None
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._start_idle_timer(left)
        elif self.cycle.response_complete:  # otherwise the response starts the timer again
            super().timeout_keep_alive_handler()

    def _start_idle_timer(self, seconds: float) -> None:
        # in a context of its own: a request's context would live as long as the connection
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler, context=Context())

    def note_activity(self) -> None:
        """Starts the idle time anew."""
        self._idle_since = self.loop.time()

    _unset_keepalive_if_required = note_activity  # the parent calls it by this name

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
        if self.running is not None:
            self.running.connection_lost()
        for cycle, _ in self.pipeline:
            if isinstance(cycle, DirectRequestCycle):
                cycle.request_body.release()
        self.pipeline.clear()

    def resume_parsing(self, data: bytes) -> None:
        """Reads requests again, after a body that the parser has not seen; `data` arrived behind that body."""
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.on_message_complete()
        if data:
            self.data_received(data)


class LargeBodyReader(asyncio.BufferedProtocol):
    """Reads the rest of a large body straight into its buffer, without the copies that a parser makes.

    The rest of a body that is refused or answered is dropped.
    """

    def __init__(self, connection: HttpProtocol, cycle: DirectRequestCycle) -> None:
        self._connection, self._cycle, self._missing = connection, cycle, cycle.request_body.missing
        cycle.request_body.reserve()

    def begin(self, data: bytes) -> None:
        """Takes the part of the body that has arrived, and the connection's reading when more is to come."""
        size = min(len(data), self._missing)
        self.get_buffer(size)[:size] = memoryview(data)[:size]
        self._received(size)
        if self._missing:
            self._connection.transport.set_protocol(self)
        else:
            self._connection.resume_parsing(data[size:])

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._cycle.request_body.room(self._missing)

    def buffer_updated(self, nbytes: int) -> None:
        self._received(nbytes)
        self._connection.note_activity()
        if not self._missing:
            self._connection.transport.set_protocol(self._connection)
            self._connection.resume_parsing(b"")

    def _received(self, size: int) -> None:
        self._missing -= size
        self._cycle.request_body.count(size)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.connection_lost(exc)

    def pause_writing(self) -> None:
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        self._connection.resume_writing()
