"""Entry point of every image: `python -m common.serve ROLE`, where ROLE is a module with `Settings` and `create_app`.

On SIGTERM: unready, wait until balancers have noticed, stop accepting, finish what is in flight, close, flush. Every
request that reached this process is answered, also one whose connection still waited to be accepted.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import importlib
import ipaddress
import math
import socket
import sys
from contextlib import suppress
from typing import Any

import uvicorn
from pydantic import ValidationError

from common.http.app import App
from common.http.protocol import HttpProtocol
from common.observability.log import Logs

TAKE_IN_SECONDS, LINGER_SECONDS, SILENT_SECONDS = 0.02, 0.25, 1.0
YOUNG_OBJECTS = 10_000  # before the collector looks at them: many requests in flight are no garbage


class DrainingServer(uvicorn.Server):
    """A server that goes quietly; the listening socket is handed in as `listener`."""

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
        self._app = app
        self._spare = listener.dup()  # keeps the kernel's queue of connections alive when the loop closes its own

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._app.service.requests_read = lambda: len(self.server_state.tasks)
        # What was made until now stays: the collector need not look at it again and again under load.
        gc.freeze()
        gc.set_threshold(YOUNG_OBJECTS)
        gc.enable()

    def handle_exit(self, sig: int, frame: Any) -> None:
        self._app.service.health.draining = True
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._app.service.logs.log.info("draining")
        await asyncio.sleep(self._app.service.settings.drain_delay_seconds)
        await self._stop_accepting()
        await self._hear_out()
        await super().shutdown(sockets)
        self._app.service.logs.log.info("stopped")

    async def _stop_accepting(self) -> None:
        """Closes the listener, and still takes over every connection that the kernel has let in, or half in."""
        for server in self.servers:
            server.close()
        await asyncio.sleep(0)
        refuse_new_connections(self._spare)
        await asyncio.sleep(TAKE_IN_SECONDS)
        self._spare.setblocking(False)
        queued = []
        try:
            while True:
                queued.append(self._spare.accept()[0])
        except BlockingIOError:
            self._spare.close()
        loop = asyncio.get_running_loop()
        for connection in queued:
            await loop.connect_accepted_socket(self._protocol, connection)

    async def _hear_out(self) -> None:
        """Gives callers the time to ask; those who have just connected, and not asked yet, some more of it.

        Answers now carry `Connection: close`; who is idle after this has nothing left to ask.
        """
        await asyncio.sleep(LINGER_SECONDS)
        for _ in range(math.ceil(SILENT_SECONDS / LINGER_SECONDS)):
            if all(getattr(one, "cycle", None) for one in self.server_state.connections):
                return
            await asyncio.sleep(LINGER_SECONDS)

    def _protocol(self) -> asyncio.Protocol:
        protocol: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]  # typed as any Protocol
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return protocol


def serve(app: App) -> None:
    """Serves an application until SIGTERM or SIGINT, then drains it."""
    listener = listen(app.service.settings.host, app.service.settings.http_port)
    DrainingServer(app, listener).run(sockets=[listener])
    app.service.logs.writer.flush()


def listen(host: str, port: int) -> socket.socket:
    """A bound socket; SystemExit, in one line, where the port is taken."""
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
    """Has the kernel refuse new connections and still bring those to their end that are half made.

    The listener moves to a device over which its callers do not come; what is half made is not looked up by device.
    """
    at_home = ipaddress.ip_address(listener.getsockname()[0].partition("%")[0]).is_loopback
    elsewhere = [name for _, name in socket.if_nameindex() if (name != "lo") == at_home]
    if hasattr(socket, "SO_BINDTODEVICE") and elsewhere:
        with suppress(PermissionError):  # Linux before 5.7
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, elsewhere[0].encode())


def main() -> None:
    """Reads the role's settings from the environment, builds its application and serves it."""
    gc.disable()  # until it serves: loading modules leaves nothing to collect
    if len(sys.argv) != 2:
        raise SystemExit(
            "usage: python -m common.serve ROLE, such as patterns.web_single.api or common.roles.predictor"
        )
    try:
        role = importlib.import_module(sys.argv[1])
        if not (hasattr(role, "Settings") and hasattr(role, "create_app")):
            raise SystemExit(f"no role {sys.argv[1]!r}: the module has no Settings and create_app")
        settings = role.Settings()
    except ModuleNotFoundError as error:
        raise SystemExit(f"no role {sys.argv[1]!r}: {error}") from None
    except ValidationError as error:
        wrong = "; ".join(f"{str(next(iter(one['loc']), 'settings')).upper()}: {one['msg']}" for one in error.errors())
        raise SystemExit(f"settings: {wrong}") from None
    logs = Logs(settings.pattern, settings.service, settings.log_level)
    logs.take_over_stdlib()
    serve(role.create_app(settings, logs))


if __name__ == "__main__":
    main()
