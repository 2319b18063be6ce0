"""The Open Inference Protocol over gRPC, and the standard gRPC health service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from time import perf_counter
from typing import Any

import grpc
import grpc.aio
import numpy as np
from grpc_health.v1 import health_pb2, health_pb2_grpc

from common import RELEASE
from common.endpoints.backend import InferenceBackend, InferRequest, InferResponse
from common.endpoints.grpc_calls import CallContext
from common.endpoints.grpc_handlers import GrpcHandlers
from common.endpoints.large import decoded_inputs, encoded_message
from common.errors import InvalidInput, NotFound, NotReady, shortened
from common.http.limits import HEAD_SECONDS, READ_BOUNDS, ReadBounds, most_grpc_connections
from common.protocol import oip
from common.protocol.grpc import oip_pb2 as pb
from common.protocol.grpc import oip_pb2_grpc as pb_grpc
from common.protocol.grpc.parameters import parameter, parameter_value
from common.protocol.grpc.repeated import to_array
from common.protocol.oip_parameters import check_input_parameters, check_output_parameters
from common.protocol.stated import StatedTensor, binary_size, check_stated
from common.protocol.tensors import (
    Array,
    TensorSpec,
    check_shape,
    datatype_of,
    dtype_of,
    from_binary,
    to_binary,
)  # fmt: skip
from common.request.context import current
from common.service import Service

_CONTENTS = {
    "BOOL": "bool_contents", "INT8": "int_contents", "INT16": "int_contents", "INT32": "int_contents",
    "INT64": "int64_contents", "UINT8": "uint_contents", "UINT16": "uint_contents", "UINT32": "uint_contents",
    "UINT64": "uint64_contents", "FP32": "fp32_contents", "FP64": "fp64_contents", "BYTES": "bytes_contents",
}  # fmt: skip
_WIDE: dict[str, type] = {"i": np.int64, "u": np.uint64}  # by itself numpy converts some large integers to floats
IDLE_SECONDS = 300  # without a call, until a connection is closed; its client then opens another one
_SERVICE = "inference.GRPCInferenceService"

AddServices = Callable[[GrpcHandlers, InferenceBackend[Any], Service], Sequence[str]]
"""Adds further services, and returns their full names, which the health service needs."""


class InferenceService(pb_grpc.GRPCInferenceServiceServicer):
    """The six calls of the protocol. `UnaryMethod` runs them in the envelope, except those about the server."""

    def __init__(self, backend: InferenceBackend[Any], service: Service) -> None:
        self._backend, self._service = backend, service

    async def ServerLive(self, request: pb.ServerLiveRequest, call: CallContext) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=not self._service.health.not_live_reasons())

    async def ServerReady(self, request: pb.ServerReadyRequest, call: CallContext) -> pb.ServerReadyResponse:
        return pb.ServerReadyResponse(
            ready=not (self._service.health.not_live_reasons() or self._service.health.not_ready_reasons())
        )

    async def ModelReady(self, request: pb.ModelReadyRequest, call: CallContext) -> pb.ModelReadyResponse:
        try:
            self._backend.describe(request.name, request.version)
        except NotReady:
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=True)

    async def ServerMetadata(self, request: pb.ServerMetadataRequest, call: CallContext) -> pb.ServerMetadataResponse:
        return pb.ServerMetadataResponse(name="serving-patterns", version=RELEASE, extensions=oip.EXTENSIONS)

    async def ModelMetadata(self, request: pb.ModelMetadataRequest, call: CallContext) -> pb.ModelMetadataResponse:
        model = self._backend.describe(request.name, request.version)
        tensor = pb.ModelMetadataResponse.TensorMetadata
        return pb.ModelMetadataResponse(
            name=model.name,
            versions=self._backend.models()[model.name],
            platform=self._backend.platform,
            properties=model.properties,
            inputs=[tensor(name=spec.name, datatype=spec.datatype, shape=spec.shape) for spec in model.inputs],
            outputs=[tensor(name=spec.name, datatype=spec.datatype, shape=spec.shape) for spec in model.outputs],
        )

    async def ModelInfer(self, request: pb.ModelInferRequest, call: CallContext) -> pb.ModelInferResponse | bytes:
        context = current.get()
        model = self._backend.resolve(request.model_name, request.model_version)
        size = context.bytes_in
        inputs = await decoded_inputs(context, size, decode_for, request, model.inputs, context.most_rows)
        parameters = {name: parameter_value(value) for name, value in request.parameters.items()}
        context.stages["decode"] = (perf_counter() - context.started) * 1e3
        outputs = [output.name for output in request.outputs]
        response = await self._backend.infer(InferRequest(context, model, inputs, outputs, parameters))
        return await encoded_message(context, binary_size(response.outputs), encode, request, response)


def decode_for(request: pb.ModelInferRequest, specs: Sequence[TensorSpec], most_rows: int) -> dict[str, Array]:
    """The inputs of a request for a model, from typed or raw contents. Raises InvalidInput that names the field.

    What the request states of its tensors is compared with the model before any of them is decoded.
    """
    _check_parameters(request.inputs[: len(specs) + 1], request.outputs)
    check_stated(
        [StatedTensor(one.name, one.datatype, one.shape) for one in request.inputs[: len(specs) + 1]], specs, most_rows
    )
    arrays = decode(request)
    oip.check_inputs(arrays, specs)
    return arrays


def _check_parameters(inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
    for index, tensor in enumerate(inputs):
        if tensor.parameters:
            check_input_parameters(tensor.parameters, f"inputs[{index}]")
    for index, output in enumerate(outputs):
        if output.parameters:
            values = {name: parameter_value(value) for name, value in output.parameters.items()}
            check_output_parameters(values, f"outputs[{index}]")


def decode(request: pb.ModelInferRequest) -> dict[str, Array]:
    """The inputs of a request, from typed or raw contents. Raises InvalidInput with the field that is wrong."""
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise InvalidInput.at("raw_input_contents", f"expected {len(request.inputs)} entries, got {len(raw)}")
    arrays: dict[str, Array] = {}
    for index, tensor in enumerate(request.inputs):
        where = f"inputs[{index}]"
        if tensor.name in arrays:
            raise InvalidInput.at(f"{where}.name", f"expected each input once, got {tensor.name!r} twice")
        if raw:
            if tensor.HasField("contents"):
                raise InvalidInput.at(
                    f"{where}.contents",
                    "expected no typed contents, since the request has raw_input_contents; send one of the two",
                )
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
    wide = to_array(values, np.dtype(_WIDE.get(dtype.kind, dtype)))
    if dtype.kind in "iu" and count and not (np.iinfo(dtype).min <= wide.min() and wide.max() <= np.iinfo(dtype).max):
        raise InvalidInput.at(f"{where}.contents", f"contains a value outside the range of {tensor.datatype}")
    return wide.astype(dtype).reshape(tensor.shape)


def encode(request: pb.ModelInferRequest, response: InferResponse) -> pb.ModelInferResponse:
    """The response message, with raw contents, which every client of the protocol reads."""
    outputs = response.outputs
    tensor = pb.ModelInferResponse.InferOutputTensor
    return pb.ModelInferResponse(
        model_name=response.model_name,
        model_version=response.model_version,
        id=request.id,
        outputs=[tensor(name=name, datatype=datatype_of(array), shape=array.shape) for name, array in outputs.items()],
        raw_output_contents=[to_binary(array) for array in outputs.values()],
        parameters={name: parameter(value) for name, value in response.parameters.items()},
    )


@asynccontextmanager
async def serve_grpc(
    backend: InferenceBackend[Any],
    service: Service,
    host: str,
    port: int,
    add_services: Sequence[AddServices] = (),
    read_bounds: ReadBounds = READ_BOUNDS,
    most_connections: int | None = None,
) -> AsyncIterator[grpc.aio.Server]:
    """Serves gRPC until the context is left. Then it refuses new calls and gives those in flight the drain timeout.

    It has at most `most_connections`, by default a quarter of the process's file descriptors, and closes idle ones.

    Raises RuntimeError when the port cannot be opened.
    """
    settings = service.settings
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", min(settings.max_message_bytes, settings.max_body_bytes)),
            ("grpc.max_send_message_length", settings.max_body_bytes),
            ("grpc.http2.bdp_probe", 0),  # the window of a call whose turn has not come stays at 64 KiB
            ("grpc.so_reuseport", 0),
            ("grpc.max_allowed_incoming_connections", most_connections or most_grpc_connections()),
            ("grpc.server_handshake_timeout_ms", int(HEAD_SECONDS * 1000)),
            ("grpc.max_connection_idle_ms", IDLE_SECONDS * 1000),
        ]
    )
    handlers = GrpcHandlers(server, service, read_bounds)
    pb_grpc.add_GRPCInferenceServiceServicer_to_server(InferenceService(backend, service), handlers)
    names = [name for add in add_services for name in add(handlers, backend, service)]
    health_pb2_grpc.add_HealthServicer_to_server(HealthService(service, [_SERVICE, *names]), handlers)
    try:
        server.add_insecure_port(f"{host}:{port}")
    except RuntimeError:
        raise RuntimeError(f"cannot listen on {host}:{port} for gRPC; choose another GRPC_PORT") from None
    await server.start()
    try:
        yield server
    finally:
        await handlers.stop(service.settings.drain_timeout_seconds)


class HealthService(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # the library has no types
    """The service grpc.health.v1.Health: its status is SERVING while this service is ready."""

    def __init__(self, service: Service, services: Sequence[str]) -> None:
        self._service = service
        self._services = ("", *services)  # the empty name stands for the server as a whole

    async def Check(self, request: health_pb2.HealthCheckRequest, call: CallContext) -> health_pb2.HealthCheckResponse:
        if request.service not in self._services:
            asked, served = shortened(request.service), ", ".join(self._services[1:])
            raise NotFound(f"service {asked} is not served here; the services are: {served}")
        return health_pb2.HealthCheckResponse(status=self._status())

    async def Watch(
        self, request: health_pb2.HealthCheckRequest, call: CallContext
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        sent, known = None, request.service in self._services
        del request  # the call may stay open for ever
        while True:
            status = self._status() if known else health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
            if status != sent:
                sent = status
                yield health_pb2.HealthCheckResponse(status=status)
            elif self._service.health.draining:  # the drain does not wait for this call
                return
            else:
                await asyncio.sleep(1)

    def _status(self) -> health_pb2.HealthCheckResponse.ServingStatus.ValueType:
        not_ready = self._service.health.not_live_reasons() or self._service.health.not_ready_reasons()
        serving = health_pb2.HealthCheckResponse.ServingStatus
        return serving.NOT_SERVING if not_ready else serving.SERVING
