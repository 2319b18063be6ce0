"""The pattern's own photos, files made out of them, and how they are sent."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "patterns" / "synchronous" / "samples"
PHOTOS = {path.name: path.read_bytes() for path in sorted(SAMPLES.glob("*.jpg"))}
TRUTH = {"camera.jpg": "tripod", "chelsea.jpg": "tabby", "coffee.jpg": "espresso", "rocket.jpg": "missile"}
CAT = PHOTOS["chelsea.jpg"]
COFFEE = PHOTOS["coffee.jpg"]
STAGES = ["decode", "prepare", "queue", "infer", "postprocess", "total"]


def post(http: httpx.Client, base: str, photo: bytes, query: str = "", **headers: str) -> httpx.Response:
    """POST /classify; underscores in the headers' names stand for hyphens."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return http.post(f"{base}/classify{query}", content=photo, headers={"Content-Type": "image/jpeg", **named})


def names(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [one["label"] for one in answer.json()["predictions"]]


def shares(answer: httpx.Response) -> dict[str, float]:
    assert answer.status_code == 200, answer.text
    return {one["label"]: one["probability"] for one in answer.json()["predictions"]}


def opened(name: str) -> Image.Image:
    return Image.open(io.BytesIO(PHOTOS[name])).convert("RGB")


def saved(picture: Image.Image, kind: str, **how: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **how)
    return stream.getvalue()


def png_that_declares(width: int, height: int) -> bytes:
    """Some dozens of bytes with a header that promises that many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(b"\0" * 64)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def jpeg_that_declares(width: int, height: int) -> bytes:
    """A real photo whose frame header says another size."""
    at = CAT.index(b"\xff\xc0") + 5
    return CAT[:at] + struct.pack(">HH", height, width) + CAT[at + 4 :]
