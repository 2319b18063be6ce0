"""POST /predict: takes rows of named features, returns a label with probabilities, or values, for each row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any

import orjson

from common import RELEASE
from common.endpoints.backend import InferenceBackend, InferRequest, InferResponse, ready_models
from common.endpoints.large import decoded_inputs, encoded
from common.http.reply import Reply
from common.inference.manifest import Feature, Manifest
from common.inference.repository import LoadedModel
from common.protocol.json_body import Payload, check_json
from common.protocol.rows import check_size, columns_of
from common.protocol.tensors import Array, TensorSpec
from common.request.context import RequestContext
from patterns.web_single.columns import Columns, range_of

PATH = "/predict"
_JSON_TYPES = {"f": "number", "i": "integer", "u": "integer", "b": "boolean", "O": "string"}


class PredictRoute:
    """Predicts with the newest version of one model, whose inputs must have named columns."""

    def __init__(self, backend: InferenceBackend[LoadedModel], model: str, max_rows: int) -> None:
        self._backend, self._model, self._max_rows = backend, model, max_rows
        self._known: tuple[LoadedModel, Columns] | None = None

    def match(self, path: str) -> bool:
        return path == PATH

    async def handle(self, context: RequestContext, body: Payload) -> Reply:
        context.route = PATH
        model = self._backend.resolve(self._model)
        columns = self._columns(model)
        check_json(context.headers)
        inputs = await decoded_inputs(context, len(body), self._inputs, columns, body)
        context.stages["decode"] = (perf_counter() - context.started) * 1e3
        response = await self._backend.infer(InferRequest(context, model, inputs))
        start = perf_counter()
        size = columns.answer_size(response.outputs, len(next(iter(inputs.values()))))
        encoded_answer = await encoded(context, size, _encoded, columns, response, inputs)
        context.stages["encode"] = (perf_counter() - start) * 1e3
        return Reply(200, encoded_answer)

    def _columns(self, model: LoadedModel) -> Columns:
        """The model's columns, prepared once for each version that is loaded."""
        if self._known is None or self._known[0] is not model:
            self._known = model, Columns(model.manifest)
        return self._known[1]

    def _inputs(self, columns: Columns, body: Payload) -> dict[str, Array]:
        check_size(body, columns.names, self._max_rows)
        return columns.inputs(body, self._max_rows)

    def document(self) -> dict[str, Any]:
        """The route's part of the OpenAPI document, with the features of the loaded model and a valid example."""
        loaded = next((one for one in ready_models(self._backend) if one.name == self._model), None)
        features = _features(loaded.manifest) if loaded else []
        return {"paths": {PATH: {"post": _operation(features, self._max_rows)}}, "components": {"schemas": {}}}


def _encoded(columns: Columns, response: InferResponse, inputs: Mapping[str, Array]) -> bytes:
    answer = {
        "predictions": columns.predictions(response.outputs, inputs),
        "model_name": response.model_name,
        "model_version": response.model_version,
        "release": RELEASE,
    }
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)


def _features(manifest: Manifest) -> list[tuple[Feature, TensorSpec]]:
    """For each named column: its entry in the manifest, and the input tensor that it belongs to."""
    described = {(entry.name, one.name): one for entry in manifest.inputs for one in entry.features}
    return [
        (described.get((spec.name, name), Feature(name=name)), spec)
        for name, spec in columns_of(manifest.input_specs())
    ]


def _operation(features: Sequence[tuple[Feature, TensorSpec]], max_rows: int) -> dict[str, Any]:
    row = {
        "type": "object",
        "properties": {one.name: _property(one, spec) for one, spec in features},
        "required": [one.name for one, _ in features],
        "additionalProperties": False,
    }
    instances = {"type": "array", "minItems": 1, "maxItems": max_rows, "items": row}
    example = {"instances": [{one.name: one.example for one, _ in features}]}
    failures = {
        400: "A value is not valid; the response names it",
        404: "The model has no named features",
        415: "The body is not JSON",
        503: "Not ready or overloaded",
    }
    return {
        "tags": ["predict"],
        "summary": "Predict from named features",
        "operationId": "predict",
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"type": "object", "properties": {"instances": instances}, "required": ["instances"]},
                    "example": example,
                }
            },
        },
        "responses": {
            "200": {"description": "One prediction for each row"},
            **{str(code): {"description": text} for code, text in failures.items()},
        },
    }


def _property(feature: Feature, spec: TensorSpec) -> dict[str, Any]:
    kind = _JSON_TYPES[spec.dtype.kind]
    seen = ""
    if feature.minimum is not None or feature.maximum is not None:
        seen = f"(seen in training: {range_of(feature)})"
    return {"type": [kind, "null"] if spec.missing else kind, "description": f"{feature.description} {seen}".strip()}
