"""Handles one request to a direct route: reads its body, runs it in the envelope, writes the response."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle
from uvicorn.server import ServerState

from common.envelope import Outcome
from common.errors import ClientDisconnected, MethodNotAllowed, ServingError, UnsupportedMedia
from common.http.app import App, DirectRoute
from common.http.body import RequestBody
from common.http.reply import Reply, render_error
from common.request.capacity import SMALL
from common.request.context import Headers, RequestContext

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class ServerConnection(Protocol):
    """The part of a connection that a cycle uses. `HttpProtocol` in `common/http/protocol.py` implements it."""

    transport: asyncio.Transport
    flow: FlowControl
    parser: httptools.HttpRequestParser
    server_state: ServerState
    fields: Headers
    expect_100_continue: bool
    running: DirectRequestCycle | None

    def on_response_complete(self) -> None: ...

    def close(self) -> None: ...

    async def wait_until_read(self, context: RequestContext) -> None: ...


class DirectRequestCycle(RequestResponseCycle):
    """One request to a direct route. It replaces uvicorn's RequestResponseCycle, which speaks ASGI."""

    cancelled = Outcome(str(ClientDisconnected.status))
    message_event = asyncio.Event()  # uvicorn's protocol sets it; nothing waits for it here

    def __init__(self, connection: ServerConnection, app: App, route: DirectRoute, path: str, query: bytes) -> None:
        # The parent's __init__ prepares ASGI messages; these are the attributes that uvicorn's protocol reads.
        parser = connection.parser
        self.transport, self.flow = connection.transport, connection.flow
        self.keep_alive = parser.should_keep_alive() and parser.get_http_version() != "1.0"
        self.more_body, self.disconnected, self.response_complete = True, False, False
        self._connection, self._app, self._route = connection, app, route
        self._method, self._path, self._query = parser.get_method().decode("ascii"), path, query
        self._headers = connection.fields
        self._expects_continue = connection.expect_100_continue
        self._client_disconnected: asyncio.Future[None] | None = None
        self.request_body = RequestBody(app.body_memory)
        self.request_body.expect(self._headers)

    async def run_asgi(self, app: Any) -> None:
        """Handles the request; uvicorn's protocol calls it by this name."""
        self._connection.running = self
        open_context = self._app.envelope.open
        context = open_context(
            self._method, self._path, self._headers, query=self._query, disconnected=self.client_disconnected
        )
        try:
            await self._app.envelope.run(context, self)
        except BaseException:
            # cancelled, for example by the end of the drain timeout: no response can be sent any more
            self.transport.close()
            raise
        finally:
            self._connection.running = None
            self.request_body.release()

    async def handle(self, context: RequestContext) -> Reply:
        """The route's response."""
        if self._app.cors is not None and (preflight := self._app.cors.preflight(self._method, self._headers)):
            return preflight
        if self._method != "POST" and self._method not in getattr(self._route, "methods", ()):
            allowed = ", ".join(getattr(self._route, "methods", ("POST",)))
            raise MethodNotAllowed(f"{context.path} takes {allowed}, not {self._method}", allowed=allowed)
        if (coding := self._headers.get(b"content-encoding", b"identity")) != b"identity":
            raise UnsupportedMedia.at("Content-Encoding", f"expected none, got {coding.decode('latin-1')[:40]}")
        if self._expects_continue and self.more_body:
            self.request_body.check()
            self.transport.write(_CONTINUE)
        body = await self.request_body.read(context.deadline)
        context.bytes_in, context.body_held = self.request_body.size, self.request_body.held
        return await self._route.handle(context, body)

    def error_response(self, error: ServingError, context: RequestContext) -> Reply:
        """The error as JSON."""
        context.bytes_in = self.request_body.size
        return render_error(error, context)

    async def respond(self, context: RequestContext, response: Reply) -> Outcome:
        """Writes the response when the connection has room for it; a client that has disconnected gets none."""
        if self.flow.write_paused:
            await self._wait_for_room(context)
        if not self.disconnected:
            self._write(self._head(context, response), b"" if self._method == "HEAD" else response.body)
            self.response_complete = True
            if not self.keep_alive:
                self._connection.close()
            self._connection.on_response_complete()
            if self.flow.write_paused:
                self.request_body.release()
                await self._connection.wait_until_read(context)
        return Outcome(str(response.status), len(response.body), response.status >= 500)

    def _write(self, head: bytes, body: bytes) -> None:
        """A large body is not copied, since it is in memory until the client has read it."""
        if len(body) <= SMALL:
            self.transport.write(head + body)
        else:
            self.transport.writelines((head, body))

    async def _wait_for_room(self, context: RequestContext) -> None:
        """Waits until the client reads; one that has not done so by the deadline is disconnected."""
        self.request_body.release()
        try:
            async with asyncio.timeout(context.deadline.remaining):
                await self.flow.drain()
        except TimeoutError:
            self.disconnected = True
            self.transport.abort()

    def client_disconnected(self) -> asyncio.Future[None]:
        """A future that is done once the client has disconnected."""
        if self._client_disconnected is None:
            self._client_disconnected = asyncio.get_running_loop().create_future()
            if self.disconnected:
                self._client_disconnected.set_result(None)
        return self._client_disconnected

    def connection_lost(self) -> None:
        """Called by the protocol when the connection is closed."""
        self.disconnected = True
        self.request_body.disconnect()
        if self._client_disconnected is not None and not self._client_disconnected.done():
            self._client_disconnected.set_result(None)

    def _head(self, context: RequestContext, response: Reply) -> bytes:
        if self._app.service.health.draining:
            self.keep_alive = False
        lines = [*self._connection.server_state.default_headers, *response.headers]
        if self._app.cors is not None:
            lines += self._app.cors.headers(self._headers)
        if not self.keep_alive:
            lines.append((b"connection", b"close"))
        return b"%bcontent-type: %b\r\ncontent-length: %d\r\n%b%b\r\n" % (
            STATUS_LINE[response.status],
            response.content_type,
            len(response.body),
            context.response_headers(),
            b"".join([b"%b: %b\r\n" % line for line in lines]),
        )
