"""A predictor that fetches features: besides rows of features, it accepts the ids of items in the feature store.

For each model X it also serves X_by_item, with the same outputs and the item ids as its only input.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from pydantic import Field

from common.endpoints.backend import BackendWrapper, InferRequest, InferResponse, ModelHandle
from common.http.fastapi_app import build_app
from common.inference.onnx_backend import OnnxBackend
from common.inference.repository import LoadedModel
from common.observability.log import Logs
from common.page import page_routes
from common.protocol.tensors import TensorSpec
from common.roles import predictor as server
from common.roles.process import ServiceProcess
from common.service import Service
from patterns.parallel.feature_store import FeatureStore
from patterns.parallel.settings import BY_ITEM


class Settings(server.Settings):
    """The environment of a predictor that fetches."""

    redis_url: str = Field(min_length=1, description="The feature store.")
    store_timeout_seconds: float = Field(1.0, gt=0, description="Longest time for a call to the feature store.")


class ModelByItem:
    """A loaded model that takes the ids of items in place of their features."""

    def __init__(self, loaded: LoadedModel) -> None:
        self.inputs, self.example = [TensorSpec("items", "BYTES", (-1,))], dict[str, Any]()
        self.loaded, self.name, self.version = loaded, loaded.name + BY_ITEM, loaded.version
        self.outputs, self.properties = loaded.outputs, loaded.properties
        self.features = loaded.manifest.inputs[0]


class FetchingBackend(BackendWrapper[Any]):
    """Offers each model a second time, under a name that ends with BY_ITEM: it takes item ids and reads their features
    from the store."""

    def __init__(self, inner: OnnxBackend, store: FeatureStore) -> None:
        super().__init__(inner)
        self._store = store

    def models(self) -> Mapping[str, Sequence[str]]:
        return {name + end: versions for name, versions in self.inner.models().items() for end in ("", BY_ITEM)}

    def resolve(self, name: str, version: str | None = None) -> ModelHandle:
        loaded = self.inner.resolve(name.removesuffix(BY_ITEM), version)
        return ModelByItem(loaded) if name.endswith(BY_ITEM) else loaded

    describe = resolve

    async def infer(self, request: InferRequest[Any]) -> InferResponse:
        model = request.model
        if not isinstance(model, ModelByItem):
            return await self.inner.infer(request)
        ids = [one.decode(errors="replace") for one in request.inputs["items"]]
        columns = [one.name for one in model.features.features]
        rows = await self._store.rows(request.context, ids, columns)
        inputs = {model.features.name: rows}
        fetched = InferRequest(request.context, model.loaded, inputs, request.outputs, request.parameters)
        response = await self.inner.infer(fetched)
        return InferResponse(response.outputs, model.name, response.model_version, response.parameters)


def create_process(settings: Settings, logs: Logs) -> ServiceProcess:
    """A predictor whose backend fetches features."""
    service = Service(settings, logs)
    store = FeatureStore(settings.redis_url, settings.store_timeout_seconds)
    models = server.host_models(service, settings)
    predictor = server.Predictor(service, settings, models, FetchingBackend(models.backend, store))

    @asynccontextmanager
    async def running() -> AsyncIterator[None]:
        async with store, predictor.running():
            yield

    routers = [*predictor.routers, page_routes()]
    return ServiceProcess(build_app(service, routers=routers, direct=predictor.direct, resources=running))
