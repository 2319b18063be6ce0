"""Roles whose work is simple: a worker that works until it is told to stop, and jobs that end in several ways.

`python -m common.serve tests.unit.common.roles.example_roles`; the variable WORK says which.
"""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from typing import Literal

from common.http.fastapi_app import build_app
from common.observability.log import Logs
from common.roles.process import ServiceProcess
from common.service import Service
from common.settings import ServiceSettings


class Settings(ServiceSettings):
    """Which work to do."""

    work: Literal["until told", "once", "fails", "raises", "ends early", "never stops"] = "until told"


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
            case "never stops":
                await asyncio.Event().wait()
        service.logs.log.info("work ended")
        return 0

    app = build_app(service, routers=[], resources=nullcontext)
    return ServiceProcess(app, work, once=settings.work in ("once", "fails", "raises"))
