"""The proxy: it holds no model, calls predictors, and serves the Open Inference Protocol itself.

So every client of a predictor, another proxy for example, can be a client of a proxy.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import uuid4

from fastapi import APIRouter, Request

from common import RELEASE
from common.client import ClientLimits, PredictorClient
from common.client.predictor import Observe
from common.composition.predictor_health import HealthMonitor
from common.endpoints.backend import BackendWrapper, InferenceBackend, ModelHandle
from common.endpoints.oip_grpc import serve_grpc
from common.endpoints.oip_rest import InferRoute, model_routes
from common.errors import LoopDetected
from common.observability.metrics import Histogram
from common.page import sample_names
from common.request.context import current
from common.roles.proxy_settings import ProxySettings
from common.service import Service


class PredictorClients(dict[str, PredictorClient]):
    """The clients of the predictors in PREDICTORS, by name. The time of each call is a metric.

    `via` is the id of this process. Every call carries it, so that a proxy notices when it calls itself.
    """

    def __init__(self, service: Service, settings: ProxySettings) -> None:
        self.via = f"sp-{uuid4().hex[:16]}"
        self._addresses = settings.addresses()
        self._headers = {"Via": f"1.1 {self.via}"}
        if settings.predictor_api_key:
            self._headers["Authorization"] = f"Bearer {settings.predictor_api_key}"
        self._limits = ClientLimits(
            concurrency=settings.predictor_concurrency,
            queue=settings.predictor_queue,
            attempts=settings.predictor_attempts,
        )
        self._seconds = Histogram(
            service.metrics.registry,
            "serving_upstream_duration_seconds",
            "Time of a call to a predictor, with all its attempts.",
            ("predictor", "outcome"),
        )
        super().__init__(self._clients(self._limits))

    def clients_for_variant(self, suffix: str) -> dict[str, PredictorClient]:
        """Further clients of the same predictors, for the models whose names have this suffix. The caller closes them.

        They do not wait for `Retry-After`; the error goes to the caller instead, because what such a model lacks, a
        feature store for example, is not there any sooner.
        """
        return self._clients(replace(self._limits, wait_for_retry_after=False), suffix)

    def _clients(self, limits: ClientLimits, suffix: str = "") -> dict[str, PredictorClient]:
        return {
            name: PredictorClient(
                address.url,
                model=address.model + suffix,
                name=name,
                limits=limits,
                observe=self._observer(name),
                headers=self._headers,
            )
            for name, address in self._addresses.items()
        }

    def _observer(self, name: str) -> Observe:
        return lambda outcome, duration: self._seconds.labelled(name, outcome).observe(duration)


class LoopCheck(BackendWrapper[Any]):
    """Refuses the calls of this process to itself. `via` is its id."""

    def __init__(self, inner: InferenceBackend[Any], via: str) -> None:
        super().__init__(inner)
        self._via = via.encode()

    def resolve(self, name: str, version: str | None = None) -> ModelHandle:
        self._check()
        model: ModelHandle = self.inner.resolve(name, version)
        return model

    def describe(self, name: str, version: str | None = None) -> ModelHandle:
        self._check()
        model: ModelHandle = self.inner.describe(name, version)
        return model

    def _check(self) -> None:
        context = current.get(None)
        if context is not None and self._via in context.headers.get(b"via", b""):
            raise LoopDetected("the call came back to the proxy that made it: a circle; its PREDICTORS lists itself")


class Proxy:
    """The routes of a service that composes predictors, and the resources that they need.

    The service is ready when `needed` predictors are available; all of them when None.
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
        self._backend, self._monitor = LoopCheck(backend, predictors.via), monitor
        self.direct = [InferRoute(self._backend)]
        service.health.add_readiness_check(lambda: monitor.unready(needed))

    @property
    def routers(self) -> Sequence[APIRouter]:
        return [model_routes(self._backend, self._service.health), self._metadata_routes()]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """A context in which the predictors are polled and gRPC is served. Closes the connections at its end."""
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
                "predictors": [self._predictor_metadata(name) for name in self._predictors],
                "routes": list(request.app.openapi()["paths"]),
                "samples": sample_names(service.samples),
            }

        return router

    def _predictor_metadata(self, name: str) -> dict[str, Any]:
        reason, metadata = self._monitor.unavailable.get(name), self._monitor.metadata.get(name)
        found: dict[str, Any] = {"name": name, "ready": reason is None}
        if reason is not None:
            found["reason"] = reason
        if metadata is not None:
            found |= {"model": metadata.name, "versions": metadata.versions, "properties": metadata.properties}
        return found
