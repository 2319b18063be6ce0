"""Offers to upgrade a connection, such as those of Java's HttpClient and of `curl --http2`, are not taken up.

RFC 9110, 7.8: a server ignores such an offer and answers the request. httptools treats everything behind its head as
another protocol, so the head is parsed once more without the offer, and what follows it is read as usual.
"""

from __future__ import annotations

from collections.abc import Iterable

OFFER = frozenset({b"upgrade", b"http2-settings"})  # headers, and their names among the values of `Connection`


def head_without_offer(method: bytes, target: bytes, version: str, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The head of a request without its offer. Names of headers are in lower case."""
    lines = [b"%b %b HTTP/%b" % (method, target, version.encode())]
    for name, value in headers:
        if name == b"connection":
            kept = [option for option in value.split(b",") if option.strip().lower() not in OFFER]
            if kept:
                lines.append(b"connection: " + b",".join(kept).strip())
        elif name not in OFFER:
            lines.append(name + b": " + value)
    return b"\r\n".join([*lines, b"", b""])
