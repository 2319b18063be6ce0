"""Request bodies in memory: each bounded, and all of them together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

from common.errors import InvalidInput, Overloaded, PayloadTooLarge
from common.service import Service

SMALL = 65_536  # bytes; what a connection may hold without being counted, as its socket's buffer does
LONGEST_SIZE = 20  # digits


class BodyMemory:
    """The bound that all bodies of a process share, and the one that each has."""

    def __init__(self, service: Service) -> None:
        self._settings, self._rejected = service.settings, service.metrics.rejected
        self.held = 0

    def announced(self, headers: Mapping[bytes, bytes]) -> int | None:
        """The size that a request states, None where it states none. Raises PayloadTooLarge, InvalidInput."""
        stated = headers.get(b"content-length")
        if stated is None or not stated.isdigit():
            return None
        if len(stated) > LONGEST_SIZE:
            raise InvalidInput.at("Content-Length", f"expected at most {LONGEST_SIZE} digits")
        size = int(stated)
        if size > self._settings.max_body_bytes:
            self._refuse_size(size)
        return size

    def count(self, body: Body, more: int) -> None:
        """Counts what has come of a body. Raises PayloadTooLarge, Overloaded."""
        body.size += more
        if body.size > self._settings.max_body_bytes:
            self._refuse_size(body.size)
        if body.size > SMALL:
            self.held += body.size - body.held
            body.held = body.size
            if self.held > self._settings.max_buffered_bytes:
                self._rejected.labelled("bodies_full").inc()
                raise Overloaded("too many large requests are being read at once", retry_after=1)

    def release(self, body: Body) -> None:
        """Gives back what a body held."""
        self.held -= body.held
        body.held = 0

    def _refuse_size(self, size: int) -> NoReturn:
        self._rejected.labelled("body_too_large").inc()
        limit = self._settings.max_body_bytes
        raise PayloadTooLarge.at("body", f"expected at most {limit} bytes, got {size} or more")


class Body:
    """How much of one request's body has come, and how much of it is counted as held."""

    __slots__ = ("held", "size")

    def __init__(self) -> None:
        self.size = self.held = 0
