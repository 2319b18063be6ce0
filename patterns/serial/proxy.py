"""The role `proxy`: reads pages by asking one predictor after the other, and holds no model itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from common.api import build_app
from common.app import App
from common.composition.proxy import Predictors, Proxy
from common.composition.watch import Watch
from common.log import Logs
from common.page import page_routes
from common.service import Service
from patterns.serial.read import Reader, ReadRoute
from patterns.serial.settings import Settings

__all__ = ["Settings", "create_app"]
HERE = Path(__file__).parent


def create_app(settings: Settings, logs: Logs) -> App:
    """POST /read, the Open Inference Protocol and a page, in front of four predictors."""
    service = Service(settings, logs, samples=HERE / "samples")
    predictors = Predictors(service, settings)
    watch = Watch(predictors)
    reader = Reader(service, settings, watch, predictors)
    proxy = Proxy(service, settings, reader, predictors, needed=0, watch=watch)

    @asynccontextmanager
    async def running() -> AsyncIterator[None]:
        with reader.offload:
            async with proxy.running():
                yield

    routers = [*proxy.routers, page_routes(HERE / "panel.js", service.samples)]
    return build_app(service, routers=routers, direct=[*proxy.direct, ReadRoute(reader)], resources=running)
