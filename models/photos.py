"""Freely licensed photos from the scikit-image wheel, and the preprocessing of an image by a manifest's steps."""

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models import pinned_wheels

PACKAGE = "scikit-image"
JPEG_QUALITY = 90
CC0 = "CC0 1.0"
PUBLIC_DOMAIN = "public domain"

Picture = NDArray[np.float32]


@dataclass(frozen=True)
class Photo:
    """A photo in the wheel, with its licence and author as scikit-image states them."""

    file: str
    sha256: str
    licence: str
    author: str

    @property
    def jpeg_name(self) -> str:
        return Path(self.file).stem + ".jpg"


# Shown in demos and used to check the models. Never used for calibration.
EXAMPLES = (
    Photo("camera.png", "b0793d2adda0fa6ae899c03989482bff9a42d3d5690fc7e3648f2795d730c23a", CC0, "Lav Varshney"),
    Photo(
        "chelsea.png", "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb", CC0, "Stefan van der Walt"
    ),
    Photo("coffee.png", "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7", CC0, "Rachel Michetti"),
    Photo("rocket.jpg", "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c", PUBLIC_DOMAIN, "SpaceX"),
)
CALIBRATION = (
    Photo("astronaut.png", "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5", PUBLIC_DOMAIN, "NASA"),
    Photo("brick.png", "7966caf324f6ba843118d98f7a07746d22f6a343430add0233eca5f6eaaa8fcf", CC0, "CC0Textures"),
    Photo(
        "clock_motion.png",
        "f029226b28b642e80113d86622e9b215ee067a0966feaf5e60604a1e05733955",
        PUBLIC_DOMAIN,
        "Stefan van der Walt",
    ),
    Photo("grass.png", "b6b6022426b38936c43a4ac09635cd78af074e90f42ffa8227ac8b7452d39f89", CC0, "CC0Textures"),
    Photo("gravel.png", "c48615b451bf1e606fbd72c0aa9f8cc0f068ab7111ef7d93bb9b0f2586440c12", CC0, "CC0Textures"),
    Photo(
        "hubble_deep_field.jpg",
        "3a19c5dd8a927a9334bb1229a6d63711b1c0c767fb27e2286e7c84a3e2c2f5f4",
        PUBLIC_DOMAIN,
        "NASA",
    ),
    Photo("retina.jpg", "38a07f36f27f095e818aea7b96d34202c05176d30253c66733f2e00379e9e0e6", CC0, "Mikael Häggström"),
)


def original(folder: Path, photo: Photo) -> Image.Image:
    """The photo as it is in the package. `folder` caches downloaded wheels."""
    return Image.open(io.BytesIO(pinned_wheels.read_file(folder, PACKAGE, f"skimage/data/{photo.file}", photo.sha256)))


def jpeg(folder: Path, photo: Photo) -> bytes:
    """The photo as a JPEG file, as demos and checks use it."""
    stream = io.BytesIO()
    original(folder, photo).convert("RGB").save(stream, "JPEG", quality=JPEG_QUALITY)
    return stream.getvalue()


def licence_note() -> bytes:
    """The licence note (Markdown) that is written next to the example photos."""
    lines = [f"- `{it.jpeg_name}`: {it.licence}, {it.author} (scikit-image: {it.file})" for it in EXAMPLES]
    head = ["# Example photographs", "", "JPEG copies of pictures that scikit-image distributes; free to use.", ""]
    return "\n".join([*head, *lines, ""]).encode()


def preprocess(picture: Image.Image, steps: list[dict[str, Any]]) -> Picture:
    """Apply a manifest's preprocessing steps. Returns one input, FP32, without the batch dimension."""
    state: Any = picture
    for step in steps:
        for name, parameter in step.items():
            state = STEPS[name](state, parameter)
    return np.ascontiguousarray(state, dtype=np.float32)


def _decode(picture: Image.Image, mode: str) -> Image.Image:
    return picture.convert(mode.upper())


def _crop(picture: Image.Image, rule: dict[str, int]) -> Image.Image:
    """Crop a centred square. Its side is `side / of` times the shorter side of the image, rounded."""
    width, height = picture.size
    side = round(rule["side"] / rule["of"] * min(width, height))
    left, top = (width - side) // 2, (height - side) // 2
    return picture.crop((left, top, left + side, top + side))


def _resize(picture: Image.Image, rule: dict[str, Any]) -> Image.Image:
    """Resize to `width` and `height`, to `height` keeping the aspect ratio, or to a longer side of `longest`."""
    filters = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
    width, height = picture.size
    if "longest" in rule:
        scale = rule["longest"] / max(width, height)
        size = max(1, round(scale * width)), max(1, round(scale * height))
    else:
        size = rule.get("width", math.ceil(width * rule["height"] / height)), rule["height"]
    return picture.resize(size, filters[rule["filter"]])


def _pad(picture: Image.Image, rule: dict[str, int]) -> Image.Image:
    """Pad on the right with a grey value until the width is a multiple of `width_multiple`."""
    width = math.ceil(picture.width / rule["width_multiple"]) * rule["width_multiple"]
    padded = Image.new("RGB", (width, picture.height), (rule["value"],) * 3)
    padded.paste(picture)
    return padded


def _normalise(picture: Image.Image, rule: dict[str, float]) -> Picture:
    pixels = np.asarray(picture, dtype=np.float32)
    return (pixels - np.float32(rule["mean"])) / np.float32(rule["scale"])


def _layout(pixels: Picture, order: str) -> Picture:
    """Transpose HWC to the order that the model takes. The batch dimension N is added later."""
    if order not in ("NHWC", "NCHW"):
        raise ValueError(f"unknown layout {order!r}, expected NHWC or NCHW")
    return np.asarray(pixels) if order == "NHWC" else pixels.transpose(2, 0, 1)


STEPS: dict[str, Callable[[Any, Any], Any]] = {
    "decode": _decode,
    "crop": _crop,
    "resize": _resize,
    "pad": _pad,
    "normalise": _normalise,
    "layout": _layout,
}
