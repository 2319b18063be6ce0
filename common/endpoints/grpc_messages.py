"""Receives the messages of unary gRPC calls within bounds of number, size and time.

grpcio by itself receives the message of every call at once, whatever memory that takes, and parses it on the event
loop. Here the server treats a unary call as a stream of one message, which is the same to the client, so it decides
when a message is received: a few at a time (`grpc_turns.py`), each after its API key and its deadline were checked.
Their bytes count against the budget of all requests until the call ends, and a large one is parsed beside the event
loop. The call and its response count until the client has read the response (`grpc_unread.py`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import grpc.aio
from google.protobuf.message import DecodeError, Message

from common.endpoints.grpc_calls import CallContext, GrpcCalls, when_done
from common.endpoints.grpc_turns import Turns
from common.endpoints.grpc_unread import CallMemory
from common.errors import InvalidInput, Overloaded, PayloadTooLarge, ServingError
from common.http.limits import ReadBounds
from common.protocol.grpc.outline import parsed_size
from common.request.capacity import LARGE, SMALL
from common.request.context import RequestContext
from common.service import Service

MOST_STREAMS = 256  # calls of a method that goes on answering


class _Method:
    """Receives and parses the messages of one method."""

    def __init__(self, calls: GrpcCalls, handler: Any, service: Service, turns: Turns) -> None:
        self._calls, self._capacity, self._turns = calls, service.capacity, turns
        self._longest = service.settings.request_timeout_seconds
        self._kind: type[Message] = handler.request_deserializer.__self__  # generated code has Message.FromString

    async def _small_message(self, call: CallContext) -> Any:
        """The message of a probe. Raises ServingError, also for one that no probe needs."""
        left = call.time_remaining()
        raw = await self._raw(call, self._longest if left is None else min(left, self._longest))
        if len(raw) > SMALL:
            raise PayloadTooLarge(f"expected a message of at most {SMALL} bytes, got {len(raw)}")
        return self._parsed(raw)

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


class UnaryMethod(_Method):
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
        super().__init__(calls, handler, service, turns)
        self._method, self._read_bounds, self._open = method, read_bounds, open
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
        try:
            response = await self._handle(await self._small_message(call), call)
        except ServingError as error:
            await self._calls.abort(call, error)
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


class StreamMethod(_Method):
    """Runs the calls of a method that goes on answering one small message, as Watch does: a few, without an API key."""

    def __init__(self, calls: GrpcCalls, handler: Any, service: Service, turns: Turns) -> None:
        super().__init__(calls, handler, service, turns)
        self._handle: Callable[[Any, CallContext], AsyncIterator[Any]] = handler.unary_stream
        self._running = 0

    async def run(self, call: CallContext) -> AsyncIterator[Any]:
        """The responses of a call."""
        try:
            answers = self._handle(await self._asked(call), call)
        except ServingError as error:
            await self._calls.abort(call, error)
        async for answer in answers:
            yield answer

    async def _asked(self, call: CallContext) -> Any:
        if self._running >= MOST_STREAMS:
            raise Overloaded(f"{MOST_STREAMS} calls of this method are open, the most that may be; retry later")
        CallMemory(call, self._capacity)
        self._running += 1
        when_done(call, self._end)
        return await self._small_message(call)

    def _end(self) -> None:
        self._running -= 1
