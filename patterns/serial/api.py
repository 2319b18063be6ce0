"""The role `api` of the variant all_in_one: the same pipeline with all models in its own process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from common.composition.in_process import InProcessPredictor
from common.composition.predictor_health import HealthMonitor
from common.http.app import DirectRoute
from common.http.fastapi_app import build_app
from common.observability.log import Logs
from common.page import page_routes
from common.roles import predictor as server
from common.roles.process import ServiceProcess
from common.service import Service
from patterns.serial.read import Reader, ReadRoute
from patterns.serial.settings import STAGES, ReadingSettings

HERE = Path(__file__).parent


class Settings(ReadingSettings, server.Settings):
    """The environment of the `api` service; MODEL names one model for each stage, in their order."""


def create_process(settings: Settings, logs: Logs) -> ServiceProcess:
    """POST /read, the Open Inference Protocol for each model, and the page."""
    service = Service(settings, logs, samples=HERE / "samples")
    hosted = server.host_models(service, settings)
    predictor = server.Predictor(service, settings, hosted)
    models = zip(STAGES, settings.models, strict=True)
    stages = {stage: InProcessPredictor(hosted.backend, stage, model) for stage, model in models}
    monitor = HealthMonitor(stages)
    reader = Reader(service, settings, monitor, stages)

    @asynccontextmanager
    async def running() -> AsyncIterator[None]:
        with reader.executor:
            async with predictor.running(), monitor.running():
                yield

    routers = [*predictor.routers, page_routes(HERE / "panel.js", service.samples)]
    direct: list[DirectRoute] = [*predictor.direct, ReadRoute(reader)]
    return ServiceProcess(build_app(service, routers=routers, direct=direct, resources=running))
