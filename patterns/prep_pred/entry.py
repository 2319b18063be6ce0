"""The roles `prep` and `proxy`: one service, which prepares inputs itself unless PREDICTORS names a `prep`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from pydantic import Field, field_validator

from common.client import PredictorClient
from common.composition.backend import CompositionBackend
from common.composition.predictor_health import HealthMonitor
from common.http.fastapi_app import build_app
from common.inference.executor import BoundedExecutor
from common.observability.log import Logs
from common.page import page_routes
from common.roles.process import ServiceProcess
from common.roles.proxy import PredictorClients, Proxy
from common.roles.proxy_settings import Address, ProxySettings, addresses_in
from common.service import Service
from patterns.prep_pred.pairs import Pair
from patterns.prep_pred.predict import RawInputRoute
from patterns.prep_pred.preparing import Preparation

HERE = Path(__file__).parent


class Settings(ProxySettings):
    """The settings of `prep` and of `proxy`. A service that calls another `prep` ignores the last three."""

    model: str = Field("imagenet_lite0", pattern=r"\w", description="The models to offer, separated by commas.")
    predictors: str = Field(
        "", description="`prep=URL,predictor=URL`. No prep: inputs are prepared here. No predictor: returns tensors."
    )
    top_labels: int = Field(
        5, ge=1, description="Number of labels, the most probable ones, in a response of POST /predict."
    )
    model_repository: Path = Field(Path("models/build"), description="Folder of `<name>/<version>/model.yaml`.")
    prep_threads: int = Field(1, ge=1, description="Threads that prepare inputs; usually the CPU limit.")
    max_tensor_elements: int = Field(
        8_000_000, ge=1, description="Most tensor elements that the instances of one request may become."
    )

    @field_validator("predictors")
    @classmethod
    def _readable(cls, text: str) -> str:
        return text if not text or addresses_in(text) else ""

    @property
    def models(self) -> list[str]:
        return [name.strip() for name in self.model.split(",") if name.strip()]

    def addresses(self) -> dict[str, Address]:
        """The addresses of both halves of each model, by names such as `predictor.penguins`."""
        halves = super().addresses() if self.predictors else {}
        return {f"{half}.{model}": Address(at.url, model) for half, at in halves.items() for model in self.models}


def create_process(settings: Settings, logs: Logs) -> ServiceProcess:
    """Serves each model as one, wherever its preprocessing and its inference run."""
    service = Service(settings, logs, samples=HERE / "samples")
    predictors, executor = (
        PredictorClients(service, settings),
        BoundedExecutor(settings.prep_threads, metrics=service.metrics),
    )
    for model in settings.models:
        if (half := f"prep.{model}") not in predictors:
            here = Preparation(settings.model_repository / model, executor, settings.max_tensor_elements)
            predictors[half] = PredictorClient("", model=model, name=half, transport=here)
    monitor = HealthMonitor(predictors)
    pairs = {model: Pair(model, predictors, monitor) for model in settings.models}
    backend = CompositionBackend(list(pairs.values()), service.health.failed_readiness_checks)
    proxy = Proxy(service, settings, backend, predictors, monitor)
    service.health.add_readiness_check(lambda: next(filter(None, (pair.mismatch() for pair in pairs.values())), None))

    @asynccontextmanager
    async def running() -> AsyncIterator[None]:
        with executor:
            async with proxy.running():
                yield

    predict = RawInputRoute(backend, settings.top_labels)
    page = page_routes(HERE / "panel.js", service.samples)
    app = build_app(
        service,
        routers=[*proxy.routers, page] if settings.predictors else proxy.routers,
        direct=[*proxy.direct, predict] if settings.predictors else proxy.direct,
        resources=running,
    )
    return ServiceProcess(app)
