"""Builds an end-to-end image classifier: preprocessing, network and class names in one ONNX graph.

The preprocessing steps of a manifest become nodes: crop, resize, normalise, layout. Decoding is not part of the graph,
because ONNX has no JPEG operator. The bicubic filter is the same as Pillow's: on 8-bit pixels ONNX Runtime computes the
same two passes in fixed-point arithmetic, and a pixel differs by at most one level.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 18  # the first version whose Resize has antialiasing
Step = Callable[["Graph", str, Any], str]


class Graph:
    """A graph under construction. The tensors added here have the prefix `end_to_end.`, which no network uses."""

    def __init__(self, network: onnx.ModelProto) -> None:
        converted = onnx.version_converter.convert_version(network, OPSET)
        self.nodes: list[onnx.NodeProto] = []
        self.constants = list(converted.graph.initializer)
        self._network = converted.graph

    def constant(self, name: str, values: Any) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(values), f"end_to_end.{name}"))
        return f"end_to_end.{name}"

    def node(self, kind: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        made = f"end_to_end.{name}"
        self.nodes.append(helper.make_node(kind, list(inputs), [made], name=made, **attributes))
        return made

    def network(self, image: str) -> str:
        """Append the network with `image` as its input. Returns the name of its first output."""
        self.nodes.append(helper.make_node("Identity", [image], [self._network.input[0].name], name="end_to_end.image"))
        self.nodes += self._network.node
        return str(self._network.output[0].name)


def build(
    network: onnx.ModelProto, steps: Sequence[dict[str, Any]], labels: Sequence[str], top: int
) -> onnx.ModelProto:
    """A graph with input `pixels` [batch, height, width, 3] UINT8 and outputs `scores` [batch, top] FP32 and `labels`
    [batch, top] BYTES, sorted by score.

    `network` takes [batch, 3, side, side] FP32, preprocessed by `steps`, and outputs logits. Raises KeyError for a step
    and ValueError for a parameter that is not supported.
    """
    graph = Graph(network)
    image = "pixels"
    for step in steps:
        for name, rule in step.items():
            image = STEPS[name](graph, image, rule)
    _name(graph, graph.network(image), labels, top)
    pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["batch", "height", "width", 3])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", top])
    names = helper.make_tensor_value_info("labels", TensorProto.STRING, ["batch", top])
    made = helper.make_graph(graph.nodes, "end_to_end", [pixels], [scores, names], graph.constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=network.ir_version)
    onnx.checker.check_model(model, full_check=True)
    return model


def _decode(graph: Graph, image: str, mode: str) -> str:
    """Decoding is not part of the graph, so this adds no node."""
    if mode != "rgb":
        raise ValueError(f"decode is {mode!r}, but the graph supports only 'rgb'")
    return image


def _crop(graph: Graph, image: str, rule: dict[str, Any]) -> str:
    """Crop a centred square. Its side is `side / of` times the shorter side of the image, rounded."""
    shape = graph.node("Shape", [image], "size", start=1, end=3)
    shorter = graph.node("ReduceMin", [shape], "shorter_side", keepdims=0)
    share = graph.constant("share", np.float64(rule["side"] / rule["of"]))
    exact = graph.node("Mul", [graph.node("Cast", [shorter], "shorter", to=TensorProto.DOUBLE), share], "exact_side")
    side = graph.node("Cast", [graph.node("Round", [exact], "rounded_side")], "side", to=TensorProto.INT64)
    margins = graph.node("Sub", [shape, side], "margins")
    start = graph.node("Div", [margins, graph.constant("two", np.int64(2))], "start")
    end = graph.node("Add", [start, side], "end")
    return graph.node("Slice", [image, start, end, graph.constant("crop_axes", [1, 2])], "cropped")


def _resize(graph: Graph, image: str, rule: dict[str, Any]) -> str:
    """Bicubic as in Pillow: antialiased, and pixels outside of the image have no weight."""
    if rule["filter"] != "bicubic":
        raise ValueError(f"resize has the filter {rule['filter']!r}, but the graph supports only 'bicubic'")
    planes = graph.node("Transpose", [image], "planes", perm=[0, 3, 1, 2])
    sizes = graph.constant("sizes", [rule["height"], rule["width"]])
    pillow = {"mode": "cubic", "antialias": 1, "cubic_coeff_a": -0.5, "exclude_outside": 1}
    return graph.node("Resize", [planes, "", "", sizes], "resized", axes=[2, 3], **pillow)


def _normalise(graph: Graph, image: str, rule: dict[str, Any]) -> str:
    numbers = graph.node("Cast", [image], "numbers", to=TensorProto.FLOAT)
    centred = graph.node("Sub", [numbers, graph.constant("mean", np.float32(rule["mean"]))], "centred")
    return graph.node("Div", [centred, graph.constant("scale", np.float32(rule["scale"]))], "scaled")


def _layout(graph: Graph, image: str, order: str) -> str:
    """Resizing has already transposed to NCHW, so this adds no node."""
    if order != "NCHW":
        raise ValueError(f"layout is {order!r}, but the graph supports only 'NCHW'")
    return image


def _name(graph: Graph, logits: str, labels: Sequence[str], top: int) -> None:
    """Append softmax and top-k; write the outputs `scores` and `labels`."""
    probabilities = graph.node("Softmax", [logits], "probabilities", axis=1)
    count = graph.constant("top", np.array([top], np.int64))
    names = helper.make_tensor("end_to_end.names", TensorProto.STRING, [len(labels)], [one.encode() for one in labels])
    graph.constants.append(names)
    graph.nodes += [
        helper.make_node(
            "TopK", [probabilities, count], ["scores", "end_to_end.classes"], name="end_to_end.top_k", axis=1
        ),
        helper.make_node(
            "Gather", ["end_to_end.names", "end_to_end.classes"], ["labels"], name="end_to_end.label_lookup", axis=0
        ),
    ]


STEPS: dict[str, Step] = {
    "decode": _decode,
    "crop": _crop,
    "resize": _resize,
    "normalise": _normalise,
    "layout": _layout,
}
