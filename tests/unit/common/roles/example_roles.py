"""Roles whose work is simple: a worker that works until it is told to stop, and jobs that end in several ways.

`python -m common.serve tests.unit.common.roles.example_roles`; the variable WORK says which.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

from common.http.fastapi_app import build_app
from common.observability.log import Logs
from common.roles.process import ServiceProcess
from common.service import Service
from common.settings import ServiceSettings


class Settings(ServiceSettings):
    """Which work to do."""

    work: Literal[
        "until told", "once", "fails", "raises", "ends early", "never stops", "cancelled", "stopped early"
    ] = "until told"


def create_process(settings: Settings, logs: Logs) -> ServiceProcess:
    """A process with an application that has health and metrics alone."""
    service = Service(settings, logs)

    async def work(stop: asyncio.Event) -> int:
        service.logs.log.info("work began")
        match settings.work:
            case "raises":
                raise RuntimeError("the work broke")
            case "fails":
                return 3
            case "until told":
                await stop.wait()
            case "cancelled":
                inner = asyncio.ensure_future(asyncio.sleep(60))
                asyncio.get_running_loop().call_soon(inner.cancel)
                await inner
            case "never stops":
                await asyncio.Event().wait()
        service.logs.log.info("work ended")
        return 0

    @asynccontextmanager
    async def resources() -> AsyncIterator[None]:
        if settings.work == "stopped early":
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(0.1)
        yield

    app = build_app(service, routers=[], resources=resources)
    return ServiceProcess(app, work, once=settings.work in ("once", "fails", "raises", "stopped early"))
