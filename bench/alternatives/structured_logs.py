"""web_single with its access line logged by structlog, in the configuration of structlog's page on performance.

That is: orjson renders, bytes are written, the logger is cached and filters by level
(https://www.structlog.org/en/stable/performance.html). `bytes_logger` writes each line as structlog does; `buffered`
leaves out the processors that an access line does not need and hands the bytes to our `LineWriter`, which writes many
lines with one system call.
"""

from __future__ import annotations

import logging
from typing import Any, Literal

import msgspec
import orjson
import structlog
from pydantic import Field

from bench.alternatives.web_single import process_of
from common.observability.log import LineWriter, Logs
from common.request.context import RequestContext
from common.roles.process import ServiceProcess
from common.service import Service
from patterns.web_single.settings import Settings as WebSettings


class Settings(WebSettings):
    """web_single's settings, and who writes the lines."""

    alternative: Literal["bytes_logger", "buffered"] = Field("bytes_logger", description="What writes the lines.")


class Buffered:
    """What structlog calls with a rendered line: our writer."""

    def __init__(self, writer: LineWriter) -> None:
        self._writer = writer

    def info(self, line: bytes) -> None:
        """Takes a line that is JSON already."""
        self._writer.line(msgspec.Raw(line))  # type: ignore[arg-type]  # encoded as it stands

    error = info


def configure(writer: LineWriter, buffered: bool) -> None:
    """Sets structlog up."""
    stamp, level = structlog.processors.TimeStamper(fmt="iso", utc=True), structlog.processors.add_log_level
    render = structlog.processors.JSONRenderer(serializer=orjson.dumps)
    before, after = structlog.contextvars.merge_contextvars, structlog.processors.format_exc_info
    structlog.configure(
        cache_logger_on_first_use=True,
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        processors=[level, stamp, render] if buffered else [before, level, after, stamp, render],
        logger_factory=(lambda *_: Buffered(writer)) if buffered else structlog.BytesLoggerFactory(),
    )


class StructuredService(Service):
    """A service whose access lines structlog writes."""

    logger: Any

    def _access_line(self, context: RequestContext, code: str, seconds: float, bytes_out: int, failed: bool) -> None:
        optional = {"model": context.model} if context.model else {}
        if context.error:
            optional["error"] = context.error
        log = self.logger.error if failed else self.logger.info
        log(
            "request",
            request_id=context.request_id,
            trace_id=context.trace.trace_id,
            method=context.method,
            route=context.route,
            status=code,
            milliseconds=round(seconds * 1e3, 3),
            bytes_in=context.bytes_in,
            bytes_out=bytes_out,
            **optional,
        )


def create_process(settings: Settings, logs: Logs) -> ServiceProcess:
    """web_single, its access lines by structlog."""
    configure(logs.writer, settings.alternative == "buffered")
    service = StructuredService(settings, logs)
    service.logger = structlog.get_logger().bind(pattern=settings.pattern, service=settings.service)
    return process_of(service, settings)
