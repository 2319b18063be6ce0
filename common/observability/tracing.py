"""OpenTelemetry spans, exported over OTLP when the environment names a collector.

Without `OTEL_EXPORTER_OTLP_ENDPOINT` the OpenTelemetry SDK is not imported. Trace ids are still read from requests,
logged and passed on (`common/request/trace.py`). A caller decides whether its request is sampled; of the others a tenth
is, unless `OTEL_TRACES_SAMPLER` says otherwise, because spans of all requests take half of a small model's throughput.
"""

from __future__ import annotations

import os
import threading
from typing import Any

from common.request.context import RequestContext
from common.request.trace import Trace

CLOSE_SECONDS = 3.0  # the longest that the remaining spans may hold up the end of the process
DEFAULT_SHARE = 0.1


class Spans:
    """Exports a server span for each sampled request, with a child span for each stage, over OTLP/HTTP."""

    def __init__(self, service: str, release: str) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import Decision, ParentBasedTraceIdRatio

        chosen = os.environ.get("OTEL_TRACES_SAMPLER")
        self._ids, self._sampled = _id_generator(), Decision.RECORD_AND_SAMPLE
        self._provider = TracerProvider(
            resource=Resource.create({"service.name": service, "service.version": release}),
            sampler=None if chosen else ParentBasedTraceIdRatio(DEFAULT_SHARE),  # None: as the environment says
            id_generator=self._ids,
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._sampler, self._tracer = self._provider.sampler, self._provider.get_tracer("serving-patterns")

    def start(self, name: str, trace: Trace) -> Trace:
        """Starts a span if the request is sampled. Returns `trace` with the decision and the span, if there is one."""
        from opentelemetry import trace as api

        parent = None
        if trace.parent_id is not None:
            remote = api.SpanContext(
                int(trace.trace_id, 16), int(trace.parent_id, 16), True, api.TraceFlags(int(trace.flags, 16))
            )
            parent = api.set_span_in_context(api.NonRecordingSpan(remote))
        trace_id = int(trace.trace_id, 16)
        decision = self._sampler.should_sample(parent, trace_id, name, api.SpanKind.SERVER).decision
        if decision is not self._sampled:
            return Trace(trace.trace_id, trace.span_id, trace.parent_id, "00", trace.state)
        self._ids.next_trace_id = trace_id  # of a span without a parent; the log and the request id have it, too
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

    def close(self) -> bool:
        """Exports the remaining spans and stops. False when that took too long, and spans were lost.

        The thread is a daemon, because an exporter that cannot reach its collector tries for half a minute.
        """
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(CLOSE_SECONDS)
        return not closing.is_alive()


def _id_generator() -> Any:
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

    class TraceIdGiven(RandomIdGenerator):
        """Takes the trace id that the request has already."""

        next_trace_id = 0

        def generate_trace_id(self) -> int:
            return self.next_trace_id

    return TraceIdGiven()


def open_spans(service: str, release: str) -> Spans | None:
    """Spans when the environment names a collector, else None."""
    if not any(os.environ.get(f"OTEL_EXPORTER_OTLP_{kind}ENDPOINT") for kind in ("", "TRACES_")):
        return None
    return Spans(service, release)
