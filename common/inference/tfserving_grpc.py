"""TensorFlow Serving over gRPC: its PredictionService and ModelService, beside the server's own protocol."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Any

import grpc.aio
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.wrappers_pb2 import Int64Value

from common.errors import InvalidInput, MethodNotAllowed
from common.exchange import Exchange
from common.inference.grpc_calls import Calls, Context
from common.inference.plane import Model, Plane
from common.inference.tfserving import (
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
from common.protocol.grpc import tfserving_pb2 as pb
from common.protocol.grpc import tfserving_pb2_grpc as pb_grpc
from common.protocol.grpc import tfserving_tensor_pb2 as tensor_pb
from common.protocol.grpc.tfserving_tensors import decode, encode
from common.protocol.oip import check_inputs
from common.service import Service

_PREDICTION, _MODEL = "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService"


def add_tfserving(server: grpc.aio.Server, plane: Plane[Any], service: Service) -> Sequence[str]:
    """Adds both services; gives their full names."""
    prediction = PredictionService(plane, service)
    pb_grpc.add_PredictionServiceServicer_to_server(prediction, server)
    pb_grpc.add_ModelServiceServicer_to_server(ModelService(plane, service), server)
    return [_PREDICTION, _MODEL]


class PredictionService(pb_grpc.PredictionServiceServicer):
    """Answers all its calls but MultiInference."""

    def __init__(self, plane: Plane[Any], service: Service) -> None:
        self._plane, self._calls = plane, Calls(service, _PREDICTION)
        self._most_bytes = service.settings.max_body_bytes

    async def Predict(self, request: pb.PredictRequest, context: Context) -> pb.PredictResponse:
        async def predict(exchange: Exchange) -> pb.PredictResponse:
            model = _model(self._plane, request.model_spec, PREDICT)
            inputs = {
                name: decode(tensor, f"inputs[{name!r}]", self._most_bytes) for name, tensor in request.inputs.items()
            }
            check_inputs(inputs, model.inputs)
            exchange.stages["decode"] = (perf_counter() - exchange.started) * 1e3
            outputs = await self._plane.infer(exchange, model, inputs, list(request.output_filter))
            encoded = {name: encode(array) for name, array in outputs.items()}
            return pb.PredictResponse(outputs=encoded, model_spec=_answered(model, request.model_spec))

        return await self._calls.answer("Predict", context, predict)

    async def Classify(self, request: pb.ClassificationRequest, context: Context) -> pb.ClassificationResponse:
        async def classify(exchange: Exchange) -> pb.ClassificationResponse:
            model = _model(self._plane, request.model_spec, CLASSIFY)
            found = classes(model, await self._of_examples(exchange, model, request.input, CLASSIFY))
            rows = [
                pb.Classifications(classes=[pb.Class(label=label, score=score) for label, score in one])
                for one in found
            ]
            result = pb.ClassificationResult(classifications=rows)
            return pb.ClassificationResponse(result=result, model_spec=_answered(model, request.model_spec))

        return await self._calls.answer("Classify", context, classify)

    async def Regress(self, request: pb.RegressionRequest, context: Context) -> pb.RegressionResponse:
        async def regress(exchange: Exchange) -> pb.RegressionResponse:
            model = _model(self._plane, request.model_spec, REGRESS)
            found = values(model, await self._of_examples(exchange, model, request.input, REGRESS))
            result = pb.RegressionResult(regressions=[pb.Regression(value=one) for one in found])
            return pb.RegressionResponse(result=result, model_spec=_answered(model, request.model_spec))

        return await self._calls.answer("Regress", context, regress)

    async def MultiInference(self, request: pb.MultiInferenceRequest, context: Context) -> pb.MultiInferenceResponse:
        async def refuse(_: Exchange) -> pb.MultiInferenceResponse:
            raise MethodNotAllowed("MultiInference is not served; ask Predict, Classify or Regress", allowed="")

        return await self._calls.answer("MultiInference", context, refuse)

    async def GetModelMetadata(
        self, request: pb.GetModelMetadataRequest, context: Context
    ) -> pb.GetModelMetadataResponse:
        async def metadata(_: Exchange) -> pb.GetModelMetadataResponse:
            if list(request.metadata_field) != ["signature_def"]:
                raise InvalidInput.at("metadata_field", "expected signature_def alone")
            model = _find(self._plane, request.model_spec)
            packed = Packed()
            packed.Pack(signatures(model))
            spec = _answered(model, request.model_spec)
            return pb.GetModelMetadataResponse(model_spec=spec, metadata={"signature_def": packed})

        return await self._calls.answer("GetModelMetadata", context, metadata)

    async def _of_examples(self, exchange: Exchange, model: Model, given: pb.Input, method: str) -> Any:
        inputs = rows(model, _features(given), method)
        check_inputs(inputs, model.inputs)
        exchange.stages["decode"] = (perf_counter() - exchange.started) * 1e3
        return await self._plane.infer(exchange, model, inputs)


class ModelService(pb_grpc.ModelServiceServicer):
    """Says which versions of a model answer."""

    def __init__(self, plane: Plane[Any], service: Service) -> None:
        self._plane, self._calls = plane, Calls(service, _MODEL)

    async def GetModelStatus(self, request: pb.GetModelStatusRequest, context: Context) -> pb.GetModelStatusResponse:
        async def tell(_: Exchange) -> pb.GetModelStatusResponse:
            _find(self._plane, request.model_spec)
            return status(self._plane, request.model_spec.name, _version(request.model_spec))

        return await self._calls.answer("GetModelStatus", context, tell)


def _model(plane: Plane[Any], spec: pb.ModelSpec, method: str) -> Model:
    model = _find(plane, spec)
    check_signature(model, spec.signature_name, method)
    return model


def _find(plane: Plane[Any], spec: pb.ModelSpec) -> Model:
    if not spec.name:
        raise InvalidInput.at("model_spec.name", "is missing")
    return find(plane, spec.name, _version(spec), spec.version_label)


def _classifications(scored: Sequence[tuple[str, float]]) -> pb.Classifications:
    return pb.Classifications(classes=[pb.Class(label=label, score=score) for label, score in scored])


def _version(spec: pb.ModelSpec) -> str | None:
    return str(spec.version.value) if spec.HasField("version") else None


def _answered(model: Model, spec: pb.ModelSpec) -> pb.ModelSpec:
    """The version that answered, by the signature that was meant."""
    signature = spec.signature_name or DEFAULT_SIGNATURE
    return pb.ModelSpec(name=model.name, version=Int64Value(value=int(model.version)), signature_name=signature)


def _features(given: pb.Input) -> list[Features]:
    """Each example's values by name, its own before those of the context."""
    if given.WhichOneof("kind") == "example_list_with_context":
        listed = given.example_list_with_context
        context = _values(listed.context)
        return [{**context, **_values(one)} for one in listed.examples]
    return [_values(one) for one in given.example_list.examples]


def _values(example: tensor_pb.Example) -> Features:
    return {
        name: getattr(feature, kind).value if (kind := feature.WhichOneof("kind")) else []
        for name, feature in example.features.feature.items()
    }
