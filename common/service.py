"""The objects that a process has one of, and how every request is counted, logged and traced."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import msgspec

from common.observability.health import Health
from common.observability.log import Logs
from common.observability.metrics import Metrics
from common.observability.redaction import remember_secrets
from common.observability.tracing import Spans
from common.request.api_keys import ApiKeys
from common.request.capacity import Capacity
from common.request.context import RequestContext
from common.settings import ServiceSettings

PROBES = frozenset({"/livez", "/readyz", "/metrics"})  # requested every few seconds, so they are not logged


class AccessLine(msgspec.Struct, omit_defaults=True, tag_field="event", tag="request"):
    """The access log line of one request."""

    time: str
    level: str
    pattern: str
    service: str
    request_id: str
    trace_id: str
    method: str
    route: str
    status: str
    milliseconds: float
    bytes_in: int
    bytes_out: int
    model: str = ""
    tenant: str = ""
    error: str = ""


@dataclass
class Service:
    """The settings, logs, health and metrics of a process, and its spans when an exporter is configured."""

    settings: ServiceSettings
    logs: Logs
    health: Health = field(default_factory=Health)
    metrics: Metrics = field(default_factory=Metrics)
    spans: Spans | None = None
    capacity: Capacity = field(init=False)
    requests_read: Callable[[], int] | None = None
    """The number of requests that the server has read and not answered; None when the server does not count them."""
    held_responses: asyncio.Event | None = None
    """While gRPC stops: its responses wait for this (`common/endpoints/grpc_handlers.py`)."""
    samples: Path | None = None
    """A folder of sample inputs, which the page of the service offers."""

    uncounted: set[str] = field(default_factory=set)
    """The routes of the page's files, which the metrics of requests leave out."""

    open_paths: set[str] = field(default_factory=set)
    """Those of them that need no API key."""

    keys: ApiKeys | None = field(init=False, default=None)
    """The API keys that callers need; None when the settings name none, and everyone may call."""

    def __post_init__(self) -> None:
        settings = self.settings
        remember_secrets(settings.model_dump())
        if settings.api_keys or settings.api_keys_file:
            rate = settings.api_key_requests_per_second
            self.keys = ApiKeys(settings.api_keys, settings.api_keys_file, rate, self.logs.log)
        self.capacity = Capacity(settings.max_body_bytes, settings.max_buffered_bytes, settings.max_rows, self.metrics)

    def requests_starting(self) -> int:
        """The number of requests that have been read and whose handlers start in the next turn of the event loop."""
        return max(self.requests_read() - self.metrics.in_progress, 0) if self.requests_read else 0

    def request_started(self, context: RequestContext) -> None:
        """Counts a request in and starts its span."""
        self.metrics.in_progress += 1
        if self.spans is not None:
            context.trace = self.spans.start(context.method, context.trace)

    def request_finished(self, context: RequestContext, code: str, bytes_out: int = 0, *, failed: bool = False) -> None:
        """Counts a request out, writes its access line and ends its span."""
        seconds = perf_counter() - context.started
        self.metrics.in_progress -= 1
        if context.route not in self.uncounted:
            self.metrics.requests.labelled(context.route, context.method, code).inc()
            self.metrics.request_seconds.labelled(context.route).observe(seconds)
        if self.settings.access_log and context.route not in PROBES:
            self._access_line(context, code, seconds, bytes_out, failed)
        if self.spans is not None and context.trace.span is not None:
            self.spans.end(context, code, failed, time.time_ns())

    def _access_line(self, context: RequestContext, code: str, seconds: float, bytes_out: int, failed: bool) -> None:
        self.logs.writer.line(
            AccessLine(
                self.logs.timestamp(),
                "error" if failed else "info",
                self.settings.pattern,
                self.settings.service,
                context.request_id,
                context.trace.trace_id,
                context.method,
                context.route,
                code,
                int(seconds * 1e6) / 1e3,  # round() takes three times as long
                context.bytes_in,
                bytes_out,
                context.model,
                context.tenant,
                context.error,
            )
        )
