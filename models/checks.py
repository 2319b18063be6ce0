"""Checks that every built model must pass before it is published."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from models import graph, manifest
from models.build_api import BuildResult
from models.errors import BuildError
from models.manifest import Manifest

Rows = NDArray[Any]


def session(content: bytes) -> onnxruntime.InferenceSession:
    """An ONNX Runtime session with one thread, so that outputs do not depend on the number of cores."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def answers(model: onnxruntime.InferenceSession, rows: Rows) -> NDArray[Any]:
    """The first output of the model for one batch of rows."""
    first: NDArray[Any] = model.run([model.get_outputs()[0].name], {model.get_inputs()[0].name: rows})[0]
    return first


def check(file: Path, built: Manifest, result: BuildResult, minimum_metrics: dict[str, float]) -> None:
    """Raise BuildError unless all of these hold.

    The manifest is complete and agrees with the graph, each metric reaches its minimum, and the output for a row does
    not depend on the other rows in the batch by more than `batching.tolerance`.
    """
    found = manifest.problems(built)
    if not found:
        found = [*_graph_problems(onnx.load(file), built), *_metric_problems(built["metrics"], minimum_metrics)]
    if not found and "batching" in built:
        found = _batching_problems(session(file.read_bytes()), result.samples, built["batching"]["tolerance"])
    if found:
        raise BuildError(f"{built['name']}: {'; '.join(found)}")


def batching_difference(model: onnxruntime.InferenceSession, rows: Rows) -> float:
    """The maximum absolute difference between the outputs for a row alone and for the same row in a batch."""
    alone = np.concatenate([answers(model, row[None]) for row in rows])
    together = [answers(model, rows), answers(model, rows[::-1])[::-1]]
    halves = np.array_split(rows, 2)
    together.append(np.concatenate([answers(model, half) for half in halves]))
    return max(float(np.abs(alone - other).max()) for other in together)


def _batching_problems(model: onnxruntime.InferenceSession, rows: Rows, tolerance: float) -> list[str]:
    difference = batching_difference(model, rows)
    if difference <= tolerance:
        return []
    return [
        f"the output for a row alone and in a batch differs by {difference:.2g}, expected at most {tolerance:.2g}; "
        "remove `batching` from model.yaml if rows depend on each other"
    ]


def _graph_problems(model: onnx.ModelProto, built: Manifest) -> list[str]:
    found = []
    for key, values in (("inputs", model.graph.input), ("outputs", model.graph.output)):
        actual = [graph.describe(value) for value in values]
        stated = [{part: tensor[part] for part in ("name", "datatype", "shape")} for tensor in built[key]]
        if actual != stated:
            found.append(f"{key} of the graph are {actual}, but model.yaml states {stated}")
    return found


def _metric_problems(metrics: dict[str, float], minimum_metrics: dict[str, float]) -> list[str]:
    return [
        f"metric {name} is {metrics.get(name)}, expected at least {minimum}"
        for name, minimum in minimum_metrics.items()
        if not metrics.get(name, float("-inf")) >= minimum
    ]
