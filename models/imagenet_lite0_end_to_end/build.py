"""imagenet_lite0_end_to_end: imagenet_lite0 with preprocessing and class names in one graph."""

import io
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from PIL import Image

from models import checks, end_to_end, manifest, photos
from models.build_api import BuildContext, BuildResult
from models.errors import BuildError

REFERENCE = "imagenet_lite0"
TOP = 10
TOLERANCE = 0.002  # in probability, against the same photo preprocessed by Pillow


def build(context: BuildContext) -> BuildResult:
    """Combine the reference's network, preprocessing steps and labels; compare with preprocessing by Pillow on photos.

    Raises BuildError if a probability differs by more than TOLERANCE.
    """
    version = context.manifest["build"]["models"][REFERENCE]
    stated = manifest.read(context.output / REFERENCE / version / "model.yaml")
    network, steps, labels = context.load_dependency(REFERENCE), stated["preprocessing"]["steps"], stated["labels"]
    model = end_to_end.build(network, steps, labels, TOP)
    files = {photo.jpeg_name: photos.jpeg(context.wheels, photo) for photo in photos.EXAMPLES}
    metrics = _compare(model, network, steps, labels, files, context.manifest["examples"])
    if metrics["max_difference"] > TOLERANCE:
        raise BuildError(f"a probability differs by {metrics['max_difference']}, expected at most {TOLERANCE}")
    pixels = np.asarray(_opened(files["chelsea.jpg"]))[None]
    return BuildResult(model, pixels, {"metrics": metrics}, files | {"LICENCE.md": photos.licence_note()})


def _compare(
    model: onnx.ModelProto,
    network: onnx.ModelProto,
    steps: list[dict[str, Any]],
    labels: list[str],
    files: dict[str, bytes],
    examples: list[dict[str, Any]],
) -> dict[str, Any]:
    """Metrics: on how many photos both models have the same top class, and the maximum difference in probability."""
    end_to_end, separate = (checks.session(it.SerializeToString()) for it in (model, network))
    same, correct, difference = 0, 0, 0.0
    for example in examples:
        picture = _opened(files[example["photo"]])
        scores, names = end_to_end.run(["scores", "labels"], {"pixels": np.asarray(picture)[None]})
        expected = _softmax(checks.answers(separate, photos.preprocess(picture, steps)[None])[0])
        same += names[0, 0] == labels[int(expected.argmax())]
        correct += names[0, 0] == example["answer"]
        by_label = expected[[labels.index(name) for name in names[0]]]
        difference = max(difference, float(np.abs(scores[0] - by_label).max()))
    return {
        "photos": len(examples),
        "photos_top1": int(correct),
        "same_top1_as_separate": int(same),
        "max_difference": round(difference, 6),
    }


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    powers = np.exp(logits - logits.max())
    probabilities: NDArray[np.float32] = powers / powers.sum()
    return probabilities


def _opened(jpeg: bytes) -> Image.Image:
    return Image.open(io.BytesIO(jpeg)).convert("RGB")
