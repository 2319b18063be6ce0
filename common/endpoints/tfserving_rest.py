"""TensorFlow Serving over HTTP: `predict`, `classify` and `regress` as direct routes, all others on FastAPI."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any, NamedTuple

import msgspec
import numpy as np
from fastapi import APIRouter
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from common.endpoints.backend import InferenceBackend, InferRequest, ModelHandle, ready_models
from common.endpoints.large import decoded, encoded, rows_size
from common.endpoints.tfserving import (
    CLASSIFY,
    FILES_SIGNATURE,
    PREDICT,
    REGRESS,
    accepts_examples,
    check_signature,
    classes,
    columns,
    decoded_examples,
    file_names,
    find_model,
    infer_files,
    row_answers,
    rows,
    signatures,
    status,
    takes_files,
    values,
)
from common.errors import InvalidInput, NotFound
from common.http.reply import Reply
from common.preprocessing.items import ItemPreparer
from common.protocol import tfserving
from common.protocol.json_body import Payload
from common.protocol.oip import check_inputs
from common.protocol.rows import check_size
from common.protocol.stated import json_size
from common.protocol.tensors import Array
from common.request.context import RequestContext

_PREFIX = "/v1/models/"
_VERSION_PATHS = ("", "/versions/{version}", "/labels/{label}")
_METHODS = (PREDICT, CLASSIFY, REGRESS)
_SUFFIXES = tuple(f":{method}" for method in _METHODS)
_PATH = re.compile(
    r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>[^/:]+)|/labels/(?P<label>[^/:]+))?:(?P<method>\w+)"
)


class _Target(NamedTuple):
    """What a path names."""

    model: ModelHandle
    method: str


class _Predict(NamedTuple):
    """A request to :predict: tensors by name, or files."""

    by_row: bool
    inputs: dict[str, Array]
    files: list[bytes] | None = None


class TfServingRoute:
    """POST /v1/models/{model}[/versions/{version}|/labels/{label}]:predict, :classify and :regress.

    The content type is ignored, as TensorFlow Serving does: its documentation uses `curl -d`, which states another one.
    With `items`, models of pictures take JPEG and PNG files as `{"b64": ...}` where others take tensors.
    """

    def __init__(self, backend: InferenceBackend[Any], items: ItemPreparer | None = None) -> None:
        self._backend, self._items = backend, items

    def match(self, path: str) -> bool:
        return path.startswith(_PREFIX) and path.endswith(_SUFFIXES)

    async def handle(self, context: RequestContext, body: Payload) -> Reply:
        target = self._parse_path(context)
        if target.method == PREDICT:
            return await self._predict(context, target.model, body)
        return await self._examples(context, target, body)

    def _parse_path(self, context: RequestContext) -> _Target:
        """The model and the method; also sets the context's route. Raises NotFound, NotReady, InvalidInput."""
        match = _PATH.fullmatch(context.path)
        if match is None:
            raise NotFound(
                f"no path {context.path[:100]!r}; expected /v1/models/NAME:predict (or :classify, :regress), "
                "with /versions/N after NAME for a version"
            )
        version_path = _VERSION_PATHS[1 if match["version"] else 2 if match["label"] else 0]
        context.route = f"{_PREFIX}{{model}}{version_path}:{match['method']}"
        return _Target(find_model(self._backend, match["name"], match["version"], match["label"]), match["method"])

    async def _predict(self, context: RequestContext, model: ModelHandle, body: Payload) -> Reply:
        takes = takes_files(self._items, model)
        asked = await decoded(context, len(body), _decode_predict, model, takes, body, context.most_rows)
        context.hold(_size(asked))
        if asked.files is not None and self._items is not None:
            response = await infer_files(self._backend, self._items, InferRequest(context, model, {}), asked.files)
        else:
            context.stages["decode"] = (perf_counter() - context.started) * 1e3
            response = await self._backend.infer(InferRequest(context, model, asked.inputs))
        start = perf_counter()
        outputs = response.outputs
        body = await encoded(context, json_size(outputs), tfserving.encode_predictions, outputs, asked.by_row)
        context.stages["encode"] = (perf_counter() - start) * 1e3
        return Reply(200, body)

    async def _examples(self, context: RequestContext, target: _Target, body: Payload) -> Reply:
        model = target.model
        request = await decoded(context, len(body), _decode_examples, target, body, context.most_rows)
        count = len(request.examples)
        given = target, request, context.most_rows
        inputs = await decoded_examples(context, model, len(body), count, _example_rows, *given)
        context.stages["decode"] = (perf_counter() - context.started) * 1e3
        outputs = (await self._backend.infer(InferRequest(context, model, inputs))).outputs
        labels = row_answers(model).labels if target.method == CLASSIFY else ()
        size = max(rows_size(count, labels), json_size(outputs))
        return Reply(200, await encoded(context, size, _results, target, outputs, count))

    def document(self) -> dict[str, Any]:
        """The routes' part of the OpenAPI document."""
        refs, schemas = msgspec.json.schema_components(
            (tfserving.TfServingPredictRequest, tfserving.ExamplesRequest), ref_template="#/components/schemas/{name}"
        )
        bodies = {PREDICT: {"schema": refs[0]}, CLASSIFY: {"schema": refs[1]}, REGRESS: {"schema": refs[1]}}
        newest = next(iter(ready_models(self._backend)), None)
        examples = _examples(newest) if newest is not None else {}
        known = {"model": list(self._backend.models()), "version": ["1"], "label": ["stable"]}
        paths = {
            f"{_PREFIX}{{model}}{place}:{method}": {
                "post": _operation(method, place, bodies[method] | _example(examples.get(method), place), known)
            }
            for method in _METHODS
            for place in _VERSION_PATHS
        }
        return {"paths": paths, "components": {"schemas": schemas}}


def _decode_predict(model: ModelHandle, takes: bool, body: Payload, most_rows: int) -> _Predict:
    """What a request asks for; `takes`: the model takes files. Raises InvalidInput that names the field."""
    tfserving.check_size(body, model.inputs, most_rows)
    request = tfserving.decode_predict(body)
    check_signature(model, request.signature_name, PREDICT, takes)
    files = tfserving.files(request, file_names(model)) if takes else None
    if files is not None:
        return _Predict(request.by_row, {}, files)
    if request.signature_name == FILES_SIGNATURE:
        raise InvalidInput.at("instances", 'expected files as {"b64": text} for this signature')
    inputs = tfserving.arrays(request, model.inputs)
    check_inputs(inputs, model.inputs, "instances.%s" if request.by_row else "inputs.%s")
    return _Predict(request.by_row, inputs)


def _size(asked: _Predict) -> int:
    """The bytes of what has been decoded."""
    return sum(array.nbytes for array in asked.inputs.values()) + sum(map(len, asked.files or ()))


def _decode_examples(target: _Target, body: Payload, most_rows: int) -> tfserving.ExamplesRequest:
    """The body of a :classify or :regress request."""
    check_size(body, columns(target.model), most_rows)
    request = tfserving.decode_examples(body)
    check_signature(target.model, request.signature_name, target.method)
    return request


def _example_rows(target: _Target, request: tfserving.ExamplesRequest, most_rows: int) -> dict[str, Array]:
    """The input of a :classify or :regress request."""
    model, shared = target.model, tfserving.by_name(request.context, "context")
    examples, count = tfserving.features(request), len(request.examples)
    inputs = rows(model, examples, count, target.method, shared, most_rows)
    check_inputs(inputs, model.inputs, "examples.%s")
    return inputs


def _results(target: _Target, outputs: Mapping[str, Array], count: int) -> bytes:
    """The body of the response to :classify or :regress."""
    read = classes if target.method == CLASSIFY else values
    results: Sequence[Any] = read(target.model, outputs, count)
    return tfserving.encode_results(results)


def _example(body: dict[str, Any] | None, place: str) -> dict[str, Any]:
    """The example of a documented route; none for labels, since this service has no labels."""
    return {"example": body} if body and "label" not in place else {}


def _operation(method: str, place: str, body: dict[str, Any], known: dict[str, list[str]]) -> dict[str, Any]:
    failures = {400: "Wrong body, signature or label", 404: "Unknown model or version", 413: "Too large"}
    failures |= {503: "Not ready or overloaded", 504: "Deadline exceeded"}
    names = ["model", *re.findall(r"{(\w+)}", place)]
    return {
        "tags": ["tensorflow serving"],
        "summary": method.capitalize(),
        "operationId": "_".join(("tfserving", method, *names[1:])),
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string", "examples": known[name]}}
            for name in names
        ],
        "requestBody": {"required": True, "content": {"application/json": body}},
        "responses": {
            "200": {"description": "The predictions"},
            **{str(code): {"description": text} for code, text in failures.items()},
        },
    }


def _examples(model: ModelHandle) -> dict[str, dict[str, Any]]:
    """A valid body for each method; none for a model whose example would be too long to show."""
    inputs = model.example.get("inputs", ())
    named = {tensor["name"]: np.reshape(tensor["data"], tensor["shape"]).tolist() for tensor in inputs}
    examples: dict[str, dict[str, Any]] = {PREDICT: {"inputs": named}} if named else {}
    for method in (CLASSIFY, REGRESS):
        if named and accepts_examples(model, method):
            row = [value for spec in model.inputs for value in np.reshape(named[spec.name], -1).tolist()]
            if len(row) == len(columns(model)):  # an example of the manifest may have several rows
                examples[method] = {"examples": [dict(zip(columns(model), row, strict=True))]}
    return examples


def tfserving_routes(backend: InferenceBackend[Any], items: ItemPreparer | None = None) -> APIRouter:
    """The routes that report a model's status and its signatures."""
    router = APIRouter(prefix="/v1/models/{model}", tags=["tensorflow serving"])

    async def model_status(model: str, version: str = "", label: str = "") -> dict[str, Any]:
        find_model(backend, model, version, label)
        return _json(status(backend, model, version))

    async def metadata(model: str, version: str = "", label: str = "") -> dict[str, Any]:
        handle = find_model(backend, model, version, label)
        return {
            "model_spec": {"name": handle.name, "signature_name": "", "version": handle.version},
            "metadata": {"signature_def": _json(signatures(handle, takes_files(items, handle)))},
        }

    for place in _VERSION_PATHS:
        router.add_api_route(place, model_status, methods=["GET"], summary="A model's versions and their state")
        router.add_api_route(f"{place}/metadata", metadata, methods=["GET"], summary="A model's signatures")
    return router


def _json(message: Message) -> dict[str, Any]:
    return MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
