"""Pictures: from the bytes of a JPEG or PNG file to RGB pixels the right way up, and the steps from there to a tensor.

Everything is bounded before anything is decoded, and Pillow's settings, which belong to the whole process, are not
touched. All of it may run in several threads at once.
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
from common.preprocessing.container import FIELD, JPEG, UPRIGHT, stripped
from common.protocol.json_body import Payload
from common.protocol.tensors import Array

MAX_PIXELS = 16_000_000  # 64 MB decoded, four bytes each; a telephone's camera gives twelve million
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
    """The picture in a JPEG or PNG file, decoded: mode RGB, turned as its EXIF note says, what is transparent on white.

    CMYK is read as the inverted kind, which is what programs write; colour profiles are not applied; 16 bits become 8.
    Raises UnsupportedMedia for another kind of file, PayloadTooLarge for more than `max_pixels`, InvalidInput for a
    file that is empty, cut, damaged or animated.
    """
    file, orientation = stripped(bytes(body))
    try:
        picture = _opened(file)
        width, height = picture.size
        if width * height > max_pixels:
            raise PayloadTooLarge.at(FIELD, f"has {width} x {height} pixels, more than {max_pixels}; send it smaller")
        picture.load()
        upright = _rgb(picture)
    except (InvalidInput, MemoryError):
        raise
    except Exception as error:  # whatever a decoder stumbles over is in the bytes
        raise InvalidInput.at(FIELD, f"is cut short or damaged ({error}); send the whole file") from None
    return upright if orientation == UPRIGHT else upright.transpose(_UPRIGHT_BY[orientation])


def _opened(file: bytes) -> Image.Image:
    """Straight to the plugin: no look at other formats, and no warning in place of an error."""
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
        # The colour is stated in 16 bits, of which Pillow has kept the upper half.
        picture.info["transparency"] = tuple(value >> 8 for value in transparent)
    return _on_white(picture.convert("RGBA")) if picture.has_transparency_data else picture.convert("RGB")


def _from_sixteen_bits(pixels: Array, transparent: int | None) -> Image.Image:
    """Greys [height, width] of 16 bits; Pillow's own conversion would cut off at 255 what is brighter."""
    grey = (pixels >> 8).astype(np.uint8)
    if transparent is not None:
        grey[pixels == transparent] = WHITE[0]
    return Image.fromarray(grey).convert("RGB")


def _on_white(picture: Image.Image) -> Image.Image:
    canvas = Image.new("RGB", picture.size, WHITE)
    canvas.paste(picture.convert("RGB"), mask=picture.getchannel("A"))
    return canvas


class Crop(msgspec.Struct, forbid_unknown_fields=True):
    """A square in the centre; its side is side/of of the shorter side, rounded."""

    position: Literal["centre"]
    side: Positive
    of: Positive


class Resize(msgspec.Struct, forbid_unknown_fields=True):
    """To a width and a height; to a height, the width follows; or so that the longer side is `longest`."""

    filter: Literal["nearest", "bilinear", "bicubic", "lanczos"]
    width: Positive | None = None
    height: Positive | None = None
    longest: Positive | None = None

    def size(self, width: int, height: int) -> tuple[int, int]:
        """The width and height that a picture of this width and height gets."""
        if self.longest is not None:
            scale = self.longest / max(width, height)
            return max(1, round(width * scale)), max(1, round(height * scale))
        assert self.height is not None
        return self.width or math.ceil(width * self.height / height), self.height


class Pad(msgspec.Struct, forbid_unknown_fields=True):
    """Filled up on the right, with a grey, to a multiple of a width."""

    width_multiple: Positive
    value: Annotated[int, msgspec.Meta(ge=0, le=255)]


class Normalise(msgspec.Struct, forbid_unknown_fields=True):
    """(pixel - mean) / scale, pixels 0 to 255; one number, or one for each colour."""

    mean: float | list[float]
    scale: float | list[float]


def decode(parameter: Any) -> Step:
    """`{decode: rgb}`: bytes, or a picture that is open already."""
    msgspec.convert(parameter, Literal["rgb"])
    return lambda item: item if isinstance(item, Image.Image) else open_picture(_bytes(item))


def _bytes(item: Any) -> bytes:
    if not isinstance(item, bytes | bytearray | memoryview):
        raise InvalidInput.at(FIELD, f"expected the bytes of a JPEG or PNG file, got {type(item).__name__}")
    return bytes(item)


def crop(parameter: Any) -> Step:
    rule = msgspec.convert(parameter, Crop)

    def cropped(picture: Image.Image) -> Image.Image:
        width, height = picture.size
        side = max(round(rule.side / rule.of * min(width, height)), 1)
        left, top = (width - side) // 2, (height - side) // 2
        return picture.crop((left, top, left + side, top + side))

    return cropped


def resize(parameter: Any) -> Step:
    rule = msgspec.convert(parameter, Resize)
    if (rule.longest is None) == (rule.height is None) or (rule.width is not None and rule.height is None):
        raise ValueError("wants a height, a width and a height, or the longest side")
    kind = _FILTERS[rule.filter]

    def resized(picture: Image.Image) -> Image.Image:
        width, height = rule.size(*picture.size)
        if width * height > MAX_PIXELS:
            raise PayloadTooLarge.at(FIELD, f"would have {width} x {height} pixels, for its sides differ too much")
        return picture.resize((width, height), kind)

    return resized


def pad(parameter: Any) -> Step:
    rule = msgspec.convert(parameter, Pad)

    def padded(picture: Image.Image) -> Image.Image:
        width = math.ceil(picture.width / rule.width_multiple) * rule.width_multiple
        canvas = Image.new("RGB", (width, picture.height), (rule.value,) * 3)
        canvas.paste(picture)
        return canvas

    return padded


def normalise(parameter: Any) -> Step:
    """From a picture to FP32 [height, width, 3]."""
    rule = msgspec.convert(parameter, Normalise)
    mean, scale = np.asarray(rule.mean, np.float32), np.asarray(rule.scale, np.float32)
    if not scale.all():
        raise ValueError("a scale is 0")

    def normalised(picture: Image.Image) -> Array:
        pixels: Array = np.subtract(np.asarray(picture), mean, dtype=np.float32)
        pixels /= scale
        return pixels

    return normalised


def layout(parameter: Any) -> Step:
    """NCHW: planes of colours; NHWC: rows of pixels; UINT8 where nothing has normalised them. The batch adds the N."""
    order = msgspec.convert(parameter, Literal["NCHW", "NHWC"])
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
    """A callable for each step; ValueError, or msgspec's own, for wrong ones."""
    found = []
    for name, parameter in steps:
        try:
            found.append(_STEPS[name](parameter))
        except (msgspec.ValidationError, ValueError) as error:
            raise ValueError(f"preprocessing step {name!r}: {error}") from None
    return found
