"""One idle timer for each connection. uvicorn starts and cancels one for each request, which costs more."""

from __future__ import annotations

import asyncio
from contextvars import Context

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class IdleTimedProtocol(HttpToolsProtocol):
    """Closes a connection that has been idle for the keep-alive time."""

    _idle_since: float

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        self._idle_since = self.loop.time()

    @property
    def idle_since(self) -> float | None:
        """Since when nobody waits for a response on this connection; None while somebody does."""
        busy = self.cycle is not None and not self.cycle.response_complete
        return None if busy or self.pipeline else self._idle_since

    def timeout_keep_alive_handler(self) -> None:
        self.timeout_keep_alive_task = None
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._start_idle_timer(left)
        elif self.cycle.response_complete:  # otherwise the response starts the timer again
            if self.transport.get_write_buffer_size():
                self.transport.abort()  # the client does not read
            else:
                super().timeout_keep_alive_handler()

    def _start_idle_timer(self, seconds: float) -> None:
        # an empty context: the current one would keep the request's objects alive until the timer fires
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler, context=Context())

    def _unset_keepalive_if_required(self) -> None:
        """Restarts the idle time; the parent calls this whenever bytes arrive."""
        self._idle_since = self.loop.time()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
