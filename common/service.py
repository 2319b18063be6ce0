"""What a process has one of, and what it notes of each request, whichever protocol brought it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from time import perf_counter

from common.exchange import Exchange
from common.health import Health
from common.log import Logs
from common.metrics import Metrics
from common.settings import ServiceSettings
from common.tracing import Spans


@dataclass
class Service:
    """A process's settings, logs, health, metrics and, where an exporter is configured, spans."""

    settings: ServiceSettings
    logs: Logs
    health: Health = field(default_factory=Health)
    metrics: Metrics = field(default_factory=Metrics)
    spans: Spans | None = None

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
        if self.settings.access_log:
            self._access_line(exchange, code, seconds, bytes_out, failed)
        if self.spans is not None and exchange.trace.span is not None:
            self.spans.end(exchange, code, failed, time.time_ns())

    def _access_line(self, exchange: Exchange, code: str, seconds: float, bytes_out: int, failed: bool) -> None:
        line = {
            "time": self.logs.timestamp(),
            "level": "error" if failed else "info",
            "event": "request",
            **self.logs.constant,
            "request_id": exchange.request_id,
            "trace_id": exchange.trace.trace_id,
            "method": exchange.method,
            "route": exchange.route,
            "status": code,
            "milliseconds": round(seconds * 1e3, 3),
            "bytes_in": exchange.bytes_in,
            "bytes_out": bytes_out,
        }
        if exchange.model:
            line["model"] = exchange.model
        if exchange.error:
            line["error"] = exchange.error
        self.logs.writer.line(line)
