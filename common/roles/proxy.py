"""The role of a proxy: it holds no model, composes predictors, and speaks the Open Inference Protocol itself.

So whatever can ask a predictor can ask a proxy: a client, or another proxy.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request

from common import RELEASE
from common.client import ClientLimits, PredictorClient
from common.client.predictor import Observe
from common.composition.predictor_health import HealthMonitor
from common.endpoints.backend import InferenceBackend
from common.endpoints.oip_grpc import serve_grpc
from common.endpoints.oip_rest import InferRoute, model_routes
from common.observability.metrics import Histogram
from common.page import sample_names
from common.roles.proxy_settings import ProxySettings
from common.service import Service


class PredictorClients(dict[str, PredictorClient]):
    """A proxy's clients by name, as its settings list them; each call's time is counted."""

    def __init__(self, service: Service, settings: ProxySettings) -> None:
        self._addresses = settings.addresses()
        self._limits = ClientLimits(
            concurrency=settings.predictor_concurrency,
            queue=settings.predictor_queue,
            attempts=settings.predictor_attempts,
        )
        self._seconds = Histogram(
            service.metrics.registry,
            "serving_upstream_duration_seconds",
            "Time of a call to a predictor, all attempts together.",
            ("predictor", "outcome"),
        )
        super().__init__(self._clients(self._limits))

    def twins(self, ending: str) -> dict[str, PredictorClient]:
        """Clients of the same predictors, for the models whose names end in `ending`. The caller has to close them.

        They do not wait when a predictor sends Retry-After: what it lacks, such as a store, is not there any sooner.
        """
        return self._clients(replace(self._limits, wait_for_retry_after=False), ending)

    def _clients(self, limits: ClientLimits, ending: str = "") -> dict[str, PredictorClient]:
        return {
            name: PredictorClient(
                one.url, model=one.model + ending, name=name, limits=limits, observe=self._observer(name)
            )
            for name, one in self._addresses.items()
        }

    def _observer(self, name: str) -> Observe:
        return lambda outcome, duration: self._seconds.labelled(name, outcome).observe(duration)


class Proxy:
    """The routes of a service that composes predictors, and what has to run beneath them.

    `needed` predictors make it ready, all when None.
    """

    def __init__(
        self,
        service: Service,
        settings: ProxySettings,
        backend: InferenceBackend[Any],
        predictors: PredictorClients,
        monitor: HealthMonitor,
        needed: int | None = None,
    ) -> None:
        self._service, self._settings, self._predictors = service, settings, predictors
        self._backend, self._monitor = backend, monitor
        self.direct = [InferRoute(backend)]
        service.health.add_readiness_check(lambda: monitor.unready(needed))

    @property
    def routers(self) -> Sequence[APIRouter]:
        return [model_routes(self._backend, self._service.health), self._metadata_routes()]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Polls the predictors and serves gRPC until it is left, then closes the connections."""
        settings = self._settings
        async with AsyncExitStack() as stack:
            for client in self._predictors.values():
                await stack.enter_async_context(client)
            await stack.enter_async_context(self._monitor.running())
            if settings.grpc_port:
                await stack.enter_async_context(
                    serve_grpc(self._backend, self._service, settings.host, settings.grpc_port)
                )
            yield

    def _metadata_routes(self) -> APIRouter:
        router = APIRouter(tags=["operations"])
        service, settings = self._service, self._settings

        @router.get("/metadata", summary="What this service is and which predictors it composes")
        async def metadata(request: Request) -> dict[str, Any]:
            return {
                "pattern": settings.pattern,
                "service": settings.service,
                "release": RELEASE,
                "predictors": [self._described(name) for name in self._predictors],
                "routes": list(request.app.openapi()["paths"]),
                "samples": sample_names(service.samples),
            }

        return router

    def _described(self, name: str) -> dict[str, Any]:
        reason, known = self._monitor.unavailable.get(name), self._monitor.metadata.get(name)
        described: dict[str, Any] = {"name": name, "ready": reason is None}
        if reason is not None:
            described["reason"] = reason
        if known is not None:
            described |= {"model": known.name, "versions": known.versions, "properties": known.properties}
        return described
