"""What a process has one of, and what it notes of each request, whichever protocol brought it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import msgspec

from common.exchange import Exchange
from common.health import Health
from common.log import Logs
from common.metrics import Metrics
from common.settings import ServiceSettings
from common.tracing import Spans

PROBES = frozenset({"/livez", "/readyz", "/metrics"})  # asked every few seconds for ever


class AccessLine(msgspec.Struct, omit_defaults=True, tag_field="event", tag="request"):
    """One request as it is logged."""

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
    error: str = ""


@dataclass
class Service:
    """A process's settings, logs, health, metrics and, where an exporter is configured, spans."""

    settings: ServiceSettings
    logs: Logs
    health: Health = field(default_factory=Health)
    metrics: Metrics = field(default_factory=Metrics)
    spans: Spans | None = None
    requests_read: Callable[[], int] | None = None
    """How many requests the server has read and not answered; None where a server cannot tell."""
    samples: Path | None = None
    """A folder of files to try the service with, which its page offers."""

    def coming(self) -> int:
        """Requests that have been read and will begin in the next turn of the event loop."""
        return max(self.requests_read() - self.metrics.in_progress, 0) if self.requests_read else 0

    def alone(self) -> bool:
        """Whether the request being answered is the only one there is, so that nothing would share its run."""
        return self.metrics.in_progress == 1 and self.requests_read is not None and self.requests_read() == 1

    def begin(self, exchange: Exchange) -> None:
        """Counts a request in, and starts its span."""
        self.metrics.in_progress += 1
        if self.spans is not None:
            exchange.trace = self.spans.start(exchange.method, exchange.trace)

    def finish(self, exchange: Exchange, code: str, bytes_out: int = 0, *, failed: bool = False) -> None:
        """Counts a request out: metrics, its access line, the end of its span."""
        seconds = perf_counter() - exchange.started
        self.metrics.in_progress -= 1
        self.metrics.requests.at(exchange.route, exchange.method, code).add()
        self.metrics.request_seconds.at(exchange.route).observe(seconds)
        if self.settings.access_log and exchange.route not in PROBES:
            self._access_line(exchange, code, seconds, bytes_out, failed)
        if self.spans is not None and exchange.trace.span is not None:
            self.spans.end(exchange, code, failed, time.time_ns())

    def _access_line(self, exchange: Exchange, code: str, seconds: float, bytes_out: int, failed: bool) -> None:
        self.logs.writer.line(
            AccessLine(
                self.logs.timestamp(),
                "error" if failed else "info",
                self.settings.pattern,
                self.settings.service,
                exchange.request_id,
                exchange.trace.trace_id,
                exchange.method,
                exchange.route,
                code,
                round(seconds * 1e3, 3),
                exchange.bytes_in,
                bytes_out,
                exchange.model,
                exchange.error,
            )
        )
