"""A real server in a thread, set up as in an image, that a test can drain."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from common.http.app import App
from common.http.protocol import HttpProtocol
from common.http.server import DrainingServer, listen
from tests.unit.common.polling import PATIENCE_SECONDS


class RunningServer:
    """`url` is where it answers."""

    def __init__(
        self, app: App, keep_alive_seconds: int | None = None, port: int = 0, head_seconds: float | None = None
    ) -> None:
        listener = listen("127.0.0.1", port)
        self.app, self.port = app, listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._server = DrainingServer(app, listener)
        if keep_alive_seconds is not None:
            self._server.config.timeout_keep_alive = keep_alive_seconds
        if head_seconds is not None:
            self._server.head_seconds = head_seconds
        self.thread = threading.Thread(target=self._server.run, kwargs={"sockets": [listener]})

    def start(self) -> None:
        self.thread.start()
        end = time.monotonic() + PATIENCE_SECONDS
        while not self._server.started:
            assert self.thread.is_alive(), "the server did not start"
            assert time.monotonic() < end, "the server did not start in time"
            time.sleep(0.005)

    def pipelined(self) -> int:
        """The most requests that wait on one connection for the response to an earlier one."""
        connections = self._server.server_state.connections.copy()
        return max((len(one.pipeline) for one in connections if isinstance(one, HttpProtocol)), default=0)

    def unparsed(self) -> int:
        """The most bytes of requests that wait on one connection to be parsed."""
        connections = self._server.server_state.connections.copy()
        return max((len(one.unparsed.data) for one in connections if isinstance(one, HttpProtocol)), default=0)

    def drain(self) -> None:
        """What SIGTERM does."""
        self._server.handle_exit(15, None)

    def stop(self) -> None:
        """Drains, and returns when the server has ended."""
        self.drain()
        self.thread.join(PATIENCE_SECONDS)
        assert not self.thread.is_alive(), "the server did not stop"


@contextmanager
def served(
    app: App, keep_alive_seconds: int | None = None, port: int = 0, head_seconds: float | None = None
) -> Iterator[RunningServer]:
    """An application while it is served.

    Idle connections are kept for uvicorn's 5 s, or for `keep_alive_seconds`; a head may take 10 s, or `head_seconds`.
    """
    running = RunningServer(app, keep_alive_seconds, port, head_seconds)
    running.start()
    try:
        yield running
    finally:
        running.stop()
