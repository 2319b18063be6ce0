"""The HTTP side of the local balancer: each request goes to one replica, and to another one if that does not answer."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import uuid
from dataclasses import dataclass

import h11

from runtimes.replicas import Address, Replicas, close, end_all, remember

_CONNECT_SECONDS = 1.0
_ANSWER_SECONDS = 5.0  # as proxy_read_timeout of compose/nginx/balancer.conf
_LONGEST_HEAD = 80_000  # above the bound of the services, so that they refuse a long head themselves
_LONGEST_BODY = 70_000_000  # the same for a body
_BLOCK = 65536
_HOP_BY_HOP = {b"connection", b"keep-alive", b"transfer-encoding", b"upgrade", b"http2-settings", b"te", b"trailer"}


class _NoAnswer(Exception):
    """The replica refused the connection, did not answer, or answered 503."""


@dataclass
class _Asked:
    """A request, read completely, so that it can be sent a second time."""

    method: str
    target: str
    headers: list[tuple[bytes, bytes]]
    body: bytes
    request_id: str


class HttpBalancer:
    """Serves client connections. `column` is the place of its port in the addresses of a replica."""

    def __init__(self, replicas: Replicas, column: int) -> None:
        self._replicas, self._column = replicas, column
        self._idle: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._closing = False

    async def close(self, seconds: float) -> None:
        """Close connections without a request, and wait up to `seconds` for the others."""
        self._closing = True
        for writer in self._idle:
            writer.close()
        await end_all(self._serving, seconds)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection, one after the other."""
        client = _Side(h11.Connection(h11.SERVER, max_incomplete_event_size=_LONGEST_HEAD), reader, writer)
        remember(self._serving)
        try:
            while not self._closing and (asked := await self._next_request(client, writer)) is not None:
                answering = asyncio.create_task(self._answer(client, asked))
                await _until_done_or_gone(answering, reader)
                if client.state.our_state is not h11.DONE or client.state.their_state is not h11.DONE:
                    break
                client.state.start_next_cycle()
        except h11.RemoteProtocolError as error:
            await _refuse(client, error.error_status_hint, str(error))
        except (OSError, h11.LocalProtocolError):
            pass  # the client has gone, or the answer ended before it was complete
        finally:
            await close(writer)

    async def _next_request(self, client: _Side, writer: asyncio.StreamWriter) -> _Asked | None:
        """The next request, None at the end of the connection, which may be closed until the request begins."""
        self._idle.add(writer)
        try:
            first = await client.receive()
        finally:
            self._idle.discard(writer)
        return await _read_request(client, first) if isinstance(first, h11.Request) else None

    async def _answer(self, client: _Side, asked: _Asked) -> None:
        since, tried = time.monotonic(), []
        status = 503
        for replica in self._replicas.in_turn():
            address = replica.addresses[self._column]
            tried.append(f"{address[0]}:{address[1]}")
            try:
                status = await _pass_on(client, asked, address, last=len(tried) == self._replicas.count)
                break
            except _NoAnswer:
                replica.healthy = False
        else:
            await _refuse(client, 503, "no replica is reachable", asked.request_id)
        line = {"event": "balanced", "service": "balancer", "request_id": asked.request_id, "method": asked.method}
        line |= {"path": asked.target.partition("?")[0], "status": str(status), "upstream": ", ".join(tried)}
        print(json.dumps({**line, "seconds": round(time.monotonic() - since, 3)}), flush=True)


class _Side:
    """A connection: its h11 state and its streams."""

    def __init__(self, state: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.state, self._reader, self._writer = state, reader, writer

    async def receive(self) -> h11.Event | type[h11.PAUSED]:
        """The next event. Raises RemoteProtocolError, OSError."""
        while (event := self.state.next_event()) is h11.NEED_DATA:
            if self.state.they_are_waiting_for_100_continue:
                await self.send(h11.InformationalResponse(status_code=100, headers=[]))
            self.state.receive_data(await self._reader.read(_BLOCK))
        return event  # type: ignore[return-value]  # NEED_DATA is excluded above

    async def send(self, *events: h11.Event) -> None:
        """Raises LocalProtocolError, OSError."""
        for event in events:
            self._writer.write(self.state.send(event) or b"")
        await self._writer.drain()

    async def close(self) -> None:
        await close(self._writer)


async def _read_request(client: _Side, request: h11.Request) -> _Asked | None:
    """A request with its body; None if the body is too large, which is then refused."""
    parts, size = [], 0
    while isinstance(event := await client.receive(), h11.Data):
        parts.append(bytes(event.data))
        size += len(event.data)
        if size > _LONGEST_BODY:
            await _refuse(client, 413, f"a body may have at most {_LONGEST_BODY} bytes")
            return None
    body = b"".join(parts)
    headers = [(name, value) for name, value in request.headers if name not in _HOP_BY_HOP | {b"expect"}]
    known = dict(headers)
    request_id = known.get(b"x-request-id", b"").decode("latin-1") or uuid.uuid4().hex
    headers = [(name, value) for name, value in headers if name not in (b"content-length", b"x-request-id")]
    if body or b"content-length" in known or any(name == b"transfer-encoding" for name, _ in request.headers):
        headers.append((b"content-length", str(len(body)).encode()))
    headers.append((b"x-request-id", request_id.encode("latin-1")))
    return _Asked(request.method.decode(), request.target.decode("latin-1"), headers, body, request_id)


async def _pass_on(client: _Side, asked: _Asked, address: Address, last: bool) -> int:
    """Send the request to a replica and its answer to the client. Returns the status.

    Raises _NoAnswer before anything is sent to the client. The last replica's 503 is passed on as it is.
    """
    try:
        opening = asyncio.open_connection(*address)
        replica = _Side(h11.Connection(h11.CLIENT), *await asyncio.wait_for(opening, _CONNECT_SECONDS))
    except (OSError, TimeoutError):
        raise _NoAnswer from None
    try:
        response = await _ask(replica, asked)
        if response.status_code == 503 and not last:
            raise _NoAnswer
        headers = [(name, value) for name, value in response.headers if name not in _HOP_BY_HOP]
        await client.send(h11.Response(status_code=response.status_code, headers=headers, reason=response.reason))
        while isinstance(event := await replica.receive(), h11.Data):
            await client.send(h11.Data(data=bytes(event.data)))
        if isinstance(event, h11.EndOfMessage):
            await client.send(h11.EndOfMessage())
        return response.status_code
    finally:
        await replica.close()


async def _ask(replica: _Side, asked: _Asked) -> h11.Response:
    request = h11.Request(method=asked.method, target=asked.target, headers=[*asked.headers, (b"connection", b"close")])
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            body = [h11.Data(data=asked.body)] if asked.body else []
            with contextlib.suppress(ConnectionError):  # it may have answered, and closed, before it read everything
                await replica.send(request, *body, h11.EndOfMessage())
            while isinstance(response := await replica.receive(), h11.InformationalResponse):
                pass
    except (OSError, TimeoutError, h11.ProtocolError):
        raise _NoAnswer from None
    if not isinstance(response, h11.Response):
        raise _NoAnswer
    return response


async def _refuse(client: _Side, status: int, detail: str, request_id: str = "") -> None:
    """Send an error of the balancer itself, if nothing has been sent yet."""
    if client.state.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
        return
    problem = {"type": "about:blank", "title": "The balancer has no answer", "status": status, "detail": detail}
    body = json.dumps(problem | ({"request_id": request_id} if request_id else {})).encode()
    headers = [("content-type", "application/problem+json"), ("content-length", str(len(body)))]
    if status == 503:
        headers.append(("retry-after", "1"))
    await client.send(h11.Response(status_code=status, headers=headers), h11.Data(data=body), h11.EndOfMessage())


async def _until_done_or_gone(answering: asyncio.Task[None], reader: asyncio.StreamReader) -> None:
    """Wait for an answer, and cancel it if the client closes its connection meanwhile."""
    while not (await asyncio.wait({answering}, timeout=0.1))[0]:
        if reader.at_eof():
            answering.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await answering
