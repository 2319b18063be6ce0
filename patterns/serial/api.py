"""The role `api` of the variant all_in_one: the same pipeline with all models in its own process.

It answers for the model `serial` as the proxy does, and for each of the four models by its own name.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from common.composition.backend import CompositionBackend
from common.composition.in_process import InProcessPredictor
from common.composition.predictor_health import HealthMonitor
from common.endpoints.backend import BackendWrapper, InferenceBackend, InferRequest, InferResponse, ModelHandle
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


class WithReader(BackendWrapper[Any]):
    """The models of this process, and the model that they are composed to."""

    def __init__(self, inner: InferenceBackend[Any], composed: CompositionBackend[Reader]) -> None:
        super().__init__(inner)
        self._composed = composed

    def models(self) -> Mapping[str, Sequence[str]]:
        return {**self.inner.models(), **self._composed.models()}

    def resolve(self, name: str, version: str | None = None) -> ModelHandle:
        model: ModelHandle = self._backend(name).resolve(name, version)
        return model

    def describe(self, name: str, version: str | None = None) -> ModelHandle:
        model: ModelHandle = self._backend(name).describe(name, version)
        return model

    async def infer(self, request: InferRequest[Any]) -> InferResponse:
        return await self._backend(request.model.name).infer(request)

    def _backend(self, name: str) -> InferenceBackend[Any]:
        return self._composed if name == Reader.name else self.inner


def create_process(settings: Settings, logs: Logs) -> ServiceProcess:
    """POST /read, the Open Inference Protocol for `serial` and for each of its models, and the page."""
    service = Service(settings, logs, samples=HERE / "samples")
    hosted = server.host_models(service, settings)
    models = zip(STAGES, settings.models, strict=True)
    stages = {stage: InProcessPredictor(hosted.backend, stage, model) for stage, model in models}
    monitor = HealthMonitor(stages)
    reader = Reader(service, settings, monitor, stages)
    composed = CompositionBackend([reader], service.health.failed_readiness_checks)
    predictor = server.Predictor(service, settings, hosted, WithReader(hosted.backend, composed))

    @asynccontextmanager
    async def running() -> AsyncIterator[None]:
        with reader.executor:
            async with predictor.running(), monitor.running():
                yield

    routers = [*predictor.routers, page_routes(HERE / "panel.js", service.samples)]
    direct: list[DirectRoute] = [*predictor.direct, ReadRoute(reader)]
    return ServiceProcess(build_app(service, routers=routers, direct=direct, resources=running))
