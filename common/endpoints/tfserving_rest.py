"""TensorFlow Serving over HTTP: the three hot routes, direct, and the routes about a model beside them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from time import perf_counter
from typing import Any, NamedTuple

import msgspec
import numpy as np
from fastapi import APIRouter
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from common.endpoints.backend import InferenceBackend, InferRequest, ModelHandle, ready_models
from common.endpoints.tfserving import (
    CLASSIFY,
    PREDICT,
    REGRESS,
    answers,
    check_signature,
    classes,
    columns,
    find,
    rows,
    signatures,
    status,
    values,
)
from common.errors import NotFound
from common.http.reply import Reply
from common.protocol import tfserving
from common.protocol.json_body import Payload
from common.protocol.oip import check_inputs
from common.request.context import RequestContext

_PREFIX = "/v1/models/"
_PLACES = ("", "/versions/{version}", "/labels/{label}")
_METHODS = (PREDICT, CLASSIFY, REGRESS)
_SUFFIXES = tuple(f":{method}" for method in _METHODS)
_PATH = re.compile(
    r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>[^/:]+)|/labels/(?P<label>[^/:]+))?:(?P<method>\w+)"
)


class _Asked(NamedTuple):
    model: ModelHandle
    method: str


class TfServingRoute:
    """POST /v1/models/{model}[/versions/{version}|/labels/{label}]:predict, :classify and :regress.

    The content type is not looked at, since TensorFlow Serving does not: its documents ask with `curl -d`.
    """

    def __init__(self, backend: InferenceBackend[Any]) -> None:
        self._backend = backend

    def match(self, path: str) -> bool:
        return path.startswith(_PREFIX) and path.endswith(_SUFFIXES)

    async def handle(self, context: RequestContext, body: Payload) -> Reply:
        asked = self._asked(context)
        if asked.method == PREDICT:
            return await self._predict(context, asked.model, body)
        return await self._examples(context, asked, body)

    def _asked(self, context: RequestContext) -> _Asked:
        found = _PATH.fullmatch(context.path)
        if found is None:
            raise NotFound("this service has no such path; GET /docs lists its paths")
        place = _PLACES[1 if found["version"] else 2 if found["label"] else 0]
        context.route = f"{_PREFIX}{{model}}{place}:{found['method']}"
        return _Asked(find(self._backend, found["name"], found["version"], found["label"]), found["method"])

    async def _predict(self, context: RequestContext, model: ModelHandle, body: Payload) -> Reply:
        request = tfserving.decode_predict(body)
        check_signature(model, request.signature_name, PREDICT)
        inputs = tfserving.arrays(request, model.inputs)
        check_inputs(inputs, model.inputs)
        context.stages["decode"] = (perf_counter() - context.started) * 1e3
        response = await self._backend.infer(InferRequest(context, model, inputs))
        start = perf_counter()
        encoded = tfserving.encode_predictions(response.outputs, request.by_row)
        context.stages["encode"] = (perf_counter() - start) * 1e3
        return Reply(200, encoded)

    async def _examples(self, context: RequestContext, asked: _Asked, body: Payload) -> Reply:
        model = asked.model
        request = tfserving.decode_examples(body)
        check_signature(model, request.signature_name, asked.method)
        inputs = rows(model, tfserving.features(request), asked.method)
        check_inputs(inputs, model.inputs)
        context.stages["decode"] = (perf_counter() - context.started) * 1e3
        outputs = (await self._backend.infer(InferRequest(context, model, inputs))).outputs
        results: Sequence[Any] = classes(model, outputs) if asked.method == CLASSIFY else values(model, outputs)
        return Reply(200, tfserving.encode_results(results, outputs[model.outputs[0].name]))

    def document(self) -> dict[str, Any]:
        """The routes' part of the OpenAPI document."""
        refs, schemas = msgspec.json.schema_components(
            (tfserving.PredictRequest, tfserving.ExamplesRequest), ref_template="#/components/schemas/{name}"
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
            for place in _PLACES
        }
        return {"paths": paths, "components": {"schemas": schemas}}


def _example(body: dict[str, Any] | None, place: str) -> dict[str, Any]:
    """No example where there is none that works: versions have no labels here."""
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
            {"name": one, "in": "path", "required": True, "schema": {"type": "string", "examples": known[one]}}
            for one in names
        ],
        "requestBody": {"required": True, "content": {"application/json": body}},
        "responses": {
            "200": {"description": "The answer"},
            **{str(code): {"description": text} for code, text in failures.items()},
        },
    }


def _examples(model: ModelHandle) -> dict[str, dict[str, Any]]:
    """By method: a body that works, where one would not be too long to show."""
    named = {one["name"]: np.reshape(one["data"], one["shape"]).tolist() for one in model.example.get("inputs", ())}
    examples: dict[str, dict[str, Any]] = {PREDICT: {"inputs": named}} if named else {}
    for method in (CLASSIFY, REGRESS):
        if named and answers(model, method):
            (row,) = named[model.inputs[0].name]
            examples[method] = {"examples": [dict(zip(columns(model), row, strict=True))]}
    return examples


def tfserving_routes(backend: InferenceBackend[Any]) -> APIRouter:
    """A model's status and signatures."""
    router = APIRouter(prefix="/v1/models/{model}", tags=["tensorflow serving"])

    async def model_status(model: str, version: str = "", label: str = "") -> dict[str, Any]:
        find(backend, model, version, label)
        return _json(status(backend, model, version))

    async def metadata(model: str, version: str = "", label: str = "") -> dict[str, Any]:
        found = find(backend, model, version, label)
        return {
            "model_spec": {"name": found.name, "signature_name": "", "version": found.version},
            "metadata": {"signature_def": _json(signatures(found))},
        }

    for place in _PLACES:
        router.add_api_route(place, model_status, methods=["GET"], summary="A model's versions and their state")
        router.add_api_route(f"{place}/metadata", metadata, methods=["GET"], summary="A model's signatures")
    return router


def _json(message: Message) -> dict[str, Any]:
    return MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
