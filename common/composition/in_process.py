"""Models of this process, asked as predictors behind the network are: the same composition without the hops."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Self

from common.client import ModelMetadata, PredictorResponse
from common.endpoints.backend import InferenceBackend, Model
from common.errors import NotFound, UpstreamModelNotFound
from common.protocol.oip import check_inputs
from common.protocol.tensors import Array
from common.request.context import RequestContext, current
from common.request.deadline import Deadline


class InProcessPredictor:
    """One model of a backend under the name that it has in the composition."""

    def __init__(self, backend: InferenceBackend[Any], name: str, model: str) -> None:
        self.name = name
        self._plane, self._model, self._version = backend, model, ""

    async def infer(
        self,
        inputs: Mapping[str, Array],
        *,
        deadline: Deadline,
        outputs: Sequence[str] | None = None,
        headers: Mapping[str, str] | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> PredictorResponse:
        """As `PredictorClient.infer`; `headers` are not passed on, since there is nobody to pass it on to."""
        model = self._get()
        check_inputs(dict(inputs), model.inputs)
        asked = current.get()
        own = RequestContext(asked.method, asked.path, asked.request_id, asked.trace, deadline)
        own.request_parameters = parameters or {}
        found = await self._plane.infer(own, model, dict(inputs), outputs or ())
        return PredictorResponse(dict(found), model.name, model.version)

    async def metadata(self, *, deadline: Deadline) -> ModelMetadata:
        model = self._get()
        versions = tuple(self._plane.versions(self._model))
        return ModelMetadata(model.name, versions, tuple(model.inputs), tuple(model.outputs), model.properties)

    def pinned(self, version: str) -> Self:
        """The same, for one version of the model."""
        other = copy.copy(self)
        other._version = version
        return other

    def _get(self) -> Model:
        try:
            model: Model = self._plane.get(self._model, self._version)
        except NotFound as error:
            raise UpstreamModelNotFound(error.detail) from None
        return model
