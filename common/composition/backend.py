"""The inference backend of a proxy: its models compute their outputs by calling other services."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

from common.endpoints.backend import InferRequest, InferResponse, ModelHandle
from common.errors import NotFound, NotReady, UpstreamFailed, shortened
from common.request.disconnect import cancel_on_disconnect


class ComposedModel(ModelHandle, Protocol):
    """A model that computes its outputs by calling other services."""

    def unavailable_reason(self) -> str | None:
        """The reason why its version, inputs and outputs are not known yet; None once they are known."""

    async def infer(self, request: InferRequest[Any]) -> InferResponse:
        """Computes all outputs. The inputs have been checked against `self.inputs`."""


C = TypeVar("C", bound=ComposedModel)


class CompositionBackend(Generic[C]):
    """Composed models by name.

    `not_ready` returns the reasons why the service is not ready. `describe` raises NotReady with them, so that a proxy
    which calls this one counts it as unavailable.
    """

    platform = "serving-patterns_composition"

    def __init__(self, models: Sequence[C], not_ready: Callable[[], list[str]]) -> None:
        self._models = {model.name: model for model in models}
        self._not_ready = not_ready

    def models(self) -> Mapping[str, Sequence[str]]:
        return {name: [] if model.unavailable_reason() else [model.version] for name, model in self._models.items()}

    def resolve(self, name: str, version: str | None = None) -> C:
        model = self._models.get(name)
        if model is None:
            raise NotFound(f"model {shortened(name)} is not served here; the models are: {', '.join(self._models)}")
        if reason := model.unavailable_reason():
            raise NotReady(reason, retry_after=1)
        if version and version != model.version:
            raise NotFound(
                f"version {shortened(version)} of model {name!r} is not served here; the version is: {model.version}"
            )
        return model

    def describe(self, name: str, version: str | None = None) -> C:
        model = self.resolve(name, version)
        if reasons := self._not_ready():
            raise NotReady("; ".join(reasons), retry_after=1)
        return model

    async def infer(self, request: InferRequest[C]) -> InferResponse:
        request.check_output_names()
        request.context.model = request.model.name
        async with cancel_on_disconnect(request.context):
            response = await request.model.infer(request)
        if request.outputs:
            for name in request.outputs:
                if name not in response.outputs:
                    raise UpstreamFailed(f"output {name!r} is missing, since its predictor did not respond")
            wanted = {name: response.outputs[name] for name in request.outputs}
            return InferResponse(wanted, response.model_name, response.model_version, response.parameters)
        return response
