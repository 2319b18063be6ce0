"""W3C trace context in, through and out of a service, and OpenTelemetry spans where an exporter is configured.

Format: https://www.w3.org/TR/trace-context/. Without `OTEL_EXPORTER_OTLP_ENDPOINT` no OpenTelemetry SDK is
imported; ids are still taken over from the caller, logged and passed on.
"""

from __future__ import annotations

import os
import random
import re
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from common.request.context import RequestContext

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?=-|\Z)")
_NO_TRACE, _NO_SPAN = "0" * 32, "0" * 16
_NOT_ZERO = 1 << 64 | 1  # a bit in either id: all zeros would be invalid


class Trace(msgspec.Struct):
    """Where a request stands in its trace: this service's span and the caller's."""

    trace_id: str
    span_id: str
    parent_id: str | None = None
    flags: str = "01"
    state: str = ""
    span: Any = None

    def header(self) -> str:
        """The `traceparent` for the next hop."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"


def continue_trace(traceparent: str | None, tracestate: str = "") -> Trace:
    """A span below the caller's, or the first of a new trace where the header is absent or invalid."""
    fresh = f"{random.getrandbits(192) | _NOT_ZERO:048x}"
    found = _TRACEPARENT.match(traceparent) if traceparent else None
    if found is None or found[1] == _NO_TRACE or found[2] == _NO_SPAN:
        return Trace(fresh[:32], fresh[32:])
    return Trace(found[1], fresh[32:], found[2], found[3], tracestate)


class Spans:
    """Exports one server span a request, with a child for each stage, over OTLP/HTTP."""

    def __init__(self, service: str, release: str) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        resource = Resource.create({"service.name": service, "service.version": release})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("serving-patterns")

    def start(self, name: str, trace: Trace) -> Trace:
        """`trace` again, with a started span whose ids it bears."""
        from opentelemetry import trace as api

        parent = None
        if trace.parent_id is not None:
            remote = api.SpanContext(
                int(trace.trace_id, 16), int(trace.parent_id, 16), True, api.TraceFlags(int(trace.flags, 16))
            )
            parent = api.set_span_in_context(api.NonRecordingSpan(remote))
        span = self._tracer.start_span(name, context=parent, kind=api.SpanKind.SERVER)
        ids = span.get_span_context()
        flags = f"{int(ids.trace_flags):02x}"
        return Trace(f"{ids.trace_id:032x}", f"{ids.span_id:016x}", trace.parent_id, flags, trace.state, span)

    def end(self, context: RequestContext, code: str, failed: bool, end_ns: int) -> None:
        """Ends a request's span with its status; its stages become children, end to end before `end_ns`."""
        from opentelemetry import trace as api

        span = context.trace.span
        parent = api.set_span_in_context(span)
        at = end_ns - int(sum(context.stages.values()) * 1e6)
        for stage, milliseconds in context.stages.items():
            child = self._tracer.start_span(stage, context=parent, start_time=at)
            at += int(milliseconds * 1e6)
            child.end(at)
        span.update_name(f"{context.method} {context.route}")
        span.set_attributes({"serving.status": code, "serving.request_id": context.request_id})
        if failed:
            span.set_status(api.StatusCode.ERROR, context.error or None)
        span.end(end_ns)

    def close(self) -> None:
        """Sends what is left and stops."""
        self._provider.shutdown()


def open_spans(service: str, release: str) -> Spans | None:
    """Spans where the environment names a collector, else None."""
    if not any(os.environ.get(f"OTEL_EXPORTER_OTLP_{kind}ENDPOINT") for kind in ("", "TRACES_")):
        return None
    return Spans(service, release)
