"""Cross-origin requests (CORS): which pages of other sites may call this service from a browser."""

from __future__ import annotations

from collections.abc import Sequence

from common.http.reply import Reply
from common.request.context import Headers

Lines = list[tuple[bytes, bytes]]
_ALLOWED = (b"access-control-allow-methods", b"GET, POST, DELETE, OPTIONS"), (b"access-control-max-age", b"600")
_EXPOSED = (
    b"access-control-expose-headers",
    b"X-Request-ID, Server-Timing, Retry-After, Location, Inference-Header-Content-Length",
)


class Cors:
    """The origins that CORS_ORIGINS names; `*` is any origin. Credentials of the browser are never allowed."""

    def __init__(self, origins: Sequence[str]) -> None:
        self._any, self._origins = "*" in origins, {origin.encode() for origin in origins}

    def headers(self, request: Headers) -> Lines:
        """The headers to add to a response; none when the request is not from an allowed origin."""
        origin = request.get(b"origin")
        if origin is None or not (self._any or origin in self._origins):
            return []
        allowed = b"*" if self._any else origin
        return [(b"access-control-allow-origin", allowed), (b"vary", b"Origin"), _EXPOSED]

    def preflight(self, method: str, request: Headers) -> Reply | None:
        """The response to a browser that asks whether it may send a request; None for any other request."""
        if method != "OPTIONS" or b"access-control-request-method" not in request or not self.headers(request):
            return None
        wanted = request.get(b"access-control-request-headers", b"")
        return Reply(204, b"", headers=[*_ALLOWED, (b"access-control-allow-headers", wanted)])
