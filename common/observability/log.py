"""JSON log lines on standard output, each with pattern and service, and within a request its id and trace id.

Lines are collected for up to 50 ms and written together, so that one system call writes many of them under load.
Warnings and errors are written at once.
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

from common.observability.redaction import redacted
from common.request.context import current

FLUSH_SECONDS = 0.05
LEVELS = {"debug": 0, "info": 1, "warning": 2, "error": 3, "critical": 4}


LogLine = Mapping[str, Any] | msgspec.Struct


class LineWriter:
    """Writes lines to a binary stream, several at once. Any thread may call it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lines: list[bytes] = []
        self._scheduled = False

    def line(self, line: LogLine) -> None:
        """Writes one JSON object as a line within FLUSH_SECONDS."""
        self.encoded(_encode(line))

    def encoded(self, encoded: bytes) -> None:
        """Writes a line that is JSON already."""
        self._lines.append(encoded)  # in one step with reading the attribute, since another thread may flush
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
        """Writes the collected lines now."""
        self._scheduled = False
        lines, self._lines = self._lines, []
        if lines:
            self._stream.write(b"\n".join([*lines, b""]))
            self._stream.flush()


_encoder = msgspec.json.Encoder(enc_hook=str)


def _encode(line: LogLine) -> bytes:
    try:
        return _encoder.encode(line)
    except (TypeError, ValueError, OverflowError):  # for example half a surrogate pair, or a very large number
        fields = line if isinstance(line, Mapping) else msgspec.structs.asdict(line)
        return _encoder.encode({name: ascii(value) for name, value in fields.items()})


class Log:
    """The logger of a service. An event is a constant; the values that vary are fields."""

    def __init__(self, writer: LineWriter, constant: Mapping[str, str], level: str, timestamp: Clock) -> None:
        self._writer, self._constant, self._timestamp = writer, constant, timestamp
        self._lowest_level = LEVELS[level]

    def info(self, event: str, **fields: Any) -> None:
        self._write("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        self._write("warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        self._write("error", event, fields)

    def exception(self, event: str, **fields: Any) -> None:
        """Logs an error with the traceback of the exception that is being handled."""
        self._write("error", event, {**fields, "exception": traceback.format_exc()})

    def _write(self, level: str, event: str, fields: Mapping[str, Any]) -> None:
        if LEVELS[level] < self._lowest_level:
            return
        context = current.get(None)
        request = {"request_id": context.request_id, "trace_id": context.trace.trace_id} if context else {}
        line = {"time": self._timestamp(), "level": level, "event": event, **self._constant, **request, **fields}
        self._writer.encoded(redacted(_encode(line).decode()).encode())
        if level != "info":
            self._writer.flush()


class Logs:
    """The logging of a process: its events, its access lines and the logs of its libraries, in one writer."""

    def __init__(self, pattern: str, service: str, level: str = "info", stream: BinaryIO | None = None) -> None:
        self.writer = LineWriter(stream or sys.stdout.buffer)
        self.constant = {"pattern": pattern, "service": service}
        self.timestamp = Clock()
        self.log = Log(self.writer, self.constant, level, self.timestamp)

    def take_over_stdlib(self) -> None:
        """Redirects the warnings and errors of libraries to this log. The entry point of a process calls it once."""
        logging.basicConfig(level=logging.WARNING, handlers=[_Handler(self.log)], force=True)


class _Handler(logging.Handler):
    """Logs the records of the standard library as events."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        fields = {"logger": record.name}
        try:
            event = record.getMessage()
        except Exception:  # the library passed arguments that do not fit its message
            event, fields["arguments"] = str(record.msg), repr(record.args)
        if record.exc_info and record.exc_info[1]:
            fields["exception"] = "".join(traceback.format_exception(record.exc_info[1]))
        write = self._log.error if record.levelno >= logging.ERROR else self._log.warning
        write(event, **fields)


class Clock:
    """The current time in UTC, as ISO 8601 with milliseconds. The text up to the second is cached."""

    def __init__(self) -> None:
        self._second, self._text = 0, ""

    def __call__(self) -> str:
        now = time()
        second = int(now)
        if second != self._second:
            self._second, self._text = second, datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return f"{self._text}.{int((now - second) * 1000):03d}+00:00"
