"""A model of the corpus: its graph, its manifest, and requests for it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[Any]
Inputs = dict[str, Array]
TYPES: dict[str, int] = {
    "BOOL": TensorProto.BOOL, "UINT8": TensorProto.UINT8, "UINT16": TensorProto.UINT16, "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64, "INT8": TensorProto.INT8, "INT16": TensorProto.INT16, "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64, "FP16": TensorProto.FLOAT16, "FP32": TensorProto.FLOAT, "FP64": TensorProto.DOUBLE,
    "BYTES": TensorProto.STRING,
}  # fmt: skip
DTYPES: dict[str, Any] = {
    "BOOL": np.bool_, "UINT8": np.uint8, "UINT16": np.uint16, "UINT32": np.uint32, "UINT64": np.uint64,
    "INT8": np.int8, "INT16": np.int16, "INT32": np.int32, "INT64": np.int64, "FP16": np.float16,
    "FP32": np.float32, "FP64": np.float64, "BYTES": object,
}  # fmt: skip
N = -1  # a free dimension


@dataclass
class Case:
    """A model that is there for a kind that no other model covers.

    `ask`: inputs for which its answers are compared. `rows`: the same as named values for /predict, if it has them.
    `unready`: part of the reason why it is not served; empty for one that is served. `files`: those beside model.onnx.
    """

    name: str
    model: bytes
    manifest: dict[str, Any]
    ask: Inputs = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    unready: str = ""
    files: dict[str, bytes] = field(default_factory=dict)

    def write(self, root: Path) -> Path:
        """Writes it into a model repository. Returns the folder of its version."""
        folder = root / self.name / "1"
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(self.model)
        for name, content in self.files.items():
            (folder / name).write_bytes(content)
        stated = {"name": self.name, "version": "1", "sha256": hashlib.sha256(self.model).hexdigest(), **self.manifest}
        (folder / "model.yaml").write_text(yaml.safe_dump(stated, allow_unicode=True), encoding="utf-8")
        return folder


def entry(name: str, datatype: str, *shape: int, **rest: Any) -> dict[str, Any]:
    """An input or output of a manifest."""
    return {"name": name, "datatype": datatype, "shape": list(shape), **rest}


def columns(*names: str) -> list[dict[str, Any]]:
    return [{"name": name} for name in names]


def node(kind: str, inputs: str, outputs: str, **attributes: Any) -> Any:
    """A node; the names of its tensors are separated by spaces."""
    return helper.make_node(kind, inputs.split(), outputs.split(), **attributes)


def graph(
    nodes: list[Any],
    inputs: list[dict[str, Any]],
    outputs: list[dict[str, Any]],
    constants: dict[str, Any] | None = None,
    **options: Any,
) -> bytes:
    """A model with these inputs and outputs. Options: `opset`, `ir`, `optional` (constants that are inputs as well)."""
    initial = [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()]
    made = helper.make_graph(
        nodes, "g", [value_info(one) for one in inputs], [value_info(one) for one in outputs], initial
    )
    opsets = [helper.make_opsetid("", options.get("opset", 18)), helper.make_opsetid("ai.onnx.ml", 3)]
    return bytes(helper.make_model(made, opset_imports=opsets, ir_version=options.get("ir", 10)).SerializeToString())


def value_info(one: dict[str, Any]) -> Any:
    """The graph's entry for one of the manifest; with `any_rank`, it has no shape."""
    shape = [f"{one['name']}_{axis}" if size == N else size for axis, size in enumerate(one["shape"])]
    return helper.make_tensor_value_info(
        one["name"], TYPES[one["datatype"]], None if one.get("any_rank") or one.get("unstated") else shape
    )


def case(
    name: str, nodes: list[Any], inputs: list[dict[str, Any]], outputs: list[dict[str, Any]], ask: Inputs, **rest: Any
) -> Case:
    """A case whose manifest states what its graph has. `constants`, `opset` and `ir` are those of the graph."""
    options = {key: rest.pop(key) for key in ("constants", "opset", "ir") if key in rest}
    model = graph(nodes, inputs, outputs, **options)
    fields = {key: rest.pop(key) for key in ("rows", "unready", "files") if key in rest}
    manifest = {
        "inputs": inputs, "outputs": [{key: one[key] for key in one if key != "unstated"} for one in outputs], **rest
    }  # fmt: skip
    return Case(name, model, manifest, ask, **fields)


def values(datatype: str, *numbers: Any) -> Array:
    """A tensor of one dimension."""
    if datatype != "BYTES":
        return np.array(numbers, DTYPES[datatype])
    array = np.empty(len(numbers), object)
    array[:] = numbers
    return array
