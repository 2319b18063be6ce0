"""Registers the handlers of gRPC services, and stops a server so that a caller in a closed loop loses no call.

When grpcio stops, it cancels every call that has reached the server and has no handler yet. So at a stop all responses
are held for a moment: a caller that waits for its response sends nothing new, and every call gets its handler. Then the
server tells its clients to connect elsewhere, and the responses follow.
tests/unit/common/endpoints/test_grpc_stop.py fails without it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from common.endpoints.grpc_calls import CallContext, GrpcCalls
from common.endpoints.grpc_messages import Turns, UnaryMethod
from common.endpoints.grpc_unread import CallMemory
from common.errors import ServingError
from common.http.limits import READ_BOUNDS, ReadBounds
from common.request.capacity import Capacity
from common.service import Service

QUIET_SECONDS = 0.15  # without a new call, until no more are taken to be on their way
LONGEST_HOLD_SECONDS = 2.0
PROBES = frozenset({"ServerLive", "ServerReady", "ServerMetadata", "Check"})
"""Calls that report on the server: they need no API key, and are neither counted nor logged."""


@dataclass(frozen=True, slots=True)
class MalformedMessage:
    """Stands for a request whose bytes are not a message of its type."""

    reason: str


class GrpcHandlers:
    """Takes the place of a server in the generated functions `add_..._to_server`, and registers with that server."""

    def __init__(self, server: grpc.aio.Server, service: Service, read_bounds: ReadBounds = READ_BOUNDS) -> None:
        self._server, self._service, self._read_bounds = server, service, read_bounds
        self._arrived, self._turns = 0, Turns()

    def add_generic_rpc_handlers(self, _: object) -> None:
        """Nothing: the generated functions register each handler a second time, by its name."""

    def add_registered_method_handlers(self, name: str, handlers: Mapping[str, Any]) -> None:
        """Registers handlers that refuse malformed messages, and hold their responses at a stop."""
        calls = GrpcCalls(self._service, name)
        wrapped = {method: self._wrapped(calls, method, handler) for method, handler in handlers.items()}
        self._server.add_registered_method_handlers(name, wrapped)

    async def stop(self, seconds: float) -> None:
        """Stops the server; calls in flight get so many seconds to end."""
        held = self._service.held_responses = asyncio.Event()
        await self._until_quiet()
        stopping = asyncio.ensure_future(self._server.stop(seconds))
        await asyncio.sleep(0)  # the server tells its clients to send no new calls on their connections
        held.set()
        await stopping

    async def _until_quiet(self) -> None:
        """Waits until no call has arrived for a while. If this loop wakes up late, callers are late as well."""
        time = asyncio.get_running_loop().time
        end = time() + LONGEST_HOLD_SECONDS
        quiet = False
        while not quiet and time() < end:
            before, due = self._arrived, time() + QUIET_SECONDS
            await asyncio.sleep(QUIET_SECONDS)
            quiet = self._arrived == before and time() - due < QUIET_SECONDS / 3

    def _wrapped(self, calls: GrpcCalls, method: str, handler: Any) -> Any:
        if handler.unary_unary is None:
            readable = handler._replace(request_deserializer=_lenient(handler.request_deserializer))
            return readable._replace(unary_stream=_refusing_stream(handler.unary_stream, self._service.capacity))
        service = self._service
        unary = UnaryMethod(calls, method, handler, service, self._turns, self._read_bounds, method in PROBES)

        async def answer(_: object, call: CallContext) -> Any:
            self._arrived += 1
            response = await unary.run(call)
            if service.held_responses is not None:
                await service.held_responses.wait()
            return response

        return grpc.stream_unary_rpc_method_handler(answer, None, _serializer(handler.response_serializer))


def _serializer(serialize: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    """Leaves a response as it is that was serialized beside the event loop."""
    return lambda response: response if type(response) is bytes else serialize(response)


def _lenient(deserialize: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """Gives a MalformedMessage where `deserialize` fails; grpcio would log a traceback and say INTERNAL."""

    def read(message: bytes) -> Any:
        try:
            return deserialize(message)
        except DecodeError as error:
            return MalformedMessage(str(error))

    return read


def _refusing_stream(answer: Callable[[Any, CallContext], AsyncIterator[Any]], capacity: Capacity) -> Any:
    async def answer_or_refuse(request: Any, call: CallContext) -> AsyncIterator[Any]:
        try:
            CallMemory(call, capacity)
        except ServingError as error:
            await call.abort(grpc.StatusCode[error.grpc_code], error.detail)
        if type(request) is MalformedMessage:
            await call.abort(grpc.StatusCode.INVALID_ARGUMENT, f"the message is not valid: {request.reason}")
        async for message in answer(request, call):
            yield message

    return answer_or_refuse
