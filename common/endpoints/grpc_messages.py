"""Receives the messages of unary gRPC calls within bounds of number, size and time.

grpcio by itself receives the message of every call at once, whatever memory that takes, and parses it on the event
loop. Here the server treats a unary call as a stream of one message, which is the same to the client, so it decides
when a message is received: at most RECEIVED_AT_ONCE are, each after its API key and its deadline have been checked.
Their bytes count against the budget of all requests until the call ends, and a large one is parsed beside the event
loop. The call and its response count until the client has read the response (`grpc_unread.py`).
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
from common.endpoints.grpc_unread import CallMemory
from common.errors import DeadlineExceeded, InvalidInput, Overloaded, PayloadTooLarge, ServingError
from common.http.limits import ReadBounds
from common.protocol.grpc.outline import parsed_size
from common.request.capacity import LARGE, SMALL
from common.request.context import RequestContext
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
    """Runs the calls of one method. A call is refused before its message is received where its head is enough to tell.

    `open`: a call that reports on the server, as a probe does; it needs no API key, and is neither counted nor logged.
    """

    def __init__(
        self,
        calls: GrpcCalls,
        method: str,
        handler: Any,
        service: Service,
        turns: Turns,
        read_bounds: ReadBounds,
        open: bool,
    ) -> None:
        self._calls, self._method, self._turns = calls, method, turns
        self._capacity, self._read_bounds = service.capacity, read_bounds
        self._longest, self._open = service.settings.request_timeout_seconds, open
        self._kind: type[Message] = handler.request_deserializer.__self__  # generated code has Message.FromString
        self._descriptor: Any = self._kind.DESCRIPTOR
        self._handle: Callable[[Any, CallContext], Awaitable[Any]] = handler.unary_unary

    async def run(self, call: CallContext) -> Any:
        """The response of a call; a large one is its bytes already."""
        try:
            if self._open:
                return await self._run_open(call)
            return await self._calls.run(self._method, call, partial(self._respond, call))
        except BaseException as error:
            # grpcio keeps it with the call; with its traceback, the message would be kept until a collection
            raise error.with_traceback(None) from None

    async def _run_open(self, call: CallContext) -> Any:
        memory = CallMemory(call, self._capacity, even_if_full=True)
        left = call.time_remaining()
        try:
            raw = await self._raw(call, self._longest if left is None else min(left, self._longest))
            if len(raw) > SMALL:
                raise PayloadTooLarge(f"expected a message of at most {SMALL} bytes, got {len(raw)}")
            message = self._parsed(raw)
        except ServingError as error:
            return await self._calls.run(self._method, call, _refusal(error))
        response = await self._handle(message, call)
        memory.hold_response(response.ByteSize(), self._read_bounds, even_if_full=True)
        return response

    async def _respond(self, call: CallContext, context: RequestContext) -> Any:
        memory = CallMemory(call, self._capacity)
        message = await self._message(call, context)
        handled = self._handle(message, call)
        del message
        response = await handled
        context.release()  # the request is gone
        memory.hold_response(len(response) if type(response) is bytes else response.ByteSize(), self._read_bounds)
        return response

    async def _message(self, call: CallContext, context: RequestContext) -> Any:
        """The message of a call, whose bytes count as held until the call ends."""
        raw = await self._raw(call, context.deadline.remaining)
        context.bytes_in = len(raw)
        context.hold(len(raw))
        if len(raw) <= LARGE:
            return self._parsed(raw)
        context.hold(await context.in_thread(parsed_size, raw, self._descriptor))
        message = await context.in_thread(self._parsed, raw)
        context.recount(len(raw), 0)
        return message

    async def _raw(self, call: CallContext, seconds: float) -> bytes:
        raw = await self._turns.receive(call, seconds)
        if raw is grpc.aio.EOF:
            raise InvalidInput("the call has no message; expected one")
        return bytes(raw)

    def _parsed(self, raw: bytes) -> Any:
        try:
            return self._kind.FromString(raw)
        except DecodeError as error:
            raise InvalidInput(f"the message is not valid protobuf of this method's request type: {error}") from None


def _refusal(error: ServingError) -> Callable[[RequestContext], Awaitable[Any]]:
    async def refuse(_: RequestContext) -> Any:
        raise error

    return refuse
