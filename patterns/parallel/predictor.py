"""The role of a predictor that fetches: the stock predictor, which can be asked about items by their ids as well.

Beside each model X it serves X_by_item: the same outputs, and item ids as the one input.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from pydantic import Field

from common.api import build_app
from common.app import App
from common.exchange import Exchange
from common.feature_store import FeatureStore
from common.inference import server
from common.inference.dataplane import DataPlane
from common.inference.plane import Model
from common.inference.repository import Loaded
from common.inference.rest import InferRoute
from common.log import Logs
from common.page import page_routes
from common.protocol.tensors import Array, TensorSpec
from common.service import Service
from patterns.parallel.settings import BY_ITEM


class Settings(server.Settings):
    """The environment of a predictor that fetches."""

    redis_url: str = Field(min_length=1, description="The feature store.")
    store_timeout_seconds: float = Field(1.0, gt=0, description="How long the feature store may take.")


class ByItem:
    """A loaded model that takes item ids in place of features."""

    def __init__(self, loaded: Loaded) -> None:
        self.inputs, self.example = [TensorSpec("items", "BYTES", (-1,))], dict[str, Any]()
        self.loaded, self.name, self.version = loaded, loaded.name + BY_ITEM, loaded.version
        self.outputs, self.properties = loaded.outputs, loaded.properties
        self.features = loaded.manifest.inputs[0]


class FetchingPlane:
    """A plane of models and of their twins by item."""

    def __init__(self, plane: DataPlane, store: FeatureStore) -> None:
        self._plane, self._store = plane, store
        self.repository, self.platform, self.ready = plane.repository, plane.platform, plane.ready

    def names(self) -> list[str]:
        return [name + end for name in self._plane.names() for end in ("", BY_ITEM)]

    def versions(self, name: str) -> list[str]:
        return self._plane.versions(name.removesuffix(BY_ITEM))

    def get(self, name: str, version: str | None = None) -> Model:
        loaded = self._plane.get(name.removesuffix(BY_ITEM), version)
        return ByItem(loaded) if name.endswith(BY_ITEM) else loaded

    describe = get

    async def infer(
        self, exchange: Exchange, model: Any, inputs: dict[str, Array], wanted: Sequence[str] = ()
    ) -> Mapping[str, Array]:
        if not isinstance(model, ByItem):
            return await self._plane.infer(exchange, model, inputs, wanted)
        ids = [one.decode(errors="replace") for one in inputs["items"]]
        rows = await self._store.rows(exchange, ids, [one.name for one in model.features.features])
        return await self._plane.infer(exchange, model.loaded, {model.features.name: rows}, wanted)


def create_app(settings: Settings, logs: Logs) -> App:
    """The stock predictor's application on a plane that fetches."""
    service = Service(settings, logs)
    predictor = server.Predictor(service, settings)
    store = FeatureStore(settings.redis_url, settings.store_timeout_seconds)
    plane = FetchingPlane(predictor.plane, store)
    predictor.plane = plane  # type: ignore[assignment]  # the routes and gRPC take any plane

    @asynccontextmanager
    async def running() -> AsyncIterator[None]:
        async with store, predictor.running():
            yield

    routers = [*predictor.routers, page_routes()]
    return build_app(service, routers=routers, direct=[InferRoute(plane)], resources=running)
