"""A picture model made whole: preprocessing before it and naming the classes after it, in one ONNX graph.

What the manifest of a model says of its preprocessing becomes nodes: crop, resize, normalise, layout. Decoding stays
outside, for ONNX has no JPEG. The bicubic filter is Pillow's: on 8-bit pixels ONNX Runtime computes the same two passes
in fixed-point arithmetic, and a pixel differs by one level at most.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 18  # the first in which Resize filters as it shrinks
Step = Callable[["Graph", str, Any], str]


class Graph:
    """Nodes and constants in the making; a tensor bears the name of the node that makes it, none of the network's."""

    def __init__(self, network: onnx.ModelProto) -> None:
        later = onnx.version_converter.convert_version(network, OPSET)
        self.nodes: list[onnx.NodeProto] = []
        self.constants = list(later.graph.initializer)
        self._network = later.graph

    def constant(self, name: str, values: Any) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(values), f"whole.{name}"))
        return f"whole.{name}"

    def node(self, kind: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        made = f"whole.{name}"
        self.nodes.append(helper.make_node(kind, list(inputs), [made], name=made, **attributes))
        return made

    def network(self, image: str) -> str:
        """The network itself, fed with `image`; its first output."""
        self.nodes.append(helper.make_node("Identity", [image], [self._network.input[0].name], name="whole.image"))
        self.nodes += self._network.node
        return str(self._network.output[0].name)


def build(
    network: onnx.ModelProto, steps: Sequence[dict[str, Any]], labels: Sequence[str], top: int
) -> onnx.ModelProto:
    """`pixels` [batch, height, width, 3] UINT8 in; `scores` [batch, top] FP32 and `labels` [batch, top] BYTES out.

    `network` takes [batch, 3, side, side] FP32, prepared by `steps`, and answers logits. Raises KeyError for a step
    that has no nodes here.
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
    made = helper.make_graph(graph.nodes, "whole", [pixels], [scores, names], graph.constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=network.ir_version)
    onnx.checker.check_model(model, full_check=True)
    return model


def _decode(graph: Graph, image: str, mode: str) -> str:
    """Done before the graph."""
    if mode != "rgb":
        raise ValueError(f"pixels come as rgb, not {mode}")
    return image


def _crop(graph: Graph, image: str, rule: dict[str, Any]) -> str:
    """A square in the centre; its side is side/of of the shorter side, rounded, as integers all the way."""
    shape = graph.node("Shape", [image], "size", start=1, end=3)
    shorter = graph.node("ReduceMin", [shape], "shorter_side", keepdims=0)
    share = graph.constant("share", np.float64(rule["side"] / rule["of"]))
    exact = graph.node("Mul", [graph.node("Cast", [shorter], "shorter", to=TensorProto.DOUBLE), share], "exact_side")
    side = graph.node("Cast", [graph.node("Round", [exact], "rounded_side")], "side", to=TensorProto.INT64)
    margins = graph.node("Sub", [shape, side], "margins")
    start = graph.node("Div", [margins, graph.constant("two", np.int64(2))], "start")
    end = graph.node("Add", [start, side], "end")
    return graph.node("Slice", [image, start, end, graph.constant("across", [1, 2])], "cropped")


def _resize(graph: Graph, image: str, rule: dict[str, Any]) -> str:
    """Pillow's bicubic: filtered over the whole of what shrinks, nothing beyond the edge."""
    if rule["filter"] != "bicubic":
        raise ValueError(f"no nodes for the filter {rule['filter']}")
    planes = graph.node("Transpose", [image], "planes", perm=[0, 3, 1, 2])
    sizes = graph.constant("sizes", [rule["height"], rule["width"]])
    pillow = {"mode": "cubic", "antialias": 1, "cubic_coeff_a": -0.5, "exclude_outside": 1}
    return graph.node("Resize", [planes, "", "", sizes], "resized", axes=[2, 3], **pillow)


def _normalise(graph: Graph, image: str, rule: dict[str, Any]) -> str:
    numbers = graph.node("Cast", [image], "numbers", to=TensorProto.FLOAT)
    centred = graph.node("Sub", [numbers, graph.constant("mean", np.float32(rule["mean"]))], "centred")
    return graph.node("Div", [centred, graph.constant("scale", np.float32(rule["scale"]))], "scaled")


def _layout(graph: Graph, image: str, order: str) -> str:
    """Already so, since resizing needs planes."""
    if order != "NCHW":
        raise ValueError(f"no nodes for the layout {order}")
    return image


def _name(graph: Graph, logits: str, labels: Sequence[str], top: int) -> None:
    """The greatest probabilities and what they are of."""
    shares = graph.node("Softmax", [logits], "probabilities", axis=1)
    count = graph.constant("top", np.array([top], np.int64))
    names = helper.make_tensor("whole.names", TensorProto.STRING, [len(labels)], [one.encode() for one in labels])
    graph.constants.append(names)
    graph.nodes += [
        helper.make_node("TopK", [shares, count], ["scores", "whole.classes"], name="whole.greatest", axis=1),
        helper.make_node("Gather", ["whole.names", "whole.classes"], ["labels"], name="whole.named", axis=0),
    ]


STEPS: dict[str, Step] = {
    "decode": _decode,
    "crop": _crop,
    "resize": _resize,
    "normalise": _normalise,
    "layout": _layout,
}
