"""A request to a direct route: its body as it comes, its answer, and whether its caller is still there."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from common.errors import ClientDisconnected, DeadlineExceeded, InvalidInput, ServingError
from common.http.app import App, DirectRoute
from common.http.body import SMALL, Body
from common.http.reply import Reply
from common.protocol.json_body import Payload
from common.request.context import RequestContext, current

if TYPE_CHECKING:
    from common.http.protocol import HttpProtocol

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class DirectRequestCycle(RequestResponseCycle):
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
            if http.parser.should_upgrade() and (self._announced or b"transfer-encoding" in self._headers):
                self.keep_alive = False  # the parser takes what follows for another protocol
                raise InvalidInput.at("Upgrade", "is not understood here; send the request without it")
        except ServingError as error:
            self._refuse(error)

    @property
    def wants(self) -> int:
        """Bytes that are still to come of a body whose size is known, while it is to be answered."""
        if self._announced is None or self._settled or not self.more_body:
            return 0
        return self._announced - self._counted.size

    @property
    def _settled(self) -> bool:
        """Whether it is refused or answered: what still comes of its body is dropped."""
        return self._refusal is not None or self.response_complete

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
        """Whether so many bytes more of the body are kept."""
        if self._settled:
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

    def reserve(self) -> None:
        """Takes the memory for a whole body of known size; it begins with what has come already."""
        assert self._announced is not None
        memory = np.empty(self._announced, np.uint8).data  # which, unlike a bytearray, is not cleared first
        memory[: len(self._pieces)] = self._pieces
        self._pieces, self._memory = b"", memory

    def room(self, left: int) -> memoryview:
        """Where the last `left` bytes of a body go; of one that is refused or answered, they go nowhere."""
        if self._memory is None:
            return memoryview(bytearray(min(left, SMALL)))
        return self._memory[len(self._memory) - left :]

    def release(self) -> None:
        """Gives back what its body holds."""
        self._app.bodies.release(self._counted)
        self._let_go()

    def _let_go(self) -> None:
        self._pieces, self._memory = b"", None

    async def run_asgi(self, app: Any) -> None:
        """Answers; the name is the one that uvicorn's protocol calls."""
        self._http.answering = self
        context = self._app.begin(self._method, self._path, self._query, self._headers, self.client_disconnected)
        current.set(context)
        status, size = ClientDisconnected.status, 0
        try:
            reply = await self._app.answer(self._route, context, self._headers, self._whole)
            await self._send(context, reply)
            status, size = reply.status, len(reply.body)
        except BaseException:
            self.transport.close()  # the time to drain is over
            raise
        finally:
            self._http.answering = self._refusal = None
            self.release()
            self._app.service.request_finished(context, str(status), size, failed=status >= 500)

    async def _whole(self, context: RequestContext) -> Payload:
        """The body. Raises what it was refused with, DeadlineExceeded, ClientDisconnected."""
        if self.more_body and not self._refusal:
            await self._arrival(context)
        context.bytes_in = self._counted.size
        if self._refusal:
            raise self._refusal
        if self.more_body:
            raise ClientDisconnected("the caller left before its body had arrived")
        return self._memory if self._memory is not None else bytes(self._pieces)

    async def _arrival(self, context: RequestContext) -> None:
        if self._continue:
            self.transport.write(_CONTINUE)
        late = DeadlineExceeded("the deadline passed while the body was still arriving")
        timer = asyncio.get_running_loop().call_later(max(context.deadline.remaining, 0.0), self._refuse, late)
        try:
            while self.more_body and not self._refusal and not self.disconnected:
                self.message_event.clear()
                await self.message_event.wait()
        finally:
            timer.cancel()

    def client_disconnected(self) -> asyncio.Future[None]:
        """A future that is done once the caller has left."""
        if self._gone is None:
            self._gone = asyncio.get_running_loop().create_future()
            if self.disconnected:
                self._gone.set_result(None)
        return self._gone

    def leave(self) -> None:
        """Told when the connection is lost."""
        self.disconnected = True
        self.message_event.set()
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)

    async def _send(self, context: RequestContext, reply: Reply) -> None:
        if self.flow.write_paused:
            await self.flow.drain()
        if self.disconnected:
            return
        self._continue = False
        self._http.send_now(self._head(context, reply) + (b"" if self._method == "HEAD" else reply.body))
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self._http.on_response_complete()

    def _head(self, context: RequestContext, reply: Reply) -> bytes:
        if self._app.service.health.draining:
            self.keep_alive = False
        lines = [*self._http.server_state.default_headers, *reply.headers]
        if not self.keep_alive:
            lines.append((b"connection", b"close"))
        return b"%bcontent-type: %b\r\ncontent-length: %d\r\n%b%b\r\n" % (
            STATUS_LINE[reply.status],
            reply.content_type,
            len(reply.body),
            context.response_headers(),
            b"".join([b"%b: %b\r\n" % line for line in lines]),
        )
