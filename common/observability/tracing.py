"""OpenTelemetry spans, exported over OTLP when the environment names a collector.

Without `OTEL_EXPORTER_OTLP_ENDPOINT` the OpenTelemetry SDK is not imported. Trace ids are still read from requests,
logged and passed on (`common/request/trace.py`).
"""

from __future__ import annotations

import os

from common.request.context import RequestContext
from common.request.trace import Trace


class Spans:
    """Exports a server span for each request, with a child span for each stage, over OTLP/HTTP."""

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
        """Starts a span. Returns `trace` with this span and its ids."""
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
        """Ends the span of a request. Its stages become child spans, one after the other, the last ends at `end_ns`."""
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
        """Exports the remaining spans and stops."""
        self._provider.shutdown()


def open_spans(service: str, release: str) -> Spans | None:
    """Spans when the environment names a collector, else None."""
    if not any(os.environ.get(f"OTEL_EXPORTER_OTLP_{kind}ENDPOINT") for kind in ("", "TRACES_")):
        return None
    return Spans(service, release)
