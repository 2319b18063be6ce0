"""The role `proxy`: reads pages by asking one predictor after the other, and holds no model itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from common.composition.predictor_health import HealthMonitor
from common.http.api import build_app
from common.http.app import App
from common.observability.log import Logs
from common.page import page_routes
from common.roles.proxy import Predictors, Proxy
from common.service import Service
from patterns.serial.read import Reader, ReadRoute
from patterns.serial.settings import Settings

__all__ = ["Settings", "create_app"]
HERE = Path(__file__).parent


def create_app(settings: Settings, logs: Logs) -> App:
    """POST /read, the Open Inference Protocol and a page, in front of four predictors."""
    service = Service(settings, logs, samples=HERE / "samples")
    predictors = Predictors(service, settings)
    monitor = HealthMonitor(predictors)
    reader = Reader(service, settings, monitor, predictors)
    proxy = Proxy(service, settings, reader, predictors, needed=0, monitor=monitor)

    @asynccontextmanager
    async def running() -> AsyncIterator[None]:
        with reader.executor:
            async with proxy.running():
                yield

    routers = [*proxy.routers, page_routes(HERE / "panel.js", service.samples)]
    return build_app(service, routers=routers, direct=[*proxy.direct, ReadRoute(reader)], resources=running)
