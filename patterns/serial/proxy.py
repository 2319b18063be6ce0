"""The role `proxy`: reads pages by calling one predictor after the other. It holds no model itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from common.composition.backend import CompositionBackend
from common.composition.predictor_health import HealthMonitor
from common.http.app import DirectRoute
from common.http.fastapi_app import build_app
from common.observability.log import Logs
from common.page import page_routes
from common.roles.process import ServiceProcess
from common.roles.proxy import PredictorClients, Proxy
from common.service import Service
from patterns.serial.read import Reader, ReadRoute
from patterns.serial.settings import Settings

__all__ = ["Settings", "create_process"]
HERE = Path(__file__).parent


def create_process(settings: Settings, logs: Logs) -> ServiceProcess:
    """POST /read, the Open Inference Protocol and a page, in front of four predictors."""
    service = Service(settings, logs, samples=HERE / "samples")
    predictors = PredictorClients(service, settings)
    monitor = HealthMonitor(predictors)
    reader = Reader(service, settings, monitor, predictors)
    backend = CompositionBackend([reader], service.health.failed_readiness_checks)
    proxy = Proxy(service, settings, backend, predictors, monitor, needed=0)

    @asynccontextmanager
    async def running() -> AsyncIterator[None]:
        with reader.executor:
            async with proxy.running():
                yield

    routers = [*proxy.routers, page_routes(HERE / "panel.js", service.samples)]
    direct: list[DirectRoute] = [*proxy.direct, ReadRoute(reader)]
    return ServiceProcess(build_app(service, routers=routers, direct=direct, resources=running))
