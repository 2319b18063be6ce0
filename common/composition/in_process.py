"""Models of this process behind the interface of a predictor, so that a composition runs without the network."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Self

from common.client import ModelMetadata, PredictorResponse
from common.endpoints.backend import InferenceBackend, InferRequest, ModelHandle
from common.errors import NotFound, UpstreamModelNotFound
from common.protocol.oip import check_inputs
from common.protocol.tensors import Array
from common.request.context import RequestContext, current
from common.request.deadline import Deadline


class InProcessPredictor:
    """One model of a backend; `name` is the predictor's name in the composition."""

    def __init__(self, backend: InferenceBackend[Any], name: str, model: str) -> None:
        self.name = name
        self._backend, self._model, self._version = backend, model, ""

    async def infer(
        self,
        inputs: Mapping[str, Array],
        *,
        deadline: Deadline,
        outputs: Sequence[str] | None = None,
        headers: Mapping[str, str] | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> PredictorResponse:
        """The same as `PredictorClient.infer`. `headers` are ignored, since nothing is sent."""
        model = self._resolve()
        check_inputs(dict(inputs), model.inputs)
        caller = current.get()
        context = RequestContext(caller.method, caller.path, caller.request_id, caller.trace, deadline)
        request = InferRequest(context, model, dict(inputs), outputs or (), parameters or {})
        response = await self._backend.infer(request)
        return PredictorResponse(dict(response.outputs), response.model_name, response.model_version)

    async def metadata(self, *, deadline: Deadline) -> ModelMetadata:
        """The model's metadata. Raises UpstreamModelNotFound, NotReady."""
        model = self._resolve()
        versions = tuple(self._backend.models()[self._model])
        return ModelMetadata(model.name, versions, tuple(model.inputs), tuple(model.outputs), model.properties)

    def pinned(self, version: str) -> Self:
        """The same predictor for one version of the model."""
        other = copy.copy(self)
        other._version = version
        return other

    def _resolve(self) -> ModelHandle:
        try:
            model: ModelHandle = self._backend.resolve(self._model, self._version)
        except NotFound as error:
            raise UpstreamModelNotFound(error.detail) from None
        return model
