"""What TensorFlow Serving's two surfaces have in common: which model is meant, its signatures, its examples' columns."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from common.errors import InvalidInput
from common.inference.plane import Model, Plane
from common.protocol.grpc import tfserving_pb2 as pb
from common.protocol.grpc import tfserving_tensor_pb2 as tensor_pb
from common.protocol.grpc.tfserving_tensors import tensor_info
from common.protocol.tensors import Array, TensorSpec, check_finite

PREDICT, CLASSIFY, REGRESS = "predict", "classify", "regress"
DEFAULT_SIGNATURE = "serving_default"
_METHODS = {DEFAULT_SIGNATURE: PREDICT, "classification": CLASSIFY, "regression": REGRESS}
_TASKS = {"classification": "classification", "regression": "regression"}  # task: signature
Features = Mapping[str, Sequence[Any]]
"""The named values of one example: numbers, text or bytes."""


def find(plane: Plane[Any], name: str, version: str | None = None, label: str | None = None) -> Model:
    """The model that is meant; NotFound or NotReady as the plane has it, InvalidInput for a label."""
    model: Model = plane.get(name, version)
    if label:
        raise InvalidInput(f"unrecognized servable version label: {label!r}; versions have no labels here")
    return model


def check_signature(model: Model, signature: str, method: str) -> None:
    """Raises InvalidInput unless the model has the signature (none: the default) and it is for this method."""
    known = signatures(model).signature_def
    if signature not in ("", *known):
        raise InvalidInput.at("signature_name", f"expected one of {sorted(known)}, got {signature[:60]!r}")
    if signature not in ("", DEFAULT_SIGNATURE) and _METHODS[signature] != method:
        raise InvalidInput.at("signature_name", f"{signature!r} is for :{_METHODS[signature]}, not :{method}")


def signatures(model: Model) -> pb.SignatureDefMap:
    """`serving_default` for predict, and one for examples where the model's columns have names."""
    found = {
        DEFAULT_SIGNATURE: tensor_pb.SignatureDef(
            inputs={spec.name: tensor_info(spec) for spec in model.inputs},
            outputs={spec.name: tensor_info(spec) for spec in model.outputs},
            method_name="tensorflow/serving/predict",
        )
    }
    task = _TASKS.get(model.properties.get("task", ""))
    if task and "features" in model.properties:
        found[task] = _of_examples(task, model)
    return pb.SignatureDefMap(signature_def=found)


def _of_examples(task: str, model: Model) -> tensor_pb.SignatureDef:
    scores = model.outputs[0].shape
    outputs = {"outputs": TensorSpec("outputs", "FP32", scores)}
    if task == "classification":
        outputs = {"classes": TensorSpec("classes", "BYTES", scores), "scores": TensorSpec("scores", "FP32", scores)}
    return tensor_pb.SignatureDef(
        inputs={"inputs": tensor_info(TensorSpec("examples", "BYTES", (-1,)))},
        outputs={name: tensor_info(spec) for name, spec in outputs.items()},
        method_name=f"tensorflow/serving/{_METHODS[task]}",
    )


def status(plane: Plane[Any], name: str, version: str | None = None) -> pb.GetModelStatusResponse:
    """The versions that answer, newest first, or the one asked for; NotFound or NotReady as the plane has it."""
    plane.get(name, version)
    versions = [version] if version else sorted(plane.versions(name), key=int, reverse=True)
    ok = pb.StatusProto(error_code=pb.StatusProto.OK)
    available = pb.ModelVersionStatus.AVAILABLE
    return pb.GetModelStatusResponse(
        model_version_status=[pb.ModelVersionStatus(version=int(one), state=available, status=ok) for one in versions]
    )


def rows(model: Model, examples: Sequence[Features], method: str) -> dict[str, Array]:
    """The examples' features in the order of the model's columns: its one input, of shape [examples, columns].

    Raises InvalidInput for a model that has no named columns or another task, and for a feature that is missing,
    unknown or no single number.
    """
    task = _TASKS.get(model.properties.get("task", ""), "")
    if _METHODS.get(task) != method or "features" not in model.properties:
        raise InvalidInput(f"model {model.name!r} has no signature for :{method}; ask :predict, with tensors")
    if not examples:
        raise InvalidInput.at("examples", "expected at least one")
    columns = json.loads(model.properties["features"])
    spec = model.inputs[0]
    numbers = np.array([_row(one, columns, f"examples[{index}]") for index, one in enumerate(examples)])
    with np.errstate(over="ignore"):
        array = numbers.astype(spec.dtype)
    if array.dtype.kind == "f":
        check_finite(array, "examples")
    return {spec.name: array}


def _row(example: Features, columns: Sequence[str], where: str) -> list[float]:
    if example.keys() != set(columns):
        raise InvalidInput.at(where, f"expected features {columns}, got {sorted(example)}")
    return [_number(example[name], f"{where}.{name}") for name in columns]


def _number(values: Sequence[Any], where: str) -> float:
    if len(values) != 1:
        raise InvalidInput.at(where, f"expected one number, got {len(values)} values")
    if isinstance(values[0], bool) or not isinstance(values[0], int | float):
        raise InvalidInput.at(where, f"expected a number, got {str(values[0])[:40]!r}")
    return float(values[0])


def classes(model: Model, outputs: Mapping[str, Array]) -> list[list[tuple[str, float]]]:
    """Of each example: every label with its score, in the order of the classes."""
    scores = outputs[model.outputs[0].name]
    labels = json.loads(model.properties.get("labels", "[]")) or [""] * scores.shape[1]
    return [list(zip(labels, row, strict=True)) for row in scores.tolist()]


def values(model: Model, outputs: Mapping[str, Array]) -> list[float]:
    """Of each example: the value."""
    found: list[float] = outputs[model.outputs[0].name].reshape(-1).tolist()
    return found
