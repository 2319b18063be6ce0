"""Picture files, good ones and bad ones, made as cameras, programs and attackers make them."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image, ImageOps

RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)
PNG = b"\x89PNG\r\n\x1a\n"


def saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    stream = BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def half_red(width: int = 64, height: int = 32) -> Image.Image:
    """Left half red, right half blue."""
    picture = Image.new("RGB", (width, height), BLUE)
    picture.paste(RED, (0, 0, width // 2, height))
    return picture


def jpeg(picture: Image.Image | None = None, **options: Any) -> bytes:
    return saved(picture or half_red(), "JPEG", quality=95, **options)


def png(picture: Image.Image | None = None, **options: Any) -> bytes:
    return saved(picture or half_red(), "PNG", **options)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def header(width: int, height: int, bits: int, colours: int) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colours, 0, 0, 0))


def raw_png(width: int, height: int, bits: int, colours: int, rows: list[bytes], *before: bytes) -> bytes:
    """A PNG chunk by chunk: rows unfiltered, `before` what stands between the header and the pixels."""
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"".join([PNG, header(width, height, bits, colours), *before, chunk(b"IDAT", pixels), chunk(b"IEND", b"")])


def png_of_16_bit_greys(greys: list[int], *before: bytes) -> bytes:
    return raw_png(len(greys), 1, 16, 0, [struct.pack(f">{len(greys)}H", *greys)], *before)


def with_chunk(file: bytes, kind: bytes, data: bytes) -> bytes:
    """A PNG with one chunk more, after its header."""
    return file[:33] + chunk(kind, data) + file[33:]


def exif(orientation: int, order: str = "<") -> bytes:
    """A TIFF header and a directory of one entry."""
    mark = b"II" if order == "<" else b"MM"
    return mark + struct.pack(order + "HIHHHIHHI", 42, 8, 1, 0x0112, 3, 1, orientation, 0, 0)


def with_segment(file: bytes, marker: int, data: bytes) -> bytes:
    """A JPEG with one segment more, at its start."""
    return file[:2] + struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data + file[2:]


def with_exif(file: bytes, tiff: bytes) -> bytes:
    return with_segment(file, 0xE1, b"Exif\0\0" + tiff)


def cmyk_jpeg(picture: Image.Image) -> bytes:
    """Inverted and with Adobe's marker, as Photoshop and Pillow write it."""
    return saved(picture.convert("CMYK"), "JPEG", quality=95)


def ycck_jpeg(picture: Image.Image) -> bytes:
    """CMYK whose colours are kept as luminance and two differences, which Adobe's marker says with a 2."""
    planes = [*ImageOps.invert(picture).convert("YCbCr").split(), Image.new("L", picture.size, 255)]
    inverted = [backend.point([255 - value for value in range(256)]) for backend in planes]
    file = saved(Image.merge("CMYK", inverted), "JPEG", quality=95)
    at = file.index(b"Adobe") + 11
    return file[:at] + b"\x02" + file[at + 1 :]


def animated_png() -> bytes:
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, BLUE, WHITE)]
    return saved(frames[0], "PNG", save_all=True, append_images=frames[1:])


def bomb_png(width: int = 60_000, height: int = 60_000) -> bytes:
    """A header that promises gigabytes, and a few bytes."""
    return PNG + header(width, height, 8, 2) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


def bomb_jpeg(width: int = 65_000, height: int = 65_000) -> bytes:
    """A small JPEG whose frame header says that it is large."""
    file = jpeg()
    at = file.index(b"\xff\xc0") + 5
    return file[:at] + struct.pack(">HH", height, width) + file[at + 4 :]


def noise(width: int = 80, height: int = 60) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))
