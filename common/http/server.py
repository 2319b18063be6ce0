"""uvicorn's server with a drain that loses no request: its shutdown, and the listening socket it is given."""

from __future__ import annotations

import asyncio
import errno
import gc
import ipaddress
import math
import socket
import sys
from contextlib import suppress
from typing import Any

import uvicorn

from common.http.app import App
from common.http.limits import HEAD_SECONDS
from common.http.protocol import HttpProtocol

ACCEPT_SECONDS = 0.02  # for the kernel to finish handshakes under way
LINGER_SECONDS = 0.25  # for open connections to send a request, and learn from its response that they are to close
SILENT_SECONDS = 1.0  # the most that connections which have not sent a request yet get
TICKS_BETWEEN_CHECKS = 10  # of uvicorn's main loop, each of which takes 0.1 s
SWITCH_SECONDS = 0.001  # for a thread to make way for another; the event loop waits so long after each read and write
GC_THRESHOLD = 10_000  # young objects: requests in flight make many, and they are not garbage


class DrainingServer(uvicorn.Server):
    """Serves an application on a listening socket until it is told to stop, then drains it."""

    def __init__(self, app: App, listener: socket.socket) -> None:
        config = uvicorn.Config(
            app,
            interface="asgi3",
            loop="uvloop",
            http=HttpProtocol,
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=math.ceil(app.service.settings.drain_timeout_seconds),
        )
        super().__init__(config)
        self._app, self.head_seconds = app, HEAD_SECONDS
        self._spare = listener.dup()  # keeps the kernel's queue of connections when the event loop closes its own

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._app.service.requests_read = lambda: len(self.server_state.tasks)
        # What has been made until now stays, so the collector need not look at it again and again under load.
        gc.freeze()
        gc.set_threshold(GC_THRESHOLD)
        gc.enable()
        sys.setswitchinterval(SWITCH_SECONDS)

    async def on_tick(self, counter: int) -> bool:
        if counter % TICKS_BETWEEN_CHECKS == 0:
            now = asyncio.get_running_loop().time()
            for connection in self.server_state.connections.copy():
                if isinstance(connection, HttpProtocol):
                    connection.close_if_late(now, self.head_seconds)
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: Any) -> None:
        self._app.service.health.draining = True
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._app.service.logs.log.info("draining")
        await asyncio.sleep(self._app.service.settings.drain_delay_seconds)
        await self._stop_accepting()
        await self._linger()
        await super().shutdown(sockets)
        self._app.service.logs.log.info("stopped")

    async def _stop_accepting(self) -> None:
        """Closes the listener, and takes over every connection that the kernel has accepted or is accepting."""
        for server in self.servers:
            server.close()
        await asyncio.sleep(0)
        refuse_new_connections(self._spare)
        await asyncio.sleep(ACCEPT_SECONDS)
        self._spare.setblocking(False)
        queued = []
        try:
            while True:
                queued.append(self._spare.accept()[0])
        except BlockingIOError:
            self._spare.close()
        loop = asyncio.get_running_loop()
        for connection in queued:
            await loop.connect_accepted_socket(self._create_protocol, connection)

    async def _linger(self) -> None:
        """Waits for requests on open connections; longer for connections that have not sent one yet.

        Responses now carry `Connection: close`. A connection that is idle after this has nothing left to ask.
        """
        await asyncio.sleep(LINGER_SECONDS)
        for _ in range(math.ceil(SILENT_SECONDS / LINGER_SECONDS)):
            if all(getattr(one, "cycle", None) for one in self.server_state.connections):
                return
            await asyncio.sleep(LINGER_SECONDS)

    def _create_protocol(self) -> asyncio.Protocol:
        protocol: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]  # typed as any Protocol
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return protocol


def listen(host: str, port: int) -> socket.socket:
    """A bound socket. Raises SystemExit with the reason when the address cannot be bound."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        taken = error.errno == errno.EADDRINUSE
        raise SystemExit(
            f"cannot listen on {host}:{port}: {error.strerror}" + ("; choose another HTTP_PORT" if taken else "")
        ) from None
    return listener


def refuse_new_connections(listener: socket.socket) -> None:
    """Makes the kernel refuse new connections, and still complete those whose handshake has begun.

    It binds the listener to a network device that its clients do not use. The kernel looks the device up for new
    connections only. tests/drills/web_single/test_slow_handshakes.py fails without it.
    """
    on_loopback = ipaddress.ip_address(listener.getsockname()[0].partition("%")[0]).is_loopback
    others = [name for _, name in socket.if_nameindex() if (name != "lo") == on_loopback]
    if hasattr(socket, "SO_BINDTODEVICE") and others:
        with suppress(PermissionError):  # Linux before 5.7 asks for a capability
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, others[0].encode())
