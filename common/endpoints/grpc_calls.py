"""What stands around every gRPC call, as `App` does around HTTP: id, trace, deadline, errors, metrics, access line."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from math import ceil
from typing import Any, TypeVar

import grpc
import grpc.aio

from common.errors import ServingError
from common.observability.tracing import continue_trace
from common.request.context import RequestContext, current, request_id
from common.request.deadline import Deadline
from common.service import Service

_FAILURES = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
Context = grpc.aio.ServicerContext[Any, Any]
Reply = TypeVar("Reply")


class Calls:
    """The calls of one gRPC service, by its full name."""

    def __init__(self, service: Service, name: str) -> None:
        self._service, self._name = service, name

    async def answer(self, method: str, call: Context, handle: Callable[[RequestContext], Awaitable[Reply]]) -> Reply:
        """What `handle` gives; an error it raises becomes the call's status."""
        context = self._begin(method, call)
        token = current.set(context)
        code, detail = grpc.StatusCode.OK, ""
        retry: tuple[tuple[str, str], ...] = ()
        try:
            return await handle(context)
        except ServingError as error:
            code, detail = grpc.StatusCode[error.grpc_code], error.detail
            context.error = detail
            if error.retry_after is not None:
                retry = (("retry-after", f"{max(1, ceil(error.retry_after))}"),)
        except asyncio.CancelledError:
            code = grpc.StatusCode.CANCELLED
            raise
        except Exception:
            self._service.logs.log.exception("unhandled error", route=context.route)
            code, detail = grpc.StatusCode.INTERNAL, "an internal error; the log has it"
        finally:
            current.reset(token)
            call.set_trailing_metadata((*_metadata(context), *retry))
            self._service.request_finished(context, code.name, failed=code in _FAILURES)
        return await call.abort(code, detail)

    def _begin(self, method: str, call: Context) -> RequestContext:
        given = {key: value for key, value in call.invocation_metadata() or () if isinstance(value, str)}
        identity = given.get("x-request-id")
        longest = self._service.settings.request_timeout_seconds
        left = call.time_remaining()
        trace = continue_trace(given.get("traceparent"), given.get("tracestate", ""))
        deadline = Deadline.after(longest if left is None else min(left, longest))
        path = f"/{self._name}/{method}"
        context = RequestContext(
            "gRPC", path, request_id(identity.encode() if identity else None, trace), trace, deadline
        )
        context.route = path
        self._service.request_started(context)
        return context


def _metadata(context: RequestContext) -> tuple[tuple[str, str], ...]:
    """What every answer bears, as the headers over HTTP do."""
    return (
        ("x-request-id", context.request_id),
        ("traceparent", context.trace.header()),
        ("server-timing", context.server_timing()),
    )
