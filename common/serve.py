"""Entry point of every image: `python -m common.serve ROLE`, where ROLE is a module with `Settings` and `create_app`.

On SIGTERM: unready, wait until balancers have noticed, stop accepting, finish what is in flight, close, flush. Every
request that reached this process is answered, also one whose connection still waits to be accepted.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import gc
import importlib
import math
import socket
import struct
import sys
from contextlib import suppress
from typing import Any

import uvicorn
from pydantic import ValidationError

from common.app import App
from common.http_protocol import HttpProtocol
from common.log import Logs

TAKE_IN_SECONDS, LINGER_SECONDS = 0.05, 0.25
SO_ATTACH_FILTER = 26  # Linux; see its packet(7) and filter.h
DROP_SYN = [
    (0x30, 0, 0, 13),  # load the byte of a TCP header that holds its flags
    (0x45, 0, 1, 0x02),  # SYN?
    (0x06, 0, 0, 0),  # then drop it,
    (0x06, 0, 0, 0xFFFFFFFF),  # else keep it whole
]
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
        self._listener = listener

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
        turn_newcomers_away(self._listener)
        await asyncio.sleep(TAKE_IN_SECONDS)  # who had come before
        for server in self.servers:
            server.close()
        # Answers now carry `Connection: close`; what is idle after this moment has nothing left to ask.
        await asyncio.sleep(LINGER_SECONDS)
        await super().shutdown(sockets)
        self._app.service.logs.log.info("stopped")


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


def turn_newcomers_away(listener: socket.socket) -> None:
    """Lets the kernel drop what opens a connection, and nothing else: who gets no answer asks again, and is refused.

    Closing the listener instead would cut off those who have connected and wait to be accepted.
    """
    if sys.platform != "linux":
        return
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in DROP_SYN)
    program = ctypes.create_string_buffer(code, len(code))
    with suppress(OSError):  # a sandbox without packet filters
        listener.setsockopt(
            socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", len(DROP_SYN), ctypes.addressof(program))
        )


def main() -> None:
    """Reads the role's settings from the environment, builds its application and serves it."""
    gc.disable()  # until it serves: loading modules leaves nothing to collect
    if len(sys.argv) != 2:
        raise SystemExit(
            "usage: python -m common.serve ROLE, such as patterns.web_single.api or common.inference.server"
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
