"""The role `api` of the variant all_in_one: the same pipeline with all models in its own process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from common.api import build_app
from common.app import App
from common.composition.in_process import InProcess
from common.composition.watch import Watch
from common.inference import server
from common.log import Logs
from common.page import page_routes
from common.service import Service
from patterns.serial.read import Reader, ReadRoute
from patterns.serial.settings import STAGES, ReadingSettings

HERE = Path(__file__).parent


class Settings(ReadingSettings, server.Settings):
    """The environment of the `api` service; MODEL names one model for each stage, in their order."""


def create_app(settings: Settings, logs: Logs) -> App:
    """POST /read, the Open Inference Protocol for each model, and the page."""
    service = Service(settings, logs, samples=HERE / "samples")
    predictor = server.Predictor(service, settings)
    models = zip(STAGES, settings.models, strict=True)
    stages = {stage: InProcess(predictor.plane, stage, model) for stage, model in models}
    watch = Watch(stages)
    reader = Reader(service, settings, watch, stages)

    @asynccontextmanager
    async def running() -> AsyncIterator[None]:
        with reader.offload:
            async with predictor.running(), watch.running():
                yield

    routers = [*predictor.routers, page_routes(HERE / "panel.js", service.samples)]
    return build_app(service, routers=routers, direct=[*predictor.direct, ReadRoute(reader)], resources=running)
