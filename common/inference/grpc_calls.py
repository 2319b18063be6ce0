"""What stands around every gRPC call, as `App` does around HTTP: id, trace, deadline, errors, metrics, access line."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from math import ceil
from typing import Any, TypeVar

import grpc
import grpc.aio

from common.deadline import Deadline
from common.errors import ServingError
from common.exchange import Exchange, current, request_id
from common.service import Service
from common.tracing import continue_trace

_FAILURES = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
Context = grpc.aio.ServicerContext[Any, Any]
Reply = TypeVar("Reply")


class Calls:
    """The calls of one gRPC service, by its full name."""

    def __init__(self, service: Service, name: str) -> None:
        self._service, self._name = service, name

    async def answer(self, method: str, context: Context, handle: Callable[[Exchange], Awaitable[Reply]]) -> Reply:
        """What `handle` gives; an error it raises becomes the call's status."""
        exchange = self._begin(method, context)
        token = current.set(exchange)
        code, detail = grpc.StatusCode.OK, ""
        retry: tuple[tuple[str, str], ...] = ()
        try:
            return await handle(exchange)
        except ServingError as error:
            code, detail = grpc.StatusCode[error.grpc_code], error.detail
            exchange.error = detail
            if error.retry_after is not None:
                retry = (("retry-after", f"{max(1, ceil(error.retry_after))}"),)
        except asyncio.CancelledError:
            code = grpc.StatusCode.CANCELLED
            raise
        except Exception:
            self._service.logs.log.exception("unhandled error", route=exchange.route)
            code, detail = grpc.StatusCode.INTERNAL, "an internal error; the log has it"
        finally:
            current.reset(token)
            context.set_trailing_metadata((*_metadata(exchange), *retry))
            self._service.finish(exchange, code.name, failed=code in _FAILURES)
        return await context.abort(code, detail)

    def _begin(self, method: str, context: Context) -> Exchange:
        given = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
        identity = given.get("x-request-id")
        longest = self._service.settings.request_timeout_seconds
        left = context.time_remaining()
        trace = continue_trace(given.get("traceparent"), given.get("tracestate", ""))
        deadline = Deadline.after(longest if left is None else min(left, longest))
        path = f"/{self._name}/{method}"
        exchange = Exchange("gRPC", path, request_id(identity.encode() if identity else None, trace), trace, deadline)
        exchange.route = path
        self._service.begin(exchange)
        return exchange


def _metadata(exchange: Exchange) -> tuple[tuple[str, str], ...]:
    """What every answer bears, as the headers over HTTP do."""
    return (
        ("x-request-id", exchange.request_id),
        ("traceparent", exchange.trace.header()),
        ("server-timing", exchange.server_timing()),
    )
