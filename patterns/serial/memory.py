"""The memory of decoded pages: a page is decoded only when it fits beside those that are being read."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from common.errors import DeadlineExceeded, Overloaded
from common.observability.metrics import CounterValue
from common.request.deadline import Deadline

MAX_PICTURE_BYTES = 208_000_000  # one page of 16 million pixels, or eight of two million


class PictureMemory:
    """Bytes for the pixels of all pages together. Pages wait in order, at most `queue` of them.

    One page is let in whatever its size, so that the limit of pixels alone decides what is too large.
    """

    def __init__(self, most: int, queue: int, refused: CounterValue) -> None:
        self._most, self._queue, self._refused = most, queue, refused
        self._held = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def hold(self, deadline: Deadline, size: int) -> AsyncIterator[None]:
        """Counts `size` bytes as held while inside. Raises Overloaded when too many wait, DeadlineExceeded."""
        if self._waiting or not self._fits(size):
            await self._wait(deadline, size)
        else:
            self._held += size
        try:
            yield
        finally:
            self._give_back(size)

    async def _wait(self, deadline: Deadline, size: int) -> None:
        if len(self._waiting) >= self._queue:
            self._refused.inc()
            raise Overloaded("too many pictures are being read at once; retry later", retry_after=1)
        turn = asyncio.get_running_loop().create_future()
        place = (size, turn)
        self._waiting.append(place)
        try:
            async with asyncio.timeout(max(deadline.remaining, 0.0)):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():  # its turn came at the same moment
                self._give_back(size)
            elif place in self._waiting:
                self._waiting.remove(place)
                self._admit()
            if isinstance(error, TimeoutError):
                raise DeadlineExceeded("the deadline passed while the picture waited for memory") from None
            raise

    def _fits(self, size: int) -> bool:
        return not self._held or self._held + size <= self._most

    def _give_back(self, size: int) -> None:
        self._held -= size
        self._admit()

    def _admit(self) -> None:
        """Lets in those at the front that fit now."""
        while self._waiting and self._fits(self._waiting[0][0]):
            size, turn = self._waiting.popleft()
            if turn.cancelled():
                continue
            self._held += size
            turn.set_result(None)
