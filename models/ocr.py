"""Shared by the models that read documents: image input in the graph, and metrics on sample documents.

The published graphs take normalised floats, NCHW, in BGR order. Here the graph does this conversion: a client sends
UINT8 RGB, which is a quarter of the size, and cannot get the normalisation wrong.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from PIL import Image

from models import checks, documents, graph, photos, pinned_wheels
from models.build_api import BuildContext, BuildResult
from models.manifest import Manifest

BLANK, SPACE = "", " "
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_SCALE = (58.395, 57.12, 57.375)
# Margin around the box of a line when it is cropped, as a share of its height.
CROP_MARGIN = 0.1

Pictures = NDArray[np.uint8]


@dataclass(frozen=True)
class Normalisation:
    """The normalisation that a network expects: (value - mean) / scale for each channel, in the network's order."""

    mean: tuple[float, ...]
    scale: tuple[float, ...]
    bgr: bool


def load_from_wheel(context: BuildContext, package: str, path: str, sha256: str) -> onnx.ModelProto:
    """Load an ONNX file from a pinned wheel. Raises BuildError if its sha256 is another one."""
    return onnx.load_from_string(pinned_wheels.read_file(context.wheels, package, path, sha256))


def constant(model: onnx.ModelProto, name: str, values: NDArray[Any]) -> str:
    """Add a constant to the graph. Returns its name."""
    model.graph.initializer.append(numpy_helper.from_array(values, name))
    return name


def add_image_input(model: onnx.ModelProto, normalisation: Normalisation, result: str = "") -> None:
    """Prepend nodes that convert `image` [batch, height, width, 3] UINT8 RGB to normalised NCHW floats.

    The nodes write the tensor `result`, or the network's input if it is empty.
    """
    order = [2, 1, 0] if normalisation.bgr else [0, 1, 2]
    mean, scale = (np.array(it, np.float32).reshape(-1, 1, 1) for it in (normalisation.mean, normalisation.scale))
    nodes = [
        helper.make_node("Transpose", ["image"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Gather", ["planes", constant(model, "order", np.array(order))], ["ordered"], axis=1),
        helper.make_node("Cast", ["ordered"], ["floats"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Sub", ["floats", constant(model, "mean", mean)], ["centred"]),
        helper.make_node("Div", ["centred", constant(model, "scale", scale)], [result or model.graph.input[0].name]),
    ]
    prepend(model, nodes)


def prepend(model: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> None:
    """Insert nodes before all others."""
    following = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *following])


def declare_interface(model: onnx.ModelProto, manifest: Manifest) -> onnx.ModelProto:
    """Declare the manifest's inputs and outputs, and drop the metadata that the published file carries."""
    del model.metadata_props[:]
    graph.declare(model, manifest)
    return model


def recogniser(context: BuildContext, package: str, path: str, sha256: str) -> BuildResult:
    """A recogniser of lines. For each time step it outputs the most probable character and its probability.

    The published graph outputs the probability of every character at every step, which is megabytes for a line.
    """
    model = load_from_wheel(context, package, path, sha256)
    labels = [BLANK, *_property(model, "character").split("\n"), SPACE]
    add_image_input(model, Normalisation((127.5,) * 3, (127.5,) * 3, bgr=True))
    probabilities = model.graph.output[0].name
    characters, confidence = (output["name"] for output in context.manifest["outputs"])
    model.graph.node.extend(
        [
            helper.make_node("ArgMax", [probabilities], [characters], axis=2, keepdims=0),
            helper.make_node("ReduceMax", [probabilities], [confidence], axes=[2], keepdims=0),
        ]
    )
    declare_interface(model, context.manifest)
    files = documents.files(context.wheels)
    line_recogniser = LineRecogniser(model, labels, context.manifest["preprocessing"]["steps"])
    manifest_fields = {"labels": labels, "metrics": _reading_metrics(line_recogniser, files)}
    return BuildResult(
        model, line_recogniser.pictures([_example_line(files)]), manifest_fields, _example_files(context, files)
    )


class LineRecogniser:
    """Runs a recogniser on cropped lines and decodes its output to text."""

    def __init__(self, model: onnx.ModelProto, labels: list[str], steps: list[dict[str, Any]]) -> None:
        self.session = checks.session(model.SerializeToString())
        self.labels = labels
        self.steps = steps

    def pictures(self, lines: list[Image.Image]) -> Pictures:
        return np.stack([photos.preprocess(line, self.steps) for line in lines]).astype(np.uint8)

    def read(self, line: Image.Image) -> str:
        (characters,) = checks.answers(self.session, self.pictures([line]))
        return ctc_decode(characters, self.labels)


def ctc_decode(characters: NDArray[np.int64], labels: list[str]) -> str:
    """Greedy CTC decoding: merge repeated characters, then remove the blank (index 0)."""
    changed = np.diff(characters, prepend=0) != 0
    return "".join(labels[index] for index in characters[changed & (characters != 0)]).strip()


def crop_line(picture: Image.Image, line: documents.TextLine) -> Image.Image:
    """Crop a line with a margin around its box."""
    left, top, right, bottom = line.box
    margin = round(CROP_MARGIN * (bottom - top))
    return picture.crop((left - margin, top - margin, right + margin, bottom + margin))


def edit_distance(text: str, truth: str) -> int:
    """The Levenshtein distance: the minimum number of characters to insert, delete or replace."""
    row = list(range(len(truth) + 1))
    for number, character in enumerate(text, 1):
        new = [number]
        for index, other in enumerate(truth):
            new.append(min(new[-1] + 1, row[index + 1] + 1, row[index] + (character != other)))
        row = new
    return row[-1]


def _property(model: onnx.ModelProto, key: str) -> str:
    value: str = next(it.value for it in model.metadata_props if it.key == key)
    return value


def _reading_metrics(line_recogniser: LineRecogniser, files: dict[str, bytes]) -> dict[str, Any]:
    """For each document: the share of lines read exactly, and 1 minus the character error rate."""
    lines = documents.invoice_lines()
    metrics: dict[str, Any] = {"invoice_lines": len(lines)}
    page = documents.PAGE_LINES[: documents.HORIZONTAL]
    for name, expected in {"invoice": lines, "invoice_blurry": lines, "page": page}.items():
        picture = documents.decode(files[f"{name}.jpg"])
        texts = [line_recogniser.read(crop_line(picture, line)) for line in expected]
        wrong = sum(edit_distance(text, line.text) for text, line in zip(texts, expected, strict=True))
        exact = sum(text == line.text for text, line in zip(texts, expected, strict=True))
        metrics[f"{name}_exact"] = round(exact / len(expected), 4)
        metrics[f"{name}_characters"] = round(1 - wrong / sum(len(line.text) for line in expected), 4)
    return metrics


def _example_line(files: dict[str, bytes]) -> Image.Image:
    return crop_line(documents.decode(files["invoice.jpg"]), documents.invoice_lines()[0])


def _example_files(context: BuildContext, files: dict[str, bytes]) -> dict[str, bytes]:
    """The files that the manifest's examples name: lines cropped from the invoice, and the licence note."""
    invoice = documents.decode(files["invoice.jpg"])
    lines = {line.text: line for line in documents.invoice_lines()}
    examples = context.manifest["examples"]
    cut = {it["photo"]: documents.encode_jpeg(crop_line(invoice, lines[it["answer"]])) for it in examples}
    return cut | {documents.NOTE_FILE: documents.NOTE.encode()}
