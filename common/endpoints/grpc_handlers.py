"""Registers the handlers of gRPC services, and stops a server so that a caller in a closed loop loses no call.

When grpcio stops, it cancels every call that has reached the server and has no handler yet. So at a stop all responses
are held for a moment: a caller that waits for its response sends nothing new, and every call gets its handler. Then the
server tells its clients to connect elsewhere, and the responses follow.
tests/unit/common/endpoints/test_grpc_stop.py fails without it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import grpc
import grpc.aio

from common.endpoints.grpc_calls import CallContext, GrpcCalls
from common.endpoints.grpc_messages import StreamMethod, UnaryMethod
from common.endpoints.grpc_turns import Turns
from common.http.limits import READ_BOUNDS, ReadBounds
from common.service import Service

QUIET_SECONDS = 0.15  # without a new call, until no more are taken to be on their way
LONGEST_HOLD_SECONDS = 2.0
PROBES = frozenset({"ServerLive", "ServerReady", "ServerMetadata", "Check"})
"""Calls that report on the server: they need no API key, and are neither counted nor logged."""
PROBE_SECONDS = 0.1  # for the message of a probe to arrive while others wait
PROBES_WAITING = 8  # of each connection, for their message to be received


class GrpcHandlers:
    """Takes the place of a server in the generated functions `add_..._to_server`, and registers with that server."""

    def __init__(self, server: grpc.aio.Server, service: Service, read_bounds: ReadBounds = READ_BOUNDS) -> None:
        self._server, self._service, self._read_bounds = server, service, read_bounds
        self._arrived = 0
        self._turns, self._probe_turns = Turns(), Turns(PROBE_SECONDS, PROBES_WAITING)

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
        serialize = _serializer(handler.response_serializer)
        if handler.unary_unary is None:
            stream = StreamMethod(calls, handler, self._service, self._probe_turns)

            async def answers(_: object, call: CallContext) -> AsyncIterator[Any]:
                async for answer in stream.run(call):
                    yield answer

            return grpc.stream_stream_rpc_method_handler(answers, None, serialize)
        service = self._service
        open = method in PROBES
        turns = self._probe_turns if open else self._turns
        unary = UnaryMethod(calls, method, handler, service, turns, self._read_bounds, open)

        async def answer(_: object, call: CallContext) -> Any:
            self._arrived += 1
            response = await unary.run(call)
            if service.held_responses is not None:
                await service.held_responses.wait()
            return response

        return grpc.stream_unary_rpc_method_handler(answer, None, serialize)


def _serializer(serialize: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    """Leaves a response as it is that was serialized beside the event loop."""
    return lambda response: response if type(response) is bytes else serialize(response)
