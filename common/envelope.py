"""The envelope around every request, for every protocol: its API key, deadline, errors, metrics and log line.

This is written once. Direct HTTP routes (`common/http/cycle.py`), FastAPI routes (`common/http/asgi_call.py`) and gRPC
calls (`common/endpoints/grpc_calls.py`) differ in how a request is read and a response is sent: each is a `Call`.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol, TypeVar

from common.errors import InternalError, ServingError
from common.request.context import Disconnected, Headers, RequestContext, current, never_disconnected, request_id
from common.request.deadline import HEADER, Deadline, parse_timeout
from common.request.trace import continue_trace
from common.service import Service

R = TypeVar("R")
_TIMEOUT_HEADER = HEADER.lower().encode()
LONGEST_LOGGED_ERROR = 1000  # characters; an error may quote the request


class Outcome(NamedTuple):
    """How a request ended: its status as metrics and logs show it, the bytes sent, whether the service failed."""

    code: str
    bytes_out: int = 0
    failed: bool = False


class Call(Protocol[R]):
    """One request as its protocol handles it; `R` is the protocol's response."""

    cancelled: Outcome
    """The outcome of a request that was cancelled before its response was sent."""

    async def handle(self, context: RequestContext) -> R:
        """Reads the request and runs its handler. May raise ServingError, or anything else for a defect."""

    def error_response(self, error: ServingError, context: RequestContext) -> R:
        """The response that tells the caller of an error."""

    async def respond(self, context: RequestContext, response: R) -> Outcome:
        """Sends the response."""


class Envelope:
    """Opens a request's context and runs its call."""

    def __init__(self, service: Service) -> None:
        self._service, self._capacity, self._keys = service, service.capacity, service.keys
        self._longest = service.settings.request_timeout_seconds

    def open(
        self,
        method: str,
        path: str,
        headers: Headers,
        *,
        query: bytes = b"",
        timeout_seconds: float | None = None,
        disconnected: Disconnected = never_disconnected,
    ) -> RequestContext:
        """The context of a request that has just arrived, with the id and the trace that its headers state.

        `timeout_seconds` is a timeout from the protocol, as gRPC has it. It cannot exceed the service's own timeout.
        """
        traceparent = headers.get(b"traceparent")
        if traceparent is None:
            trace = continue_trace(None)
        else:
            trace = continue_trace(traceparent.decode("latin-1"), headers.get(b"tracestate", b"").decode("latin-1"))
        seconds = self._longest if timeout_seconds is None else min(timeout_seconds, self._longest)
        identity = request_id(headers.get(b"x-request-id"), trace)
        return RequestContext(
            method, path, identity, trace, Deadline.after(seconds), disconnected, headers, query, self._capacity
        )

    async def run(self, context: RequestContext, call: Call[R]) -> R:
        """Counts the request, handles it, sends its response or an error response, and counts its end.

        Raises CancelledError, and errors of `respond`.
        """
        outcome = call.cancelled
        self._service.request_started(context)
        token = current.set(context)
        try:
            try:
                timeout = context.headers.get(_TIMEOUT_HEADER)
                if timeout is not None:
                    context.deadline = context.deadline.capped(parse_timeout(timeout.decode("latin-1")))
                if self._keys is not None and context.path not in self._service.open_paths:
                    self._keys.check(context)
                response = await call.handle(context)
            except ServingError as error:
                context.error = error.detail[:LONGEST_LOGGED_ERROR]
                # a job keeps its error, which must not keep the frames that it was raised in, with the request's body
                error.__traceback__ = error.__context__ = None
                response = self._error_response(call, error, context)
            except Exception:
                self._service.logs.log.exception("unhandled error", route=context.route)
                internal = InternalError.of(context.request_id)
                context.error = internal.detail
                response = self._error_response(call, internal, context)
            outcome = await call.respond(context, response)
            return response
        finally:
            if context.held:
                context.release()
            current.reset(token)
            self._service.request_finished(context, outcome.code, outcome.bytes_out, failed=outcome.failed)

    def _error_response(self, call: Call[R], error: ServingError, context: RequestContext) -> R:
        try:
            return call.error_response(error, context)
        except Exception:  # a value in the error that cannot be written
            self._service.logs.log.exception("no response for an error", route=context.route, error=repr(error)[:200])
            internal = InternalError.of(context.request_id)
            context.error = internal.detail
            return call.error_response(internal, context)
