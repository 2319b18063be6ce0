"""The head of a request: its bounds, what RFC 9112 refuses, and header fields that come more than once."""

from __future__ import annotations

from collections.abc import Sequence

from common.http.limits import HEAD_TOO_LARGE, MOST_FIELDS, MOST_HEAD, Refusal

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
    if any(name == b"transfer-encoding" and value.strip().lower() != b"chunked" for name, value in pairs):
        return UNKNOWN_CODING
    if name := repeated(pairs):
        return Refusal(400, f"the header {name} comes more than once; send it once")
    hosted = version in ("1.0", "0.9") or any(name == b"host" for name, _ in pairs)
    return None if hosted else NO_HOST


def repeated(pairs: Sequence[tuple[bytes, bytes]]) -> str:
    """The name of a field that comes more than once and may not; empty if there is none."""
    seen: set[bytes] = set()
    for name, _ in pairs:
        if name in ONCE and name in seen:
            return name.decode()
        seen.add(name)
    return ""


def combined(pairs: Sequence[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """The fields by name. The values of a repeated one are one list, as RFC 9110 (5.3) has it."""
    fields: dict[bytes, bytes] = {}
    for name, value in pairs:
        fields[name] = fields[name] + b", " + value if name in fields else value
    return fields
