"""Models of a node or two, written into a repository as their builder would."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from onnx import TensorProto, helper, numpy_helper

MANIFEST: dict[str, Any] = {
    "task": "regression",
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
    "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1]}],
    "batching": {"tolerance": 1.0e-5},
}
ROWS_OF_TWO, ANY_ROWS = ["n", 2], ["n"]


def graph(*nodes: Any, constants: dict[str, Any] | None = None, x: Any = ROWS_OF_TWO, y: Any = ANY_ROWS,
          y_type: int = TensorProto.FLOAT) -> bytes:  # fmt: skip
    """A graph from FP32 `x` to `y`; a letter in a shape is a free dimension."""
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, x)]
    outputs = [helper.make_tensor_value_info("y", y_type, y)]
    initial = [numpy_helper.from_array(np.array(value), name) for name, value in (constants or {}).items()]
    made = helper.make_graph(nodes, "tiny", inputs, outputs, initial)
    return serialised(made)


def serialised(made: Any) -> bytes:
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def node(kind: str, inputs: str, output: str, **attributes: Any) -> Any:
    return helper.make_node(kind, inputs.split(), [output], **attributes)


def ints(*values: int) -> Any:
    return np.array(values, np.int64)


def total(factor: float = 1.0) -> bytes:
    """The sum of each row, times a factor."""
    return graph(
        node("ReduceSum", "x one", "sum", keepdims=0),
        node("Mul", "sum factor", "y"),
        constants={"one": ints(1), "factor": np.float32(factor)},
    )


def against_the_others(whole: bool = False) -> bytes:
    """How far each row is from the mean of all rows, as a fraction or a whole number: what may never be batched."""
    distance = [
        node("ReduceSum", "x one", "sum", keepdims=0),
        node("ReduceMean", "sum", "mean", axes=[0]),
        node("Sub", "sum mean", "far"),
    ]
    constants = {"one": ints(1), "hundred": np.float32(100)}
    if not whole:
        return graph(*distance, node("Mul", "far hundred", "y"), constants=constants)
    scaled = [node("Mul", "far hundred", "scaled"), node("Cast", "scaled", "y", to=TensorProto.INT64)]
    return graph(*distance, *scaled, constants=constants, y_type=TensorProto.INT64)


def one_row_only() -> bytes:
    """States a free dimension, and holds a fixed one within."""
    return graph(
        node("Reshape", "x row", "alone"),
        node("Add", "x alone", "twice"),
        node("ReduceSum", "twice one", "y", keepdims=0),
        constants={"row": ints(1, 2), "one": ints(1)},
    )


def sorted_rows() -> bytes:
    """The sums of the rows, the smallest first: whose sum is whose depends on the other rows."""
    return graph(
        node("ReduceSum", "x one", "sum", keepdims=0),
        node("Shape", "sum", "rows"),
        helper.make_node("TopK", ["sum", "rows"], ["y", "where"], largest=0),
        constants={"one": ints(1)},
    )


def drops_negative_rows() -> bytes:
    """The sum of each row, without the rows whose sum is negative. No row of a probe has a negative sum."""
    return graph(
        node("ReduceSum", "x one", "sum", keepdims=0),
        node("GreaterOrEqual", "sum zero", "kept"),
        node("Compress", "sum kept", "y", axis=0),
        constants={"one": ints(1), "zero": np.float32(0)},
        y=["kept"],
    )


def always_fails() -> bytes:
    return graph(
        node("ReduceSum", "x one", "sum", keepdims=0),
        node("Reshape", "x one", "single"),
        node("Add", "sum single", "y"),
        constants={"one": ints(1)},
    )


def fixed_rows() -> bytes:
    return graph(node("ReduceSum", "x one", "y", keepdims=0), constants={"one": ints(1)}, x=[1, 2], y=[1])


def sum_of_two_inputs() -> bytes:
    """Of `x` and `z`, which are FP32 vectors, as `y`."""
    x, z, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ANY_ROWS) for name in "xzy")
    made = helper.make_graph([node("Add", "x z", "y")], "tiny", [x, z], [y])
    return serialised(made)


def write(root: Path, model: bytes, name: str = "tiny", version: str = "1", **changes: Any) -> Path:
    """Writes model.onnx and its model.yaml, with `changes` to the usual one; the version's folder."""
    folder = root / name / version
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(model)
    manifest = {**MANIFEST, "name": name, "version": version, "sha256": hashlib.sha256(model).hexdigest(), **changes}
    (folder / "model.yaml").write_text(yaml.safe_dump(manifest))
    return folder
