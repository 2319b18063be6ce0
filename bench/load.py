"""The HTTP/1.1 load generator: a msgpack `Plan` on standard input, a JSON `Result` on standard output.

It uses raw protocols on uvloop, sends requests that were built before, and reads only the status and the length of a
response, so one core drives several times what any server here can handle. A request is sent by `socket.send` as soon
as the previous response is read, and its clock starts just before. uvloop's `write` would wait for the end of the event
loop's turn: requests would leave in bursts, and that wait would count as the server's.
"""

import asyncio
import gc
import socket
import sys
import time
from collections.abc import Callable
from typing import cast

import msgspec
import uvloop

from bench.plan import Ledger, Plan, Result

RECONNECT_SECONDS = 0.05
LENGTH = b"\r\ncontent-length:"


class Malformed(ValueError):
    """The response is not HTTP/1.1 with a Content-Length."""


def parse_head(head: bytes) -> tuple[int, int]:
    """Status and Content-Length of a response head, which is given without the empty line at its end."""
    at = head.lower().find(LENGTH)
    if at < 0 or not head.startswith(b"HTTP/1.1 "):
        raise Malformed
    try:
        return int(head[9:12]), int(head[at + len(LENGTH) :].split(b"\r\n", 1)[0])
    except ValueError as error:
        raise Malformed from error


class Connection(asyncio.Protocol):
    """One keep-alive connection: sends a request, waits for the whole response, records it, sends the next."""

    def __init__(self, ledger: Ledger, sock: socket.socket, lost: Callable[[], None]) -> None:
        self.ledger, self.sock, self.lost = ledger, sock, lost
        self.contains = ledger.plan.contains
        self.head = self.body = b""
        self.left = 0
        self.status = 0
        self.waiting = False
        self.began = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.send()

    def send(self) -> None:
        """Send the next request unless the turn has ended."""
        request = self.ledger.next_request()
        self.waiting = request is not None
        if request is None:
            return
        self.began = time.perf_counter()
        if self.transport.get_write_buffer_size():  # the response came before the server had read all of the request
            self.transport.write(request)
            return
        try:
            sent = self.sock.send(request)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.transport.abort()
            return
        if sent < len(request):
            self.transport.write(memoryview(request)[sent:])

    def data_received(self, data: bytes) -> None:
        if self.left:
            self.left -= len(data)
            self.keep(data)
        else:
            self.head += data
            end = self.head.find(b"\r\n\r\n")
            if end < 0:
                return
            try:
                self.status, length = parse_head(self.head[:end])
            except Malformed:
                self.give_up("malformed")
                return
            self.left = length - (len(self.head) - end - 4)
            self.keep(self.head[end + 4 :])
            self.head = b""
        if self.left < 0:
            self.give_up("malformed")
        elif not self.left:
            self.finish()

    def finish(self) -> None:
        """Record the complete response and send the next request."""
        if self.status != 200:
            self.ledger.failed(f"status {self.status}")
        elif any(text not in self.body for text in self.contains):
            self.ledger.failed("incomplete")
        else:
            self.ledger.answered(time.perf_counter() - self.began)
        self.body = b""
        self.send()

    def keep(self, data: bytes) -> None:
        """Keep a piece of the body, where the plan looks for texts in it."""
        if self.contains:
            self.body += data

    def give_up(self, reason: str) -> None:
        """Record a failure after which the connection cannot be used."""
        if self.waiting:
            self.waiting = False
            self.ledger.failed(reason)
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.waiting:
            self.waiting = False
            self.ledger.failed("disconnected")
        self.lost()


class Load:
    """All connections of one turn. A lost one is reopened after a pause, so a dead server causes no busy loop."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.ledger = plan, Ledger(plan)
        self.loop = asyncio.get_running_loop()
        self.opening: set[asyncio.Task[None]] = set()
        self.transports: set[asyncio.BaseTransport] = set()
        self.over = False

    async def run(self) -> Result:
        """Run the turn to its end."""
        for _ in range(self.plan.connections):
            self.open()
        result = await self.ledger.measure()
        self.over = True
        for task in self.opening:
            task.cancel()
        for transport in self.transports:
            transport.close()
        return result

    def open(self) -> None:
        """Start to open one more connection, unless the turn has ended."""
        if not self.over:
            task = self.loop.create_task(self.connect())
            self.opening.add(task)
            task.add_done_callback(self.opening.discard)

    def reopen(self) -> None:
        """Replace a lost connection after RECONNECT_SECONDS."""
        self.loop.call_later(RECONNECT_SECONDS, self.open)

    async def connect(self) -> None:
        """Open one connection; a refusal is recorded and tried again."""
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await self.loop.sock_connect(sock, (self.plan.host, self.plan.port))
        except OSError:
            sock.close()
            self.ledger.errors["refused"] += 1
            self.reopen()
            return
        connection = Connection(self.ledger, sock, self.reopen)
        transport, _ = await self.loop.create_connection(lambda: connection, sock=sock)
        self.transports.add(transport)


async def drive(plan: Plan) -> Result:
    """Run the plan; for callers that already have an event loop."""
    return await Load(plan).run()


def main() -> None:
    """Read the plan from standard input, run it, write the result."""
    plan = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Plan)
    gc.disable()  # nothing here makes reference cycles, and a collection would look like a slow response
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        result = runner.run(drive(plan))
    sys.stdout.buffer.write(msgspec.json.encode(result))


if __name__ == "__main__":
    main()
