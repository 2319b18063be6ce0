"""A request to a FastAPI route, as a call of the envelope: a bounded body in, an observed response out."""

from __future__ import annotations

import asyncio

from fastapi import FastAPI
from starlette.types import Message, Receive, Scope, Send

from common.envelope import Envelope, Outcome
from common.errors import ClientDisconnected, DeadlineExceeded, ServingError
from common.http.body import BodyMemory, RequestBody
from common.http.cors import Cors
from common.http.reply import Reply, render_error
from common.request.context import RequestContext
from common.service import Service

WAIT_UNTIL_READ = "serving.wait_until_read"
"""In the scope: a function that waits while much of the response waits to be sent."""
Channel = tuple[Receive, Send]


class AsgiCall:
    """Runs the FastAPI application for one request."""

    cancelled = Outcome(str(ClientDisconnected.status))

    def __init__(
        self,
        api: FastAPI,
        service: Service,
        memory: BodyMemory,
        scope: Scope,
        channel: Channel,
        cors: Cors | None = None,
    ) -> None:
        self._cors = cors
        self._api, self._service, self._memory, self._scope = api, service, memory, scope
        self._receive, self._send = channel
        self._body, self._body_complete = RequestBody(memory), False
        self._status = self._size = 0
        self._failed_late = False  # after the response was started
        self._disconnected: asyncio.Future[None] | None = None

    async def run(self, envelope: Envelope) -> None:
        """Handles the request from its first byte to its last."""
        scope = self._scope
        self._context = envelope.open(
            scope["method"],
            scope["path"],
            dict(scope["headers"]),
            query=scope["query_string"],
            disconnected=self.client_disconnected,
        )
        try:
            await envelope.run(self._context, self)
        finally:
            self._body.release()
            if self._disconnected is not None:
                self._disconnected.cancel()

    async def handle(self, context: RequestContext) -> Reply | None:
        """None when FastAPI has sent its response itself."""
        if self._cors is not None and (preflight := self._cors.preflight(context.method, context.headers)):
            return preflight
        self._memory.content_length(context.headers)
        await self._api(self._scope, self._receive_bounded, self._send_observed)
        return None

    def error_response(self, error: ServingError, context: RequestContext) -> Reply | None:
        """None once a response has been started, for then it cannot be replaced."""
        self._failed_late = bool(self._status)
        return None if self._status else render_error(error, context)

    async def respond(self, context: RequestContext, response: Reply | None) -> Outcome:
        """Sends the response, unless FastAPI has done so."""
        if response is not None:
            length = (b"content-length", b"%d" % len(response.body))
            headers = [(b"content-type", response.content_type), length, *response.headers]
            await self._send_observed({"type": "http.response.start", "status": response.status, "headers": headers})
            await self._send_observed({"type": "http.response.body", "body": response.body})
        failed = self._failed_late or not self._status or self._status >= 500
        return Outcome(str(self._status or 500), self._size, failed)

    def client_disconnected(self) -> asyncio.Future[None]:
        """A future that is done once the client has disconnected; ask for it when the body has been read."""
        if self._disconnected is None:
            self._disconnected = asyncio.ensure_future(self._wait_for_disconnect())
        return self._disconnected

    async def _wait_for_disconnect(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _receive_bounded(self) -> Message:
        """An ASGI `receive` that counts the body's bytes, and refuses a body that is too large or too late."""
        message = await self._receive() if self._body_complete else await self._receive_in_time()
        self._body_complete = not message.get("more_body", False)
        if message["type"] == "http.request":
            self._body.count(len(message.get("body", b"")))
            self._body.check()
            self._context.bytes_in, self._context.body_held = self._body.size, self._body.held
        return message

    async def _receive_in_time(self) -> Message:
        try:
            async with asyncio.timeout(self._context.deadline.remaining):
                return await self._receive()
        except TimeoutError:
            raise DeadlineExceeded("the deadline passed while the request body was still arriving") from None

    async def _send_observed(self, message: Message) -> None:
        """An ASGI `send` that notes status and size, and adds the headers that every response has."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._body.release()  # a client that reads slowly must not hold it
            self._context.route = getattr(self._scope.get("route"), "path", self._context.route)
            closing = [(b"connection", b"close")] if self._service.health.draining else []
            cors = self._cors.headers(self._context.headers) if self._cors is not None else []
            message["headers"] = [*message["headers"], *_pairs(self._context.response_headers()), *closing, *cors]
        elif message["type"] == "http.response.body":
            self._size += len(message.get("body", b""))
        await self._send(message)
        if message["type"] == "http.response.body" and (wait := self._scope.get(WAIT_UNTIL_READ)) is not None:
            await wait(self._context)


def _pairs(lines: bytes) -> list[tuple[bytes, bytes]]:
    """Header lines as ASGI has them."""
    return [(name, value) for name, _, value in (line.partition(b": ") for line in lines.splitlines())]
