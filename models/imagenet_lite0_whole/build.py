"""imagenet_lite0_whole: imagenet_lite0 from pixels to named classes in one graph."""

import io
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from PIL import Image

from models import checks, manifest, photos, whole
from models.errors import BuildError
from models.recipe import Product, Workspace

REFERENCE = "imagenet_lite0"
TOP = 10
TOLERANCE = 0.002  # in probability, against the same photograph prepared by Pillow


def build(workspace: Workspace) -> Product:
    """The reference's own network, steps and labels; compared with the way round through Pillow on photographs."""
    version = workspace.manifest["build"]["models"][REFERENCE]
    stated = manifest.read(workspace.output / REFERENCE / version / "model.yaml")
    network, steps, labels = workspace.built(REFERENCE), stated["preprocessing"]["steps"], stated["labels"]
    model = whole.build(network, steps, labels, TOP)
    files = {photo.jpeg_name: photos.jpeg(workspace.wheels, photo) for photo in photos.EXAMPLES}
    metrics = _compare(model, network, steps, labels, files, workspace.manifest["examples"])
    if metrics["greatest_difference"] > TOLERANCE:
        raise BuildError(f"a probability differs by {metrics['greatest_difference']}, more than {TOLERANCE}")
    pixels = np.asarray(_opened(files["chelsea.jpg"]))[None]
    return Product(model, pixels, {"metrics": metrics}, files | {"LICENCE.md": photos.licence_note()})


def _compare(
    model: onnx.ModelProto,
    network: onnx.ModelProto,
    steps: list[dict[str, Any]],
    labels: list[str],
    files: dict[str, bytes],
    examples: list[dict[str, Any]],
) -> dict[str, Any]:
    """How many photographs both ways call the same, and how far their probabilities are apart at most."""
    one, other = (checks.session(it.SerializeToString()) for it in (model, network))
    same, right, apart = 0, 0, 0.0
    for example in examples:
        picture = _opened(files[example["photo"]])
        scores, names = one.run(["scores", "labels"], {"pixels": np.asarray(picture)[None]})
        shares = _softmax(checks.answers(other, photos.preprocess(picture, steps)[None])[0])
        same += names[0, 0] == labels[int(shares.argmax())]
        right += names[0, 0] == example["answer"]
        theirs = shares[[labels.index(name) for name in names[0]]]
        apart = max(apart, float(np.abs(scores[0] - theirs).max()))
    return {
        "photos": len(examples),
        "photos_top1": int(right),
        "same_top1_as_separate": int(same),
        "greatest_difference": round(apart, 6),
    }


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    powers = np.exp(logits - logits.max())
    shares: NDArray[np.float32] = powers / powers.sum()
    return shares


def _opened(jpeg: bytes) -> Image.Image:
    return Image.open(io.BytesIO(jpeg)).convert("RGB")
