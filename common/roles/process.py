"""What a role creates: an application with health and metrics, and work that runs beside it, if there is any.

- A *server* has an application alone.
- A *worker* or an *agent* works until it is told to stop.
- A *job* works once; the process ends with its exit code.

All of them have the same settings, logs, health and drain, and `common/serve.py` runs them.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from math import ceil
from time import monotonic

from common.http.app import App
from common.http.server import DrainingServer, listen

Work = Callable[[asyncio.Event], Awaitable[int]]
"""Works until it is done, or until the event is set: then it finishes or gives back what it has begun, and returns.

It returns the exit code; 0 is success.
"""
FAILED = 1


@dataclass(frozen=True, slots=True)
class ServiceProcess:
    """`work` begins once the application's resources are open. `once`: it is a job, so its end ends the process."""

    app: App
    work: Work | None = None
    once: bool = False


def run(process: ServiceProcess) -> int:
    """Runs a process until SIGTERM or SIGINT, or until its job is done, and drains it. Gives the exit code."""
    settings = process.app.service.settings
    listener = listen(settings.host, settings.http_port)
    server = DrainingServer(process.app, listener) if process.work is None else WorkingServer(process, listener)
    server.run(sockets=[listener])
    process.app.service.logs.writer.flush()
    return server.exit_code if isinstance(server, WorkingServer) else 0


class WorkingServer(DrainingServer):
    """Serves the application of a worker, an agent or a job, and runs its work."""

    def __init__(self, process: ServiceProcess, listener: socket.socket) -> None:
        super().__init__(process.app, listener)
        assert process.work is not None
        self._work, self._once, self._service = process.work, process.once, process.app.service
        self._task: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()
        self.exit_code = 0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if not self.should_exit:  # the resources are open
            self._task = asyncio.create_task(self._run_work())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        began = monotonic()
        self._stop.set()
        await self._finish_work()
        left = self._service.settings.drain_timeout_seconds - (monotonic() - began)
        self.config.timeout_graceful_shutdown = max(1, ceil(left))  # for the connections: one timeout covers both
        await super().shutdown(sockets)

    async def _run_work(self) -> None:
        try:
            self.exit_code = await self._work(self._stop)
            if not self._once and not self._stop.is_set():
                self._service.logs.log.error("the work ended although no stop was requested", exit_code=self.exit_code)
                self.exit_code = self.exit_code or FAILED
        except Exception:
            self._service.logs.log.exception("the work failed")
            self.exit_code = FAILED
        except asyncio.CancelledError:  # by `_finish_work`, or by something that the work awaited
            self._service.logs.log.error("the work was cancelled")
            self.exit_code = FAILED
        self._service.health.draining = self.should_exit = True

    async def _finish_work(self) -> None:
        """Waits for the work within the drain timeout, then cancels it."""
        if self._task is None:
            if self._once:  # stopped before it began: the job is not done
                self.exit_code = FAILED
            return
        seconds = self._service.settings.drain_timeout_seconds
        _, unfinished = await asyncio.wait([self._task], timeout=seconds)
        if unfinished:
            self._service.logs.log.error("the work did not stop in time", seconds=seconds)
            self.exit_code = FAILED
            self._task.cancel()
            await asyncio.wait([self._task])
