"""JSON lines on standard output, each with pattern, service and, within a request, request id and trace id.

Lines are written at most every 50 ms: under load one system call carries many of them. A warning or an error is
written at once.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from time import time
from typing import Any, BinaryIO

import msgspec

from common.request.context import current

FLUSH_SECONDS = 0.05
LEVELS = {"debug": 0, "info": 1, "warning": 2, "error": 3, "critical": 4}


Line = Mapping[str, Any] | msgspec.Struct


class LineWriter:
    """A binary stream that takes whole lines from any thread and writes them together."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lines: list[bytes] = []
        self._scheduled = False

    def line(self, line: Line) -> None:
        """One JSON object as a line, soon."""
        encoded = _encode(line)
        self._lines.append(encoded)  # nothing may come between reading the list and this: another thread may take it
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
            self._stream.write(b"\n".join([*lines, b""]))
            self._stream.flush()


_encoder = msgspec.json.Encoder(enc_hook=str)


def _encode(line: Line) -> bytes:
    try:
        return _encoder.encode(line)
    except (TypeError, ValueError, OverflowError):  # half a surrogate pair, say, or a huge number: escaped, then
        fields = line if isinstance(line, Mapping) else msgspec.structs.asdict(line)
        return _encoder.encode({name: ascii(value) for name, value in fields.items()})


class Log:
    """What a service logs with: an event, which is a constant, and the fields that vary."""

    def __init__(self, writer: LineWriter, constant: Mapping[str, str], level: str, timestamp: Clock) -> None:
        self._writer, self._constant, self._timestamp = writer, constant, timestamp
        self._least = LEVELS[level]

    def info(self, event: str, **fields: Any) -> None:
        self._write("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        self._write("warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        self._write("error", event, fields)

    def exception(self, event: str, **fields: Any) -> None:
        """An error with the traceback of the exception that is being handled."""
        self._write("error", event, {**fields, "exception": traceback.format_exc()})

    def _write(self, level: str, event: str, fields: Mapping[str, Any]) -> None:
        if LEVELS[level] < self._least:
            return
        context = current.get(None)
        inside = {"request_id": context.request_id, "trace_id": context.trace.trace_id} if context else {}
        line = {"time": self._timestamp(), "level": level, "event": event, **self._constant, **inside, **fields}
        self._writer.line(line)
        if level != "info":
            self._writer.flush()


class Logs:
    """A process's logging: its own events, what its libraries log, and access lines meet in one writer."""

    def __init__(self, pattern: str, service: str, level: str = "info", stream: BinaryIO | None = None) -> None:
        self.writer = LineWriter(stream or sys.stdout.buffer)
        self.constant = {"pattern": pattern, "service": service}
        self.timestamp = Clock()
        self.log = Log(self.writer, self.constant, level, self.timestamp)

    def take_over_stdlib(self) -> None:
        """Sends warnings and errors that libraries log through here; called once, by a process's entry point."""
        logging.basicConfig(level=logging.WARNING, handlers=[_Handler(self.log)], force=True)


class _Handler(logging.Handler):
    """The standard library's records as events."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        fields = {"logger": record.name}
        try:
            event = record.getMessage()
        except Exception:  # a library's own mistake in its arguments is no reason to fail
            event, fields["arguments"] = str(record.msg), repr(record.args)
        if record.exc_info and record.exc_info[1]:
            fields["exception"] = "".join(traceback.format_exception(record.exc_info[1]))
        write = self._log.error if record.levelno >= logging.ERROR else self._log.warning
        write(event, **fields)


class Clock:
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
