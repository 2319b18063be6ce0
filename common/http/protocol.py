"""uvicorn's HTTP protocol, with a shortcut for direct routes.

uvicorn passes a request on as ASGI messages and takes the response back as two more. For a small request that costs
more than all the rest of its handling. A request to a direct route has no such messages: its body goes to the route as
it arrives, and its response is written in one piece. Every other request is handled by uvicorn and goes to
the FastAPI application.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

import httptools

from common.errors import ServingError
from common.http.app import App, plain_path
from common.http.asgi_call import WAIT_UNTIL_READ
from common.http.cycle import DirectRequestCycle
from common.http.fields import combined, refusal_of
from common.http.idle import IdleTimedProtocol
from common.http.limits import (
    FEW_PIECES,
    FRAMING_BYTES,
    HEAD_TOO_LARGE,
    HEAD_TOO_SLOW,
    MOST_FIELDS,
    MOST_HEAD,
    MOST_TARGET,
    PIECE_BYTES,
    TARGET_TOO_LONG,
    TOO_MANY_PIECES,
    TOO_MUCH_FRAMING,
    TOO_MUCH_QUEUED,
    CycleTransport,
    Linger,
    Refusal,
    RefusedRequestError,
    close_longest_idle,
    most_connections,
    until_read,
)
from common.http.pipelining import AT_ONCE, QueueAwareFlow, Unparsed, end_of_step, queue_is_full
from common.http.upgrade import head_without_offer
from common.request.context import Headers, RequestContext


class HttpProtocol(IdleTimedProtocol):
    """Serves one connection."""

    fields: Headers
    running: DirectRequestCycle | None = None
    """The direct request that is being handled."""
    offered = False
    """Whether the head that has just been parsed offers to upgrade the connection: it is parsed again without that."""
    _linger: Linger | None = None
    _wrong: Refusal | None = None
    _in_head = _in_body = _measure_head = False
    _head_since: float | None = None  # when an incomplete head began
    _received = _body_size = _pieces = 0  # of the request that is arriving
    unparsed: Unparsed

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        self.flow = QueueAwareFlow(transport, self.pipeline)
        self.unparsed = Unparsed(cast(App, self.app).body_memory)
        if len(self.connections) > most_connections():
            close_longest_idle(one for one in self.connections if isinstance(one, HttpProtocol))

    def data_received(self, data: bytes) -> None:
        if self._linger is not None:
            self._linger.drop(len(data))
            return
        self._received += len(data)
        self._unset_keepalive_if_required()
        try:
            if len(data) > AT_ONCE or self.unparsed.data:
                self._parse_in_steps(self.unparsed.data + data)
            else:
                while data:
                    data = self._parse(data)
        except httptools.HttpParserError:
            self.logger.warning("Invalid HTTP request received.")
            self.send_400_response("Invalid HTTP request received.")
        if self._in_head:
            self._check_incomplete_head()
        elif self._in_body and self._received - self._body_size > FRAMING_BYTES + MOST_HEAD * self._pieces:
            self._refuse(TOO_MUCH_FRAMING)

    def _parse_in_steps(self, data: bytes) -> None:
        """Parses a large segment request by request. What is behind many requests waits in `unparsed`."""
        start = at = self.unparsed.at
        self.unparsed.drop()
        view = memoryview(data)
        while at < len(data) and self._linger is None:
            if queue_is_full(len(self.pipeline), at - start):
                try:
                    self.unparsed.keep(data, at)
                except ServingError:
                    self._refuse(TOO_MUCH_QUEUED)
                return
            missing = self.cycle.request_body.missing if isinstance(self.cycle, DirectRequestCycle) else 0
            end = end_of_step(data, at, self._in_body, missing)
            self._measure_head = self._measure_head or end - at > MOST_HEAD
            piece: bytes | memoryview = view[at:end]
            while piece:
                piece = self._parse(piece)
            at = end

    def _check_incomplete_head(self) -> None:
        if self._head_since is None:
            self._head_since, self._received, self._measure_head = self.loop.time(), 0, True
        if self._received > MOST_HEAD and self._linger is None:
            self._refuse(HEAD_TOO_LARGE)

    def send_400_response(self, msg: str) -> None:
        """Answers what cannot be parsed, or was refused in a callback of the parser; uvicorn calls it."""
        self._refuse(self._wrong or Refusal(400, msg))

    def _refuse(self, refusal: Refusal) -> None:
        """Answers a request that is not read to its end; the connection is closed after the response."""
        if self._linger is not None:
            return
        self._linger = Linger(self.transport)
        cycle, in_body = self.cycle, self._in_body
        self._in_head = self._in_body = False
        if cycle is None or (cycle.response_complete and not in_body):
            self._write_refusal(refusal)
        elif cycle.response_complete:  # the request has had its response already
            self.close()
        elif not in_body:  # the connection ends after the response to the earlier request
            cycle.keep_alive = False
        elif isinstance(cycle, DirectRequestCycle):
            cycle.keep_alive = False
            cycle.request_body.refuse(refusal.error())
        elif self.pipeline and self.pipeline[0][0] is cycle:  # the earlier request still gets its response
            self.pipeline.popleft()
        else:
            cycle.disconnected = True
            cycle.message_event.set()
            self._write_refusal(refusal)

    def _write_refusal(self, refusal: Refusal) -> None:
        self.transport.write(refusal.response())
        self.close()

    def close(self) -> None:
        """Closes the connection after its last response, without losing it when the client is still sending.

        Requests behind it are dropped, since their responses could not be sent.
        """
        if self._linger is None and (self._in_body or self._in_head or self.pipeline or self.unparsed.data):
            self._linger = Linger(self.transport)
        self._drop_queued()
        if self._linger is not None:
            self._linger.start(self.flow)
        else:
            self.transport.close()

    def _drop_queued(self) -> None:
        for cycle, _ in self.pipeline:
            if isinstance(cycle, DirectRequestCycle):
                cycle.request_body.release()
        self.pipeline.clear()
        self.unparsed.drop()

    def close_if_late(self, now: float, head_seconds: float) -> None:
        """Closes a connection whose client takes too long to send a head, or its first byte."""
        if self._linger is not None or self.idle_since is None:
            return
        if self._in_head and self._head_since is not None:
            if now - self._head_since > head_seconds:
                self._refuse(HEAD_TOO_SLOW)
        elif self.cycle is None and now - self._idle_since > head_seconds:
            self.transport.close()

    async def wait_until_read(self, context: RequestContext) -> None:
        """Waits until the client has read most of a response, which counts as held. Disconnects one that stalls."""
        await until_read(self.transport, self.flow, context)

    def on_message_begin(self) -> None:
        self.url, self.headers, self.expect_100_continue = b"", [], False
        self._in_head, self._head_since = True, None

    def on_url(self, url: bytes) -> None:
        self.url += url
        if len(self.url) > MOST_TARGET:
            self._wrong = TARGET_TOO_LONG
            raise RefusedRequestError

    def _check_head(self) -> None:
        """Raises RefusedRequestError for a head that is wrong or too large; otherwise combines repeated fields."""
        measured, self._measure_head = self._measure_head, False
        self._wrong = refusal_of(self.url, self.headers, self.parser.get_http_version(), measured)
        if self._wrong is not None:
            raise RefusedRequestError
        self.fields = combined(self.headers)

    def _parse(self, data: bytes | memoryview) -> bytes:
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
        self.fields = fields = dict(self.headers)
        unusual = not len(fields) == len(self.headers) <= MOST_FIELDS
        if unusual or b"host" not in fields or b"transfer-encoding" in fields or self._measure_head:
            self._check_head()
        self._in_head = False
        self._received = self._body_size = self._pieces = 0
        url = httptools.parse_url(self.url)
        path = plain_path(url.path.decode("ascii") if url.path else "")
        app = cast(App, self.app)
        route = app.direct_route(path)
        if self.expect_100_continue and self.parser.get_http_version() == "1.0":
            self.expect_100_continue = False
        if route is None:
            self._start_uvicorns_cycle()
            self._in_body = True
            self.cycle.keep_alive = self.cycle.keep_alive and not connect  # what follows CONNECT is not HTTP
            return
        previous, cycle = self.cycle, DirectRequestCycle(self, app, route, path, url.query or b"")
        self.cycle, self._in_body = cycle, True
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
        self.scope["headers"] = list(self.fields.items())
        cast(dict[str, Any], self.scope)[WAIT_UNTIL_READ] = self.wait_until_read
        super().on_headers_complete()
        # the part of a transport that a cycle uses
        self.cycle.transport = CycleTransport(self.transport, self.close)  # type: ignore[assignment]

    def on_body(self, body: bytes) -> None:
        self._pieces += 1
        self._body_size += len(body)
        if self._pieces > FEW_PIECES and self._pieces - FEW_PIECES > self._body_size // PIECE_BYTES:
            self._wrong = TOO_MANY_PIECES
            raise RefusedRequestError
        if isinstance(self.cycle, DirectRequestCycle):
            self.cycle.request_body.feed(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self.offered:  # only the head of this message is complete
            return
        self._in_body = False
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
            if self.unparsed.data and not self.pipeline:
                self.data_received(b"")
            self.flow.resume_reading()
            return
        if self._linger is not None:
            self.close()
            return
        self.flow.resume_reading()
        self._idle_since = self.loop.time()
        if self._head_since is not None:
            self._head_since = self._idle_since
        if self.timeout_keep_alive_task is None:
            self._start_idle_timer(self.timeout_keep_alive)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self.running is not None:
            self.running.connection_lost()
        self._drop_queued()
