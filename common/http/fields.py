"""The head of a request: its bounds, what RFC 9112 refuses, and header fields that come more than once."""

from __future__ import annotations

from collections.abc import Sequence

from common.http.limits import HEAD_TOO_LARGE, MOST_FIELDS, MOST_HEAD, Refusal
from common.request.context import Headers

NO_HOST = Refusal(400, "the request has no Host header, which HTTP/1.1 requires; send one")
UNKNOWN_CODING = Refusal(501, "expected a Transfer-Encoding of `chunked`; send that, or a Content-Length")
ONCE = frozenset(
    b"host authorization content-type content-length content-encoding transfer-encoding "
    b"x-request-timeout-seconds inference-header-content-length".split()
)
"""What a repeated field of these would mean depends on who reads it."""


def refusal_of(target: bytes, pairs: Sequence[tuple[bytes, bytes]], version: str, measured: bool) -> Refusal | None:
    """Why a head is refused, if it is. Its size is added up if it is `measured`."""
    size = sum(len(name) + len(value) + 4 for name, value in pairs) if measured else 0
    if len(pairs) > MOST_FIELDS or len(target) + size > MOST_HEAD:
        return HEAD_TOO_LARGE
    seen: set[bytes] = set()
    for name, value in pairs:
        if name in ONCE and name in seen:
            return Refusal(400, f"the header {name.decode()} comes more than once; send it once")
        if name == b"transfer-encoding" and value.strip().lower() != b"chunked":
            return UNKNOWN_CODING
        seen.add(name)
    return NO_HOST if b"host" not in seen and version not in ("1.0", "0.9") else None


def combined(pairs: Sequence[tuple[bytes, bytes]]) -> Headers:
    """The fields by name. The values of a repeated one are one list, as RFC 9110 (5.3) has it."""
    fields: dict[bytes, bytes] = {}
    for name, value in pairs:
        fields[name] = fields[name] + b", " + value if name in fields else value
    return fields
