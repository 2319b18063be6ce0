"""gRPC calls whose response the client does not read: HTTP/2 over a plain socket, with a window of 0 bytes."""

from __future__ import annotations

import asyncio
import struct
from types import TracebackType
from typing import Self

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS, PING = 0, 1, 4, 6  # frames
ACK = END_STREAM = 1  # flags
END_HEADERS = 4
INITIAL_WINDOW_SIZE = 4
MOST_PIECE = 16_384  # bytes of a frame's payload


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def head(path: str) -> bytes:
    """The header fields of a call, each as a literal (RFC 7541, 6.2.2)."""
    fields = {
        b":method": b"POST", b":scheme": b"http", b":path": path.encode(), b":authority": b"x",
        b"content-type": b"application/grpc", b"te": b"trailers",
    }  # fmt: skip
    return b"".join(b"\0%c%b%c%b" % (len(name), name, len(value), value) for name, value in fields.items())


class UnreadCalls:
    """A connection whose calls are answered, but whose responses find no window. It closes when it is left.

    `refused` is the number of calls that ended with an error, which needs no window.
    """

    def __init__(self, address: str) -> None:
        self._host, _, self._port = address.partition(":")
        self._streams = 0
        self.refused, self.closed = 0, asyncio.Event()

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(self._host, int(self._port))
        self._writer.write(PREFACE + frame(SETTINGS, 0, 0, struct.pack(">HI", INITIAL_WINDOW_SIZE, 0)))
        self._listening = asyncio.create_task(self._listen())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.transport.abort()
        await self._listening

    def call(self, path: str, message: bytes) -> None:
        """Sends a call; its message fits into one frame."""
        body = struct.pack(">BI", 0, len(message)) + message
        assert len(body) <= MOST_PIECE
        stream = 2 * self._streams + 1
        self._streams += 1
        self._writer.write(frame(HEADERS, END_HEADERS, stream, head(path)) + frame(DATA, END_STREAM, stream, body))

    async def _listen(self) -> None:
        """Acknowledges what a client has to, and counts the calls that the server ends."""
        try:
            while True:
                length, kind, flags, _ = struct.unpack(">IBBI", b"\0" + await self._reader.readexactly(9))
                payload = await self._reader.readexactly(length)
                if kind in (SETTINGS, PING) and not flags & ACK:
                    self._writer.write(frame(kind, ACK, 0, payload if kind == PING else b""))
                self.refused += kind == HEADERS and bool(flags & END_STREAM)
        except (OSError, asyncio.IncompleteReadError):
            self.closed.set()
