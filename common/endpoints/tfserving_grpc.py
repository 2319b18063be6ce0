"""TensorFlow Serving over gRPC: its PredictionService and ModelService, beside the server's own protocol."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Any

import grpc.aio
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.wrappers_pb2 import Int64Value

from common.endpoints.backend import InferenceBackend, InferRequest, InferResponse, ModelHandle
from common.endpoints.grpc_calls import CallContext, GrpcCalls
from common.endpoints.tfserving import (
    CLASSIFY,
    DEFAULT_SIGNATURE,
    PREDICT,
    REGRESS,
    Features,
    check_signature,
    classes,
    find,
    rows,
    signatures,
    status,
    values,
)
from common.errors import InvalidInput, MethodNotAllowed
from common.protocol.grpc import tfserving_pb2 as pb
from common.protocol.grpc import tfserving_pb2_grpc as pb_grpc
from common.protocol.grpc import tfserving_tensor_pb2 as tensor_pb
from common.protocol.grpc.tfserving_tensors import decode, encode
from common.protocol.oip import check_inputs
from common.request.context import RequestContext
from common.service import Service

_PREDICTION, _MODEL = "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService"


def add_tfserving(server: grpc.aio.Server, backend: InferenceBackend[Any], service: Service) -> Sequence[str]:
    """Adds both services; gives their full names."""
    prediction = PredictionService(backend, service)
    pb_grpc.add_PredictionServiceServicer_to_server(prediction, server)
    pb_grpc.add_ModelServiceServicer_to_server(ModelService(backend, service), server)
    return [_PREDICTION, _MODEL]


class PredictionService(pb_grpc.PredictionServiceServicer):
    """Answers all its calls but MultiInference."""

    def __init__(self, backend: InferenceBackend[Any], service: Service) -> None:
        self._backend, self._calls = backend, GrpcCalls(service, _PREDICTION)
        self._most_bytes = service.settings.max_body_bytes

    async def Predict(self, request: pb.PredictRequest, call: CallContext) -> pb.PredictResponse:
        async def predict(context: RequestContext) -> pb.PredictResponse:
            model = _model(self._backend, request.model_spec, PREDICT)
            inputs = {
                name: decode(tensor, f"inputs[{name!r}]", self._most_bytes) for name, tensor in request.inputs.items()
            }
            check_inputs(inputs, model.inputs)
            context.stages["decode"] = (perf_counter() - context.started) * 1e3
            asked = InferRequest(context, model, inputs, list(request.output_filter))
            response = await self._backend.infer(asked)
            encoded = {name: encode(array) for name, array in response.outputs.items()}
            return pb.PredictResponse(outputs=encoded, model_spec=_answered_spec(response, request.model_spec))

        return await self._calls.answer("Predict", call, predict)

    async def Classify(self, request: pb.ClassificationRequest, call: CallContext) -> pb.ClassificationResponse:
        async def classify(context: RequestContext) -> pb.ClassificationResponse:
            model = _model(self._backend, request.model_spec, CLASSIFY)
            response = await self._of_examples(context, model, request.input, CLASSIFY)
            found = classes(model, response.outputs)
            rows = [
                pb.Classifications(classes=[pb.Class(label=label, score=score) for label, score in one])
                for one in found
            ]
            result = pb.ClassificationResult(classifications=rows)
            return pb.ClassificationResponse(result=result, model_spec=_answered_spec(response, request.model_spec))

        return await self._calls.answer("Classify", call, classify)

    async def Regress(self, request: pb.RegressionRequest, call: CallContext) -> pb.RegressionResponse:
        async def regress(context: RequestContext) -> pb.RegressionResponse:
            model = _model(self._backend, request.model_spec, REGRESS)
            response = await self._of_examples(context, model, request.input, REGRESS)
            found = values(model, response.outputs)
            result = pb.RegressionResult(regressions=[pb.Regression(value=one) for one in found])
            return pb.RegressionResponse(result=result, model_spec=_answered_spec(response, request.model_spec))

        return await self._calls.answer("Regress", call, regress)

    async def MultiInference(self, request: pb.MultiInferenceRequest, call: CallContext) -> pb.MultiInferenceResponse:
        async def refuse(_: RequestContext) -> pb.MultiInferenceResponse:
            raise MethodNotAllowed("MultiInference is not served; ask Predict, Classify or Regress", allowed="")

        return await self._calls.answer("MultiInference", call, refuse)

    async def GetModelMetadata(
        self, request: pb.GetModelMetadataRequest, call: CallContext
    ) -> pb.GetModelMetadataResponse:
        async def metadata(_: RequestContext) -> pb.GetModelMetadataResponse:
            if list(request.metadata_field) != ["signature_def"]:
                raise InvalidInput.at("metadata_field", "expected signature_def alone")
            model = _find(self._backend, request.model_spec)
            packed = Packed()
            packed.Pack(signatures(model))
            spec = _spec(model.name, model.version, request.model_spec)
            return pb.GetModelMetadataResponse(model_spec=spec, metadata={"signature_def": packed})

        return await self._calls.answer("GetModelMetadata", call, metadata)

    async def _of_examples(
        self, context: RequestContext, model: ModelHandle, given: pb.Input, method: str
    ) -> InferResponse:
        inputs = rows(model, _features(given), method)
        check_inputs(inputs, model.inputs)
        context.stages["decode"] = (perf_counter() - context.started) * 1e3
        return await self._backend.infer(InferRequest(context, model, inputs))


class ModelService(pb_grpc.ModelServiceServicer):
    """Says which versions of a model answer."""

    def __init__(self, backend: InferenceBackend[Any], service: Service) -> None:
        self._backend, self._calls = backend, GrpcCalls(service, _MODEL)

    async def GetModelStatus(self, request: pb.GetModelStatusRequest, call: CallContext) -> pb.GetModelStatusResponse:
        async def tell(_: RequestContext) -> pb.GetModelStatusResponse:
            _find(self._backend, request.model_spec)
            return status(self._backend, request.model_spec.name, _version(request.model_spec))

        return await self._calls.answer("GetModelStatus", call, tell)


def _model(backend: InferenceBackend[Any], spec: pb.ModelSpec, method: str) -> ModelHandle:
    model = _find(backend, spec)
    check_signature(model, spec.signature_name, method)
    return model


def _find(backend: InferenceBackend[Any], spec: pb.ModelSpec) -> ModelHandle:
    if not spec.name:
        raise InvalidInput.at("model_spec.name", "is missing")
    return find(backend, spec.name, _version(spec), spec.version_label)


def _classifications(scored: Sequence[tuple[str, float]]) -> pb.Classifications:
    return pb.Classifications(classes=[pb.Class(label=label, score=score) for label, score in scored])


def _version(spec: pb.ModelSpec) -> str | None:
    return str(spec.version.value) if spec.HasField("version") else None


def _answered_spec(response: InferResponse, asked: pb.ModelSpec) -> pb.ModelSpec:
    return _spec(response.model_name, response.model_version, asked)


def _spec(name: str, version: str, asked: pb.ModelSpec) -> pb.ModelSpec:
    """The version that answered, with the signature that was asked for."""
    signature = asked.signature_name or DEFAULT_SIGNATURE
    return pb.ModelSpec(name=name, version=Int64Value(value=int(version)), signature_name=signature)


def _features(given: pb.Input) -> list[Features]:
    """Each example's values by name, its own before those of the call."""
    if given.WhichOneof("kind") == "example_list_with_context":
        listed = given.example_list_with_context
        shared = _values(listed.context)
        return [{**shared, **_values(one)} for one in listed.examples]
    return [_values(one) for one in given.example_list.examples]


def _values(example: tensor_pb.Example) -> Features:
    return {
        name: getattr(feature, kind).value if (kind := feature.WhichOneof("kind")) else []
        for name, feature in example.features.feature.items()
    }
