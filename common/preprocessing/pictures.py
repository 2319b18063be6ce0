"""Images: decodes a JPEG or PNG file to upright RGB pixels, and has the preprocessing steps from there to a tensor.

The limits are checked before anything is decoded. Pillow's global settings are not changed. Everything here may be
called from several threads at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from PIL import Image, JpegImagePlugin, PngImagePlugin

from common.errors import InvalidInput, PayloadTooLarge
from common.preprocessing.container import FIELD, JPEG, UPRIGHT, strip_metadata
from common.protocol.choices import convert
from common.protocol.json_body import Payload
from common.protocol.tensors import Array

MAX_PIXELS = 16_000_000  # 64 MB when decoded, at four bytes each; a phone camera makes twelve million
WHITE = (255, 255, 255)

Step = Callable[[Any], Any]
Positive = Annotated[int, msgspec.Meta(ge=1)]

_Turn = Image.Transpose
_UPRIGHT_BY = {
    2: _Turn.FLIP_LEFT_RIGHT,
    3: _Turn.ROTATE_180,
    4: _Turn.FLIP_TOP_BOTTOM,
    5: _Turn.TRANSPOSE,
    6: _Turn.ROTATE_270,
    7: _Turn.TRANSVERSE,
    8: _Turn.ROTATE_90,
}
_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def open_picture(body: Payload, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decodes a JPEG or PNG file to mode RGB, rotated as its EXIF orientation states, with white behind transparency.

    CMYK is read as inverted, which is how most programs write it. Colour profiles are not applied. 16-bit values become
    8-bit values. Raises UnsupportedMedia for another kind of file, PayloadTooLarge for more than `max_pixels`,
    InvalidInput for a file that is empty, cut short, damaged or animated.
    """
    file, orientation = strip_metadata(bytes(body))
    try:
        picture = _opened(file)
        width, height = picture.size
        if width * height > max_pixels:
            raise PayloadTooLarge.at(
                FIELD, f"has {width} x {height} pixels, more than {max_pixels}; send a smaller one"
            )
        picture.load()
        upright = _rgb(picture)
    except (InvalidInput, MemoryError):
        raise
    except Exception as error:  # decoders raise many classes of exception, all because of the bytes
        raise InvalidInput.at(FIELD, f"is cut short or damaged ({error}); send the whole file") from None
    return upright if orientation == UPRIGHT else upright.transpose(_UPRIGHT_BY[orientation])


def _opened(file: bytes) -> Image.Image:
    """Calls Pillow's plugin directly, so that no other format is tried and errors are not turned into warnings."""
    if file.startswith(JPEG[:2]):
        return JpegImagePlugin.JpegImageFile(BytesIO(file))
    return PngImagePlugin.PngImageFile(BytesIO(file))


def _rgb(picture: Image.Image) -> Image.Image:
    transparent = picture.info.get("transparency")
    if picture.mode == "RGB" and transparent is None:
        return picture
    if picture.mode.startswith("I"):
        return _from_sixteen_bits(np.asarray(picture), transparent)
    if isinstance(transparent, tuple) and max(transparent) > 255:
        # the transparent colour is stated in 16 bits, but Pillow has kept only the upper 8 bits of the pixels
        picture.info["transparency"] = tuple(value >> 8 for value in transparent)
    return _on_white(picture.convert("RGBA")) if picture.has_transparency_data else picture.convert("RGB")


def _from_sixteen_bits(pixels: Array, transparent: int | None) -> Image.Image:
    """From 16-bit greys [height, width]. Pillow's conversion would clip all values above 255."""
    grey = (pixels >> 8).astype(np.uint8)
    if transparent is not None:
        grey[pixels == transparent] = WHITE[0]
    return Image.fromarray(grey).convert("RGB")


def _on_white(picture: Image.Image) -> Image.Image:
    canvas = Image.new("RGB", picture.size, WHITE)
    canvas.paste(picture.convert("RGB"), mask=picture.getchannel("A"))
    return canvas


class Crop(msgspec.Struct, forbid_unknown_fields=True):
    """Cuts out the square in the centre whose side is `side / of` times the shorter side, rounded."""

    position: Literal["centre"]
    side: Positive
    of: Positive


class Resize(msgspec.Struct, forbid_unknown_fields=True):
    """Resizes to a width and a height, to a height (the ratio is kept), or until the longer side is `longest`."""

    filter: Literal["nearest", "bilinear", "bicubic", "lanczos"]
    width: Positive | None = None
    height: Positive | None = None
    longest: Positive | None = None

    def size(self, width: int, height: int) -> tuple[int, int]:
        """The new width and height of an image with this width and height."""
        if self.longest is not None:
            scale = self.longest / max(width, height)
            return max(1, round(width * scale)), max(1, round(height * scale))
        assert self.height is not None
        return self.width or math.ceil(width * self.height / height), self.height


class Pad(msgspec.Struct, forbid_unknown_fields=True):
    """Adds grey pixels of `value` on the right until the width is a multiple of `width_multiple`."""

    width_multiple: Positive
    value: Annotated[int, msgspec.Meta(ge=0, le=255)]


class Normalise(msgspec.Struct, forbid_unknown_fields=True):
    """Computes (pixel - mean) / scale for pixels from 0 to 255; one number for all colours, or one for each."""

    mean: float | list[float]
    scale: float | list[float]


def decode(parameter: Any) -> Step:
    """`{decode: rgb}`: takes the bytes of a file, or an image that is decoded already."""
    convert(parameter, Literal["rgb"])
    return lambda item: item if isinstance(item, Image.Image) else open_picture(_bytes(item))


def _bytes(item: Any) -> bytes:
    if not isinstance(item, bytes | bytearray | memoryview):
        raise InvalidInput.at(FIELD, f"expected the bytes of a JPEG or PNG file, got {type(item).__name__}")
    return bytes(item)


def crop(parameter: Any) -> Step:
    rule = convert(parameter, Crop)

    def cropped(picture: Image.Image) -> Image.Image:
        width, height = picture.size
        side = max(round(rule.side / rule.of * min(width, height)), 1)
        left, top = (width - side) // 2, (height - side) // 2
        return picture.crop((left, top, left + side, top + side))

    return cropped


def resize(parameter: Any) -> Step:
    rule = convert(parameter, Resize)
    if (rule.longest is None) == (rule.height is None) or (rule.width is not None and rule.height is None):
        raise ValueError("expected a height, a width and a height, or the longest side")
    kind = _FILTERS[rule.filter]

    def resized(picture: Image.Image) -> Image.Image:
        width, height = rule.size(*picture.size)
        if width * height > MAX_PIXELS:
            raise PayloadTooLarge.at(
                FIELD, f"has an extreme aspect ratio: resized, it would have {width} x {height} pixels"
            )
        return picture.resize((width, height), kind)

    return resized


def pad(parameter: Any) -> Step:
    rule = convert(parameter, Pad)

    def padded(picture: Image.Image) -> Image.Image:
        width = math.ceil(picture.width / rule.width_multiple) * rule.width_multiple
        canvas = Image.new("RGB", (width, picture.height), (rule.value,) * 3)
        canvas.paste(picture)
        return canvas

    return padded


def normalise(parameter: Any) -> Step:
    """Turns an image into FP32 [height, width, 3]."""
    rule = convert(parameter, Normalise)
    mean, scale = np.asarray(rule.mean, np.float32), np.asarray(rule.scale, np.float32)
    if not scale.all():
        raise ValueError("expected a scale other than 0, got 0")

    def normalised(picture: Image.Image) -> Array:
        pixels: Array = np.subtract(np.asarray(picture), mean, dtype=np.float32)
        pixels /= scale
        return pixels

    return normalised


def layout(parameter: Any) -> Step:
    """NCHW gives [3, height, width], NHWC gives [height, width, 3]; UINT8 unless `normalise` came before."""
    order = convert(parameter, Literal["NCHW", "NHWC"])
    axes = (2, 0, 1) if order == "NCHW" else (0, 1, 2)

    def laid_out(pixels: Array | Image.Image) -> Array:
        return np.ascontiguousarray(np.asarray(pixels).transpose(axes))

    return laid_out


_STEPS: dict[str, Callable[[Any], Step]] = {
    "decode": decode,
    "crop": crop,
    "resize": resize,
    "pad": pad,
    "normalise": normalise,
    "layout": layout,
}


def compiled(steps: Sequence[tuple[str, Any]]) -> list[Step]:
    """One function for each step. Raises ValueError that names the step whose parameter is not valid."""
    found = []
    for name, parameter in steps:
        try:
            found.append(_STEPS[name](parameter))
        except (msgspec.ValidationError, ValueError) as error:
            raise ValueError(f"preprocessing step {name!r}: {error}") from None
    return found
