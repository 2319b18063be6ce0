"""The HTTP/1.1 load generator: a msgpack `Plan` on standard input, a JSON `Result` on standard output.

Raw protocols on uvloop, requests built beforehand, of the answer only the status and the length read: a core of it
drives several times what any server here can answer. So that it does not favour a server that answers in groups, a
request goes out by `send` in the moment the last answer is read, and its clock starts right before: uvloop's `write`
waits for the end of the turn, which lets requests go in bursts and counts that wait as the server's.
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
    """An answer that is no HTTP/1.1 answer with a Content-Length."""


def parse_head(head: bytes) -> tuple[int, int]:
    """The status and the Content-Length of an answer's head, given without the empty line at its end."""
    at = head.lower().find(LENGTH)
    if at < 0 or not head.startswith(b"HTTP/1.1 "):
        raise Malformed
    try:
        return int(head[9:12]), int(head[at + len(LENGTH) :].split(b"\r\n", 1)[0])
    except ValueError as error:
        raise Malformed from error


class Connection(asyncio.Protocol):
    """One keep-alive connection: sends, waits for the whole answer, books it, sends again."""

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
        """Send the next request, if the turn goes on."""
        request = self.ledger.next_request()
        self.waiting = request is not None
        if request is None:
            return
        self.began = time.perf_counter()
        if self.transport.get_write_buffer_size():  # answered before it had read all of the last request
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
        """Book the answer that is now complete and go on."""
        if self.status != 200:
            self.ledger.failed(f"status {self.status}")
        elif any(text not in self.body for text in self.contains):
            self.ledger.failed("incomplete")
        else:
            self.ledger.answered(time.perf_counter() - self.began)
        self.body = b""
        self.send()

    def keep(self, data: bytes) -> None:
        """Keep a piece of the answer's body, where something in it is expected."""
        if self.contains:
            self.body += data

    def give_up(self, reason: str) -> None:
        """Book a failure after which the connection cannot be used."""
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
    """All connections of one turn. A lost one is replaced after a pause, so that a dead server costs no busy loop."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.ledger = plan, Ledger(plan)
        self.loop = asyncio.get_running_loop()
        self.opening: set[asyncio.Task[None]] = set()
        self.transports: set[asyncio.BaseTransport] = set()
        self.over = False

    async def run(self) -> Result:
        """Drive the turn to its end."""
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
        """Start to open one more connection."""
        if not self.over:
            task = self.loop.create_task(self.connect())
            self.opening.add(task)
            task.add_done_callback(self.opening.discard)

    def reopen(self) -> None:
        """Open a connection in place of a lost one, a little later."""
        self.loop.call_later(RECONNECT_SECONDS, self.open)

    async def connect(self) -> None:
        """Open one connection; a refusal is booked and tried again."""
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
    """Load the server as planned; for callers that have a loop already."""
    return await Load(plan).run()


def main() -> None:
    """The process: plan in, result out."""
    plan = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Plan)
    gc.disable()  # nothing here makes cycles, and a collection would look like a slow answer
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        result = runner.run(drive(plan))
    sys.stdout.buffer.write(msgspec.json.encode(result))


if __name__ == "__main__":
    main()
