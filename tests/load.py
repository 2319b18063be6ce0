"""A closed loop of callers over plain sockets, which knows of every request whether it was answered."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

Check = Callable[[bytes], bool]


@dataclass
class Tally:
    """What became of the requests; times are those of the monotonic clock."""

    sent: int = 0
    answered: int = 0
    statuses: dict[int, int] = field(default_factory=dict)
    wrong: list[bytes] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    refused_at: list[float] = field(default_factory=list)


def request(
    path: str, body: Any, base: str = "http://service", media: str = "application/json", **headers: str
) -> bytes:
    """A POST as it goes over the wire; `body` is made JSON unless it is bytes."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"POST {path} HTTP/1.1", f"Host: {urlsplit(base).netloc}", f"Content-Length: {len(content)}"]
    lines += [f"Content-Type: {media}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + content


async def connect(base: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    address = urlsplit(base)
    return await asyncio.open_connection(address.hostname, address.port)


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """Status, headers (names in lower case) and body of one answer. Raises EOFError, OSError when it does not come."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return int(head[0].split()[1]), headers, body


async def first_unready(base: str) -> float:
    """When GET /readyz was first sent that got a 503, on the monotonic clock."""
    ask = b"GET /readyz HTTP/1.1\r\nHost: service\r\nConnection: close\r\n\r\n"
    while True:
        reader, writer = await connect(base)
        writer.write(ask)
        asked = time.monotonic()
        status, _, _ = await read_answer(reader)
        writer.close()
        if status == 503:
            return asked
        await asyncio.sleep(0.02)


class Load:
    """Callers that each send their next request once the last one was answered, until told to stop."""

    def __init__(self, base: str, requests: Sequence[bytes], right: Check, callers: int = 16) -> None:
        self.tally = Tally()
        self._base, self._requests, self._right, self._callers = base, requests, right, callers
        self._ended, self._marked, self._mark = asyncio.Event(), asyncio.Event(), 0
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Load:
        self._tasks = [asyncio.create_task(self._call(number)) for number in range(self._callers)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._ended.set()
        await asyncio.wait_for(asyncio.gather(*self._tasks), 30)

    async def answered(self, count: int, seconds: float = 60) -> None:
        """Waits until so many requests have been answered."""
        self._mark = count
        self._marked.clear()
        await asyncio.wait_for(self._marked.wait(), seconds)

    async def refused(self, seconds: float = 30) -> None:
        """Waits until every caller has been refused a connection: nobody listens any more."""
        await asyncio.wait_for(asyncio.gather(*self._tasks), seconds)

    async def _call(self, number: int) -> None:
        while not self._ended.is_set():
            try:
                reader, writer = await connect(self._base)
            except OSError:
                self.tally.refused_at.append(time.monotonic())
                return
            try:
                await self._converse(reader, writer, number)
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        """Requests over one connection until it is closed, by the service's wish or at the end."""
        tally = self.tally
        while not self._ended.is_set():
            tally.sent += 1
            try:
                writer.write(self._requests[(tally.sent + number) % len(self._requests)])
                status, headers, body = await read_answer(reader)
            except (OSError, EOFError) as error:
                tally.lost.append(repr(error))
                return
            tally.answered += 1
            if tally.answered >= self._mark:
                self._marked.set()
            tally.statuses[status] = tally.statuses.get(status, 0) + 1
            if not self._right(body):
                tally.wrong.append(body[:300])
            if headers.get("connection") == "close":
                return
