"""Builds EfficientNet-Lite as an ONNX graph from its published architecture and weights.

Architecture: EfficientNet-Lite of the TensorFlow TPU models, which is M. Tan and Q. Le's EfficientNet (ICML 2019)
without squeeze-and-excitation and with ReLU6. Batch normalisation is folded into the convolution before it.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from models.torch_checkpoint import Weights

OPSET = 17
IR_VERSION = 8
EPSILON = 1e-3
STEM_CHANNELS = 32
CHANNEL_MULTIPLE = 8
MINIMUM_SCALING = 0.9
CLASSES = 1000


@dataclass(frozen=True)
class Stage:
    """A sequence of blocks with the same channels. The repeats of `scaled` stages grow with the network's depth."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int
    scaled: bool = True


STAGES = (
    Stage(1, 3, 1, 1, 16, scaled=False),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320, scaled=False),
)


@dataclass(frozen=True)
class Convolution:
    """The parameters of a convolution, and the names of its weights and its batch normalisation in the checkpoint."""

    weights: str
    normalisation: str
    kernel: int = 1
    stride: int = 1
    depthwise: bool = False
    relu6: bool = True


@dataclass
class Network:
    """A graph under construction. `used` holds the names of the weights that the graph has used so far."""

    weights: Weights
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)
    used: set[str] = field(default_factory=set)

    def take(self, name: str) -> NDArray[np.float64]:
        self.used.add(name)
        return self.weights[name].astype(np.float64)

    def constant(self, name: str, values: NDArray[np.float64] | float) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(values, dtype=np.float32), name))
        return name

    def node(self, kind: str, inputs: list[str], name: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name


FeatureMap = tuple[str, int, int]  # tensor name, side in pixels, channels


def build(weights: Weights, width: float, depth: float, side: int) -> onnx.ModelProto:
    """A graph with input `image` [batch, 3, side, side] FP32 and output `logits` [batch, 1000] FP32.

    Raises ValueError if the checkpoint holds weights that the architecture does not use.
    """
    network = Network(weights)
    network.constant("zero", 0.0)
    network.constant("six", 6.0)
    features = convolve(network, ("image", side, 3), Convolution("_conv_stem", "_bn0", kernel=3, stride=2))
    for number, block in enumerate(blocks(width, depth)):
        features = inverted_residual(network, features, f"_blocks.{number}.", block)
    name, _, _ = convolve(network, features, Convolution("_conv_head", "_bn1"))
    classify(network, name)
    unused = {name for name in weights if not name.endswith("num_batches_tracked")} - network.used
    if unused:
        raise ValueError(
            f"the checkpoint has weights that this architecture does not use: {', '.join(sorted(unused)[:5])}"
        )
    return assemble(network, side)


def blocks(width: float, depth: float) -> list[Stage]:
    """One Stage for each block. Only the first block of a stage has the stage's stride; the others have stride 1."""
    listed = []
    for stage in STAGES:
        channels = scaled_channels(stage.channels, width)
        repeats = math.ceil(stage.repeats * depth) if stage.scaled else stage.repeats
        strides = [stage.stride] + [1] * (repeats - 1)
        listed += [Stage(1, stage.kernel, stride, stage.expansion, channels) for stride in strides]
    return listed


def scaled_channels(channels: int, width: float) -> int:
    """The multiple of 8 nearest to channels * width, rounded up if it would be below 90 % of that."""
    exact = channels * width
    rounded = max(CHANNEL_MULTIPLE, int(exact + CHANNEL_MULTIPLE / 2) // CHANNEL_MULTIPLE * CHANNEL_MULTIPLE)
    return rounded + CHANNEL_MULTIPLE if rounded < MINIMUM_SCALING * exact else rounded


def inverted_residual(network: Network, features: FeatureMap, prefix: str, block: Stage) -> FeatureMap:
    """Expansion, depthwise convolution, projection; with a residual connection if the shape does not change."""
    inner = features
    if block.expansion != 1:
        inner = convolve(network, inner, Convolution(f"{prefix}_expand_conv", f"{prefix}_bn0"))
    depthwise = Convolution(f"{prefix}_depthwise_conv", f"{prefix}_bn1", block.kernel, block.stride, depthwise=True)
    inner = convolve(network, inner, depthwise)
    inner = convolve(network, inner, Convolution(f"{prefix}_project_conv", f"{prefix}_bn2", relu6=False))
    if inner[1:] == features[1:]:
        name = network.node("Add", [inner[0], features[0]], f"{prefix}add")
        return name, *inner[1:]
    return inner


def convolve(network: Network, features: FeatureMap, layer: Convolution) -> FeatureMap:
    """A convolution with its batch normalisation folded in, followed by ReLU6 if `layer.relu6`."""
    source, side, channels = features
    gain, bias, mean, variance = (
        network.take(f"{layer.normalisation}.{part}") for part in ("weight", "bias", "running_mean", "running_var")
    )
    scale = gain / np.sqrt(variance + EPSILON)
    kernels = network.take(f"{layer.weights}.weight") * scale[:, None, None, None]
    pads, output_side = same_padding(side, layer.kernel, layer.stride)
    inputs = [
        source,
        network.constant(f"{layer.weights}.kernels", kernels),
        network.constant(f"{layer.weights}.bias", bias - mean * scale),
    ]
    shape = {"kernel_shape": [layer.kernel] * 2, "strides": [layer.stride] * 2, "pads": pads}
    group = channels if layer.depthwise else 1
    name = network.node("Conv", inputs, layer.weights, group=group, **shape)
    if layer.relu6:
        name = network.node("Clip", [name, "zero", "six"], f"{layer.weights}.relu6")
    return name, output_side, len(kernels)


def same_padding(side: int, kernel: int, stride: int) -> tuple[list[int], int]:
    """Padding as TensorFlow's "same", where an odd pixel goes to the end.

    Returns [top, left, bottom, right] and the side of the output.
    """
    output_side = math.ceil(side / stride)
    total = max((output_side - 1) * stride + kernel - side, 0)
    return [total // 2, total // 2, total - total // 2, total - total // 2], output_side


def classify(network: Network, features: str) -> None:
    pooled = network.node("GlobalAveragePool", [features], "pooled")
    flat = network.node("Flatten", [pooled], "flat", axis=1)
    matrix = network.constant("classes.weights", network.take("_fc.weight"))
    bias = network.constant("classes.bias", network.take("_fc.bias"))
    network.node("Gemm", [flat, matrix, bias], "logits", transB=1)


def assemble(network: Network, side: int) -> onnx.ModelProto:
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, side, side])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", CLASSES])
    graph = helper.make_graph(network.nodes, "efficientnet_lite", [image], [logits], network.constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model, full_check=True)
    return model
