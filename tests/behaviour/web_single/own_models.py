"""Small models without a recipe, as somebody else would bring them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from onnx import TensorProto, helper, numpy_helper

SEXES = {"female": 1.0, "male": 2.0}


def write_mixed(root: Path, name: str, **changes: Any) -> Path:
    """A model of a text and two numbers: score = the text's number + the sum of the numbers. Returns its folder."""
    text = helper.make_tensor_value_info("sex", TensorProto.STRING, ["n", 1])
    numbers = helper.make_tensor_value_info("sizes", TensorProto.FLOAT, ["n", 2])
    score = helper.make_tensor_value_info("score", TensorProto.FLOAT, ["n", 1])
    nodes = [
        helper.make_node(
            "LabelEncoder",
            ["sex"],
            ["number"],
            domain="ai.onnx.ml",
            keys_strings=list(SEXES),
            values_floats=list(SEXES.values()),
            default_float=-1.0,
        ),
        helper.make_node("ReduceSum", ["sizes", "axis"], ["sum"], keepdims=1),
        helper.make_node("Add", ["number", "sum"], ["score"]),
    ]
    axis = numpy_helper.from_array(np.array([1], np.int64), "axis")
    graph = helper.make_graph(nodes, "mixed", [text, numbers], [score], [axis])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 2)]
    content = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    folder = root / name / "1"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(content)
    manifest = {
        "name": name,
        "version": "1",
        "task": "regression",
        "title": "A text and two numbers",
        "inputs": [
            {"name": "sex", "datatype": "BYTES", "shape": [-1, 1]},
            {"name": "sizes", "datatype": "FP32", "shape": [-1, 2]},
        ],
        "outputs": [{"name": "score", "datatype": "FP32", "shape": [-1, 1]}],
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    (folder / "model.yaml").write_text(yaml.safe_dump(manifest | changes, sort_keys=False))
    return folder
