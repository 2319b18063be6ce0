"""TensorFlow Serving over gRPC: PredictionService and ModelService, on the server of the Open Inference Protocol."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from time import perf_counter
from typing import Any

from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.wrappers_pb2 import Int64Value

from common.endpoints.backend import InferenceBackend, InferRequest, InferResponse, ModelHandle
from common.endpoints.grpc_calls import CallContext
from common.endpoints.grpc_handlers import GrpcHandlers
from common.endpoints.large import decoded, encoded_message, rows_size
from common.endpoints.tfserving import (
    CLASSIFY,
    DEFAULT_SIGNATURE,
    PREDICT,
    REGRESS,
    Features,
    check_signature,
    classes,
    decoded_examples,
    file_names,
    find_model,
    infer_files,
    row_answers,
    row_count,
    rows,
    signatures,
    status,
    takes_files,
    values,
)
from common.errors import InvalidInput, MethodNotAllowed
from common.preprocessing.items import ItemPreparer
from common.protocol.grpc import tfserving_pb2 as pb
from common.protocol.grpc import tfserving_pb2_grpc as pb_grpc
from common.protocol.grpc import tfserving_tensor_pb2 as tensor_pb
from common.protocol.grpc.tfserving_tensors import decode, encode, stated_tensor
from common.protocol.oip import check_inputs
from common.protocol.stated import binary_size, check_stated
from common.protocol.tensors import Array, TensorSpec
from common.request.context import RequestContext, current
from common.service import Service

_PREDICTION, _MODEL = "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService"
_NAMED = "inputs[%r]"


def add_tfserving(
    handlers: GrpcHandlers, backend: InferenceBackend[Any], service: Service, items: ItemPreparer | None = None
) -> Sequence[str]:
    """Adds both services, and returns their full names. With `items`, Predict takes files of pictures."""
    prediction = PredictionService(backend, service, items)
    pb_grpc.add_PredictionServiceServicer_to_server(prediction, handlers)
    pb_grpc.add_ModelServiceServicer_to_server(ModelService(backend), handlers)
    return [_PREDICTION, _MODEL]


class PredictionService(pb_grpc.PredictionServiceServicer):
    """The calls of the service, which `UnaryMethod` runs in the envelope; MultiInference is refused."""

    def __init__(self, backend: InferenceBackend[Any], service: Service, items: ItemPreparer | None = None) -> None:
        self._backend, self._items = backend, items
        self._most_bytes = service.settings.max_body_bytes

    async def Predict(self, request: pb.PredictRequest, call: CallContext) -> pb.PredictResponse | bytes:
        context = current.get()
        model = _find(self._backend, request.model_spec)
        takes = takes_files(self._items, model)
        check_signature(model, request.model_spec.signature_name, PREDICT, takes)
        specs = None if takes else model.inputs
        inputs = await decoded(context, context.bytes_in, self._decoded, request, specs, context.most_rows)
        context.hold(sum(array.nbytes for array in inputs.values()))  # one value may stand for all elements
        outputs = list(request.output_filter)
        files = _files(inputs, file_names(model)) if takes else None
        if files is not None and self._items is not None:
            asked = InferRequest(context, model, {}, outputs)
            response = await infer_files(self._backend, self._items, asked, files)
        else:
            check_inputs(inputs, model.inputs, _NAMED)
            context.stages["decode"] = (perf_counter() - context.started) * 1e3
            response = await self._backend.infer(InferRequest(context, model, inputs, outputs))
        size = binary_size(response.outputs)
        return await encoded_message(context, size, _prediction, response, request.model_spec)

    def _decoded(
        self, request: pb.PredictRequest, specs: Sequence[TensorSpec] | None, most_rows: int
    ) -> dict[str, Array]:
        """The inputs by name. They are compared with `specs` before they are decoded; None: they may be files."""
        if specs is not None:
            named = islice(request.inputs.items(), len(specs) + 1)
            check_stated([stated_tensor(name, tensor) for name, tensor in named], specs, most_rows, _NAMED)
        return {name: decode(tensor, _NAMED % name, self._most_bytes) for name, tensor in request.inputs.items()}

    async def Classify(self, request: pb.ClassificationRequest, call: CallContext) -> pb.ClassificationResponse | bytes:
        context = current.get()
        model = _model_with_signature(self._backend, request.model_spec, CLASSIFY)
        response, count = await self._infer_examples(context, model, request.input, CLASSIFY)
        size = rows_size(count, row_answers(model).labels)
        return await encoded_message(context, size, _classification, model, response, count, request.model_spec)

    async def Regress(self, request: pb.RegressionRequest, call: CallContext) -> pb.RegressionResponse | bytes:
        context = current.get()
        model = _model_with_signature(self._backend, request.model_spec, REGRESS)
        response, count = await self._infer_examples(context, model, request.input, REGRESS)
        return await encoded_message(
            context, rows_size(count, ()), _regression, model, response, count, request.model_spec
        )

    async def MultiInference(self, request: pb.MultiInferenceRequest, call: CallContext) -> pb.MultiInferenceResponse:
        raise MethodNotAllowed("MultiInference is not supported; call Predict, Classify or Regress", allowed="")

    async def GetModelMetadata(
        self, request: pb.GetModelMetadataRequest, call: CallContext
    ) -> pb.GetModelMetadataResponse:
        if list(request.metadata_field) != ["signature_def"]:
            raise InvalidInput.at(
                "metadata_field", f"expected only signature_def, got {str(request.metadata_field)[:60]}"
            )
        model = _find(self._backend, request.model_spec)
        packed = Packed()
        packed.Pack(signatures(model, takes_files(self._items, model)))
        spec = _spec(model.name, model.version, request.model_spec)
        return pb.GetModelMetadataResponse(model_spec=spec, metadata={"signature_def": packed})

    async def _infer_examples(
        self, context: RequestContext, model: ModelHandle, examples: pb.Input, method: str
    ) -> tuple[InferResponse, int]:
        """The outputs for the examples, and the number of examples."""
        given = model, examples, method, context.most_rows
        inputs = await decoded_examples(context, model, context.bytes_in, _count(examples), _rows, *given)
        context.stages["decode"] = (perf_counter() - context.started) * 1e3
        return await self._backend.infer(InferRequest(context, model, inputs)), row_count(inputs)


class ModelService(pb_grpc.ModelServiceServicer):
    """Reports which versions of a model are ready."""

    def __init__(self, backend: InferenceBackend[Any]) -> None:
        self._backend = backend

    async def GetModelStatus(self, request: pb.GetModelStatusRequest, call: CallContext) -> pb.GetModelStatusResponse:
        _find(self._backend, request.model_spec)
        return status(self._backend, request.model_spec.name, _version(request.model_spec))


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


def _prediction(response: InferResponse, requested: pb.ModelSpec) -> pb.PredictResponse:
    outputs = {name: encode(array) for name, array in response.outputs.items()}
    return pb.PredictResponse(outputs=outputs, model_spec=_response_spec(response, requested))


def _classification(
    model: ModelHandle, response: InferResponse, count: int, requested: pb.ModelSpec
) -> pb.ClassificationResponse:
    scored = classes(model, response.outputs, count, finite=False)
    result = pb.ClassificationResult(classifications=[_classifications(example) for example in scored])
    return pb.ClassificationResponse(result=result, model_spec=_response_spec(response, requested))


def _regression(
    model: ModelHandle, response: InferResponse, count: int, requested: pb.ModelSpec
) -> pb.RegressionResponse:
    regressions = [pb.Regression(value=value) for value in values(model, response.outputs, count, finite=False)]
    result = pb.RegressionResult(regressions=regressions)
    return pb.RegressionResponse(result=result, model_spec=_response_spec(response, requested))


def _count(examples: pb.Input) -> int:
    return max(len(examples.example_list.examples), len(examples.example_list_with_context.examples))


def _rows(model: ModelHandle, examples: pb.Input, method: str, most_rows: int) -> dict[str, Array]:
    listed, shared = examples.example_list.examples, tensor_pb.Example()
    if examples.WhichOneof("kind") == "example_list_with_context":
        listed, shared = examples.example_list_with_context.examples, examples.example_list_with_context.context
    inputs = rows(model, map(_values, listed), len(listed), method, _values(shared), most_rows)
    check_inputs(inputs, model.inputs, "examples.%s")
    return inputs


def _values(example: tensor_pb.Example) -> Features:
    return {
        name: getattr(feature, kind).value if (kind := feature.WhichOneof("kind")) else []
        for name, feature in example.features.feature.items()
    }
