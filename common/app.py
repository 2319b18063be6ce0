"""What stands around every HTTP route: request id, trace, deadline, bounded body, errors, metrics, access line.

`App` is the ASGI application that a service runs. It does that work once, for two kinds of route:

- *direct* routes, the hot ones: a function from (exchange, headers, body) to Reply, with no framework in between;
- every other route, on the FastAPI application behind it, whose document describes both kinds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Sequence
from types import coroutine
from typing import Any, NoReturn, Protocol

from fastapi import FastAPI
from starlette.types import Message, Receive, Scope, Send

from common.deadline import Deadline, parse_timeout
from common.errors import (
    ClientGone,
    DeadlineExceeded,
    MethodNotAllowed,
    Overloaded,
    PayloadTooLarge,
    ServingError,
    UnsupportedMedia,
)
from common.exchange import Exchange, current, request_id
from common.reply import Reply, render
from common.service import Service
from common.tracing import continue_trace

Headers = dict[bytes, bytes]
_SMALL = 65_536  # a body that came in one piece and is no larger need not be counted


class DirectRoute(Protocol):
    """A hot route; it takes POST."""

    def match(self, path: str) -> bool: ...

    async def answer(self, exchange: Exchange, headers: Headers, body: bytes) -> Reply: ...

    def document(self) -> dict[str, Any]:
        """Its part of the OpenAPI document: `paths` and `components`."""


class App:
    """The ASGI application of a service."""

    def __init__(self, api: FastAPI, service: Service, direct: Sequence[DirectRoute] = ()) -> None:
        self.api, self.service = api, service
        self._direct = tuple(direct)
        self._longest = service.settings.request_timeout_seconds
        self._bodies = _Bodies(service)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.api(scope, receive, send)
            return
        headers: Headers = dict(scope["headers"])
        exchange = self._begin(scope, headers, receive)
        token = current.set(exchange)
        try:
            for route in self._direct:
                if route.match(exchange.path):
                    await self._send(exchange, await self._answer(route, exchange, headers), send)
                    return
            await self._forward(scope, exchange, headers, send)
        finally:
            current.reset(token)

    def _begin(self, scope: Scope, headers: Headers, receive: Receive) -> Exchange:
        path: str = scope["path"]
        if path.endswith("/") and path.startswith("/v2"):
            path = scope["path"] = path.rstrip("/")
        traceparent = headers.get(b"traceparent")
        if traceparent is None:
            trace = continue_trace(None)
        else:
            trace = continue_trace(traceparent.decode("latin-1"), headers.get(b"tracestate", b"").decode("latin-1"))
        identity = request_id(headers.get(b"x-request-id"), trace)
        exchange = Exchange(scope["method"], path, identity, trace, Deadline.after(self._longest), receive)
        exchange.query, exchange.accept = scope["query_string"], headers.get(b"accept", b"")
        self.service.begin(exchange)
        return exchange

    def _set_deadline(self, exchange: Exchange, headers: Headers) -> None:
        given = headers.get(b"x-request-timeout-seconds")
        if given is not None:
            exchange.deadline = Deadline.after(parse_timeout(given.decode("latin-1"), longest=self._longest))

    async def _answer(self, route: DirectRoute, exchange: Exchange, headers: Headers) -> Reply:
        try:
            self._set_deadline(exchange, headers)
            if exchange.method != "POST":
                raise MethodNotAllowed(f"{exchange.path} takes POST, not {exchange.method}", allowed="POST")
            if (coding := headers.get(b"content-encoding", b"identity")) != b"identity":
                raise UnsupportedMedia.at("Content-Encoding", f"expected none, got {coding.decode('latin-1')[:40]}")
            message = await _first(exchange)
            body: bytes = message.get("body", b"")
            if message.get("more_body") or len(body) > _SMALL:
                with self._bodies.reader(exchange, headers) as reader:
                    return await route.answer(exchange, headers, await reader.whole(message))
            exchange.bytes_in = len(body)
            return await route.answer(exchange, headers, body)
        except ServingError as error:
            return render(error, exchange)
        except Exception:
            self.service.logs.log.exception("unhandled error", route=exchange.route)
            return render(ServingError("an internal error; the log has it"), exchange)

    async def _send(self, exchange: Exchange, reply: Reply, send: Send) -> None:
        headers = [
            (b"content-type", reply.content_type),
            (b"content-length", b"%d" % len(reply.body)),
            *self._extra_headers(exchange),
            *reply.headers,
        ]
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})
        self.service.finish(exchange, str(reply.status), len(reply.body), failed=reply.status >= 500)

    def _extra_headers(self, exchange: Exchange) -> list[tuple[bytes, bytes]]:
        headers = [
            (b"x-request-id", exchange.request_id.encode()),
            (b"traceparent", exchange.trace.header().encode()),
            (b"server-timing", exchange.server_timing().encode()),
        ]
        if self.service.health.draining:
            headers.append((b"connection", b"close"))
        return headers

    async def _forward(self, scope: Scope, exchange: Exchange, headers: Headers, send: Send) -> None:
        """Hands a request to the FastAPI application with a bounded body and an observed answer."""
        status, size = 0, 0

        async def observed(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
                exchange.route = getattr(scope.get("route"), "path", exchange.route)
                message["headers"] = [*message["headers"], *self._extra_headers(exchange)]
            elif message["type"] == "http.response.body":
                size += len(message.get("body", b""))
            await send(message)

        try:
            self._set_deadline(exchange, headers)
            with self._bodies.reader(exchange, headers) as reader:
                await self.api(scope, reader.receive, observed)
        except ServingError as error:
            if not status:
                await self._send(exchange, render(error, exchange), send)
                return
        except Exception:
            self.service.logs.log.exception("unhandled error", route=exchange.route)
        self.service.finish(exchange, str(status or 500), size, failed=status >= 500)


async def _first(exchange: Exchange) -> Message:
    """The first piece of a body. It is nearly always there already: only where it is not does a timer cost its time."""
    step = exchange.receive().__await__()
    try:
        waits_for = next(step)
    except StopIteration as there:
        message: Message = there.value
        return message
    try:
        async with asyncio.timeout(exchange.deadline.left):
            return await _go_on(step, waits_for)
    except TimeoutError:
        raise DeadlineExceeded("the deadline passed while the body was still arriving") from None


@coroutine
def _go_on(step: Generator[Any, None, Message], waits_for: Any) -> Generator[Any, None, Message]:
    """The rest of an awaitable whose first step has been taken."""
    yield waits_for
    return (yield from step)


class _Bodies:
    """All request bodies that are in memory: each bounded, and all of them together."""

    def __init__(self, service: Service) -> None:
        self._settings, self._rejected = service.settings, service.metrics.rejected
        self._held = 0

    def reader(self, exchange: Exchange, headers: Headers) -> _Reader:
        announced = headers.get(b"content-length", b"0")
        if announced.isdigit() and int(announced[:20]) > self._settings.max_body_bytes:
            self._too_large(int(announced[:20]))
        return _Reader(self, exchange)

    def hold(self, exchange: Exchange, size: int) -> None:
        exchange.bytes_in += size
        self._held += size
        if exchange.bytes_in > self._settings.max_body_bytes:
            self._too_large(exchange.bytes_in)
        if self._held > self._settings.max_buffered_bytes:
            self._rejected.at("bodies_full").add()
            raise Overloaded("too many large requests are being read at once", retry_after=1)

    def release(self, size: int) -> None:
        self._held -= size

    def _too_large(self, size: int) -> NoReturn:
        self._rejected.at("body_too_large").add()
        limit = self._settings.max_body_bytes
        raise PayloadTooLarge.at("body", f"expected at most {limit} bytes, got {size} or more")


class _Reader:
    """Reads one request's body; leaving it gives the bytes back to the bound."""

    __slots__ = ("_bodies", "_complete", "_exchange")

    def __init__(self, bodies: _Bodies, exchange: Exchange) -> None:
        self._bodies, self._exchange, self._complete = bodies, exchange, False

    def __enter__(self) -> _Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._bodies.release(self._exchange.bytes_in)

    async def receive(self) -> Message:
        """An ASGI `receive` that counts what comes and refuses what is too much or too late."""
        message = await self._exchange.receive() if self._complete else await _first(self._exchange)
        self._complete = not message.get("more_body", False)
        if message["type"] == "http.request":
            self._bodies.hold(self._exchange, len(message.get("body", b"")))
        return message

    async def whole(self, message: Message) -> bytes:
        """The body that begins with `message`; its rest may take no longer to arrive than the request's deadline."""
        parts: list[bytes] = [message.get("body", b"")]
        self._bodies.hold(self._exchange, len(parts[0]))
        while message.get("more_body"):
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ClientGone("the caller left before its body had arrived")
            parts.append(message.get("body", b""))
        return b"".join(parts)
