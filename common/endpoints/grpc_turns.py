"""Whose gRPC message may be received: a few at a time, in turns between connections."""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from typing import Any

from common.endpoints.grpc_calls import CallContext
from common.errors import DeadlineExceeded, Overloaded

RECEIVED_AT_ONCE = 8  # messages
RECEIVE_SECONDS = 10.0  # for a message to arrive
CONTESTED_SECONDS = 1.0  # the same while other calls wait for their turn
_BUSY = "too many gRPC messages are being received at once; retry later"


class Turns:
    """Whose message may be received. A call whose message takes long loses its turn when others wait.

    Connections take turns, so that one with many calls does not keep out the others.
    """

    def __init__(self, contested_seconds: float = CONTESTED_SECONDS, most_waiting: int = sys.maxsize) -> None:
        """`most_waiting`: calls of each connection."""
        self._contested_seconds, self._most_waiting = contested_seconds, most_waiting
        self._receiving: dict[asyncio.Future[Any], float] = {}
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}  # by connection; the first one is next
        self._ends_slow_ones = False

    async def receive(self, call: CallContext, seconds: float) -> Any:
        """The message of a call, or grpc.aio.EOF. Raises DeadlineExceeded, or Overloaded when others waited."""
        if len(self._receiving) >= RECEIVED_AT_ONCE or self._waiting:
            await self._wait(call.peer(), seconds)
        read = asyncio.ensure_future(call.read())
        self._receiving[read] = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(min(seconds, RECEIVE_SECONDS)):
                return await read
        except TimeoutError:
            raise DeadlineExceeded("the deadline passed while the message was still arriving") from None
        except asyncio.CancelledError:
            if read in self._receiving:  # the call itself was cancelled
                raise
            raise Overloaded("the message arrived too slowly while other calls waited", retry_after=1) from None
        finally:
            self._receiving.pop(read, None)
            self._next()

    async def _wait(self, peer: str, seconds: float) -> None:
        turns = self._waiting.setdefault(peer, deque())
        if len(turns) >= self._most_waiting:
            raise Overloaded(_BUSY, retry_after=1)
        turn = asyncio.get_running_loop().create_future()
        turns.append(turn)
        if not self._ends_slow_ones:
            self._end_slow_ones()
        try:
            async with asyncio.timeout(seconds):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():  # it was this call's turn
                self._next()
            else:
                self._forget(peer, turn)
            if isinstance(error, TimeoutError):
                raise Overloaded(_BUSY, retry_after=1) from None
            raise

    def _end_slow_ones(self) -> None:
        """Ends the turns that have taken too long, again and again while calls wait."""
        self._ends_slow_ones = bool(self._waiting)
        if not self._waiting:
            return
        loop = asyncio.get_running_loop()
        for read, since in list(self._receiving.items()):
            if loop.time() - since > self._contested_seconds:
                del self._receiving[read]
                read.cancel()
        loop.call_later(self._contested_seconds / 4, self._end_slow_ones)

    def _next(self) -> None:
        while self._waiting:
            peer = next(iter(self._waiting))
            turns = self._waiting.pop(peer)
            turn = turns.popleft()
            if turns:  # behind the other connections
                self._waiting[peer] = turns
            if not turn.done():
                turn.set_result(None)
                return

    def _forget(self, peer: str, turn: asyncio.Future[None]) -> None:
        turns = self._waiting.get(peer, deque())
        if turn in turns:
            turns.remove(turn)
            if not turns:
                del self._waiting[peer]
