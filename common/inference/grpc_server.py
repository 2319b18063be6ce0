"""The Open Inference Protocol over gRPC, with the standard health service and deadlines, on the same data plane."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from math import ceil
from time import perf_counter
from typing import Any, TypeVar

import grpc
import grpc.aio
import numpy as np
from grpc_health.v1 import health_pb2, health_pb2_grpc

from common import RELEASE
from common.deadline import Deadline
from common.errors import InvalidInput, NotReady, ServingError
from common.exchange import Exchange, current, request_id
from common.inference.dataplane import DataPlane
from common.protocol import oip
from common.protocol.grpc import oip_pb2 as pb
from common.protocol.grpc import oip_pb2_grpc as pb_grpc
from common.protocol.tensors import (
    Array,
    check_finite,
    check_shape,
    datatype_of,
    dtype_of,
    from_binary,
    to_binary,
)  # fmt: skip
from common.service import Service
from common.tracing import continue_trace

_CONTENTS = {
    "BOOL": "bool_contents", "INT8": "int_contents", "INT16": "int_contents", "INT32": "int_contents",
    "INT64": "int64_contents", "UINT8": "uint_contents", "UINT16": "uint_contents", "UINT32": "uint_contents",
    "UINT64": "uint64_contents", "FP32": "fp32_contents", "FP64": "fp64_contents", "BYTES": "bytes_contents",
}  # fmt: skip
_WIDE: dict[str, type] = {"i": np.int64, "u": np.uint64}  # numpy alone makes fractions of some large numbers
_SERVICE = "inference.GRPCInferenceService"
_SERVICES = ("", _SERVICE)  # the first means the server as a whole
_FAILURES = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
Context = grpc.aio.ServicerContext[Any, Any]


Reply = TypeVar("Reply")


class InferenceService(pb_grpc.GRPCInferenceServiceServicer):
    """Answers the six calls of the protocol."""

    def __init__(self, plane: DataPlane, service: Service) -> None:
        self._plane, self._service = plane, service

    async def ServerLive(self, request: pb.ServerLiveRequest, context: Context) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=not self._service.health.dead())

    async def ServerReady(self, request: pb.ServerReadyRequest, context: Context) -> pb.ServerReadyResponse:
        return pb.ServerReadyResponse(ready=not (self._service.health.dead() or self._service.health.unready()))

    async def ModelReady(self, request: pb.ModelReadyRequest, context: Context) -> pb.ModelReadyResponse:
        async def ready(_: Exchange) -> pb.ModelReadyResponse:
            try:
                self._plane.repository.get(request.name, request.version)
            except NotReady:
                return pb.ModelReadyResponse(ready=False)
            return pb.ModelReadyResponse(ready=True)

        return await self._call("ModelReady", context, ready)

    async def ServerMetadata(self, request: pb.ServerMetadataRequest, context: Context) -> pb.ServerMetadataResponse:
        return pb.ServerMetadataResponse(name="serving-patterns", version=RELEASE, extensions=oip.EXTENSIONS)

    async def ModelMetadata(self, request: pb.ModelMetadataRequest, context: Context) -> pb.ModelMetadataResponse:
        async def metadata(_: Exchange) -> pb.ModelMetadataResponse:
            model = self._plane.repository.get(request.name, request.version)
            tensor = pb.ModelMetadataResponse.TensorMetadata
            return pb.ModelMetadataResponse(
                name=model.name,
                versions=list(self._plane.repository.entries()[model.name].versions),
                platform=oip.PLATFORM,
                inputs=[tensor(name=one.name, datatype=one.datatype, shape=one.shape) for one in model.inputs],
                outputs=[tensor(name=one.name, datatype=one.datatype, shape=one.shape) for one in model.outputs],
            )

        return await self._call("ModelMetadata", context, metadata)

    async def ModelInfer(self, request: pb.ModelInferRequest, context: Context) -> pb.ModelInferResponse:
        async def infer(exchange: Exchange) -> pb.ModelInferResponse:
            model = self._plane.repository.get(request.model_name, request.model_version)
            inputs = decode(request)
            oip.check_inputs(inputs, model.inputs)
            exchange.stages["decode"] = (perf_counter() - exchange.started) * 1e3
            wanted = [output.name for output in request.outputs]
            outputs = await self._plane.infer(exchange, model, inputs, wanted)
            return encode(request, model.name, model.version, outputs)

        return await self._call("ModelInfer", context, infer)

    async def _call(self, method: str, context: Context, handle: Callable[[Exchange], Awaitable[Reply]]) -> Reply:
        """Does for a call what `App` does for a request: id, trace, deadline, errors, metrics, the access line."""
        exchange = self._begin(method, context)
        token = current.set(exchange)
        code, detail = grpc.StatusCode.OK, ""
        retry: tuple[tuple[str, str], ...] = ()
        try:
            return await handle(exchange)
        except ServingError as error:
            code, detail = grpc.StatusCode[error.grpc_code], error.detail
            exchange.error = detail
            if error.retry_after is not None:
                retry = (("retry-after", f"{max(1, ceil(error.retry_after))}"),)
        except asyncio.CancelledError:
            code = grpc.StatusCode.CANCELLED
            raise
        except Exception:
            self._service.logs.log.exception("unhandled error", route=exchange.route)
            code, detail = grpc.StatusCode.INTERNAL, "an internal error; the log has it"
        finally:
            current.reset(token)
            context.set_trailing_metadata((*_metadata(exchange), *retry))
            self._service.finish(exchange, code.name, failed=code in _FAILURES)
        return await context.abort(code, detail)

    def _begin(self, method: str, context: Context) -> Exchange:
        given = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
        identity = given.get("x-request-id")
        longest = self._service.settings.request_timeout_seconds
        left = context.time_remaining()
        trace = continue_trace(given.get("traceparent"), given.get("tracestate", ""))
        deadline = Deadline.after(longest if left is None else min(left, longest))
        path = f"/{_SERVICE}/{method}"
        exchange = Exchange("gRPC", path, request_id(identity.encode() if identity else None, trace), trace, deadline)
        exchange.route = path
        self._service.begin(exchange)
        return exchange


def _metadata(exchange: Exchange) -> tuple[tuple[str, str], ...]:
    """What every answer bears, as the headers over HTTP do."""
    return (
        ("x-request-id", exchange.request_id),
        ("traceparent", exchange.trace.header()),
        ("server-timing", exchange.server_timing()),
    )


def decode(request: pb.ModelInferRequest) -> dict[str, Array]:
    """The inputs of a request, typed or raw. Raises InvalidInput naming what is wrong."""
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise InvalidInput.at("raw_input_contents", f"expected {len(request.inputs)} entries, got {len(raw)}")
    arrays: dict[str, Array] = {}
    for index, tensor in enumerate(request.inputs):
        where = f"inputs[{index}]"
        if tensor.name in arrays:
            raise InvalidInput.at(f"{where}.name", f"{tensor.name!r} is given twice")
        if raw:
            if tensor.HasField("contents"):
                raise InvalidInput.at(f"{where}.contents", "must be absent where raw_input_contents is used")
            arrays[tensor.name] = from_binary(raw[index], tensor.datatype, tensor.shape, where)
        else:
            arrays[tensor.name] = _typed(tensor, where)
    return arrays


def _typed(tensor: pb.ModelInferRequest.InferInputTensor, where: str) -> Array:
    dtype = dtype_of(tensor.datatype, where)
    count = check_shape(tensor.shape, where)
    field = _CONTENTS.get(tensor.datatype)
    if field is None:
        raise InvalidInput.at(f"{where}.datatype", f"{tensor.datatype} needs raw_input_contents")
    values = getattr(tensor.contents, field)
    if len(values) != count:
        shape = list(tensor.shape)
        raise InvalidInput.at(f"{where}.contents", f"expected {count} {field} for shape {shape}, got {len(values)}")
    if tensor.datatype == "BYTES":
        array = np.empty(count, dtype=object)
        array[:] = list(values)
        return array.reshape(tensor.shape)
    wide = np.array(values, dtype=_WIDE.get(dtype.kind, dtype))
    if dtype.kind in "iu" and count and not (np.iinfo(dtype).min <= wide.min() and wide.max() <= np.iinfo(dtype).max):
        raise InvalidInput.at(f"{where}.contents", f"holds a value outside the range of {tensor.datatype}")
    array = wide.astype(dtype).reshape(tensor.shape)
    if dtype.kind == "f":
        check_finite(array, where)
    return array


def encode(
    request: pb.ModelInferRequest, model: str, version: str, outputs: Mapping[str, Array]
) -> pb.ModelInferResponse:
    """The answer, its outputs raw, as every client of the protocol reads them."""
    tensor = pb.ModelInferResponse.InferOutputTensor
    return pb.ModelInferResponse(
        model_name=model,
        model_version=version,
        id=request.id,
        outputs=[tensor(name=name, datatype=datatype_of(one), shape=one.shape) for name, one in outputs.items()],
        raw_output_contents=[to_binary(one) for one in outputs.values()],
    )


@asynccontextmanager
async def serve_grpc(plane: DataPlane, service: Service, host: str, port: int) -> AsyncIterator[grpc.aio.Server]:
    """Serves until left; then takes no new call and gives those in flight the drain timeout."""
    limit = service.settings.max_body_bytes
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", limit),
            ("grpc.max_send_message_length", limit),
            ("grpc.so_reuseport", 0),
        ]
    )
    pb_grpc.add_GRPCInferenceServiceServicer_to_server(InferenceService(plane, service), server)  # type: ignore[no-untyped-call]
    health_pb2_grpc.add_HealthServicer_to_server(HealthService(service), server)
    try:
        server.add_insecure_port(f"{host}:{port}")
    except RuntimeError:
        raise RuntimeError(f"cannot listen on {host}:{port} for gRPC; choose another GRPC_PORT") from None
    await server.start()
    try:
        yield server
    finally:
        await server.stop(service.settings.drain_timeout_seconds)


class HealthService(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # the library has no types
    """grpc.health.v1: serving while this service is ready."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def Check(self, request: health_pb2.HealthCheckRequest, context: Context) -> health_pb2.HealthCheckResponse:
        if request.service not in _SERVICES:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no service {request.service!r} here")
        return health_pb2.HealthCheckResponse(status=self._status())

    async def Watch(
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        said, known = None, request.service in _SERVICES
        while True:
            status = self._status() if known else health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
            if status != said:
                said = status
                yield health_pb2.HealthCheckResponse(status=status)
            if self._service.health.draining:  # which need not wait for those who watch
                return
            await asyncio.sleep(1)

    def _status(self) -> health_pb2.HealthCheckResponse.ServingStatus.ValueType:
        unwell = self._service.health.dead() or self._service.health.unready()
        serving = health_pb2.HealthCheckResponse.ServingStatus
        return serving.NOT_SERVING if unwell else serving.SERVING
