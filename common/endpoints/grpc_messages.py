"""Receives the messages of unary gRPC calls within bounds of number, size and time.

grpcio by itself receives the message of every call at once, whatever memory that takes, and parses it on the event
loop. Here the server treats a unary call as a stream of one message, which is the same to the client, so it decides
when a message is received: at most RECEIVED_AT_ONCE are. Their bytes count against the budget of all requests until the
call ends, and a large one is parsed beside the event loop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import grpc.aio
from google.protobuf.message import DecodeError, Message

from common.endpoints.grpc_calls import CallContext, GrpcCalls
from common.errors import DeadlineExceeded, InvalidInput, Overloaded, ServingError
from common.protocol.grpc.outline import parsed_size
from common.request.capacity import LARGE, SMALL, Capacity
from common.request.context import RequestContext
from common.request.deadline import Deadline
from common.service import Service

RECEIVED_AT_ONCE = 8  # messages
RECEIVE_SECONDS = 10.0  # for a message to arrive
CONTESTED_SECONDS = 1.0  # the same while other calls wait for their turn


class Turns:
    """Whose message may be received. A call whose message takes long loses its turn when others wait."""

    def __init__(self) -> None:
        self._receiving: dict[asyncio.Future[Any], float] = {}
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def receive(self, call: CallContext, seconds: float) -> Any:
        """The message of a call, or grpc.aio.EOF. Raises DeadlineExceeded, or Overloaded when others waited."""
        if len(self._receiving) >= RECEIVED_AT_ONCE or self._waiting:
            await self._wait(seconds)
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

    async def _wait(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        self._waiting.append(turn)
        end = loop.time() + seconds
        try:
            while not turn.done():
                self._end_slow_ones(loop.time())
                await asyncio.wait([turn], timeout=min(CONTESTED_SECONDS / 4, max(end - loop.time(), 0.0)))
                if loop.time() >= end and not turn.done():
                    raise Overloaded("too many gRPC messages are being received at once; retry later", retry_after=1)
        except BaseException:
            if turn.done():  # it was this call's turn
                self._next()
            else:
                self._waiting.remove(turn)
            raise

    def _end_slow_ones(self, now: float) -> None:
        for read, since in list(self._receiving.items()):
            if now - since > CONTESTED_SECONDS:
                del self._receiving[read]
                read.cancel()

    def _next(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return


class UnaryMethod:
    """Receives and parses the message of each call of one method, then runs its handler."""

    def __init__(self, calls: GrpcCalls, method: str, handler: Any, service: Service, turns: Turns) -> None:
        self._calls, self._method, self._capacity, self._turns = calls, method, service.capacity, turns
        self._longest = service.settings.request_timeout_seconds
        self._kind: type[Message] = handler.request_deserializer.__self__  # generated code has Message.FromString
        self._descriptor: Any = self._kind.DESCRIPTOR
        self._handle: Callable[[Any, CallContext], Awaitable[Any]] = handler.unary_unary

    async def run(self, call: CallContext) -> Any:
        """The response of a call."""
        left = call.time_remaining()
        try:
            message = await self._message(call, self._longest if left is None else min(left, self._longest))
        except ServingError as error:
            return await self._calls.run(self._method, call, _refusal(error))
        handled = self._handle(message, call)
        del message
        try:
            return await handled
        except BaseException as error:
            # grpcio keeps it with the call; with its traceback, the message would be kept until a collection
            raise error.with_traceback(None) from None

    async def _message(self, call: CallContext, seconds: float) -> Any:
        raw = await self._turns.receive(call, seconds)
        if raw is grpc.aio.EOF:
            raise InvalidInput("the call has no message; expected one")
        self._hold(call, len(raw))
        try:
            if len(raw) <= LARGE:
                return self._kind.FromString(raw)
            deadline = Deadline.after(seconds)
            self._hold(call, await self._capacity.in_thread(deadline, parsed_size, raw, self._descriptor))
            return await self._capacity.in_thread(deadline, self._kind.FromString, raw)
        except DecodeError as error:
            raise InvalidInput(f"the message is not valid protobuf of this method's request type: {error}") from None

    def _hold(self, call: CallContext, size: int) -> None:
        """Counts bytes as held until the call ends. Raises Overloaded."""
        if size > SMALL:
            self._capacity.hold(size)
            call.add_done_callback(partial(_give_back, self._capacity, size))  # type: ignore[arg-type]  # takes one


def _give_back(capacity: Capacity, size: int, _: object) -> None:
    capacity.give_back(size)


def _refusal(error: ServingError) -> Callable[[RequestContext], Awaitable[Any]]:
    async def refuse(_: RequestContext) -> Any:
        raise error

    return refuse
