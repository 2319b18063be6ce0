"""An exported graph, checked against the framework it is from and put where services look for models."""

from __future__ import annotations

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
NEIGHBOURS = 32  # rows that are asked alone and beside one another
BATCHING = 1e-5
DESCRIBED = (
    "task", "title", "description", "labels", "unit", "examples", "preprocessing", "licence", "source",
)  # fmt: skip


def place(export: Export, name: str, version: str, said: manifest.Manifest, tolerance: float, out: Path) -> Path:
    """The version's folder, with model.onnx and model.yaml; `said` are fields that its author knows.

    BuildError where the version is there already, or ONNX Runtime's answers differ by more than `tolerance`.
    """
    target = out / name / version
    if target.exists():
        raise BuildError(f"{target}: is there already, and a version never changes; choose another --version")
    if unknown := said.keys() - set(DESCRIBED):
        raise BuildError(f"the description has {', '.join(sorted(unknown))}; expected some of {', '.join(DESCRIBED)}")
    content, sha256 = graph.serialised(_checked(export.model))
    answers = _Runtime(content)
    difference = _difference(answers(export.inputs), export.answers, tolerance)
    written = _manifest(export, said, difference) | {"name": name, "version": version, "sha256": sha256}
    if _independent(answers, export, written):
        written["batching"] = {"tolerance": BATCHING}
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".export-") as temporary:
        new = Path(temporary) / version
        new.mkdir()
        (new / "model.onnx").write_bytes(content)
        manifest.write(new / "model.yaml", written)
        target.parent.mkdir(exist_ok=True)
        new.rename(target)
    return target


def renamed(export: Export, names: tuple[str, ...]) -> Export:
    """The export with other names for its outputs, in their order."""
    if not names or tuple(export.answers) == names:
        return export
    if len(names) != len(export.answers):
        raise BuildError(f"{len(names)} names for {len(export.answers)} outputs: {', '.join(export.answers)}")
    model = onnx.ModelProto()
    model.CopyFrom(export.model)
    for output, new in zip(model.graph.output, names, strict=True):
        graph.rename(model.graph, output.name, new)
        output.name = new
    answers = dict(zip(names, export.answers.values(), strict=True))
    return Export(model, export.inputs, answers, export.framework, export.found, export.columns)


def _checked(model: onnx.ModelProto) -> onnx.ModelProto:
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # ONNX has a class for each of its checks
        raise BuildError(f"the exported graph is not valid: {one_line(error)}") from None
    return model


class _Runtime:
    """ONNX Runtime's answers by name."""

    def __init__(self, content: bytes) -> None:
        try:
            self._session = checks.session(content)
        except Exception as error:  # ONNX Runtime raises a dozen unrelated classes here
            raise BuildError(f"ONNX Runtime cannot open the graph: {one_line(error)}") from None
        self._outputs = [one.name for one in self._session.get_outputs()]

    def __call__(self, inputs: Arrays) -> Arrays:
        try:
            return dict(zip(self._outputs, self._session.run(self._outputs, inputs), strict=True))
        except Exception as error:
            raise BuildError(f"ONNX Runtime cannot run the graph: {one_line(error)}") from None


def _difference(actual: Arrays, expected: Arrays, tolerance: float) -> float:
    """The greatest difference from the framework's own answers; BuildError where it is too great."""
    greatest = 0.0
    for name, theirs in expected.items():
        ours = actual[name]
        if ours.shape != theirs.shape:
            raise BuildError(f"output {name!r} is {list(ours.shape)}, but the framework's is {list(theirs.shape)}")
        if theirs.dtype.kind not in "fiub":
            apart = 0.0 if _texts(ours) == _texts(theirs) else float("inf")
        else:
            apart = float(np.abs(ours.astype(np.float64) - theirs.astype(np.float64)).max(initial=0))
        if not apart <= tolerance:
            raise BuildError(f"output {name!r} differs from the framework's by {apart:.2g}, more than {tolerance:.2g}")
        greatest = max(greatest, apart)
    return greatest


def _texts(array: NDArray[Any]) -> list[str]:
    return [one.decode() if isinstance(one, bytes) else str(one) for one in array.reshape(-1)]


def _manifest(export: Export, said: manifest.Manifest, difference: float) -> manifest.Manifest:
    values = export.model.graph
    inputs = [_described(value) for value in values.input]
    if export.columns and len(inputs) == 1 and inputs[0]["shape"][1:] == [len(export.columns)]:
        inputs[0]["features"] = _features(export.columns, next(iter(export.inputs.values())))
    steps = said.get("preprocessing", {}).get("steps", [])
    rows = len(next(iter(export.inputs.values())))
    return {
        "task": "other",
        "source": {"weights": f"exported from {export.framework}"},
        **export.found,
        **said,
        "inputs": inputs,
        "outputs": [_described(value) for value in values.output],
        "preprocessing": {"steps": steps, "fingerprint": manifest.fingerprint(steps)},
        "metrics": {"greatest_difference": float(f"{difference:.2g}"), "samples": rows},
    }


def _described(value: onnx.ValueInfoProto) -> manifest.Manifest:
    tensor = value.type.tensor_type
    if tensor.elem_type not in TYPES:
        raise BuildError(f"{value.name!r} is no tensor of a type that is served")
    shape = [size.dim_value if size.HasField("dim_value") else -1 for size in tensor.shape.dim]
    return {"name": value.name, "datatype": TYPES[tensor.elem_type], "shape": shape}


def _features(columns: list[str], rows: NDArray[Any]) -> list[manifest.Manifest]:
    """Each column with the range that the samples have; the first row is the example."""
    ranges = zip(columns, rows.min(axis=0), rows.max(axis=0), rows[0], strict=True)
    return [
        {"name": name, "minimum": _short(low), "maximum": _short(high), "example": _short(first)}
        for name, low, high, first in ranges
    ]


def _short(number: Any) -> float:
    return float(f"{float(number):.6g}")


def _independent(answers: _Runtime, export: Export, written: manifest.Manifest) -> bool:
    """Whether a row's answer does not depend on its neighbours, so that requests may share a run."""
    if any(tensor["shape"][:1] != [-1] for tensor in (*written["inputs"], *written["outputs"])):
        return False
    few = {name: array[:NEIGHBOURS] for name, array in export.inputs.items()}
    together = answers(few)
    for row in range(len(next(iter(few.values())))):
        alone = answers({name: array[row : row + 1] for name, array in few.items()})
        for name, shared in together.items():
            if shared.dtype.kind != "f":
                same = alone[name].tolist() == shared[row : row + 1].tolist()
            else:
                same = np.allclose(alone[name], shared[row : row + 1], rtol=0, atol=BATCHING)
            if not same:
                return False
    return True
