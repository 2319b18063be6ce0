"""What every finished model file must show before it is put in its place."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from models import graph, manifest
from models.errors import BuildError
from models.manifest import Manifest
from models.recipe import Product

Rows = NDArray[Any]


def session(content: bytes) -> onnxruntime.InferenceSession:
    """A session on one thread: answers that do not depend on how many cores this machine has."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def answers(model: onnxruntime.InferenceSession, rows: Rows) -> NDArray[Any]:
    """The main output for all the rows at once."""
    first: NDArray[Any] = model.run([model.get_outputs()[0].name], {model.get_inputs()[0].name: rows})[0]
    return first


def check(file: Path, built: Manifest, product: Product, floors: dict[str, float]) -> None:
    """BuildError unless the manifest is complete and true of the file, and the model is as good as it must be."""
    found = manifest.problems(built)
    if not found:
        found = [*_graph_problems(onnx.load(file), built), *_floor_problems(built["metrics"], floors)]
    if not found and "batching" in built:
        found = _neighbour_problems(session(file.read_bytes()), product.samples, built["batching"]["tolerance"])
    if found:
        raise BuildError(f"{built['name']}: {'; '.join(found)}")


def neighbour_difference(model: onnxruntime.InferenceSession, rows: Rows) -> float:
    """The most that an answer differs when the row is computed alone and among others, at any place."""
    alone = np.concatenate([answers(model, row[None]) for row in rows])
    together = [answers(model, rows), answers(model, rows[::-1])[::-1]]
    halves = np.array_split(rows, 2)
    together.append(np.concatenate([answers(model, half) for half in halves]))
    return max(float(np.abs(alone - other).max()) for other in together)


def _neighbour_problems(model: onnxruntime.InferenceSession, rows: Rows, tolerance: float) -> list[str]:
    difference = neighbour_difference(model, rows)
    if difference <= tolerance:
        return []
    return [f"beside neighbours an answer differs by {difference:.2g}, more than {tolerance:.2g}"]


def _graph_problems(model: onnx.ModelProto, built: Manifest) -> list[str]:
    found = []
    for key, values in (("inputs", model.graph.input), ("outputs", model.graph.output)):
        actual = [graph.describe(value) for value in values]
        stated = [{part: tensor[part] for part in ("name", "datatype", "shape")} for tensor in built[key]]
        if actual != stated:
            found.append(f"{key} of the graph are {actual}, model.yaml says {stated}")
    return found


def _floor_problems(metrics: dict[str, float], floors: dict[str, float]) -> list[str]:
    return [
        f"{name} is {metrics.get(name)}, at least {floor} was expected"
        for name, floor in floors.items()
        if not metrics.get(name, float("-inf")) >= floor
    ]
