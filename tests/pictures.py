"""Files that are no good pictures, and good ones that are unusual."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

from tests.asking.prep_pred import sample


def coffee() -> Image.Image:
    return Image.open(io.BytesIO(sample("coffee.jpg"))).convert("RGB")


def saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def cmyk() -> bytes:
    return saved(coffee().convert("CMYK"), "JPEG", quality=95)


def sixteen_bits() -> bytes:
    """Greys of 16 bits, as a scanner gives them."""
    greys = np.asarray(coffee().convert("L"), np.uint16) * 257
    return saved(Image.fromarray(greys), "PNG")


def turned() -> bytes:
    """Lies on its side, and says so in EXIF."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(coffee().transpose(Image.Transpose.ROTATE_90), "JPEG", quality=95, exif=exif)


def transparent() -> bytes:
    picture = coffee()
    picture.putalpha(255)
    return saved(picture, "PNG")


def palette() -> bytes:
    return saved(coffee().quantize(256), "PNG")


def progressive() -> bytes:
    return saved(coffee(), "JPEG", quality=95, progressive=True)


def animated_gif() -> bytes:
    return saved(coffee(), "GIF", save_all=True, append_images=[coffee().rotate(90)])


def animated_png() -> bytes:
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "green")]
    return saved(frames[0], "PNG", save_all=True, append_images=frames[1:])


def bomb() -> bytes:
    """A PNG of a few hundred bytes that says it has 60,000 x 60,000 pixels."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 180_001)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
