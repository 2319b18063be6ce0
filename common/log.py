"""JSON lines on standard output, each with pattern, service and, within a request, request id and trace id.

Lines are joined and written at most every 50 ms: under load one system call carries many of them. A warning or an
error is written at once.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from time import time
from typing import Any, BinaryIO, Protocol

import orjson
import structlog

from common.exchange import current

FLUSH_SECONDS = 0.05


class LineWriter:
    """A binary stream that takes whole lines from any thread and writes them together."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lines: list[bytes] = []
        self._scheduled = False

    def line(self, fields: Mapping[str, Any]) -> None:
        """One JSON object as a line, soon."""
        self._lines.append(orjson.dumps(fields, default=str, option=orjson.OPT_APPEND_NEWLINE))
        if self._scheduled:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.flush()
            return
        self._scheduled = True
        loop.call_later(FLUSH_SECONDS, self.flush)

    def flush(self) -> None:
        """Writes what is waiting."""
        self._scheduled = False
        lines, self._lines = self._lines, []
        if lines:
            self._stream.write(b"".join(lines))
            self._stream.flush()


class Log(Protocol):
    """What a service logs with: an event and its fields."""

    def debug(self, event: str, **fields: Any) -> Any: ...
    def info(self, event: str, **fields: Any) -> Any: ...
    def warning(self, event: str, **fields: Any) -> Any: ...
    def error(self, event: str, **fields: Any) -> Any: ...
    def exception(self, event: str, **fields: Any) -> Any: ...


class Logs:
    """A process's logging: structlog events, the standard library's records and access lines meet in one writer."""

    def __init__(self, pattern: str, service: str, level: str = "info", stream: BinaryIO | None = None) -> None:
        self.writer = LineWriter(stream or sys.stdout.buffer)
        self.constant = {"pattern": pattern, "service": service}
        self.timestamp = _Clock()
        self._chain: list[structlog.typing.Processor] = [
            structlog.stdlib.add_log_level,
            self._context,
            structlog.processors.format_exc_info,
        ]
        self.log: Log = structlog.wrap_logger(
            None,
            processors=[*self._chain, self._write],
            wrapper_class=structlog.make_filtering_bound_logger(level),
        )
        self._level = level.upper()

    def take_over_stdlib(self) -> None:
        """Sends what libraries log through here as well; called once, by a process's entry point."""
        handler = logging.StreamHandler(_Discard())
        handler.setFormatter(
            structlog.stdlib.ProcessorFormatter(
                foreign_pre_chain=self._chain,
                processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, self._write_record],
            )
        )
        least = max(logging.WARNING, logging.getLevelName(self._level))
        logging.basicConfig(level=least, handlers=[handler], force=True)

    def _context(self, _: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        exchange = current.get(None)
        inside = {"request_id": exchange.request_id, "trace_id": exchange.trace.trace_id} if exchange else {}
        return {"time": self.timestamp(), **self.constant, **inside, **event}

    def _write(self, _: Any, method: str, event: structlog.typing.EventDict) -> str:
        self.writer.line(event)
        if method in ("warning", "error", "exception", "critical"):
            self.writer.flush()
        raise structlog.DropEvent

    def _write_record(self, _: Any, method: str, event: structlog.typing.EventDict) -> str:
        self.writer.line(event)
        self.writer.flush()
        return ""


class _Discard:
    """The stream of the standard library's handler, whose formatter has already written the line."""

    def write(self, _: str) -> None:
        return None

    def flush(self) -> None:
        return None


class _Clock:
    """Now as UTC, ISO 8601 with milliseconds; lines of one millisecond share the text."""

    def __init__(self) -> None:
        self._millisecond, self._text = 0, ""

    def __call__(self) -> str:
        now = time()
        millisecond = int(now * 1000)
        if millisecond != self._millisecond:
            self._text = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds")
            self._millisecond = millisecond
        return self._text
