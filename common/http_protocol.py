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
from typing import Any, cast
from urllib.parse import unquote

import httptools
import numpy as np
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from common.app import App, DirectRoute
from common.body import SMALL, Body
from common.errors import ClientGone, DeadlineExceeded, ServingError
from common.exchange import Exchange, current
from common.protocol.json_body import Payload
from common.reply import Reply

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class HttpProtocol(HttpToolsProtocol):
    """What serves one connection."""

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
        if route is None or self.parser.should_upgrade():
            self._go_uvicorns_way()
            return
        before, call = self.cycle, DirectCall(self, route, path, url.query or b"")
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
        if isinstance(self.cycle, DirectCall):
            self.cycle.take(body)
        else:
            super().on_body(body)

    def data_received(self, data: bytes) -> None:
        head = len(data) if len(data) <= SMALL else data.find(b"\r\n\r\n") + 4
        super().data_received(data[:head])
        call = self.cycle
        if isinstance(call, DirectCall) and call.wants > SMALL:
            LargeBody(self, call).begin(data[head:])
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
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def _unset_keepalive_if_required(self) -> None:
        self._idle_since = self.loop.time()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
        if isinstance(self.cycle, DirectCall):
            self.cycle.leave()

    def go_on(self, data: bytes) -> None:
        """Reads requests again, after a body that the parser has not seen; `data` has come behind it."""
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.on_message_complete()
        if data:
            self.data_received(data)


class DirectCall(RequestResponseCycle):
    """One request to a direct route, in the place that uvicorn's protocol has for its own kind of request."""

    def __init__(self, http: HttpProtocol, route: DirectRoute, path: str, query: bytes) -> None:
        # The parent's own state is of ASGI messages; this is all that the protocol looks at.
        self.transport, self.flow, self.message_event = http.transport, http.flow, asyncio.Event()
        self.keep_alive = http.parser.should_keep_alive() and http.parser.get_http_version() != "1.0"
        self.more_body, self.disconnected, self.response_complete = True, False, False
        self._http, self._app, self._route = http, cast(App, http.app), route
        self._method, self._path, self._query = http.parser.get_method().decode("ascii"), path, query
        self._headers = dict(http.headers)
        self._pieces: bytes | bytearray = b""
        self._memory: memoryview | None = None
        self._counted = Body()
        self._refusal: ServingError | None = None
        self._continue = http.expect_100_continue
        self._announced: int | None = None
        self._gone: asyncio.Future[None] | None = None
        try:
            self._announced = self._app.bodies.announced(self._headers)
        except ServingError as error:
            self._refuse(error)

    @property
    def wants(self) -> int:
        """Bytes that are still to come of a body whose size is known, while it is to be answered."""
        if self._announced is None or self.response_complete or self._refusal or not self.more_body:
            return 0
        return self._announced - self._counted.size

    def take(self, piece: bytes) -> None:
        """A piece of the body."""
        if not self.count(len(piece)):
            return
        if not self._pieces:
            self._pieces = piece
        else:
            self._pieces = bytearray(self._pieces) if isinstance(self._pieces, bytes) else self._pieces
            self._pieces += piece

    def count(self, size: int) -> bool:
        """Whether so many bytes more of the body are kept; none are once it is refused or answered."""
        if self._refusal or self.response_complete:
            return False
        try:
            self._app.bodies.count(self._counted, size)
        except ServingError as error:
            self._refuse(error)
            return False
        return True

    def _refuse(self, error: ServingError) -> None:
        self._refusal = error
        self._let_go()
        self.message_event.set()

    def memory(self) -> memoryview:
        """Where the rest of a body of known size goes; it begins with what has come already."""
        assert self._announced is not None
        memory = np.empty(self._announced, np.uint8).data  # which, unlike a bytearray, is not cleared first
        begun = len(self._pieces)
        memory[:begun] = self._pieces
        self._pieces, self._memory = b"", memory
        return memory[begun:]

    def _let_go(self) -> None:
        self._pieces, self._memory = b"", None

    async def run_asgi(self, app: Any) -> None:
        """Answers; the name is the one that uvicorn's protocol calls."""
        try:
            exchange = self._app.begin(self._method, self._path, self._query, self._headers, self.gone)
            current.set(exchange)
            reply = await self._app.answer(self._route, exchange, self._headers, self._whole)
            await self._send(exchange, reply)
        except BaseException:
            self.transport.close()  # the time to drain is over
            raise
        finally:
            self._app.bodies.release(self._counted)
            self._let_go()
        self._app.service.finish(exchange, str(reply.status), len(reply.body), failed=reply.status >= 500)

    async def _whole(self, exchange: Exchange) -> Payload:
        """The body. Raises what it was refused with, DeadlineExceeded, ClientGone."""
        if self.more_body and not self._refusal:
            await self._arrival(exchange)
        exchange.bytes_in = self._counted.size
        if self._refusal:
            raise self._refusal
        if self.more_body:
            raise ClientGone("the caller left before its body had arrived")
        return self._memory if self._memory is not None else bytes(self._pieces)

    async def _arrival(self, exchange: Exchange) -> None:
        if self._continue:
            self.transport.write(_CONTINUE)
        late = DeadlineExceeded("the deadline passed while the body was still arriving")
        timer = asyncio.get_running_loop().call_later(max(exchange.deadline.left, 0.0), self._refuse, late)
        while self.more_body and not self._refusal and not self.disconnected:
            self.message_event.clear()
            await self.message_event.wait()
        timer.cancel()

    def gone(self) -> asyncio.Future[None]:
        """A future that is done once the caller has left."""
        if self._gone is None:
            self._gone = asyncio.get_running_loop().create_future()
            if self.disconnected:
                self._gone.set_result(None)
        return self._gone

    def leave(self) -> None:
        """Told when the connection is lost."""
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)

    async def _send(self, exchange: Exchange, reply: Reply) -> None:
        if self.flow.write_paused:
            await self.flow.drain()
        if self.disconnected:
            return
        self._continue = False
        self._http.send_now(self._head(exchange, reply) + (b"" if self._method == "HEAD" else reply.body))
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self._http.on_response_complete()

    def _head(self, exchange: Exchange, reply: Reply) -> bytes:
        if self._app.service.health.draining:
            self.keep_alive = False
        lines = [*self._http.server_state.default_headers, *reply.headers]
        if not self.keep_alive:
            lines.append((b"connection", b"close"))
        return b"%bcontent-type: %b\r\ncontent-length: %d\r\n%b%b\r\n" % (
            STATUS_LINE[reply.status],
            reply.content_type,
            len(reply.body),
            exchange.answer_headers(),
            b"".join([b"%b: %b\r\n" % line for line in lines]),
        )


class LargeBody(asyncio.BufferedProtocol):
    """Reads the rest of a large body to where it stays, past the copies that a parser makes.

    Of one that is refused or answered, what still comes is dropped.
    """

    def __init__(self, http: HttpProtocol, call: DirectCall) -> None:
        self._http, self._call = http, call
        self._left, self._rest = call.wants, call.memory()

    def begin(self, data: bytes) -> None:
        """Takes what has come of it, and the connection's reading where more is to come."""
        size = min(len(data), self._left)
        self._rest[:size] = memoryview(data)[:size]
        self._came(size)
        if self._left:
            self._http.transport.set_protocol(self)
        else:
            self._http.go_on(data[size:])

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._rest

    def buffer_updated(self, nbytes: int) -> None:
        self._came(nbytes)
        if not self._left:
            self._http.transport.set_protocol(self._http)
            self._http.go_on(b"")

    def _came(self, size: int) -> None:
        self._left -= size
        kept = self._call.count(size)
        self._rest = self._rest[size:] if kept else memoryview(bytearray(min(self._left, SMALL)))

    def connection_lost(self, exc: Exception | None) -> None:
        self._http.connection_lost(exc)

    def pause_writing(self) -> None:
        self._http.pause_writing()

    def resume_writing(self) -> None:
        self._http.resume_writing()
