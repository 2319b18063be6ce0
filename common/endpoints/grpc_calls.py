"""Runs gRPC calls inside the envelope (`common/envelope.py`)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from math import ceil
from typing import Any, Generic, NoReturn, TypeVar
from urllib.parse import quote

import grpc
import grpc.aio

from common.envelope import Envelope, Outcome
from common.errors import ClientDisconnected, InvalidInput, ServingError
from common.http.fields import combined, repeated
from common.protocol.grpc.statuses import KEY, encode_details
from common.request.context import RequestContext
from common.service import Service

_SERVER_FAILURES = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
LONGEST_DETAIL = 1000  # characters
LONGEST_ENCODED_DETAIL = 4000  # bytes; clients refuse trailing metadata of more than 8 KiB, which has other values too
CallContext = grpc.aio.ServicerContext[Any, Any]
Message = TypeVar("Message")
Handler = Callable[[RequestContext], Awaitable[Message]]


def when_done(call: CallContext, act: Callable[[], None]) -> None:
    """Calls `act` once grpcio is done with a call."""
    call.add_done_callback(lambda _: act())  # type: ignore[arg-type]  # the stub wants a class of its own


class GrpcCalls:
    """Runs the calls of one gRPC service; `name` is the service's full name."""

    def __init__(self, service: Service, name: str) -> None:
        self._service, self._envelope, self._name = service, Envelope(service), name

    async def run(self, method: str, call: CallContext, handler: Handler[Message]) -> Message:
        """The message that the handler returns. An error that it raises becomes the call's status."""
        path = f"/{self._name}/{method}"
        metadata = call.invocation_metadata() or ()
        headers = {key.encode(): value.encode() for key, value in metadata if isinstance(value, str)}
        if len(headers) < len(metadata):  # some are binary or come more than once
            headers, handler = _combined(metadata, handler)
        context = self._envelope.open("gRPC", path, headers, timeout_seconds=call.time_remaining())
        context.route = path
        response = await self._envelope.run(context, _GrpcCall(call, handler))
        if isinstance(response, ServingError):
            await self._abort(call, response)
        return response

    async def abort(self, call: CallContext, error: ServingError) -> NoReturn:
        """Ends a call with the status of an error, for calls that the envelope does not run."""
        error.with_traceback(None)  # which refers to the message, and grpcio keeps the error
        call.set_trailing_metadata(tuple(_error_metadata(error)))
        await self._abort(call, error)

    async def _abort(self, call: CallContext, error: ServingError) -> NoReturn:
        if self._service.held_responses is not None:
            await self._service.held_responses.wait()
        await call.abort(grpc.StatusCode[error.grpc_code], _fitting(error.detail))


class _GrpcCall(Generic[Message]):
    """One gRPC call, as a `Call` of the envelope."""

    cancelled = Outcome(ClientDisconnected.grpc_code)

    def __init__(self, call: CallContext, handler: Handler[Message]) -> None:
        self._call, self._handler = call, handler

    async def handle(self, context: RequestContext) -> Message | ServingError:
        return await self._handler(context)

    def error_response(self, error: ServingError, context: RequestContext) -> Message | ServingError:
        # the traceback refers to the frame that holds this error: the cycle would keep the request until collection
        return error.with_traceback(None)

    async def respond(self, context: RequestContext, response: Message | ServingError) -> Outcome:
        """Sets the trailing metadata; grpcio sends it with the message, or when the call is aborted.

        With an error, the metadata says which class of errors it is of.
        """
        metadata: list[tuple[str, str | bytes]] = [
            ("x-request-id", context.request_id),
            ("traceparent", context.trace.header()),
            ("server-timing", context.server_timing()),
        ]
        if not isinstance(response, ServingError):
            self._call.set_trailing_metadata(tuple(metadata))
            return Outcome(grpc.StatusCode.OK.name)
        self._call.set_trailing_metadata((*metadata, *_error_metadata(response)))
        return Outcome(response.grpc_code, failed=grpc.StatusCode[response.grpc_code] in _SERVER_FAILURES)


def _error_metadata(error: ServingError) -> list[tuple[str, str | bytes]]:
    metadata: list[tuple[str, str | bytes]] = [(KEY, encode_details(error, _fitting(error.detail)))]
    if error.retry_after is not None:
        metadata.append(("retry-after", f"{max(1, ceil(error.retry_after))}"))
    return metadata


def _combined(metadata: Iterable[Any], handler: Handler[Message]) -> tuple[dict[bytes, bytes], Handler[Message]]:
    """The metadata as headers, without binary values, and a handler that refuses them if one of them is ambiguous."""
    pairs = [(key.encode(), value.encode()) for key, value in metadata if isinstance(value, str)]
    name = repeated(pairs)

    async def refuse(_: RequestContext) -> Message:
        raise InvalidInput.at(name, "is in the metadata more than once; send it once")

    return (dict(pairs), refuse) if name else (combined(pairs), handler)


def _fitting(detail: str) -> str:
    """A detail that fits into the trailing metadata, where most bytes outside ASCII letters take three."""
    detail = detail[:LONGEST_DETAIL]
    while len(quote(detail)) > LONGEST_ENCODED_DETAIL:
        detail = detail[: len(detail) * 2 // 3]
    return detail
