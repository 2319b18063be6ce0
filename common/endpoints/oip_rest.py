"""The Open Inference Protocol over HTTP: `infer` as a direct route, all other routes on FastAPI."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Any

import msgspec
from fastapi import APIRouter
from fastapi.responses import JSONResponse

from common import RELEASE
from common.endpoints.backend import InferenceBackend, InferRequest, ready_models
from common.errors import Forbidden, NotFound, NotReady
from common.http.reply import Reply
from common.observability.health import Health
from common.protocol import oip
from common.protocol.json_body import Payload, check_json
from common.protocol.oip_large import decode_large
from common.protocol.stated import binary_size, json_size
from common.protocol.tensors import Array, TensorSpec
from common.request.capacity import LARGE, SMALL
from common.request.context import Headers, RequestContext

if TYPE_CHECKING:
    from common.inference.repository import ModelRepository, RegisteredModel

_PREFIX, _SUFFIX = "/v2/models/", "/infer"
_INFER, _INFER_VERSION = "/v2/models/{model}/infer", "/v2/models/{model}/versions/{version}/infer"


class InferRoute:
    """POST /v2/models/{model}[/versions/{version}]/infer."""

    def __init__(self, backend: InferenceBackend[Any]) -> None:
        self._backend = backend

    def match(self, path: str) -> bool:
        return path.endswith(_SUFFIX) and path.startswith(_PREFIX)

    async def handle(self, context: RequestContext, body: Payload) -> Reply:
        name, version = self._parse_path(context)
        model = self._backend.resolve(name, version)
        if len(body) <= SMALL:
            decoded = _decode(context.headers, body, model.inputs)
        else:
            decoded = await _decode_large(context, body, model.inputs)
        context.stages["decode"] = (perf_counter() - context.started) * 1e3
        outputs = [output.name for output in decoded.outputs]
        request = InferRequest(context, model, decoded.inputs, outputs, decoded.parameters)
        response = await self._backend.infer(request)
        start = perf_counter()
        answer = decoded, response.model_name, response.model_version, response.outputs, response.parameters
        binary = decoded.outputs or decoded.all_binary
        size = _size(decoded, response.outputs) if binary else json_size(response.outputs)
        if size <= SMALL:
            encoded, header_length = oip.encode_response(*answer)
        else:
            context.hold(size)
            encoded, header_length = await context.in_thread(oip.encode_response, *answer)
            context.recount(size, len(encoded))
        context.stages["encode"] = (perf_counter() - start) * 1e3
        if header_length is None:
            return Reply(200, encoded)
        length = (oip.HEADER_LENGTH.lower().encode(), str(header_length).encode())
        return Reply(200, encoded, oip.BINARY.encode(), (length,))

    def _parse_path(self, context: RequestContext) -> tuple[str, str | None]:
        """The model's name and version; also sets the context's route. Raises NotFound."""
        parts = context.path[len(_PREFIX) : -len(_SUFFIX)].split("/")
        if len(parts) == 1:
            context.route = _INFER
            return parts[0], None
        if len(parts) == 3 and parts[1] == "versions" and parts[2]:
            context.route = _INFER_VERSION
            return parts[0], parts[2]
        raise NotFound(
            f"no path {context.path[:100]!r}; expected /v2/models/NAME/infer or /v2/models/NAME/versions/N/infer"
        )

    def document(self) -> dict[str, Any]:
        schemas: dict[str, Any]
        refs, schemas = msgspec.json.schema_components(
            (oip.InferRequestJson, oip.InferResponseJson), ref_template="#/components/schemas/{name}"
        )
        request: dict[str, Any] = {"schema": refs[0]}
        newest = next(iter(ready_models(self._backend)), None)
        if newest is not None and newest.example:
            request["example"] = newest.example
        names = list(self._backend.models())
        return {
            "paths": {
                _INFER: {"post": _operation("infer", {"model": names}, request, refs[1])},
                _INFER_VERSION: {
                    "post": _operation("infer_version", {"model": names, "version": ["1"]}, request, refs[1])
                },
            },
            "components": {"schemas": schemas},
        }


def _size(decoded: oip.DecodedRequest, outputs: Mapping[str, Array]) -> int:
    """About the bytes of a response, some of whose outputs may be binary."""
    binary = {name: array for name, array in outputs.items() if decoded.binary(name)}
    return binary_size(binary) + json_size({name: array for name, array in outputs.items() if name not in binary})


def _decode(headers: Headers, body: Payload, inputs: list[TensorSpec]) -> oip.DecodedRequest:
    length = headers.get(b"inference-header-content-length")
    if length is not None:
        return oip.decode_binary(body, length.decode("latin-1"), inputs)
    check_json(headers)
    return oip.decode_request(body, inputs)


async def _decode_large(context: RequestContext, body: Payload, inputs: list[TensorSpec]) -> oip.DecodedRequest:
    """Decodes a body beside the event loop if it is very large; its tensors count as memory that is held."""
    length = context.headers.get(b"inference-header-content-length")
    if length is None:
        check_json(context.headers)
    arguments = body, length.decode("latin-1") if length is not None else None, inputs, context.most_rows
    if len(body) <= LARGE:
        return decode_large(*arguments)
    decoded = await context.in_thread(decode_large, *arguments)
    context.hold(sum(array.nbytes for array in decoded.inputs.values() if array.base is None or length is None))
    return decoded


def model_routes(backend: InferenceBackend[Any], health: Health) -> APIRouter:
    """The protocol's routes that report on the server and its models."""
    router = APIRouter(prefix="/v2", tags=["open inference protocol"])

    @router.get("", summary="The server")
    async def server() -> dict[str, Any]:
        return {"name": "serving-patterns", "version": RELEASE, "extensions": oip.EXTENSIONS}

    @router.get("/health/live")
    async def live() -> JSONResponse:
        return _flag("live", not health.not_live_reasons())

    @router.get("/health/ready")
    async def ready() -> JSONResponse:
        return _flag("ready", not (health.not_live_reasons() or health.not_ready_reasons()))

    @router.get("/models")
    async def models() -> dict[str, list[str]]:
        return {"models": list(backend.models())}

    for path in ("/models/{model}", "/models/{model}/versions/{version}"):
        router.add_api_route(path, _metadata(backend), methods=["GET"], summary="A model's inputs and outputs")
        router.add_api_route(path + "/ready", _ready(backend), methods=["GET"], summary="Whether a model is ready")
    return router


def _metadata(backend: InferenceBackend[Any]) -> Any:
    async def model_metadata(model: str, version: str = "") -> dict[str, Any]:
        handle = backend.describe(model, version)
        metadata = {
            "name": handle.name,
            "versions": backend.models()[handle.name],
            "platform": backend.platform,
            "inputs": [_tensor(spec) for spec in handle.inputs],
            "outputs": [_tensor(spec) for spec in handle.outputs],
        }
        return {**metadata, "properties": handle.properties} if handle.properties else metadata

    return model_metadata


def _ready(backend: InferenceBackend[Any]) -> Any:
    async def ready(model: str, version: str = "") -> JSONResponse:
        try:
            backend.describe(model, version)
        except NotReady:
            return JSONResponse({"name": model, "ready": False}, 503)
        return JSONResponse({"name": model, "ready": True})

    return ready


def repository_routes(repository: ModelRepository, control: bool) -> APIRouter:
    """The protocol's repository extension. Loading and unloading raise Forbidden unless `control` is set."""
    router = APIRouter(prefix="/v2", tags=["open inference protocol"])

    def check_allowed() -> None:
        if not control:
            raise Forbidden("loading and unloading over the API is off; set MODEL_CONTROL=true to allow it")

    @router.post("/repository/index", summary="Models in the repository and their state")
    async def index() -> list[dict[str, str]]:
        return [row for name, entry in repository.entries().items() for row in _index_rows(name, entry)]

    @router.post("/repository/models/{model}/load", summary="Load a model's newest versions")
    async def load(model: str) -> dict[str, str]:
        check_allowed()
        await repository.load(model)
        return {"name": model, "version": repository.get(model).version, "state": "READY"}

    @router.post("/repository/models/{model}/unload", summary="Unload a model")
    async def unload(model: str) -> dict[str, str]:
        check_allowed()
        await repository.unload(model)
        return {"name": model, "state": "UNLOADED"}

    return router


def _index_rows(name: str, entry: RegisteredModel) -> list[dict[str, str]]:
    if not entry.versions:
        return [{"name": name, "state": entry.state, "reason": entry.reason}]
    return [{"name": name, "version": version, "state": "READY", "reason": entry.reason} for version in entry.versions]


def _flag(name: str, value: bool) -> JSONResponse:
    return JSONResponse({name: value}, 200 if value else 503)


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}


def _operation(
    name: str, parameters: dict[str, list[str]], request: dict[str, Any], response: dict[str, Any]
) -> dict[str, Any]:
    failures = {400: "Invalid tensors", 404: "Unknown model", 413: "Too large", 415: "Wrong content type"}
    failures |= {503: "Not ready or overloaded", 504: "Deadline exceeded"}
    return {
        "tags": ["open inference protocol"],
        "summary": "Infer",
        "operationId": name,
        "parameters": [
            {"name": parameter, "in": "path", "required": True, "schema": {"type": "string", "examples": examples}}
            for parameter, examples in parameters.items()
        ],
        "requestBody": {"required": True, "content": {oip.JSON: request}},
        "responses": {
            "200": {"description": "The outputs", "content": {oip.JSON: {"schema": response}}},
            **{str(code): {"description": text} for code, text in failures.items()},
        },
    }
