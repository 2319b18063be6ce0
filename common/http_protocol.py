"""uvicorn's HTTP protocol, with a response's head and body leaving in one system call and, if they fit, one packet.

uvicorn writes them one after the other, and for a small answer that costs more than everything else in between.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_HEAD, _CONTINUE = b"HTTP/1.1 ", b"HTTP/1.1 100"


class HeadWithBody:
    """A transport that keeps a response's head back until what follows it is written."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head = b""
        self.is_closing = transport.is_closing
        self.pause_reading, self.resume_reading = transport.pause_reading, transport.resume_reading

    def write(self, data: bytes) -> None:
        if self._head:
            self._transport.writelines((self._head, data))
            self._head = b""
        elif data.startswith(_HEAD) and not data.startswith(_CONTINUE):
            self._head = data
        else:
            self._transport.write(data)

    def flush(self) -> None:
        """Writes a head that no body follows: the answer to HEAD, or one that was broken off."""
        if self._head:
            self._transport.write(self._head)
            self._head = b""

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class HttpProtocol(HttpToolsProtocol):
    """What serves one connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._answers = HeadWithBody(cast(asyncio.Transport, transport))
        super().connection_made(cast(asyncio.Transport, self._answers))

    def on_response_complete(self) -> None:
        self._answers.flush()
        super().on_response_complete()
