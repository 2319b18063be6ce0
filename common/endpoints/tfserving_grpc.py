"""TensorFlow Serving over gRPC: PredictionService and ModelService, on the server of the Open Inference Protocol."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from time import perf_counter
from typing import Any

from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.wrappers_pb2 import Int64Value

from common.endpoints.backend import InferenceBackend, InferRequest, InferResponse, ModelHandle
from common.endpoints.grpc_calls import CallContext, GrpcCalls
from common.endpoints.grpc_handlers import GrpcHandlers
from common.endpoints.tfserving import (
    CLASSIFY,
    DEFAULT_SIGNATURE,
    PREDICT,
    REGRESS,
    Features,
    check_signature,
    classes,
    file_names,
    find_model,
    infer_files,
    row_count,
    rows,
    signatures,
    status,
    takes_files,
    values,
)
from common.errors import InvalidInput, MethodNotAllowed, PayloadTooLarge
from common.preprocessing.items import ItemPreparer
from common.protocol.grpc import tfserving_pb2 as pb
from common.protocol.grpc import tfserving_pb2_grpc as pb_grpc
from common.protocol.grpc import tfserving_tensor_pb2 as tensor_pb
from common.protocol.grpc.tfserving_tensors import decode, encode, stated_tensor
from common.protocol.oip import check_inputs
from common.protocol.stated import check_stated, json_size
from common.protocol.tensors import Array, TensorSpec
from common.request.capacity import LARGE
from common.request.context import RequestContext
from common.service import Service

_PREDICTION, _MODEL = "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService"


def add_tfserving(
    handlers: GrpcHandlers, backend: InferenceBackend[Any], service: Service, items: ItemPreparer | None = None
) -> Sequence[str]:
    """Adds both services, and returns their full names. With `items`, Predict takes files of pictures."""
    prediction = PredictionService(backend, service, items)
    pb_grpc.add_PredictionServiceServicer_to_server(prediction, handlers)
    pb_grpc.add_ModelServiceServicer_to_server(ModelService(backend, service), handlers)
    return [_PREDICTION, _MODEL]


class PredictionService(pb_grpc.PredictionServiceServicer):
    """The calls of the service; MultiInference is refused."""

    def __init__(self, backend: InferenceBackend[Any], service: Service, items: ItemPreparer | None = None) -> None:
        self._backend, self._items, self._calls = backend, items, GrpcCalls(service, _PREDICTION)
        self._most_bytes = service.settings.max_body_bytes

    async def Predict(self, request: pb.PredictRequest, call: CallContext) -> pb.PredictResponse:
        async def predict(context: RequestContext) -> pb.PredictResponse:
            model = _find(self._backend, request.model_spec)
            takes = takes_files(self._items, model)
            check_signature(model, request.model_spec.signature_name, PREDICT, takes)
            specs = None if takes else model.inputs
            if (size := request.ByteSize()) <= LARGE:
                inputs = self._decoded(request, specs, context.most_rows)
            else:
                inputs = await context.in_thread(self._decoded, request, specs, context.most_rows)
            context.hold(sum(array.nbytes for array in inputs.values()))  # one value may stand for all elements
            outputs = list(request.output_filter)
            files = _files(inputs, file_names(model)) if takes else None
            if files is not None and self._items is not None:
                asked = InferRequest(context, model, {}, outputs)
                response = await infer_files(self._backend, self._items, asked, files)
            else:
                check_inputs(inputs, model.inputs)
                context.stages["decode"] = (perf_counter() - context.started) * 1e3
                response = await self._backend.infer(InferRequest(context, model, inputs, outputs))
            if (size := json_size(response.outputs)) <= LARGE:
                encoded = _encoded(response.outputs)
            else:
                context.hold(size)
                encoded = await context.in_thread(_encoded, response.outputs)
            return pb.PredictResponse(outputs=encoded, model_spec=_response_spec(response, request.model_spec))

        return await self._calls.run("Predict", call, predict)

    def _decoded(
        self, request: pb.PredictRequest, specs: Sequence[TensorSpec] | None, most_rows: int
    ) -> dict[str, Array]:
        """The inputs by name. They are compared with `specs` before they are decoded; None: they may be files."""
        if specs is not None:
            named = islice(request.inputs.items(), len(specs) + 1)
            check_stated([stated_tensor(name, tensor) for name, tensor in named], specs, most_rows)
        return {name: decode(tensor, f"inputs[{name!r}]", self._most_bytes) for name, tensor in request.inputs.items()}

    async def Classify(self, request: pb.ClassificationRequest, call: CallContext) -> pb.ClassificationResponse:
        async def classify(context: RequestContext) -> pb.ClassificationResponse:
            model = _model_with_signature(self._backend, request.model_spec, CLASSIFY)
            response, count = await self._infer_examples(context, model, request.input, CLASSIFY)
            scored = classes(model, response.outputs, count, finite=False)
            result = pb.ClassificationResult(classifications=[_classifications(example) for example in scored])
            return pb.ClassificationResponse(result=result, model_spec=_response_spec(response, request.model_spec))

        return await self._calls.run("Classify", call, classify)

    async def Regress(self, request: pb.RegressionRequest, call: CallContext) -> pb.RegressionResponse:
        async def regress(context: RequestContext) -> pb.RegressionResponse:
            model = _model_with_signature(self._backend, request.model_spec, REGRESS)
            response, count = await self._infer_examples(context, model, request.input, REGRESS)
            regressions = [pb.Regression(value=value) for value in values(model, response.outputs, count, finite=False)]
            result = pb.RegressionResult(regressions=regressions)
            return pb.RegressionResponse(result=result, model_spec=_response_spec(response, request.model_spec))

        return await self._calls.run("Regress", call, regress)

    async def MultiInference(self, request: pb.MultiInferenceRequest, call: CallContext) -> pb.MultiInferenceResponse:
        async def refuse(_: RequestContext) -> pb.MultiInferenceResponse:
            raise MethodNotAllowed("MultiInference is not supported; call Predict, Classify or Regress", allowed="")

        return await self._calls.run("MultiInference", call, refuse)

    async def GetModelMetadata(
        self, request: pb.GetModelMetadataRequest, call: CallContext
    ) -> pb.GetModelMetadataResponse:
        async def metadata(_: RequestContext) -> pb.GetModelMetadataResponse:
            if list(request.metadata_field) != ["signature_def"]:
                raise InvalidInput.at(
                    "metadata_field", f"expected only signature_def, got {str(request.metadata_field)[:60]}"
                )
            model = _find(self._backend, request.model_spec)
            packed = Packed()
            packed.Pack(signatures(model, takes_files(self._items, model)))
            spec = _spec(model.name, model.version, request.model_spec)
            return pb.GetModelMetadataResponse(model_spec=spec, metadata={"signature_def": packed})

        return await self._calls.run("GetModelMetadata", call, metadata)

    async def _infer_examples(
        self, context: RequestContext, model: ModelHandle, examples: pb.Input, method: str
    ) -> tuple[InferResponse, int]:
        """The outputs for the examples, and the number of examples."""
        if examples.ByteSize() <= LARGE:
            inputs = _rows(model, examples, method, context.most_rows)
        else:
            inputs = await context.in_thread(_rows, model, examples, method, context.most_rows)
        context.stages["decode"] = (perf_counter() - context.started) * 1e3
        return await self._backend.infer(InferRequest(context, model, inputs)), row_count(inputs)


class ModelService(pb_grpc.ModelServiceServicer):
    """Reports which versions of a model are ready."""

    def __init__(self, backend: InferenceBackend[Any], service: Service) -> None:
        self._backend, self._calls = backend, GrpcCalls(service, _MODEL)

    async def GetModelStatus(self, request: pb.GetModelStatusRequest, call: CallContext) -> pb.GetModelStatusResponse:
        async def model_status(_: RequestContext) -> pb.GetModelStatusResponse:
            _find(self._backend, request.model_spec)
            return status(self._backend, request.model_spec.name, _version(request.model_spec))

        return await self._calls.run("GetModelStatus", call, model_status)


def _model_with_signature(backend: InferenceBackend[Any], spec: pb.ModelSpec, method: str) -> ModelHandle:
    model = _find(backend, spec)
    check_signature(model, spec.signature_name, method)
    return model


def _find(backend: InferenceBackend[Any], spec: pb.ModelSpec) -> ModelHandle:
    if not spec.name:
        raise InvalidInput.at("model_spec.name", "is missing; expected the name of a model")
    return find_model(backend, spec.name, _version(spec), spec.version_label)


def _files(inputs: Mapping[str, Array], names: Collection[str]) -> list[bytes] | None:
    """The files of pictures in a request; None when it has tensors of numbers, or other inputs."""
    if len(inputs) != 1:
        return None
    ((name, array),) = inputs.items()
    if name not in names or array.dtype != object or array.ndim > 1:
        return None
    return [bytes(one) for one in array.reshape(-1)]


def _classifications(scored: Sequence[tuple[str, float]]) -> pb.Classifications:
    return pb.Classifications(classes=[pb.Class(label=label, score=score) for label, score in scored])


def _version(spec: pb.ModelSpec) -> str | None:
    return str(spec.version.value) if spec.HasField("version") else None


def _response_spec(response: InferResponse, requested: pb.ModelSpec) -> pb.ModelSpec:
    return _spec(response.model_name, response.model_version, requested)


def _spec(name: str, version: str, requested: pb.ModelSpec) -> pb.ModelSpec:
    """The version that computed the response, and the signature of the request."""
    signature = requested.signature_name or DEFAULT_SIGNATURE
    return pb.ModelSpec(name=name, version=Int64Value(value=int(version)), signature_name=signature)


def _encoded(outputs: Mapping[str, Array]) -> dict[str, tensor_pb.TensorProto]:
    return {name: encode(array) for name, array in outputs.items()}


def _rows(model: ModelHandle, examples: pb.Input, method: str, most_rows: int) -> dict[str, Array]:
    count = max(len(examples.example_list.examples), len(examples.example_list_with_context.examples))
    if count > most_rows:
        raise PayloadTooLarge.at("examples", f"expected at most {most_rows}, got {count}; send several requests")
    inputs = rows(model, _features(examples), method)
    check_inputs(inputs, model.inputs)
    return inputs


def _features(examples: pb.Input) -> list[Features]:
    """The values of each example by name. The example's own values come before those of the shared context."""
    if examples.WhichOneof("kind") == "example_list_with_context":
        listed = examples.example_list_with_context
        shared = _values(listed.context)
        return [{**shared, **_values(example)} for example in listed.examples]
    return [_values(example) for example in examples.example_list.examples]


def _values(example: tensor_pb.Example) -> Features:
    return {
        name: getattr(feature, kind).value if (kind := feature.WhichOneof("kind")) else []
        for name, feature in example.features.feature.items()
    }
