"""Request bodies in memory: each body is bounded, and all bodies of a process together are."""

from __future__ import annotations

import asyncio

from common.errors import ClientDisconnected, DeadlineExceeded, InvalidInput, PayloadTooLarge, ServingError
from common.protocol.json_body import MAX_BYTES as MAX_JSON
from common.protocol.json_body import Payload
from common.request.capacity import SMALL
from common.request.context import Headers
from common.request.deadline import Deadline
from common.service import Service

JSON, JSON_HEADER = b"application/json", b"inference-header-content-length"  # with the second, binary data follow
LONGEST_CONTENT_LENGTH = 20  # digits


class BodyMemory:
    """The bounds on what request bodies hold: MAX_BODY_BYTES each, MAX_BUFFERED_BYTES all together."""

    def __init__(self, service: Service) -> None:
        self._capacity = service.capacity
        self.check_size, self.hold = self._capacity.check_size, self._capacity.hold
        self.give_back = self._capacity.give_back
        self.uncounted = min(SMALL, self._capacity.most_each)

    @property
    def held(self) -> int:
        """The bytes that all requests together hold."""
        return self._capacity.held

    def content_length(self, headers: Headers) -> int | None:
        """The size that a request states; None when it states none. Raises PayloadTooLarge, InvalidInput."""
        stated = headers.get(b"content-length")
        if stated is None or not stated.isdigit():
            return None
        if len(stated) > LONGEST_CONTENT_LENGTH:
            raise InvalidInput.at(
                "Content-Length", f"expected at most {LONGEST_CONTENT_LENGTH} digits, got {len(stated)}"
            )
        size = int(stated)
        self.check_size(size)
        if size > MAX_JSON and JSON_HEADER not in headers and headers.get(b"content-type", b"").startswith(JSON):
            raise PayloadTooLarge.at("body", f"expected at most {MAX_JSON} bytes of JSON, got {size}; send binary data")
        return size


class RequestBody:
    """One request's body: its bytes as they arrive, until they are read, or refused with an error.

    `size` is the number of bytes that have arrived, and `held` those that count as held. Once the body is refused or
    released, further bytes are dropped.
    """

    __slots__ = ("_complete", "_content_length", "_dropped", "_error", "_memory", "_received", "_waiter",
                 "held", "size")  # fmt: skip

    def __init__(self, memory: BodyMemory) -> None:
        self._memory = memory
        self.size = self.held = 0
        self._content_length: int | None = None
        self._received: bytes | bytearray = b""
        self._error: ServingError | None = None
        self._complete = self._dropped = False
        self._waiter: asyncio.Future[None] | None = None

    def expect(self, headers: Headers) -> None:
        """Notes the size that the headers state; refuses the body when it is too large."""
        try:
            self._content_length = self._memory.content_length(headers)
        except ServingError as error:
            self.refuse(error)

    @property
    def missing(self) -> int:
        """Bytes that are still to come of a body whose size is known; 0 once it is refused, released or complete."""
        if self._content_length is None or self._dropped or self._complete:
            return 0
        return self._content_length - self.size

    def feed(self, piece: bytes) -> None:
        """Adds bytes to the body."""
        if not self.count(len(piece)):
            return
        if not self._received:
            self._received = piece
            return
        if isinstance(self._received, bytes):  # one buffer: a list of small pieces would take many times their size
            self._received = bytearray(self._received)
        self._received += piece

    def count(self, size: int) -> bool:
        """Counts bytes that have arrived. Returns False if they must be dropped."""
        if self._dropped:
            return False
        self.size += size
        if self.size <= self._memory.uncounted:
            return True
        try:
            self._memory.check_size(self.size)
            if self.size > SMALL:
                self._memory.hold(self.size - self.held, own=self.held)
                self.held = self.size
        except ServingError as error:
            self.refuse(error)
        return not self._dropped

    def check(self) -> None:
        """Raises the error that the body was refused with, if it was."""
        if self._error is not None:
            raise self._error

    def complete(self) -> None:
        """Marks the body as complete: all its bytes have arrived."""
        self._complete = True
        self._wake()

    def refuse(self, error: ServingError) -> None:
        """Drops the bytes; `read` raises the error."""
        self._error = error
        self._drop()
        self._wake()

    def disconnect(self) -> None:
        """Refuses a body that is not complete, because the client has disconnected."""
        if not self._complete and self._error is None:
            self.refuse(ClientDisconnected("the client disconnected before its request body had arrived"))

    async def read(self, deadline: Deadline) -> Payload:
        """The whole body. Raises the error that refused it, for example DeadlineExceeded."""
        if not self._complete and self._error is None:
            await self._wait(deadline)
        self.check()
        received = self._received
        return received if isinstance(received, bytes) else memoryview(received).toreadonly()

    def release(self) -> None:
        """Gives its memory back, and drops what still arrives."""
        self._memory.give_back(self.held)
        self.held = 0
        self._error = None
        self._drop()

    async def _wait(self, deadline: Deadline) -> None:
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        late = DeadlineExceeded("the deadline passed while the request body was still arriving")
        timer = loop.call_later(max(deadline.remaining, 0.0), self.refuse, late)
        try:
            await self._waiter
        finally:
            timer.cancel()
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _drop(self) -> None:
        self._dropped, self._received = True, b""
