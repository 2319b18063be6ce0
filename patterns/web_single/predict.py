"""POST /predict: takes rows of named features, returns a label with probabilities, or a value, for each row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any

import msgspec
import numpy as np
import orjson

from common import RELEASE
from common.endpoints.backend import InferRequest
from common.errors import InvalidInput, NotFound
from common.http.reply import Reply
from common.inference.manifest import Feature, Manifest
from common.inference.onnx_backend import OnnxBackend
from common.inference.repository import LoadedModel
from common.protocol.json_body import Payload, check_json, decode_json
from common.protocol.rows import check_size, explain_error, rows_to_array
from common.protocol.tensors import Array
from common.request.capacity import LARGE
from common.request.context import Headers, RequestContext

PATH = "/predict"


class PredictRequest(msgspec.Struct):
    """Rows of named numbers."""

    instances: list[dict[str, float]]


_request = msgspec.json.Decoder(PredictRequest)


class PredictRoute:
    """Predicts with the newest version of one model, whose input must have named columns."""

    def __init__(self, backend: OnnxBackend, model: str, max_rows: int) -> None:
        self._backend, self._model, self._max_rows = backend, model, max_rows
        self._known: tuple[LoadedModel, Columns] | None = None

    def match(self, path: str) -> bool:
        return path == PATH

    async def handle(self, context: RequestContext, body: Payload) -> Reply:
        context.route = PATH
        model = self._backend.resolve(self._model)
        columns = self._columns(model)
        if len(body) <= LARGE:
            rows = self._decoded(context.headers, body, columns.names)
        else:
            rows = await context.in_thread(self._decoded, context.headers, body, columns.names)
        context.stages["decode"] = (perf_counter() - context.started) * 1e3
        response = await self._backend.infer(InferRequest(context, model, {model.inputs[0].name: rows}))
        start = perf_counter()
        answer = {
            "predictions": _predictions(model, response.outputs, rows, columns),
            "model_name": response.model_name,
            "model_version": response.model_version,
            "release": RELEASE,
        }
        encoded = orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
        context.hold(len(encoded))
        context.stages["encode"] = (perf_counter() - start) * 1e3
        return Reply(200, encoded)

    def _columns(self, model: LoadedModel) -> Columns:
        """The model's columns, prepared once for each version that is loaded."""
        if self._known is None or self._known[0] is not model:
            self._known = model, Columns(model.manifest)
        return self._known[1]

    def _decoded(self, headers: Headers, body: Payload, names: Sequence[str]) -> Array:
        check_size(body, names, self._max_rows)
        return self._rows(_instances(headers, body, names), names)

    def _rows(self, instances: Sequence[Mapping[str, float]], names: Sequence[str]) -> Array:
        """An FP32 array of shape [rows, features], its columns in the model's order."""
        if not 1 <= len(instances) <= self._max_rows:
            raise InvalidInput.at("instances", f"expected 1 to {self._max_rows} rows, got {len(instances)}")
        return rows_to_array(instances, names, exact=True)

    def document(self) -> dict[str, Any]:
        """The route's part of the OpenAPI document, with the features of the loaded model and a valid example."""
        loaded = next((one for one in self._backend.repository.loaded() if one.name == self._model), None)
        features = loaded.manifest.inputs[0].features if loaded else []
        return {"paths": {PATH: {"post": _operation(features, self._max_rows)}}, "components": {"schemas": {}}}


class Columns:
    """The named columns of a model's input, and the range of each in the training data.

    Raises NotFound for a model whose input has no named columns.
    """

    def __init__(self, manifest: Manifest) -> None:
        self.features: Sequence[Feature] = manifest.inputs[0].features
        if len(manifest.inputs) != 1 or not self.features:
            raise NotFound(
                f"model {manifest.name!r} has no named features; send requests to /v2/models/{manifest.name}/infer"
            )
        self.names = [feature.name for feature in self.features]
        lows = [-np.inf if one.minimum is None else one.minimum for one in self.features]
        highs = [np.inf if one.maximum is None else one.maximum for one in self.features]
        self._low, self._high = np.array(lows, np.float32), np.array(highs, np.float32)

    def warnings(self, rows: Array) -> dict[int, list[dict[str, str]]]:
        """The features outside the range of the training data, by row. Such a row still gets a prediction."""
        outside = (rows < self._low) | (rows > self._high)
        warnings: dict[int, list[dict[str, str]]] = {}
        if not outside.any():
            return warnings
        for row, column in np.argwhere(outside).tolist():
            one = self.features[column]
            reason = f"outside the range seen in training, {_range(one)}"
            warnings.setdefault(row, []).append({"field": one.name, "reason": reason})
        return warnings


def _range(feature: Feature) -> str:
    """The range of a feature in the training data, as text."""
    low, high = feature.minimum, feature.maximum
    if low is None or high is None:
        text = f"at least {low:g}" if low is not None else f"at most {high:g}" if high is not None else "not known"
    else:
        text = f"{low:g} to {high:g}"
    return f"{text} {feature.unit}".rstrip()


def _instances(headers: Headers, body: Payload, names: Sequence[str]) -> list[dict[str, float]]:
    check_json(headers)
    try:
        return decode_json(_request, body).instances
    except InvalidInput as error:
        raise explain_error(error, body, names, exact=True) from None


def _predictions(
    model: LoadedModel, outputs: Mapping[str, Array], rows: Array, columns: Columns
) -> list[dict[str, Any]]:
    manifest = model.manifest
    main = outputs[model.output_names[0]]
    if manifest.labels:
        best = main.argmax(axis=1)
        predictions: list[dict[str, Any]] = [
            {"label": manifest.labels[top], "probabilities": dict(zip(manifest.labels, row, strict=True))}
            for top, row in zip(best, main, strict=True)
        ]
    else:
        predictions = [{"value": value, "unit": manifest.unit} for value in main.reshape(len(rows))]
    for index, warnings in columns.warnings(rows).items():
        predictions[index]["warnings"] = warnings
    return predictions


def _operation(features: Sequence[Feature], max_rows: int) -> dict[str, Any]:
    row = {
        "type": "object",
        "properties": {one.name: _property(one) for one in features},
        "required": [one.name for one in features],
        "additionalProperties": False,
    }
    instances = {"type": "array", "minItems": 1, "maxItems": max_rows, "items": row}
    example = {"instances": [{one.name: one.example for one in features}]}
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


def _property(feature: Feature) -> dict[str, Any]:
    seen = f"seen in training: {feature.minimum} to {feature.maximum} {feature.unit}".rstrip()
    return {"type": "number", "description": f"{feature.description} ({seen})".strip()}
