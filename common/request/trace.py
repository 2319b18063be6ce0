"""W3C trace context: read from a request's headers, continued with a span of this service, and sent along.

Format: https://www.w3.org/TR/trace-context/.
"""

from __future__ import annotations

import random
import re
from typing import Any

import msgspec

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?=-|\Z)")
_ZERO_TRACE, _ZERO_SPAN = "0" * 32, "0" * 16
_NOT_ZERO = 1 << 64 | 1  # sets one bit in either id, since ids of zeros are invalid


class Trace(msgspec.Struct):
    """A request's place in its trace: this service's span and the caller's."""

    trace_id: str
    span_id: str
    parent_id: str | None = None
    flags: str = "01"
    state: str = ""
    span: Any = None

    def header(self) -> str:
        """The `traceparent` header for the next service."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"


def continue_trace(traceparent: str | None, tracestate: str = "") -> Trace:
    """A span below the caller's, or the first span of a new trace when the header is absent or invalid."""
    fresh = f"{random.getrandbits(192) | _NOT_ZERO:048x}"
    found = _TRACEPARENT.match(traceparent) if traceparent else None
    if found is None or found[1] == _ZERO_TRACE or found[2] == _ZERO_SPAN:
        return Trace(fresh[:32], fresh[32:])
    return Trace(found[1], fresh[32:], found[2], found[3], tracestate)
