"""The gRPC transport: the Open Inference Protocol over grpcio's asyncio API, with raw tensor contents."""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Mapping
from typing import Self, TypeVar

import grpc
import grpc.aio

from common.client.failures import failure
from common.client.limits import ClientLimits
from common.client.transport import (
    ModelMetadata,
    PredictorRequest,
    PredictorResponse,
    RetryableError,
    headers_to_send,
    require_outputs,
    retry_seconds,
    tensor_spec,
)
from common.errors import (
    DeadlineExceeded,
    InvalidInput,
    NotFound,
    Overloaded,
    PayloadTooLarge,
    PreprocessingMismatch,
    ServingError,
    UpstreamFailed,
)
from common.protocol.grpc import oip_pb2 as pb
from common.protocol.grpc.parameters import parameter, parameter_value
from common.protocol.grpc.statuses import KEY, decode_details
from common.protocol.tensors import Array, datatype_of, from_binary, to_binary
from common.protocol.values import many_texts
from common.request.capacity import SMALL
from common.request.context import beside_loop
from common.request.deadline import Deadline

T = TypeVar("T")

_ERRORS: dict[grpc.StatusCode, type[ServingError]] = {
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidInput,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.FAILED_PRECONDITION: PreprocessingMismatch,
}
_SERVER = "SERVER:"  # begins a refusal of grpcio on the side of the predictor
_SERVICE = "/inference.GRPCInferenceService/"


class GrpcTransport:
    """One model behind `host:port`."""

    def __init__(
        self,
        target: str,
        model: str,
        version: str,
        predictor: str,
        limits: ClientLimits,
        headers: Mapping[str, str],
    ) -> None:
        self._target = target
        self._model = model
        self._version = version
        self._predictor = predictor
        self._options = _options(limits)
        self._own = [(name.lower(), value) for name, value in headers.items()]
        self._opened: list[grpc.aio.Channel] = []  # none or one; transports for one version share it

    def pinned(self, version: str) -> Self:
        other = copy.copy(self)
        other._version = version
        return other

    async def infer(self, request: PredictorRequest) -> PredictorResponse:
        call = self._channel().unary_unary(
            f"{_SERVICE}ModelInfer",
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelInferResponse.FromString,
        )(
            await beside_loop(many_texts(request.inputs.values()), self._request, request),
            timeout=max(request.deadline.remaining, 0.0),
            metadata=[*self._own, *((name.lower(), value) for name, value in headers_to_send(request.headers))],
        )
        message = await self._response(call)
        timing = str((await call.trailing_metadata()).get("server-timing", ""))
        parameters = {name: parameter_value(value) for name, value in message.parameters.items()}
        texts = sum(len(raw) for raw in message.raw_output_contents) > SMALL and _has_texts(message)
        arrays = await beside_loop(texts, self._arrays, message)
        response = PredictorResponse(arrays, message.model_name, message.model_version, timing, parameters)
        require_outputs(response, request.outputs, self._predictor)
        return response

    async def ready(self, deadline: Deadline) -> bool:
        call = self._channel().unary_unary(
            f"{_SERVICE}ModelReady",
            request_serializer=pb.ModelReadyRequest.SerializeToString,
            response_deserializer=pb.ModelReadyResponse.FromString,
        )
        request = pb.ModelReadyRequest(name=self._model, version=self._version)
        return (await self._response(call(request, timeout=max(deadline.remaining, 0.0), metadata=self._own))).ready

    async def metadata(self, deadline: Deadline) -> ModelMetadata:
        call = self._channel().unary_unary(
            f"{_SERVICE}ModelMetadata",
            request_serializer=pb.ModelMetadataRequest.SerializeToString,
            response_deserializer=pb.ModelMetadataResponse.FromString,
        )
        request = pb.ModelMetadataRequest(name=self._model, version=self._version)
        metadata = await self._response(call(request, timeout=max(deadline.remaining, 0.0), metadata=self._own))
        inputs, outputs = (
            tuple(tensor_spec(tensor.name, tensor.datatype, tensor.shape, self._predictor) for tensor in tensors)
            for tensors in (metadata.inputs, metadata.outputs)
        )
        return ModelMetadata(metadata.name, tuple(metadata.versions), inputs, outputs, dict(metadata.properties))

    async def close(self) -> None:
        while self._opened:
            await self._opened.pop().close()

    def _channel(self) -> grpc.aio.Channel:
        """The channel. The first call opens it, since a channel belongs to the event loop that is running then."""
        if not self._opened:
            self._opened.append(grpc.aio.insecure_channel(self._target, options=self._options))
        return self._opened[0]

    def _request(self, request: PredictorRequest) -> pb.ModelInferRequest:
        return pb.ModelInferRequest(
            model_name=self._model,
            model_version=self._version,
            inputs=[
                pb.ModelInferRequest.InferInputTensor(name=name, datatype=datatype_of(array), shape=array.shape)
                for name, array in request.inputs.items()
            ],
            outputs=[pb.ModelInferRequest.InferRequestedOutputTensor(name=name) for name in request.outputs],
            raw_input_contents=[to_binary(array) for array in request.inputs.values()],
            parameters={name: parameter(value) for name, value in request.parameters.items()},
        )

    async def _response(self, call: Awaitable[T]) -> T:
        """The message that a call returns. Raises what `_error` makes of its status."""
        try:
            return await call
        except grpc.aio.AioRpcError as error:
            raise self._error(error) from error

    def _arrays(self, response: pb.ModelInferResponse) -> dict[str, Array]:
        try:
            return {
                tensor.name: from_binary(raw, tensor.datatype, list(tensor.shape), f"outputs[{index}]")
                for index, (tensor, raw) in enumerate(zip(response.outputs, response.raw_output_contents, strict=True))
            }
        except (InvalidInput, ValueError) as error:
            raise UpstreamFailed(f"predictor {self._predictor}: its response is not valid: {error}") from None

    def _error(self, error: grpc.aio.AioRpcError) -> ServingError | RetryableError:
        """The error for a call whose status is not OK."""
        code, text = error.code(), error.details() or ""
        detail = f"predictor {self._predictor} answered {code.name}: {text}"
        trailing = dict(error.trailing_metadata())
        retry_after = retry_seconds(str(trailing.get("retry-after", "")))
        if (stated := decode_details(trailing.get(KEY))) is not None:
            return failure(stated.kind, detail, text, stated.fields, retry_after)
        if code is grpc.StatusCode.UNAVAILABLE:
            # When a connection failed, `details` contain the address; those of a predictor of ours give its reason.
            text = detail if "x-request-id" in trailing else f"predictor {self._predictor} is unavailable"
            return RetryableError(UpstreamFailed(text), retry_after)
        if code is grpc.StatusCode.RESOURCE_EXHAUSTED:  # other servers do not say whether another attempt may succeed
            if "message larger than max" not in text:
                return Overloaded(detail, retry_after=retry_after or 1.0)
            return PayloadTooLarge(text) if text.startswith(_SERVER) else UpstreamFailed(detail)
        return failure(_ERRORS.get(code, ServingError), detail, text, (), retry_after)


def _has_texts(message: pb.ModelInferResponse) -> bool:
    return any(tensor.datatype == "BYTES" for tensor in message.outputs)


def _options(limits: ClientLimits) -> list[tuple[str, int | str]]:
    connect_ms = int(limits.connect_timeout_seconds * 1000)
    return [
        ("grpc.max_receive_message_length", limits.max_response_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.enable_http_proxy", 0),
        ("grpc.enable_retries", 0),  # PredictorClient retries, within a budget
        ("grpc.service_config_disable_resolution", 1),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.lb_policy_name", "round_robin"),  # the addresses of one name are its replicas
        # Reconnects to a restarted predictor within a second; by default it can take two minutes.
        ("grpc.initial_reconnect_backoff_ms", 50),
        ("grpc.min_reconnect_backoff_ms", connect_ms),
        ("grpc.max_reconnect_backoff_ms", 1000),
    ]
