"""What TensorFlow Serving's REST and gRPC endpoints have in common: finding a model, its signatures, its examples."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import Any, TypeVarTuple

import msgspec
import numpy as np

from common.endpoints.backend import InferenceBackend, InferRequest, InferResponse, ModelHandle
from common.endpoints.fingerprint import stated
from common.endpoints.large import decoded_inputs, values_size
from common.endpoints.row_answers import RowAnswers
from common.errors import InvalidInput, PayloadTooLarge
from common.preprocessing.items import ItemPreparer
from common.protocol.grpc import tfserving_pb2 as pb
from common.protocol.grpc import tfserving_tensor_pb2 as tensor_pb
from common.protocol.grpc.tfserving_tensors import tensor_info
from common.protocol.rows import Column, columns_of, listed_names, rows_to_inputs, value_reason
from common.protocol.tensors import Array, TensorSpec
from common.request.context import RequestContext

Ts = TypeVarTuple("Ts")
FILES_SIGNATURE, FILES_INPUT = "serving_bytes", "image_bytes"
MOST_FILES = 64  # in one request; each becomes a tensor that is much larger than the file
PREDICT, CLASSIFY, REGRESS = "predict", "classify", "regress"
DEFAULT_SIGNATURE = "serving_default"
_METHODS = {DEFAULT_SIGNATURE: PREDICT, FILES_SIGNATURE: PREDICT, "classification": CLASSIFY, "regression": REGRESS}
_TASKS = {CLASSIFY: "classification", REGRESS: "regression"}
Features = Mapping[str, Sequence[Any]]
"""The named values of one example: numbers, text or bytes."""


def find_model(
    backend: InferenceBackend[Any], name: str, version: str | None = None, label: str | None = None
) -> ModelHandle:
    """The handle of a model's version. Raises NotFound and NotReady as the backend does, InvalidInput for any label."""
    model: ModelHandle = backend.resolve(name, version)
    if label:
        raise InvalidInput(f"unrecognized servable version label: {label!r}; versions have no labels here")
    return model


def check_signature(model: ModelHandle, signature: str, method: str, files: bool = False) -> None:
    """Raises InvalidInput unless the model has the signature and it is for this method; "" is the default signature."""
    known = signatures(model, files).signature_def
    if signature not in ("", *known):
        raise InvalidInput.at("signature_name", f"expected one of {sorted(known)}, got {signature[:60]!r}")
    if signature not in ("", DEFAULT_SIGNATURE) and _METHODS[signature] != method:
        raise InvalidInput.at("signature_name", f"{signature!r} is for :{_METHODS[signature]}, not :{method}")


def signatures(model: ModelHandle, files: bool) -> pb.SignatureDefMap:
    """A model's signatures: `serving_default` for predict, and one for examples if the model accepts examples.

    With `files`, predict accepts the files of pictures as well, and `serving_bytes` describes that.
    """
    definitions = {DEFAULT_SIGNATURE: _predict_signature(model.inputs, model.outputs)}
    if files:
        definitions[FILES_SIGNATURE] = _predict_signature([TensorSpec(FILES_INPUT, "BYTES", (-1,))], model.outputs)
    for signature, method in _METHODS.items():
        if method != PREDICT and accepts_examples(model, method):
            definitions[signature] = _examples_signature(method, model)
    return pb.SignatureDefMap(signature_def=definitions)


def _predict_signature(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> tensor_pb.SignatureDef:
    return tensor_pb.SignatureDef(
        inputs={spec.name: tensor_info(spec) for spec in inputs},
        outputs={spec.name: tensor_info(spec) for spec in outputs},
        method_name="tensorflow/serving/predict",
    )


def takes_files(items: ItemPreparer | None, model: ModelHandle) -> bool:
    """Whether predict takes the files of pictures for this model: its manifest says how they become its one input."""
    if items is None or len(model.inputs) != 1 or model.inputs[0].datatype == "BYTES":
        return False
    return items.kind(model) == "picture"


def file_names(model: ModelHandle) -> tuple[str, str]:
    """The names under which a file may be sent."""
    return FILES_INPUT, model.inputs[0].name


async def infer_files(
    backend: InferenceBackend[Any],
    items: ItemPreparer,
    request: InferRequest[Any],
    files: Sequence[bytes],
) -> InferResponse:
    """The outputs for the files of pictures, one row each. `request` is completed with the inputs of each file.

    The files are prepared one after the other, so that only one of them is in memory as pixels.
    """
    if not 1 <= len(files) <= MOST_FILES:
        raise InvalidInput.at("instances", f"expected 1 to {MOST_FILES} files in a request, got {len(files)}")
    responses = []
    for index, file in enumerate(files):
        try:
            inputs = await items.prepare(request.context, request.model, file)
        except InvalidInput as error:
            raise type(error).at(f"instances[{index}]", error.detail) from None
        prepared = msgspec.structs.replace(request, inputs=inputs, parameters=stated(request.model))
        responses.append(await backend.infer(prepared))
    names = responses[0].outputs
    outputs = {name: np.concatenate([one.outputs[name] for one in responses]) for name in names}
    last = responses[-1]
    return InferResponse(outputs, last.model_name, last.model_version, last.parameters)


def accepts_examples(model: ModelHandle, method: str) -> bool:
    """Whether a model accepts examples for this method: task, columns with names, and one answer for each example."""
    return not _no_examples_reason(model, method)


def _no_examples_reason(model: ModelHandle, method: str) -> str:
    if not _columns(model):
        return "it has no named features"
    task = model.properties.get("task", "other")
    if task != _TASKS[method]:
        return f"its task is {task}"
    answers = row_answers(model)
    if answers.output is None:
        return "it has no output with one row for each example"
    if method == CLASSIFY and not (answers.labels or _unlabelled_scores(model)):
        return "it has no scores of classes"
    if method == REGRESS and answers.width != 1:
        return f"output {answers.output!r} has more than one value for each example"
    return ""


def _unlabelled_scores(model: ModelHandle) -> bool:
    """Whether the first output is scores, of classes that have no names."""
    spec = model.outputs[0]
    return "labels" not in model.properties and spec.datatype.startswith("FP") and len(spec.shape) == 2


def row_answers(model: ModelHandle) -> RowAnswers:
    """How the outputs of a model are read."""
    return RowAnswers(model.outputs, json.loads(model.properties.get("labels", "[]")))


def _columns(model: ModelHandle) -> list[Column]:
    """The named columns of a model; empty when it has none. Those of a single input may be named in the metadata."""
    columns = columns_of(model.inputs)
    if columns or len(model.inputs) != 1:
        return columns
    return [Column(name, model.inputs[0]) for name in json.loads(model.properties.get("features", "[]"))]


def columns(model: ModelHandle) -> list[str]:
    """The names of the columns of a model's inputs; empty when they have none."""
    return [column.name for column in _columns(model)]


def _examples_signature(method: str, model: ModelHandle) -> tensor_pb.SignatureDef:
    labels = json.loads(model.properties.get("labels", "[]"))
    scores = (-1, len(labels)) if labels else model.outputs[0].shape
    outputs = {"outputs": TensorSpec("outputs", "FP32", scores)}
    if method == CLASSIFY:
        outputs = {"classes": TensorSpec("classes", "BYTES", scores), "scores": TensorSpec("scores", "FP32", scores)}
    return tensor_pb.SignatureDef(
        inputs={"inputs": tensor_info(TensorSpec("examples", "BYTES", (-1,)))},
        outputs={name: tensor_info(spec) for name, spec in outputs.items()},
        method_name=f"tensorflow/serving/{method}",
    )


def status(backend: InferenceBackend[Any], name: str, version: str | None = None) -> pb.GetModelStatusResponse:
    """The state of the versions that are ready, newest first, or of the given one. Raises NotFound, NotReady."""
    backend.resolve(name, version)
    versions = [version] if version else sorted(backend.models()[name], key=int, reverse=True)
    ok = pb.StatusProto(error_code=pb.StatusProto.OK)
    available = pb.ModelVersionStatus.AVAILABLE
    return pb.GetModelStatusResponse(
        model_version_status=[
            pb.ModelVersionStatus(version=int(number), state=available, status=ok) for number in versions
        ]
    )


def rows(
    model: ModelHandle, examples: Iterable[Features], count: int, method: str, shared: Features, most_rows: int
) -> dict[str, Array]:
    """The model's inputs, with the features in the order of the model's columns.

    `shared` has the features that all `count` examples have unless they state them. Names are compared with the model
    before any example is decoded, and examples are read one by one. Raises InvalidInput when the model accepts no
    examples for this method, and when a feature is missing, unknown, not a single value, of another type or out of
    range; PayloadTooLarge for more examples than `most_rows`.
    """
    if reason := _no_examples_reason(model, method):
        raise InvalidInput(
            f"model {model.name!r} accepts no examples for :{method}, since {reason}; send tensors to :predict"
        )
    if not count:
        raise InvalidInput.at("examples", "expected at least one")
    if count > most_rows:
        raise PayloadTooLarge.at("examples", f"expected at most {most_rows}, got {count}; send several requests")
    known = {column.name: column.spec for column in _columns(model)}
    context = _row(shared, known, set(), "context")
    for name, value in context.items():
        if reason := value_reason(value, known[name]):
            raise InvalidInput.at(f"context.{name}", reason)
    needed = known.keys() - context.keys()
    given = (_row(example, known, needed, f"examples[{index}]") for index, example in enumerate(examples))
    return rows_to_inputs(given, _columns(model), "examples", count=count, shared=context)


async def decoded_examples(
    context: RequestContext,
    model: ModelHandle,
    size: int,
    count: int,
    decode: Callable[[*Ts], dict[str, Array]],
    *given: *Ts,
) -> dict[str, Array]:
    """Calls `decode`, which makes the inputs of `count` examples, beside the event loop if they are large.

    `size` is that of the request in bytes. The inputs count as held before they are made, since examples that share a
    context may be much larger than their request.
    """
    reads = values_size(size, count, len(columns(model)))
    takes = row_bytes(model, min(count, context.most_rows))
    return await decoded_inputs(context, reads, decode, *given, takes=takes)


def row_bytes(model: ModelHandle, count: int) -> int:
    """The bytes of the inputs that `rows` makes of so many examples; text has only its references."""
    return count * sum(column.spec.dtype.itemsize for column in _columns(model))


def _row(example: Features, known: Mapping[str, TensorSpec], needed: Set[str], where: str) -> dict[str, Any]:
    """The values that an example states itself."""
    if not needed <= example.keys() <= known.keys():
        found = f"got {listed_names(sorted(example)) or 'none'}"
        raise InvalidInput.at(where, f"expected features {listed_names(known)}; {found}")
    return {name: _single(values, known[name], f"{where}.{name}") for name, values in example.items()}


def _single(values: Sequence[Any], spec: TensorSpec, where: str) -> Any:
    """The only value of a feature. The protocol has no booleans over gRPC: there, 0 and 1 stand for them."""
    if len(values) != 1:
        raise InvalidInput.at(where, f"expected one value, got {len(values)}")
    value = values[0]
    return bool(value) if spec.datatype == "BOOL" and isinstance(value, int) and value in (0, 1) else value


def classes(
    model: ModelHandle, outputs: Mapping[str, Array], rows: int, *, finite: bool = True
) -> list[list[tuple[str, float]]]:
    """For each example: every label with its score, in the order of the classes. With `finite`, refuses NaN."""
    answers = row_answers(model)
    read = answers.scores if answers.labels else answers.values
    scores = read(outputs, rows, finite=finite).reshape(rows, -1)
    labels = answers.labels or [""] * scores.shape[1]
    return [list(zip(labels, row, strict=True)) for row in scores]


def values(model: ModelHandle, outputs: Mapping[str, Array], rows: int, *, finite: bool = True) -> list[float]:
    """For each example: its value. With `finite`, refuses NaN and infinity."""
    found = row_answers(model).values(outputs, rows, finite=finite).reshape(-1)
    return list(found) if found.dtype.kind == "f" else found.tolist()


def row_count(inputs: Mapping[str, Array]) -> int:
    """The number of examples in the inputs that `rows` made of them."""
    return len(next(iter(inputs.values())))
