"""Checks an exported graph against its framework and publishes it into the model repository."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from models import checks, graph, manifest
from models.errors import BuildError
from models.exporters.export import Arrays, Export, one_line

TYPES = {
    onnx.TensorProto.BOOL: "BOOL", onnx.TensorProto.UINT8: "UINT8", onnx.TensorProto.UINT16: "UINT16",
    onnx.TensorProto.UINT32: "UINT32", onnx.TensorProto.UINT64: "UINT64", onnx.TensorProto.INT8: "INT8",
    onnx.TensorProto.INT16: "INT16", onnx.TensorProto.INT32: "INT32", onnx.TensorProto.INT64: "INT64",
    onnx.TensorProto.FLOAT16: "FP16", onnx.TensorProto.FLOAT: "FP32", onnx.TensorProto.DOUBLE: "FP64",
    onnx.TensorProto.STRING: "BYTES",
}  # fmt: skip
ROOT = Path(__file__).parents[2]
NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}"
BATCHED_ROWS = 32  # rows that are run alone and in one batch
BATCHING_TOLERANCE = 1e-5
EXAMPLES, MAX_EXAMPLE_VALUES = 3, 256
DESCRIBED = (
    "task", "title", "description", "labels", "unit", "examples", "preprocessing", "licence", "source",
)  # fmt: skip


def publish(
    export: Export, name: str, version: str, description: manifest.Manifest, tolerance: float, out: Path
) -> Path:
    """Write model.onnx and model.yaml to <out>/<name>/<version>. Returns that folder.

    `description` are fields of model.yaml that the user gives. Raises BuildError if an output of ONNX Runtime differs
    from the framework's by more than `tolerance`, or if a service would not load the model.
    """
    content, sha256 = graph.serialised(_checked(export.model))
    answers = _Runtime(content)
    difference = _difference(answers(export.inputs), export.expected, tolerance)
    written = _manifest(export, description, difference) | {"name": name, "version": version, "sha256": sha256}
    if _independent(answers, export, written):
        written["batching"] = {"tolerance": BATCHING_TOLERANCE}
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".export-") as temporary:
        new = Path(temporary) / name / version
        new.mkdir(parents=True)
        (new / "model.onnx").write_bytes(content)
        manifest.write(new / "model.yaml", written)
        _check_served(new)
        target = out / name / version
        target.parent.mkdir(exist_ok=True)
        new.rename(target)
    return target


def check_request(name: str, version: str, description: manifest.Manifest, out: Path) -> None:
    """Raises BuildError for a name or a description that cannot be published, and for a version that exists."""
    if not re.fullmatch(NAME, name):
        raise BuildError(
            f"--name: found {name!r}, expected letters, digits, '_', '.' and '-', a letter or digit first, at most 100"
        )
    if (target := out / name / version).exists():
        raise BuildError(
            f"{target} exists, and a version is never replaced; choose another --version, "
            "or delete that folder if no service has it"
        )
    if unknown := description.keys() - set(DESCRIBED):
        known = ", ".join(DESCRIBED)
        raise BuildError(f"--describe: unknown keys {', '.join(sorted(unknown))}, expected any of {known}")


def _check_served(folder: Path) -> None:
    """Let the services' own code load the model, in a process of its own. Raises BuildError with its reason."""
    command = [sys.executable, "-m", "common.inference.check", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        reason = lines[-1].removeprefix("error: ").replace(f"{folder}/", "")
        raise BuildError(f"no service would load this model, so it is not written: {reason}; see --describe")


def rename_outputs(export: Export, names: tuple[str, ...]) -> Export:
    """The export with new names for its outputs, in their order. Raises BuildError if their number differs."""
    if not names or tuple(export.expected) == names:
        return export
    if len(names) != len(export.expected):
        raise BuildError(
            f"found {len(names)} names in --outputs, expected {len(export.expected)}, one for each output: "
            f"{', '.join(export.expected)}"
        )
    model = onnx.ModelProto()
    model.CopyFrom(export.model)
    for output, new in zip(model.graph.output, names, strict=True):
        graph.rename(model.graph, output.name, new)
        output.name = new
    expected = dict(zip(names, export.expected.values(), strict=True))
    return Export(model, export.inputs, expected, export.framework, export.metadata, export.columns)


def _checked(model: onnx.ModelProto) -> onnx.ModelProto:
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # each of ONNX's checks raises its own class
        raise BuildError(f"the exported graph is not valid: {one_line(error)}") from None
    return model


class _Runtime:
    """Runs a graph with ONNX Runtime. Returns the outputs by name."""

    def __init__(self, content: bytes) -> None:
        try:
            self._session = checks.session(content)
        except Exception as error:  # ONNX Runtime raises a dozen unrelated classes here
            raise BuildError(f"ONNX Runtime cannot load the graph: {one_line(error)}") from None
        self._outputs = [one.name for one in self._session.get_outputs()]

    def __call__(self, inputs: Arrays) -> Arrays:
        try:
            return dict(zip(self._outputs, self._session.run(self._outputs, inputs), strict=True))
        except Exception as error:
            raise BuildError(f"ONNX Runtime cannot run the graph: {one_line(error)}") from None


def _difference(actual: Arrays, expected: Arrays, tolerance: float) -> float:
    """The maximum absolute difference from the framework's outputs. Raises BuildError if it exceeds `tolerance`."""
    greatest = 0.0
    for name, theirs in expected.items():
        ours = actual[name]
        if ours.shape != theirs.shape:
            raise BuildError(
                f"output {name!r} has the shape {list(ours.shape)}, expected the framework's {list(theirs.shape)}"
            )
        if theirs.dtype.kind not in "fiub":
            difference = 0.0 if _texts(ours) == _texts(theirs) else float("inf")
        else:
            difference = _greatest_difference(ours.astype(np.float64), theirs.astype(np.float64))
        if not difference <= tolerance:
            raise BuildError(
                f"output {name!r} differs from the framework's by {difference:.2g}, expected at most {tolerance:.2g}; "
                "raise --tolerance if that is acceptable"
            )
        greatest = max(greatest, difference)
    return greatest


def _greatest_difference(ours: NDArray[Any], theirs: NDArray[Any]) -> float:
    """The maximum absolute difference; NaN and infinity are equal to themselves."""
    same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
    if same.all():
        return 0.0
    return float(np.abs(ours[~same] - theirs[~same]).max())


def _texts(array: NDArray[Any]) -> list[str]:
    return [one.decode() if isinstance(one, bytes) else str(one) for one in array.reshape(-1)]


def _manifest(export: Export, description: manifest.Manifest, difference: float) -> manifest.Manifest:
    values = export.model.graph
    inputs = [
        _described(value) | _values(export.inputs[value.name]) for value in values.input if value.name in export.inputs
    ]
    named = bool(export.columns) and _name_columns(inputs, export)
    steps = description.get("preprocessing", {}).get("steps", [])
    rows = len(next(iter(export.inputs.values())))
    return {
        "task": "other",
        "source": {"weights": f"exported from {export.framework}"},
        "examples": examples_of(export.inputs, inputs if named else []),
        **export.metadata,
        **description,
        "inputs": inputs,
        "outputs": [_described(value) for value in values.output],
        "preprocessing": {"steps": steps, "fingerprint": manifest.fingerprint(steps)},
        "metrics": {"max_difference": float(f"{difference:.2g}"), "samples": rows},
    }


def _described(value: onnx.ValueInfoProto) -> manifest.Manifest:
    tensor = value.type.tensor_type
    if tensor.elem_type not in TYPES:
        raise BuildError(
            f"{value.name!r} has an ONNX type that is not supported, expected one of {', '.join(TYPES.values())}"
        )
    shape = [size.dim_value if size.HasField("dim_value") else -1 for size in tensor.shape.dim]
    return {"name": value.name, "datatype": TYPES[tensor.elem_type], "shape": shape}


def _values(array: NDArray[Any]) -> manifest.Manifest:
    """What the samples show of the values of an input: numbers may be missing."""
    return {"missing": True} if array.dtype.kind == "f" and np.isnan(array).any() else {}


def _name_columns(inputs: list[manifest.Manifest], export: Export) -> bool:
    """Names the columns of the inputs, each with its range and an example. Returns False where they do not fit."""
    if len(inputs) == 1:
        if inputs[0]["shape"][1:] != [len(export.columns)]:
            return False
        inputs[0]["features"] = _features(export.columns, export.inputs[inputs[0]["name"]])
        return True
    if any(entry["shape"] not in ([-1], [-1, 1]) for entry in inputs):
        return False
    for entry in inputs:
        entry["features"] = _features([entry["name"]], export.inputs[entry["name"]].reshape(-1, 1))
    return True


def _features(columns: list[str], rows: NDArray[Any]) -> list[manifest.Manifest]:
    """The manifest entry of each column: its range in the samples, and its first value as the example."""
    return [{"name": name, **_range(rows[:, position])} for position, name in enumerate(columns)]


def _range(column: NDArray[Any]) -> manifest.Manifest:
    if column.dtype.kind not in "fiu":
        return {"example": column[0].item() if column.dtype.kind == "b" else _text(column[0])}
    known = column[~np.isnan(column)] if column.dtype.kind == "f" else column
    if not len(known):
        return {}
    return {"minimum": _short(known.min()), "maximum": _short(known.max()), "example": _short(known[0])}


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def examples_of(inputs: Arrays, named: list[manifest.Manifest]) -> list[manifest.Manifest]:
    """The first rows of the samples as examples: by feature where the columns have names, else whole tensors."""
    rows = len(next(iter(inputs.values())))
    found = []
    for row in range(min(rows, EXAMPLES)):
        single = {name: array[row : row + 1] for name, array in inputs.items()}
        if sum(array.size for array in single.values()) > MAX_EXAMPLE_VALUES:
            return []
        plain = {name: _plain(array) for name, array in single.items()}
        if not named:
            found.append({"inputs": plain})
            continue
        values = [value for entry in named for value in np.ravel(np.array(plain[entry["name"]], object)).tolist()]
        names = [feature["name"] for entry in named for feature in entry["features"]]
        found.append({"features": dict(zip(names, values, strict=True))})
    return found


def _plain(array: NDArray[Any]) -> Any:
    """Nested lists for YAML: text as text, numbers that are missing as null."""
    if array.dtype == object:
        return np.array([_text(one) for one in array.reshape(-1)], object).reshape(array.shape).tolist()
    if array.dtype.kind != "f":
        return array.tolist()
    flat = [None if np.isnan(one) else float(str(one)) for one in array.reshape(-1)]
    return np.array(flat, object).reshape(array.shape).tolist()


def _short(number: Any) -> float | int:
    return int(number) if isinstance(number, np.integer) else float(f"{float(number):.6g}")


def _independent(answers: _Runtime, export: Export, written: manifest.Manifest) -> bool:
    """Whether the outputs for a row do not depend on the other rows in a batch, so that requests may be batched."""
    if any(tensor["shape"][:1] != [-1] for tensor in (*written["inputs"], *written["outputs"])):
        return False
    few = {name: array[:BATCHED_ROWS] for name, array in export.inputs.items()}
    together = answers(few)
    for row in range(len(next(iter(few.values())))):
        alone = answers({name: array[row : row + 1] for name, array in few.items()})
        for name, shared in together.items():
            if shared.dtype.kind != "f":
                same = alone[name].tolist() == shared[row : row + 1].tolist()
            else:
                same = np.allclose(alone[name], shared[row : row + 1], rtol=0, atol=BATCHING_TOLERANCE, equal_nan=True)
            if not same:
                return False
    return True
