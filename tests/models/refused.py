"""Models that cannot be served, each with the reason that has to say so."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from tests.models.case import Case, N, case, columns, entry, graph, node

X, Y = entry("x", "FP32", N, 2), entry("y", "FP32", N, 2)
NEG = [node("Neg", "x", "y")]
ONE = np.ones((1, 2), np.float32)


def negative(name: str, unready: str, inputs: Any = None, outputs: Any = None, **manifest: Any) -> Case:
    """A sound graph of two columns with a manifest that says something else."""
    return Case(
        name, graph(NEG, [X], [Y]), {"inputs": inputs or [X], "outputs": outputs or [Y], **manifest}, {"x": ONE},
        unready=unready,
    )  # fmt: skip


def manifests() -> list[Case]:
    """Manifests that contradict themselves, or their graph."""
    three = {**X, "features": columns("a", "b", "c")}
    one = {**X, "features": columns("a")}
    twice = {**X, "features": columns("a", "a")}
    reversed_range = {**X, "features": [{"name": "a", "minimum": 2, "maximum": 1}, {"name": "b"}]}
    labels, named = {"task": "classification"}, {**X, "features": columns("a", "b")}
    return [
        negative("too_many_features", "3 features are named, but shape [-1, 2] has 2 columns", [three]),
        negative("too_few_features", "1 features are named, but shape [-1, 2] has 2 columns", [one]),
        negative("feature_twice", "feature 'a' is stated twice", [twice]),
        negative("range_reversed", "feature 'a' has minimum 2 above maximum 1", [reversed_range]),
        negative("too_few_labels", "labels has 1 entries, but no output has a score for each of them", labels=["a"],
                 **labels),
        negative("too_many_labels", "labels has 3 entries, but no output has a score for each of them",
                 labels=["a", "b", "c"], **labels),
        negative("label_twice", "label 'a' is stated twice", labels=["a", "a"], **labels),
        negative("missing_integers", "`missing` and `finite` are for floating-point numbers",
                 [entry("x", "INT64", N, 2, missing=True)]),
        negative("missing_and_finite", "is both `missing` and `finite`", [{**X, "missing": True, "finite": True}]),
        negative("no_default", "`optional` for input 'x', but the model has no default", [{**X, "optional": True}]),
        negative("known_rank", "says `any_rank` for input 'x', but its shape is [-1, 2]", [{**X, "any_rank": True}]),
        negative("short_example", "examples[0]: features: expected 2 values, got 1", [named],
                 examples=[{"features": [1]}]),
        negative("example_of_another_type", "expected a number, got 'one'", [named],
                 examples=[{"features": ["one", 2]}]),
        negative("unknown_file", "is not the name of a file beside model.onnx", external_data={"../w": "0" * 64}),
        case("failing_example", [node("Div", "hundred x", "y")], [entry("x", "INT64", N)], [entry("y", "INT64", N)], {},
             constants={"hundred": np.int64(100)}, examples=[{"inputs": {"x": [0]}}],
             unready="the model fails on its example 0"),
    ]  # fmt: skip


def files() -> list[Case]:
    """Files that ONNX Runtime cannot open, or that hold what no protocol carries."""
    zipmap = [node("ZipMap", "x", "y", domain="ai.onnx.ml", classlabels_int64s=[0, 1])]
    maps = helper.make_sequence_type_proto(
        helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    )
    tensors = helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, None))
    return [
        Case("newer_ir", graph(NEG, [X], [Y], ir=99), {"inputs": [X], "outputs": [Y]},
             unready="max supported IR version"),
        Case("newer_opset", graph(NEG, [X], [Y], opset=99), {"inputs": [X], "outputs": [Y]}, unready="opset"),
        Case("zipmap", of_type(zipmap, maps), {"inputs": [X], "outputs": [Y]}, unready="zipmap=False"),
        Case("sequence", of_type([node("SequenceConstruct", "x x", "y")], tensors), {"inputs": [X], "outputs": [Y]},
             unready="export the model with tensors as inputs and outputs"),
        Case("unknown_operator", graph([node("Teleport", "x", "y", domain="my.own")], [X], [Y]),
             {"inputs": [X], "outputs": [Y]}, unready="my.own"),
    ]  # fmt: skip


def of_type(nodes: list[Any], kind: Any) -> bytes:
    """A model from X to an output of any type."""
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])]
    made = helper.make_graph(nodes, "g", inputs, [helper.make_value_info("y", kind)])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    return bytes(helper.make_model(made, opset_imports=opsets, ir_version=10).SerializeToString())


WEIGHTS = np.arange(2, dtype=np.float32).tobytes()


def external(name: str, **rest: Any) -> Case:
    """A model whose weights are in a second file."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": "model.onnx.data", "offset": "0", "length": "8"}.items():
        tensor.external_data.add(key=key, value=value)
    inputs, outputs = (helper.make_tensor_value_info(one, TensorProto.FLOAT, ["n", 2]) for one in "xy")
    made = helper.make_graph([node("Add", "x w", "y")], "g", [inputs], [outputs], [tensor])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10).SerializeToString()
    stated = {"model.onnx.data": hashlib.sha256(WEIGHTS).hexdigest()}
    fields = {
        "files": {"model.onnx.data": WEIGHTS},
        **{key: rest.pop(key) for key in ("files", "unready") if key in rest},
    }
    return Case(
        name, bytes(model), {"inputs": [X], "outputs": [Y], "external_data": stated, **rest}, {"x": ONE}, **fields
    )


def weights_beside() -> list[Case]:
    return [
        external("weights_beside"),
        external("weights_unstated", external_data={}, unready="state `external_data: {model.onnx.data: SHA256}`"),
        external("weights_missing", files={}, unready="it holds weights of model.onnx, so copy it as well"),
        external("weights_of_another", files={"model.onnx.data": b"12345678"}, unready="copy all files again"),
    ]
