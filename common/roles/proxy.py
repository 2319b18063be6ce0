"""The role of a proxy: it holds no model, composes predictors, and speaks the Open Inference Protocol itself.

Because it does, whatever can ask a predictor can ask a proxy: a client, or another proxy.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any, Protocol

from fastapi import APIRouter, Request

from common import RELEASE
from common.client import ClientLimits, PredictorClient
from common.client.predictor import Observe
from common.composition.flow import cancel_on_disconnect
from common.composition.predictor_health import HealthMonitor
from common.endpoints.backend import Model
from common.endpoints.oip_grpc import serve_grpc
from common.endpoints.oip_rest import InferRoute, model_routes
from common.errors import InvalidInput, NotFound, NotReady, UpstreamFailed
from common.observability.metrics import Histogram
from common.page import sample_names
from common.protocol.tensors import Array
from common.request.context import RequestContext
from common.roles.proxy_settings import ProxySettings
from common.service import Service


class Composed(Model, Protocol):
    """What a proxy answers as: one model whose answer is made out of others'."""

    async def infer(self, context: RequestContext, inputs: dict[str, Array]) -> Mapping[str, Array]:
        """All outputs by name, for inputs that have been checked against `inputs`."""


class CompositionBackend:
    """A backend with one model, the composition. It is asked whether its predictors are there or not.

    `lacks` says why it could not answer; so a proxy in another's list is away when it cannot answer itself.
    """

    platform = "serving-patterns_composition"

    def __init__(self, model: Composed, lacks: Callable[[], list[str]]) -> None:
        self._model, self._lacks = model, lacks

    def names(self) -> list[str]:
        return [self._model.name]

    def versions(self, name: str) -> list[str]:
        return [self._model.version]

    def ready(self) -> list[Composed]:
        return [self._model]

    def get(self, name: str, version: str | None = None) -> Composed:
        if name != self._model.name:
            raise NotFound(f"model {name!r} is not served here; there is {self._model.name}")
        if version and version != self._model.version:
            raise NotFound(f"model {name!r} has no version {version!r} here; there is {self._model.version}")
        return self._model

    def describe(self, name: str, version: str | None = None) -> Composed:
        model = self.get(name, version)
        if lacks := self._lacks():
            raise NotReady("; ".join(lacks), retry_after=1)
        return model

    async def infer(
        self, context: RequestContext, model: Composed, inputs: dict[str, Array], wanted: Sequence[str] = ()
    ) -> Mapping[str, Array]:
        names = [spec.name for spec in model.outputs]
        for name in wanted:
            if name not in names:
                raise InvalidInput.at("outputs", f"model {model.name!r} has no output {name!r}: {names}")
        context.model = model.name
        async with cancel_on_disconnect(context):
            outputs = await model.infer(context, inputs)
        if not wanted:
            return outputs
        for name in wanted:
            if name not in outputs:
                raise UpstreamFailed(f"output {name!r} is missing: its predictor gave no answer")
        return {name: outputs[name] for name in wanted}


class Predictors(dict[str, PredictorClient]):
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
        """The same predictors, each asked for the model whose name ends so as well; who asked for them closes them.

        A pause that a predictor asks for is left to the caller: what it lacks, such as a store, is not there sooner.
        """
        return self._clients(replace(self._limits, patient=False), ending)

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
    """A composition's routes, and what has to run beneath them. `needed` predictors make it ready, all when None."""

    def __init__(
        self,
        service: Service,
        settings: ProxySettings,
        model: Composed,
        predictors: Predictors,
        needed: int | None = None,
        monitor: HealthMonitor | None = None,
    ) -> None:
        self._service, self._settings, self._predictors = service, settings, predictors
        self.monitor = monitor or HealthMonitor(predictors)
        self.backend = CompositionBackend(model, service.health.failed_readiness_checks)
        self.direct = [InferRoute(self.backend)]
        service.health.add_readiness_check(lambda: self.monitor.unready(needed))

    @property
    def routers(self) -> Sequence[APIRouter]:
        return [model_routes(self.backend, self._service.health), self._metadata_routes()]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Watches the predictors and serves gRPC until left, then closes the connections."""
        settings = self._settings
        async with AsyncExitStack() as stack:
            for client in self._predictors.values():
                await stack.enter_async_context(client)
            await stack.enter_async_context(self.monitor.running())
            if settings.grpc_port:
                await stack.enter_async_context(
                    serve_grpc(self.backend, self._service, settings.host, settings.grpc_port)
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
                "predictors": [self._told(name) for name in self._predictors],
                "routes": list(request.app.openapi()["paths"]),
                "samples": sample_names(service.samples),
            }

        return router

    def _told(self, name: str) -> dict[str, Any]:
        reason, known = self.monitor.unavailable.get(name), self.monitor.metadata.get(name)
        told: dict[str, Any] = {"name": name, "ready": reason is None}
        if reason is not None:
            told["reason"] = reason
        if known is not None:
            told |= {"model": known.name, "versions": known.versions, "properties": known.properties}
        return told
