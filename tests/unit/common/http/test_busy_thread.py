"""A thread that is busy in Python, as one that decodes a large message, makes way for the event loop soon."""

from __future__ import annotations

import sys

from common.http.server import SWITCH_SECONDS
from tests.unit.common.http.example_app import example_app
from tests.unit.common.observability.captured_log import CapturedLog
from tests.unit.common.serving import served


def test_a_server_sets_how_long_a_busy_thread_goes_on() -> None:
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.005)  # Python's own
    try:
        with served(example_app(CapturedLog().service())):
            assert sys.getswitchinterval() <= 2 * SWITCH_SECONDS <= 0.002
    finally:
        sys.setswitchinterval(before)
