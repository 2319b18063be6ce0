"""The backend of a proxy: models whose answers are made out of other services' answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

from common.endpoints.backend import InferRequest, InferResponse, ModelHandle
from common.errors import NotFound, NotReady, UpstreamFailed
from common.request.disconnect import cancel_on_disconnect


class ComposedModel(ModelHandle, Protocol):
    """A model whose answer is made out of other services' answers."""

    def undescribed(self) -> str | None:
        """Why its version, inputs and outputs are not known yet; None once they are."""

    async def infer(self, request: InferRequest[Any]) -> InferResponse:
        """All outputs, for inputs that have been checked against `inputs`."""


C = TypeVar("C", bound=ComposedModel)


class CompositionBackend(Generic[C]):
    """Composed models by name.

    `not_ready` gives the reasons why the service cannot answer now. `describe` raises NotReady with them, so that a
    proxy in another proxy's list counts as unavailable while it cannot answer itself.
    """

    platform = "serving-patterns_composition"

    def __init__(self, models: Sequence[C], not_ready: Callable[[], list[str]]) -> None:
        self._models = {model.name: model for model in models}
        self._not_ready = not_ready

    def models(self) -> Mapping[str, Sequence[str]]:
        return {name: [] if model.undescribed() else [model.version] for name, model in self._models.items()}

    def resolve(self, name: str, version: str | None = None) -> C:
        model = self._models.get(name)
        if model is None:
            raise NotFound(f"model {name!r} is not served here; the models are: {', '.join(self._models)}")
        if reason := model.undescribed():
            raise NotReady(reason, retry_after=1)
        if version and version != model.version:
            raise NotFound(f"version {version!r} of model {name!r} is not served here; the version is: {model.version}")
        return model

    def describe(self, name: str, version: str | None = None) -> C:
        model = self.resolve(name, version)
        if reasons := self._not_ready():
            raise NotReady("; ".join(reasons), retry_after=1)
        return model

    async def infer(self, request: InferRequest[C]) -> InferResponse:
        request.check_outputs()
        request.context.model = request.model.name
        async with cancel_on_disconnect(request.context):
            response = await request.model.infer(request)
        if request.outputs:
            for name in request.outputs:
                if name not in response.outputs:
                    raise UpstreamFailed(f"output {name!r} is missing, since its predictor has not answered")
            response.outputs = {name: response.outputs[name] for name in request.outputs}
        return response
