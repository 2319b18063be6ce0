"""What TensorFlow Serving's two surfaces have in common: the model that is meant, its signatures, its columns."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from common.endpoints.backend import InferenceBackend, ModelHandle
from common.errors import InvalidInput
from common.protocol.grpc import tfserving_pb2 as pb
from common.protocol.grpc import tfserving_tensor_pb2 as tensor_pb
from common.protocol.grpc.tfserving_tensors import tensor_info
from common.protocol.tensors import Array, TensorSpec, check_finite

PREDICT, CLASSIFY, REGRESS = "predict", "classify", "regress"
DEFAULT_SIGNATURE = "serving_default"
_METHODS = {DEFAULT_SIGNATURE: PREDICT, "classification": CLASSIFY, "regression": REGRESS}
_TASKS = {CLASSIFY: "classification", REGRESS: "regression"}
Features = Mapping[str, Sequence[Any]]
"""The named values of one example: numbers, text or bytes."""


def find(
    backend: InferenceBackend[Any], name: str, version: str | None = None, label: str | None = None
) -> ModelHandle:
    """The model that is meant; NotFound or NotReady as the backend has it, InvalidInput for a label."""
    model: ModelHandle = backend.resolve(name, version)
    if label:
        raise InvalidInput(f"unrecognized servable version label: {label!r}; versions have no labels here")
    return model


def check_signature(model: ModelHandle, signature: str, method: str) -> None:
    """Raises InvalidInput unless the model has the signature (none: the default) and it is for this method."""
    known = signatures(model).signature_def
    if signature not in ("", *known):
        raise InvalidInput.at("signature_name", f"expected one of {sorted(known)}, got {signature[:60]!r}")
    if signature not in ("", DEFAULT_SIGNATURE) and _METHODS[signature] != method:
        raise InvalidInput.at("signature_name", f"{signature!r} is for :{_METHODS[signature]}, not :{method}")


def signatures(model: ModelHandle) -> pb.SignatureDefMap:
    """`serving_default` for predict, and one for examples where the model's columns have names."""
    found = {
        DEFAULT_SIGNATURE: tensor_pb.SignatureDef(
            inputs={spec.name: tensor_info(spec) for spec in model.inputs},
            outputs={spec.name: tensor_info(spec) for spec in model.outputs},
            method_name="tensorflow/serving/predict",
        )
    }
    for signature, method in _METHODS.items():
        if method != PREDICT and answers(model, method):
            found[signature] = _of_examples(method, model)
    return pb.SignatureDefMap(signature_def=found)


def answers(model: ModelHandle, method: str) -> bool:
    """Whether a model takes examples for this method: it has that task, and its columns have names."""
    return model.properties.get("task") == _TASKS[method] and bool(columns(model))


def columns(model: ModelHandle) -> list[str]:
    """The names of its input's columns; none where they have no names, or hold no numbers."""
    if len(model.inputs) != 1 or model.inputs[0].datatype == "BYTES":
        return []
    found: list[str] = json.loads(model.properties.get("features", "[]"))
    return found


def _of_examples(method: str, model: ModelHandle) -> tensor_pb.SignatureDef:
    scores = model.outputs[0].shape
    outputs = {"outputs": TensorSpec("outputs", "FP32", scores)}
    if method == CLASSIFY:
        outputs = {"classes": TensorSpec("classes", "BYTES", scores), "scores": TensorSpec("scores", "FP32", scores)}
    return tensor_pb.SignatureDef(
        inputs={"inputs": tensor_info(TensorSpec("examples", "BYTES", (-1,)))},
        outputs={name: tensor_info(spec) for name, spec in outputs.items()},
        method_name=f"tensorflow/serving/{method}",
    )


def status(backend: InferenceBackend[Any], name: str, version: str | None = None) -> pb.GetModelStatusResponse:
    """The versions that answer, newest first, or the one asked for; NotFound or NotReady as the backend has it."""
    backend.resolve(name, version)
    versions = [version] if version else sorted(backend.models()[name], key=int, reverse=True)
    ok = pb.StatusProto(error_code=pb.StatusProto.OK)
    available = pb.ModelVersionStatus.AVAILABLE
    return pb.GetModelStatusResponse(
        model_version_status=[pb.ModelVersionStatus(version=int(one), state=available, status=ok) for one in versions]
    )


def rows(model: ModelHandle, examples: Sequence[Features], method: str) -> dict[str, Array]:
    """The examples' features in the order of the model's columns: its one input, of shape [examples, columns].

    Raises InvalidInput for a model that has no named columns or another task, and for a feature that is missing,
    unknown or no single number.
    """
    if not answers(model, method):
        why = f"its task is {model.properties.get('task', 'other')}" if columns(model) else "it has no named features"
        raise InvalidInput(f"model {model.name!r} takes no examples for :{method}, {why}; ask :predict, with tensors")
    if not examples:
        raise InvalidInput.at("examples", "expected at least one")
    spec, names = model.inputs[0], columns(model)
    numbers = np.array([_row(one, names, f"examples[{index}]") for index, one in enumerate(examples)])
    with np.errstate(over="ignore"):
        array = numbers.astype(spec.dtype)
    if array.dtype.kind == "f":
        check_finite(array, "examples")
    return {spec.name: array}


def _row(example: Features, names: Sequence[str], where: str) -> list[float]:
    if example.keys() != set(names):
        raise InvalidInput.at(where, f"expected features {names}, got {sorted(example)}")
    return [_number(example[name], f"{where}.{name}") for name in names]


def _number(values: Sequence[Any], where: str) -> float:
    if len(values) != 1:
        raise InvalidInput.at(where, f"expected one number, got {len(values)} values")
    if isinstance(values[0], bool) or not isinstance(values[0], int | float):
        raise InvalidInput.at(where, f"expected a number, got {str(values[0])[:40]!r}")
    try:
        return float(values[0])
    except OverflowError:
        raise InvalidInput.at(where, "holds a whole number of more than 300 digits") from None


def classes(model: ModelHandle, outputs: Mapping[str, Array]) -> list[list[tuple[str, float]]]:
    """Of each example: every label with its score, in the order of the classes."""
    scores = outputs[model.outputs[0].name]
    labels = json.loads(model.properties.get("labels", "[]")) or [""] * scores.shape[1]
    return [list(zip(labels, row, strict=True)) for row in scores]


def values(model: ModelHandle, outputs: Mapping[str, Array]) -> list[float]:
    """Of each example: the value."""
    return list(outputs[model.outputs[0].name].reshape(-1))
