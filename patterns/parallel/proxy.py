"""The role `proxy`: calls several predictors at the same time with the same rows, and combines their predictions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import orjson

from common.composition.backend import CompositionBackend
from common.composition.predictor_health import HealthMonitor
from common.http.app import DirectRoute
from common.http.fastapi_app import build_app
from common.observability.log import Logs
from common.page import page_routes
from common.roles.process import ServiceProcess
from common.roles.proxy import PredictorClients, Proxy
from common.service import Service
from patterns.parallel.composition import Parallel
from patterns.parallel.ensemble import Ensemble, Limits
from patterns.parallel.feature_store import FeatureStore
from patterns.parallel.predict import EnsembleRoute
from patterns.parallel.settings import BY_ITEM, Settings
from patterns.parallel.stream import stream_routes

__all__ = ["Settings", "create_process"]

HERE = Path(__file__).parent


def create_process(settings: Settings, logs: Logs) -> ServiceProcess:
    """POST /predict, the same as a stream, the Open Inference Protocol and a page."""
    service = Service(settings, logs, samples=HERE / "samples")
    predictors = PredictorClients(service, settings)
    monitor = HealthMonitor(predictors)
    limits = Limits()
    if settings.strategy == "partial":
        limits = Limits(settings.predictor_timeout_seconds, settings.quorum, settings.quorum_classifiers)
    ensemble = Ensemble(monitor, predictors, limits)
    parallel = Parallel(ensemble, settings.aggregate, predictors.via)
    backend = CompositionBackend([parallel], service.health.failed_readiness_checks)
    proxy = Proxy(service, settings, backend, predictors, monitor, ensemble.needed)
    service.health.add_readiness_check(parallel.unavailable_reason)
    store = FeatureStore(settings.redis_url, settings.store_timeout_seconds) if settings.redis_url else None
    fetching = predictors.clients_for_variant(BY_ITEM) if settings.fetch == "predictors" else {}
    predict = EnsembleRoute(parallel, store, fetching, settings.predict_max_rows)

    @asynccontextmanager
    async def running() -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for client in fetching.values():
                await stack.enter_async_context(client)
            if store:
                await stack.enter_async_context(_filled(service, store))
            await stack.enter_async_context(proxy.running())
            yield

    routers = [stream_routes(predict), *proxy.routers, page_routes(HERE / "panel.js", service.samples)]
    direct: list[DirectRoute] = [predict, *proxy.direct]
    return ServiceProcess(build_app(service, routers=routers, direct=direct, resources=running))


@asynccontextmanager
async def _filled(service: Service, store: FeatureStore) -> AsyncIterator[None]:
    """Fills the store with the samples. In production, a data pipeline would do so."""
    samples = orjson.loads((HERE / "samples" / "iris.json").read_bytes())
    service.health.add_readiness_check(lambda: None if store.filled else "the feature store has not been filled yet")
    async with store:
        filling = asyncio.create_task(store.keep_filled(samples["columns"], samples["items"]))
        yield
        filling.cancel()
