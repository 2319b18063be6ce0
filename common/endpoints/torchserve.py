"""TorchServe over HTTP: predictions as a direct route, health and the list of models on FastAPI."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from fastapi import APIRouter
from fastapi.responses import JSONResponse

from common.endpoints.backend import InferenceBackend, InferRequest, ModelHandle, Parameters
from common.endpoints.fingerprint import stated
from common.endpoints.labels import most_probable
from common.endpoints.large import decoded, decoded_inputs, encoded
from common.errors import InvalidInput, NotFound
from common.http.reply import Reply
from common.observability.health import Health
from common.preprocessing.items import ItemPreparer
from common.protocol import torchserve
from common.protocol.json_body import Payload, decode_json
from common.protocol.oip import check_inputs
from common.protocol.stated import json_size
from common.protocol.tensors import Array, nested_json
from common.request.context import RequestContext

_json = msgspec.json.Decoder(msgspec.Raw)
PREFIX = "/predictions/"
TOP = 5  # labels in an answer, as TorchServe's handlers give
_PATH = re.compile(r"/predictions/(?P<name>[^/]+)(?:/(?P<version>[^/]+))?")
_ROUTES = ("/predictions/{model}", "/predictions/{model}/{version}")
_FAILURES = {
    400: "The body is not what the model takes",
    404: "Unknown model or version",
    413: "Too large",
    503: "Not ready or overloaded",
    504: "Deadline exceeded",
}


class TorchServeRoute:
    """POST and PUT /predictions/{model}[/{version}]: the file of a picture, named values as JSON, a text, or numbers.

    PUT is what `curl -T` sends, which TorchServe's documents use. The manifest's preprocessing takes the place of a
    handler. The content type is ignored, except that a form's part `data` is taken out.
    """

    methods = ("POST", "PUT")

    def __init__(self, backend: InferenceBackend[Any], items: ItemPreparer) -> None:
        self._backend, self._items = backend, items

    def match(self, path: str) -> bool:
        return path.startswith(PREFIX)

    async def handle(self, context: RequestContext, body: Payload) -> Reply:
        model = self._parse_path(context)
        item = await decoded(context, len(body), torchserve.item_in, context.headers, body)
        kind = self._items.kind(model)
        if kind is None or (kind == "values" and bytes(item[:1024]).lstrip()[:1] == b"["):
            rows = await decoded_inputs(context, len(item), _rows, model, item)
            outputs = await self._outputs(context, model, rows, {})
            return Reply(200, await _encoded(context, outputs[model.outputs[0].name]))
        inputs = await self._items.prepare(context, model, item)
        outputs = await self._outputs(context, model, inputs, stated(model))
        if "labels" in outputs or "labels" in model.properties:
            return Reply(200, torchserve.encode_labels(dict(most_probable(model, outputs, TOP))))
        return Reply(200, await _encoded(context, outputs[model.outputs[0].name][0]))

    async def _outputs(
        self, context: RequestContext, model: ModelHandle, inputs: dict[str, Array], parameters: Parameters
    ) -> Mapping[str, Array]:
        check_inputs(inputs, model.inputs)
        response = await self._backend.infer(InferRequest(context, model, inputs, parameters=parameters))
        return response.outputs

    def _parse_path(self, context: RequestContext) -> ModelHandle:
        """The model; also sets the context's route. Raises NotFound, NotReady."""
        match = _PATH.fullmatch(context.path)
        if match is None:
            raise NotFound(f"no path {context.path[:100]!r}; expected /predictions/NAME or /predictions/NAME/VERSION")
        version = match["version"]
        context.route = _ROUTES[1 if version else 0]
        model: ModelHandle = self._backend.resolve(match["name"], version and version.removesuffix(".0"))
        return model

    def document(self) -> dict[str, Any]:
        """The routes' part of the OpenAPI document."""
        known = {"model": list(self._backend.models()), "version": ["1.0"]}
        return {
            "paths": {route: {"post": _operation(route, known)} for route in _ROUTES},
            "components": {"schemas": {}},
        }


def _rows(model: ModelHandle, item: Payload) -> dict[str, Array]:
    """A list of rows of numbers as the model's one input."""
    if len(model.inputs) != 1 or model.inputs[0].datatype in ("BYTES", "FP16"):
        names = [f"{spec.name} ({spec.datatype})" for spec in model.inputs]
        raise InvalidInput.at(
            "body",
            f"model {model.name!r} has the inputs {', '.join(names)}; send them to /v2/models/{model.name}/infer",
        )
    spec = model.inputs[0]
    return {spec.name: nested_json(decode_json(_json, item), spec.dtype, "body")}


async def _encoded(context: RequestContext, output: Array) -> bytes:
    return await encoded(context, json_size({"": output}), torchserve.encode_rows, output)


def _operation(route: str, known: dict[str, list[str]]) -> dict[str, Any]:
    names = re.findall(r"{(\w+)}", route)
    binary = {"schema": {"type": "string", "format": "binary"}}
    return {
        "tags": ["torchserve"],
        "summary": "Predict",
        "operationId": "_".join(("torchserve", *names)),
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string", "examples": known[name]}}
            for name in names
        ],
        "requestBody": {"required": True, "content": {"application/octet-stream": binary}},
        "responses": {
            "200": {"description": "The most probable labels with their probabilities, or the first output"},
            **{str(code): {"description": text} for code, text in _FAILURES.items()},
        },
    }


def torchserve_routes(backend: InferenceBackend[Any], health: Health) -> APIRouter:
    """GET /ping and GET /models."""
    router = APIRouter(tags=["torchserve"])

    @router.get("/ping", summary="Whether the service is ready, as TorchServe says it")
    async def ping() -> JSONResponse:
        if health.not_live_reasons() or health.not_ready_reasons():
            return JSONResponse({"status": "Unhealthy"}, 503)
        return JSONResponse({"status": "Healthy"})

    @router.get("/models", summary="The models, as TorchServe lists them")
    async def models() -> dict[str, Any]:
        listed = backend.models().items()
        found = [
            {"modelName": name, "modelUrl": f"{name}/{max(versions, key=int)}"} for name, versions in listed if versions
        ]
        return {"models": found}

    return router
