"""What stands around every HTTP route: request id, trace, deadline, bounded body, errors, metrics, access line.

`App` is what a service runs. It does that work once, for two kinds of route:

- *direct* routes, the hot ones: a function from (context, headers, body) to Reply, with no framework in between;
  `common/http/protocol.py` brings their requests;
- every other route, on the FastAPI application behind it, whose document describes both kinds; for these `App` is an
  ASGI application.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from fastapi import FastAPI
from starlette.types import Message, Receive, Scope, Send

from common.errors import DeadlineExceeded, MethodNotAllowed, ServingError, UnsupportedMedia
from common.http.body import Body, BodyMemory
from common.http.reply import Reply, render
from common.observability.tracing import continue_trace
from common.protocol.json_body import Payload
from common.request.context import Disconnected, RequestContext, current, request_id
from common.request.deadline import Deadline, parse_timeout
from common.service import Service

Headers = Mapping[bytes, bytes]


class DirectRoute(Protocol):
    """A hot route; it takes POST."""

    def match(self, path: str) -> bool: ...

    async def answer(self, context: RequestContext, headers: Headers, body: Payload) -> Reply: ...

    def document(self) -> dict[str, Any]:
        """Its part of the OpenAPI document: `paths` and `components`."""


class App:
    """A service's application."""

    def __init__(self, api: FastAPI, service: Service, direct: Sequence[DirectRoute] = ()) -> None:
        self.api, self.service, self.bodies = api, service, BodyMemory(service)
        self._direct = tuple(direct)
        self._longest = service.settings.request_timeout_seconds

    def direct_route(self, path: str) -> DirectRoute | None:
        """The direct route that answers a path, if one does."""
        path = _plain(path)
        for route in self._direct:
            if route.match(path):
                return route
        return None

    def begin(self, method: str, path: str, query: bytes, headers: Headers, gone: Disconnected) -> RequestContext:
        """Counts a request in; who begins one finishes it (`service.finish`)."""
        traceparent = headers.get(b"traceparent")
        if traceparent is None:
            trace = continue_trace(None)
        else:
            trace = continue_trace(traceparent.decode("latin-1"), headers.get(b"tracestate", b"").decode("latin-1"))
        identity = request_id(headers.get(b"x-request-id"), trace)
        context = RequestContext(method, _plain(path), identity, trace, Deadline.after(self._longest), gone)
        context.query, context.accept = query, headers.get(b"accept", b"")
        self.service.request_started(context)
        return context

    async def answer(
        self,
        route: DirectRoute,
        context: RequestContext,
        headers: Headers,
        body: Callable[[RequestContext], Awaitable[Payload]],
    ) -> Reply:
        """A direct route's reply, or the one that renders what went wrong."""
        try:
            self._set_deadline(context, headers)
            if context.method != "POST":
                raise MethodNotAllowed(f"{context.path} takes POST, not {context.method}", allowed="POST")
            if (coding := headers.get(b"content-encoding", b"identity")) != b"identity":
                raise UnsupportedMedia.at("Content-Encoding", f"expected none, got {coding.decode('latin-1')[:40]}")
            return await route.answer(context, headers, await body(context))
        except ServingError as error:
            return render(error, context)
        except Exception:
            self.service.logs.log.exception("unhandled error", route=context.route)
            return render(ServingError("an internal error; the log has it"), context)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hands a request to the FastAPI application with a bounded body and an observed answer."""
        if scope["type"] != "http":
            await self.api(scope, receive, send)
            return
        headers: Headers = dict(scope["headers"])
        scope["path"] = _plain(scope["path"])
        with _Reader(self.bodies, receive) as reader:
            context = self.begin(scope["method"], scope["path"], scope["query_string"], headers, reader.disconnected)
            reader.context = context
            token = current.set(context)
            try:
                await self._forward(scope, context, headers, reader.receive, send)
            finally:
                current.reset(token)

    def _set_deadline(self, context: RequestContext, headers: Headers) -> None:
        given = headers.get(b"x-request-timeout-seconds")
        if given is not None:
            context.deadline = Deadline.after(parse_timeout(given.decode("latin-1"), longest=self._longest))

    async def _forward(
        self, scope: Scope, context: RequestContext, headers: Headers, receive: Receive, send: Send
    ) -> None:
        status, size = 0, 0

        async def observed(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
                context.route = getattr(scope.get("route"), "path", context.route)
                message["headers"] = [*message["headers"], *_pairs(context.response_headers()), *self._closing()]
            elif message["type"] == "http.response.body":
                size += len(message.get("body", b""))
            await send(message)

        try:
            self._set_deadline(context, headers)
            self.bodies.announced(headers)
            await self.api(scope, receive, observed)
        except ServingError as error:
            if not status:
                await _send(render(error, context), observed)
        except Exception:
            self.service.logs.log.exception("unhandled error", route=context.route)
        self.service.request_finished(context, str(status or 500), size, failed=not status or status >= 500)

    def _closing(self) -> list[tuple[bytes, bytes]]:
        return [(b"connection", b"close")] if self.service.health.draining else []


def _plain(path: str) -> str:
    """A path without the slash at its end that means nothing under /v2."""
    return path.rstrip("/") if path.endswith("/") and path.startswith("/v2") else path


def _pairs(lines: bytes) -> list[tuple[bytes, bytes]]:
    """Header lines as ASGI has them."""
    return [(name, value) for name, _, value in (line.partition(b": ") for line in lines.splitlines())]


async def _send(reply: Reply, send: Send) -> None:
    length = (b"content-length", b"%d" % len(reply.body))
    headers = [(b"content-type", reply.content_type), length, *reply.headers]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})


class _Reader:
    """Reads a body for the FastAPI application; leaving it gives the bytes back to the bound."""

    context: RequestContext

    def __init__(self, bodies: BodyMemory, receive: Receive) -> None:
        self._bodies, self._receive, self._body, self._complete = bodies, receive, Body(), False
        self._gone: asyncio.Future[None] | None = None

    def __enter__(self) -> _Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._bodies.release(self._body)
        if self._gone is not None:
            self._gone.cancel()

    def disconnected(self) -> asyncio.Future[None]:
        """A future that is done once the caller has left; to be asked for when the body has been read."""
        if self._gone is None:
            self._gone = asyncio.ensure_future(self._leave())
        return self._gone

    async def _leave(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def receive(self) -> Message:
        """An ASGI `receive` that counts what comes and refuses what is too much or too late."""
        message = await self._receive() if self._complete else await self._in_time()
        self._complete = not message.get("more_body", False)
        if message["type"] == "http.request":
            self._bodies.count(self._body, len(message.get("body", b"")))
            self.context.bytes_in = self._body.size
        return message

    async def _in_time(self) -> Message:
        try:
            async with asyncio.timeout(self.context.deadline.remaining):
                return await self._receive()
        except TimeoutError:
            raise DeadlineExceeded("the deadline passed while the body was still arriving") from None
