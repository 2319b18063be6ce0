"""How the drills of every pattern load a row of tests/patterns/, and how they know its right answer.

A row starts on every runtime of its own; what the drills break is its entry, or one of the services behind it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import httpx
import orjson

from runtimes.base import Stack
from tests import load
from tests.patterns import ROWS as PATTERNS
from tests.rows import Row
from tests.support import direct_url

TIMEOUT = "X-Request-Timeout-Seconds"
SLACK = 1.5  # seconds that a busy machine may add to a deadline


@dataclass(frozen=True)
class Drilled:
    """A row under load, in `full_flow` after so many answers; what is `quick` starts at once on local processes."""

    row: Row
    full_flow: int = 60
    quick: bool = False

    def __str__(self) -> str:
        return self.row.id

    @property
    def pattern(self) -> str:
        return self.row.pattern

    @property
    def variant(self) -> str | None:
        return self.row.variant

    @property
    def entry(self) -> str:
        return self.row.entry

    @property
    def behind(self) -> Mapping[str, str]:
        return self.row.behind

    def request(self, **headers: str) -> bytes:
        """The request as it goes over the wire."""
        asked = self.row.requests[0]
        return load.request(asked.path, asked.content, media=asked.content_type, **headers)

    def is_right(self, body: bytes) -> bool:
        try:
            self.row.requests[0].check(orjson.loads(body))
        except (AssertionError, KeyError, ValueError):
            return False
        return True

    def ask(self, stack: Stack, seconds: float = 10) -> tuple[httpx.Response, float]:
        """The response of the entry to a request with that deadline, and after how many seconds it came."""
        asked = self.row.requests[0]
        headers = {"Content-Type": asked.content_type, TIMEOUT: str(seconds)}
        start = time.monotonic()
        url = direct_url(stack, self.entry) + asked.path
        response = httpx.post(url, headers=headers, timeout=seconds + 10, content=asked.content)
        return response, time.monotonic() - start

    def works(self, stack: Stack) -> bool:
        """Whether the entry gives the right answer."""
        try:
            response, _ = self.ask(stack)
        except httpx.TransportError:
            return False
        return response.status_code == 200 and self.is_right(response.content)


BY_NAME = {row.id: row for row in PATTERNS}
ROWS = [
    Drilled(BY_NAME["web_single"], quick=True),
    Drilled(BY_NAME["synchronous"], full_flow=20),
    Drilled(BY_NAME["prep_pred"]),
    Drilled(BY_NAME["prep_pred.proxy"]),
    Drilled(BY_NAME["serial"], full_flow=4),
    Drilled(BY_NAME["parallel"], quick=True),
]
