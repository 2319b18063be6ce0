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
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

import httptools
import numpy as np
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from common.app import App, DirectRoute
from common.body import SMALL, Body
from common.errors import ClientGone, DeadlineExceeded, ServingError
from common.exchange import Exchange, current
from common.reply import Reply

if TYPE_CHECKING:
    from starlette.types import Message

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class HttpProtocol(HttpToolsProtocol):
    """What serves one connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast(asyncio.Transport, transport))
        self._socket: int = transport.get_extra_info("socket").fileno()

    def send_now(self, data: bytes) -> None:
        """Sends what the socket takes at once, the rest in its time; uvloop's own write waits for the loop's turn to end."""
        sent = 0
        if not self.transport.get_write_buffer_size() and not self.transport.is_closing():
            with suppress(OSError):  # a socket that is full takes it later; a broken one tells the transport as well
                sent = os.write(self._socket, data)
        if sent < len(data):
            self.transport.write(data[sent:])

    def on_headers_complete(self) -> None:
        url = httptools.parse_url(self.url)
        path = url.path.decode("ascii") if url.path else ""
        if "%" in path:
            path = unquote(path)
        app = cast(App, self.app)
        route = app.direct_route(path)
        if route is None or self.parser.should_upgrade():
            super().on_headers_complete()
            return
        before, call = self.cycle, DirectCall(self, route, path, url.query or b"")
        self.cycle = call
        if before is None or before.response_complete:
            self._start_asgi_task(call, self.app)
        else:  # its connection's last request is still being answered
            self.flow.pause_reading()
            self.pipeline.appendleft((call, self.app))

    def on_body(self, body: bytes) -> None:
        if isinstance(self.cycle, DirectCall):
            self.cycle.take(body)
        else:
            super().on_body(body)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        call = self.cycle
        if isinstance(call, DirectCall) and call.wants > SMALL:
            self.transport.set_protocol(LargeBody(self, call))

    def go_on(self) -> None:
        """Reads requests again, after a body that the parser has not seen."""
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.transport.set_protocol(self)
        self.on_message_complete()


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
        self._body: bytes | bytearray | memoryview = b""
        self._counted = Body()
        self._refusal: ServingError | None = None
        self._continue = http.expect_100_continue
        self._announced: int | None = None
        try:
            self._announced = self._app.bodies.announced(self._headers)
        except ServingError as error:
            self._refusal = error

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
        if not self._body:
            self._body = piece
        else:
            self._body = bytearray(self._body) if isinstance(self._body, bytes) else self._body
            self._body += piece

    def count(self, size: int) -> bool:
        """Whether so many bytes more of the body are kept; none are once it is refused or answered."""
        if self._refusal or self.response_complete:
            return False
        try:
            self._app.bodies.count(self._counted, size)
        except ServingError as error:
            self._refusal, self._body = error, b""
            self.message_event.set()
            return False
        return True

    def memory(self) -> memoryview:
        """Where the rest of a body of known size goes; it begins with what has come already."""
        assert self._announced is not None
        begun, memory = self._body, memoryview(np.empty(self._announced, np.uint8))  # not cleared, as a bytearray is
        memory[: len(begun)] = begun
        self._body = memory
        return memory[len(begun) :]

    async def run_asgi(self, app: Any) -> None:
        """Answers; the name is the one that uvicorn's protocol calls."""
        try:
            exchange = self._app.begin(self._method, self._path, self._query, self._headers, self.receive)
            current.set(exchange)
            reply = await self._app.answer(self._route, exchange, self._headers, self._whole)
            await self._send(exchange, reply)
        except BaseException:
            self.transport.close()  # the time to drain is over
            raise
        finally:
            self._app.bodies.release(self._counted)
            self._body = b""
        self._app.service.finish(exchange, str(reply.status), len(reply.body), failed=reply.status >= 500)

    async def _whole(self, exchange: Exchange) -> bytes | memoryview:
        """The body. Raises what it was refused with, DeadlineExceeded, ClientGone."""
        if self.more_body and not self._refusal:
            await self._arrival(exchange)
        exchange.bytes_in = self._counted.size
        if self._refusal:
            raise self._refusal
        if self.more_body:
            raise ClientGone("the caller left before its body had arrived")
        self.message_event.clear()
        return bytes(self._body) if isinstance(self._body, bytearray) else self._body

    async def _arrival(self, exchange: Exchange) -> None:
        if self._continue:
            self.transport.write(_CONTINUE)
        try:
            async with asyncio.timeout(exchange.deadline.left):
                while self.more_body and not self._refusal and not self.disconnected:
                    await self.message_event.wait()
                    self.message_event.clear()
        except TimeoutError:
            raise DeadlineExceeded("the deadline passed while the body was still arriving") from None

    async def receive(self) -> Message:  # type: ignore[override]  # starlette's type of the same message
        """Waits until the caller has left, or has been answered."""
        while not (self.disconnected or self.response_complete):
            await self.message_event.wait()
            self.message_event.clear()
        return {"type": "http.disconnect"}

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
        lines = [*self._http.server_state.default_headers, *self._app.headers(exchange), *reply.headers]
        if not self.keep_alive:
            lines.append((b"connection", b"close"))
        more = b"".join([b"%b: %b\r\n" % line for line in lines])
        known = b"content-type: %b\r\ncontent-length: %d\r\n" % (reply.content_type, len(reply.body))
        return b"%b%b%b\r\n" % (STATUS_LINE[reply.status], known, more)


class LargeBody(asyncio.BufferedProtocol):
    """Reads the rest of a large body to where it stays, without the copies that a parser makes."""

    def __init__(self, http: HttpProtocol, call: DirectCall) -> None:
        self._http, self._call = http, call
        self._left = call.wants
        self._to = call.memory()
        self.pause_writing, self.resume_writing = http.pause_writing, http.resume_writing

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._to[: self._left]

    def buffer_updated(self, nbytes: int) -> None:
        self._left -= nbytes
        if self._call.count(nbytes):
            self._to = self._to[nbytes:]
        elif self._left:  # of a body that is refused, what still comes is dropped
            self._to = memoryview(bytearray(min(self._left, SMALL)))
        if not self._left:
            self._http.go_on()

    def eof_received(self) -> None:
        self._http.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._http.connection_lost(exc)
