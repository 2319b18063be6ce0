"""Requests that a client sends without waiting for responses: how many of them are parsed ahead of their turn.

A segment of 256 KB can hold ten thousand requests. They are parsed one after another and a few at a time, so that other
connections are served in between, and the memory of a connection stays small.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from uvicorn.protocols.http.flow_control import FlowControl

from common.http.body import BodyMemory
from common.request.capacity import SMALL

AT_ONCE = 1_024  # bytes of a segment that are parsed at once: at most about 40 requests
MOST_QUEUED = 16  # requests behind the one that is being handled
END = b"\r\n\r\n"  # of a head, and of a body in chunks; the parser takes no bare line feeds


class QueueAwareFlow(FlowControl):
    """Reads nothing while requests are queued: it would only lengthen the queue."""

    def __init__(self, transport: asyncio.Transport, queue: Collection[object]) -> None:
        super().__init__(transport)
        self._queue = queue

    def resume_reading(self) -> None:
        """uvicorn calls this for each request that reads its body, although others may be queued behind it."""
        if self.read_paused and not self._queue:
            super().resume_reading()


class Unparsed:
    """What waits to be parsed: a segment, and where parsing goes on. More than SMALL bytes count as held."""

    __slots__ = ("_held", "_memory", "at", "data")

    def __init__(self, memory: BodyMemory) -> None:
        self._memory, self.data, self.at, self._held = memory, b"", 0, 0

    def keep(self, data: bytes, at: int) -> None:
        """Raises Overloaded or PayloadTooLarge, and keeps nothing, when all requests together hold too much."""
        if len(data) - at <= SMALL:
            self.data, self.at = data[at:], 0  # without what has been parsed
            return
        self._memory.hold(len(data))
        self.data, self.at, self._held = data, at, len(data)

    def drop(self) -> None:
        """Gives the memory back."""
        if self.data:
            self._memory.give_back(self._held)
            self.data, self.at, self._held = b"", 0, 0


def queue_is_full(queued: int, parsed: int) -> bool:
    """Whether parsing waits for responses. `parsed` is how many bytes have just been parsed."""
    return queued >= MOST_QUEUED or (queued > 0 and parsed > SMALL)


def end_of_step(data: bytes, at: int, in_body: bool, missing: int) -> int:
    """Where parsing stops that begins at `at`: at the end of a head, or where a body may end.

    `missing` is how much of the body is still to come, or 0 if that is not known.
    """
    if in_body and missing:
        return at + missing
    end = data.find(END, at + AT_ONCE if in_body else at)
    return len(data) if end < 0 else end + len(END)
