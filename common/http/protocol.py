"""uvicorn's HTTP protocol, with a shortcut for direct routes.

uvicorn passes a request on as ASGI messages and takes the response back as two more. For a small request that costs
more than all the rest of its handling. A request to a direct route has no such messages: its body goes to the route as
it arrives, and its response is written in one piece. Every other request is handled by uvicorn and goes to
the FastAPI application.
"""

from __future__ import annotations

from contextvars import Context
from typing import cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from common.http.app import App, plain_path
from common.http.cycle import DirectRequestCycle
from common.http.upgrade import head_without_offer


class HttpProtocol(HttpToolsProtocol):
    """Serves one connection."""

    running: DirectRequestCycle | None = None
    """The direct request that is being handled."""
    offered = False
    """Whether the head that has just been parsed offers to upgrade the connection: it is parsed again without that."""

    def on_message_begin(self) -> None:
        self.url, self.headers, self.expect_100_continue = b"", [], False

    def data_received(self, data: bytes) -> None:
        """As the parent's, but an offer to upgrade the connection is ignored."""
        self._unset_keepalive_if_required()
        try:
            while data:
                data = self._parse(data)
        except httptools.HttpParserError:
            self.logger.warning("Invalid HTTP request received.")
            self.send_400_response("Invalid HTTP request received.")

    def _parse(self, data: bytes) -> bytes:
        """Parses bytes; returns those that are to be parsed again, because they stand behind an offer to upgrade."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            if not self.offered:  # CONNECT, which has been refused
                return b""
            self.offered = False
            head = head_without_offer(self.parser.get_method(), self.url, self.parser.get_http_version(), self.headers)
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            return head + data[offer.args[0] :]
        return b""

    def on_headers_complete(self) -> None:
        connect = self.parser.should_upgrade()
        if connect and self.parser.get_method() != b"CONNECT":
            self.offered = True
            return
        url = httptools.parse_url(self.url)
        path = plain_path(url.path.decode("ascii") if url.path else "")
        app = cast(App, self.app)
        route = app.direct_route(path)
        if self.expect_100_continue and self.parser.get_http_version() == "1.0":
            self.expect_100_continue = False
        if route is None:
            self._start_uvicorns_cycle()
            self.cycle.keep_alive = self.cycle.keep_alive and not connect  # what follows CONNECT is not HTTP
            return
        previous, cycle = self.cycle, DirectRequestCycle(self, app, route, path, url.query or b"")
        self.cycle = cycle
        cycle.keep_alive = cycle.keep_alive and not connect
        if previous is None or previous.response_complete:
            self._start_asgi_task(cycle, self.app)
        else:  # the connection's previous request is still being handled
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, self.app))

    def _start_uvicorns_cycle(self) -> None:
        saved = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.headers, self.expect_100_continue = saved
        self.scope["headers"] = self.headers
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if isinstance(self.cycle, DirectRequestCycle):
            self.cycle.request_body.feed(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self.offered:  # only the head of this message is complete
            return
        if isinstance(self.cycle, DirectRequestCycle):
            self.cycle.more_body = False
            self.cycle.request_body.complete()
        else:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """The same as the parent's method, but with one idle timer for each connection, not one for each request."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            if not self.pipeline:  # while requests are queued, reading more would only lengthen the queue
                self.flow.resume_reading()
            return
        self.flow.resume_reading()
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
        # an empty context: the current one would keep the request's objects alive until the timer fires
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler, context=Context())

    def _unset_keepalive_if_required(self) -> None:
        """Restarts the idle time; the parent calls this whenever bytes arrive."""
        self._idle_since = self.loop.time()

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
