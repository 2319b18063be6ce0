"""The role of a predictor that fetches: the stock predictor, which can be asked about items by their ids as well.

Beside each model X it serves X_by_item: the same outputs, and item ids as the one input.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from pydantic import Field

from common.endpoints.backend import Model
from common.endpoints.oip_rest import InferRoute
from common.http.api import build_app
from common.http.app import App
from common.inference.onnx_backend import OnnxBackend
from common.inference.repository import LoadedModel
from common.observability.log import Logs
from common.page import page_routes
from common.protocol.tensors import Array, TensorSpec
from common.request.context import RequestContext
from common.roles import predictor as server
from common.service import Service
from patterns.parallel.feature_store import FeatureStore
from patterns.parallel.settings import BY_ITEM


class Settings(server.Settings):
    """The environment of a predictor that fetches."""

    redis_url: str = Field(min_length=1, description="The feature store.")
    store_timeout_seconds: float = Field(1.0, gt=0, description="How long the feature store may take.")


class ByItem:
    """A loaded model that takes item ids in place of features."""

    def __init__(self, loaded: LoadedModel) -> None:
        self.inputs, self.example = [TensorSpec("items", "BYTES", (-1,))], dict[str, Any]()
        self.loaded, self.name, self.version = loaded, loaded.name + BY_ITEM, loaded.version
        self.outputs, self.properties = loaded.outputs, loaded.properties
        self.features = loaded.manifest.inputs[0]


class FetchingBackend:
    """A backend of models and of their twins by item."""

    def __init__(self, backend: OnnxBackend, store: FeatureStore) -> None:
        self._plane, self._store = backend, store
        self.repository, self.platform, self.ready = backend.repository, backend.platform, backend.ready

    def names(self) -> list[str]:
        return [name + end for name in self._plane.names() for end in ("", BY_ITEM)]

    def versions(self, name: str) -> list[str]:
        return self._plane.versions(name.removesuffix(BY_ITEM))

    def get(self, name: str, version: str | None = None) -> Model:
        loaded = self._plane.get(name.removesuffix(BY_ITEM), version)
        return ByItem(loaded) if name.endswith(BY_ITEM) else loaded

    describe = get

    async def infer(
        self, context: RequestContext, model: Any, inputs: dict[str, Array], wanted: Sequence[str] = ()
    ) -> Mapping[str, Array]:
        if not isinstance(model, ByItem):
            return await self._plane.infer(context, model, inputs, wanted)
        ids = [one.decode(errors="replace") for one in inputs["items"]]
        rows = await self._store.rows(context, ids, [one.name for one in model.features.features])
        return await self._plane.infer(context, model.loaded, {model.features.name: rows}, wanted)


def create_app(settings: Settings, logs: Logs) -> App:
    """The stock predictor's application on a backend that fetches."""
    service = Service(settings, logs)
    predictor = server.Predictor(service, settings)
    store = FeatureStore(settings.redis_url, settings.store_timeout_seconds)
    backend = FetchingBackend(predictor.backend, store)
    predictor.backend = backend  # type: ignore[assignment]  # the routes and gRPC take any backend

    @asynccontextmanager
    async def running() -> AsyncIterator[None]:
        async with store, predictor.running():
            yield

    routers = [*predictor.routers, page_routes()]
    return build_app(service, routers=routers, direct=[InferRoute(backend)], resources=running)
