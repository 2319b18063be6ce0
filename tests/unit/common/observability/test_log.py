"""One valid JSON line an event, from wherever it is logged, in order and none lost."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from common.observability.log import FLUSH_SECONDS, LineWriter, Logs
from common.request.context import RequestContext, current
from common.request.deadline import Deadline
from common.request.trace import continue_trace
from tests.unit.common.observability.captured_log import CapturedLog
from tests.unit.common.polling import until


@pytest.fixture
def logged() -> CapturedLog:
    return CapturedLog()


@contextmanager
def taking_over(logged: CapturedLog) -> Iterator[None]:
    """What libraries log goes to `logged` alone; for a test's body, where pytest's own handlers are there too."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    root.handlers = []
    logged.logs.take_over_stdlib()
    try:
        yield
    finally:
        root.handlers = handlers
        root.setLevel(level)


def test_a_line_says_when_what_and_where(logged: CapturedLog) -> None:
    logged.logs.log.info("model ready", model="iris", rows=3)
    (line,) = logged.lines()
    assert datetime.now(UTC) - datetime.fromisoformat(line.pop("time")) < timedelta(minutes=1)
    assert line == {
        "level": "info", "event": "model ready", "model": "iris", "rows": 3,
        "pattern": "a_pattern", "service": "a_service",
    }  # fmt: skip


def test_a_log_line_within_a_request_has_its_ids(logged: CapturedLog) -> None:
    trace = continue_trace(None)
    token = current.set(RequestContext("POST", "/", "my-id", trace, Deadline.after(1)))
    try:
        logged.logs.log.warning("slow")
    finally:
        current.reset(token)
    (line,) = logged.lines()
    assert (line["request_id"], line["trace_id"]) == ("my-id", trace.trace_id)


def test_less_than_the_level_is_not_logged() -> None:
    logged = CapturedLog("warning")
    for level in ("info", "warning", "error"):
        getattr(logged.logs.log, level)("event")
    assert [line["level"] for line in logged.lines()] == ["warning", "error"]


def test_an_exception_is_logged_with_its_traceback_on_one_line(logged: CapturedLog) -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logged.logs.log.exception("it failed", model="iris")
    (line,) = logged.lines()
    assert (line["level"], line["model"]) == ("error", "iris")
    assert line["exception"].startswith("Traceback")
    assert "ValueError: two\nlines" in line["exception"]


class Unprintable:
    def __str__(self) -> str:
        return "half \ud800 a pair"


@pytest.mark.parametrize(
    "value",
    [
        "\n\r\t\u2028\x00", "é", "\ud800", 2**70, float("nan"), b"\xff", {1: 2}, {"a": {b"b"}}, object(), Unprintable(),
        np.float32(1), np.arange(3), np.array([2**63], object), ValueError("x"), ["\udcff"], None,
    ],
)  # fmt: skip
def test_a_line_is_written_whatever_value_it_has(logged: CapturedLog, value: Any) -> None:
    logged.logs.log.info("event", value=value, other=1)
    (line,) = logged.lines()
    assert (line["event"] in ("event", "'event'"), "value" in line) == (True, True)


def test_what_libraries_log_comes_as_such_lines(logged: CapturedLog) -> None:
    logger = logging.getLogger("some.library")
    with taking_over(logged):
        logger.info("not this")
        logger.warning("%d of %s", 3, "four")
        try:
            raise RuntimeError("broke")
        except RuntimeError:
            logger.exception("it failed")
    warning, error = logged.lines()
    assert (warning["event"], warning["level"], warning["logger"]) == ("3 of four", "warning", "some.library")
    assert (error["event"], error["level"], error["pattern"]) == ("it failed", "error", "a_pattern")
    assert "RuntimeError: broke" in error["exception"]


def test_a_librarys_invalid_log_call_raises_nothing(logged: CapturedLog) -> None:
    with taking_over(logged):
        logging.getLogger("some.library").error("%d pieces", "three")
    (line,) = logged.lines()
    assert line["event"] == "%d pieces"
    assert "three" in line["arguments"]


class Stream(io.BytesIO):
    """BatcherMetrics how often it is written to."""

    writes = 0

    def write(self, data: Any) -> int:
        self.writes += 1
        return super().write(data)


async def test_lines_of_a_moment_are_written_together_and_soon() -> None:
    stream = Stream()
    writer = LineWriter(stream)
    for number in range(100):
        writer.line({"number": number})
    assert stream.writes == 0
    await until(lambda: stream.writes, "the lines")
    assert stream.writes == 1
    assert [json.loads(line)["number"] for line in stream.getvalue().splitlines()] == list(range(100))
    assert FLUSH_SECONDS <= 0.1


async def test_an_error_is_written_at_once_and_takes_earlier_lines_along() -> None:
    stream = io.BytesIO()
    log = Logs("a_pattern", "a_service", "info", stream).log
    log.info("first")
    log.error("second")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["first", "second"]


def test_without_a_loop_a_line_is_written_at_once() -> None:
    stream = Stream()
    LineWriter(stream).line({"event": "alone"})
    assert stream.getvalue() == b'{"event":"alone"}\n'


async def test_lines_of_many_threads_are_whole_in_order_and_none_is_lost(logged: CapturedLog) -> None:
    log = logged.logs.log

    def write(thread: int) -> None:
        for number in range(300):
            (log.warning if number % 50 == 0 else log.info)("event", thread=thread, number=number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for number in range(300):
        log.info("event", thread="loop", number=number)
        if number % 10 == 0:
            await asyncio.sleep(0)
    for thread in threads:
        await asyncio.to_thread(thread.join)
    lines = logged.lines()
    for writer in (0, 1, 2, 3, "loop"):
        assert [line["number"] for line in lines if line["thread"] == writer] == list(range(300))
