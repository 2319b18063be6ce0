"""A predictor over raw sockets for the tests of the client: it doubles its input, and misbehaves on demand."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic

import numpy as np

from common.client import PredictorClient, PredictorResponse
from common.protocol.oip import decode_binary, encode_response
from common.protocol.tensors import Array, TensorSpec
from common.request.deadline import Deadline

X = np.arange(6, dtype=np.float32).reshape(2, 3)
Reply = Callable[["Request"], Awaitable[None]]


@dataclass
class Request:
    """One request as it came, and the connection to answer it on."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    at: float = field(default_factory=monotonic)

    async def send(self, raw: bytes) -> None:
        self.writer.write(raw)
        await self.writer.drain()

    async def answer(self, status: int, body: bytes = b"", **headers: object) -> None:
        lines = [f"HTTP/1.1 {status} Status", f"Content-Length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        await self.send("\r\n".join([*lines, "", ""]).encode() + body)

    def reset(self) -> None:
        linger = struct.pack("ii", 1, 0)
        self.writer.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()

    async def until_caller_left(self) -> None:
        assert await self.reader.read(1) == b""


async def double(request: Request) -> None:
    """The answer of a predictor that works."""
    body, header = doubled(request)
    await request.answer(200, body, Inference_Header_Content_Length=header, Server_Timing="model;dur=1.5")


def doubled(request: Request) -> tuple[bytes, int | None]:
    spec = TensorSpec("x", "FP32", (-1, -1))
    decoded = decode_binary(request.body, request.headers["inference-header-content-length"], [spec])
    outputs: dict[str, Array] = {"y": decoded.inputs["x"] * 2, "rows": decoded.inputs["x"][:, :1]}
    return encode_response(decoded, "m", "3", {n: outputs[n] for n in [o.name for o in decoded.outputs] or outputs})


def status(code: int, **headers: object) -> Reply:
    """A refusal with an error body."""

    async def reply(request: Request) -> None:
        await request.answer(code, b'{"error": "these are the words"}', **headers)

    return reply


def raw(answer: bytes) -> Reply:
    """These bytes, then the end of the connection."""

    async def reply(request: Request) -> None:
        await request.send(answer)
        request.writer.close()

    return reply


async def stall(request: Request) -> None:
    """No answer, ever."""
    await request.until_caller_left()


async def reset(request: Request) -> None:
    """The connection is reset before any answer."""
    request.reset()


async def infer(client: PredictorClient, seconds: float = 2.0) -> PredictorResponse:
    """A call with the array X."""
    return await client.infer({"x": X}, deadline=Deadline.after(seconds))


@asynccontextmanager
async def stopwatch() -> AsyncIterator[Callable[[], float]]:
    """Seconds since the start, less the longest time that a busy machine kept this process waiting."""
    started, lag = monotonic(), 0.0

    async def beat() -> None:
        nonlocal lag
        while True:
            before = monotonic()
            await asyncio.sleep(0.005)
            lag = max(lag, monotonic() - before - 0.01)

    beating = asyncio.create_task(beat())
    try:
        yield lambda: monotonic() - started - lag
    finally:
        beating.cancel()


class HttpPredictor:
    """Answers with `replies` one after the other, then with `usual`."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.connections: list[asyncio.StreamWriter] = []
        self.replies: list[Reply] = []
        self.usual: Reply = double
        self.url = ""
        self._tasks: set[asyncio.Task[None]] = set()
        self._arrived = asyncio.Event()

    async def received(self, count: int) -> None:
        """Returns once so many requests have come."""
        while len(self.requests) < count:
            self._arrived.clear()
            await asyncio.wait_for(self._arrived.wait(), 2)

    @asynccontextmanager
    async def running(self, port: int = 0) -> AsyncIterator[HttpPredictor]:
        server = await asyncio.start_server(self._connected, "127.0.0.1", port)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(writer)
        task = asyncio.create_task(self._serve(reader, writer, len(self.connections)))
        self._tasks.add(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        try:
            while not writer.transport.is_closing():
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                method, path, _ = head[0].split(" ")
                headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:-2])}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                request = Request(method, path, headers, body, number, reader, writer)
                self.requests.append(request)
                self._arrived.set()
                await (self.replies.pop(0) if self.replies else self.usual)(request)
        except (asyncio.IncompleteReadError, ConnectionError):
            return  # the client hung up
        finally:
            writer.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
