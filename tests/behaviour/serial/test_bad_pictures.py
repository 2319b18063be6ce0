"""Every kind of file is read rightly or refused with its 4xx, which says why; none of them starts an inference."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from PIL import Image

from runtimes.base import Stack
from tests import pictures
from tests.asking.serial import ROOT, all_runs, encoded, expected, picture, post, read, sample, texts
from tests.conftest import Start
from tests.support import metric


@pytest.fixture(scope="module")
def stack(start_shared: Start) -> Iterator[Stack]:
    stack = start_shared("serial")
    yield stack
    assert metric(stack.url(), "serving_requests_total", code="500") == 0


REFUSED: dict[str, tuple[Callable[[], bytes], int, str]] = {
    "no byte": (lambda: b"", 400, "empty"),
    "a bomb": (pictures.bomb, 413, "60000"),
    "a truncated JPEG": (lambda: sample("page.jpg")[:9000], 400, "cut short"),
    "a truncated PNG": (lambda: encoded(picture("page.jpg"))[:9000], 400, "cut short"),
    "an animated PNG": (pictures.animated_png, 400, "animated"),
    "a GIF": (lambda: encoded(Image.new("RGB", (9, 9)), "GIF"), 415, "GIF"),
    "a TIFF": (lambda: encoded(Image.new("RGB", (9, 9)), "TIFF"), 415, "TIFF"),
    "text": (lambda: b"Total: 1,249.50 EUR", 415, "JPEG"),
    "JSON": (lambda: b'{"image": ""}', 415, "JPEG"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_picture_is_refused_before_any_inference(stack: Stack, case: str) -> None:
    make, status, says = REFUSED[case]
    before = all_runs(stack)
    answer = post(stack.url(), make())
    assert answer.status_code == status, answer.text
    problem = answer.json()
    assert says in problem["detail"]
    assert problem["errors"][0]["field"] == "picture"
    assert problem["request_id"] == answer.headers["X-Request-ID"]
    assert all_runs(stack) == before


@pytest.mark.parametrize("name", ["chelsea.jpg", "coffee.jpg"])
def test_a_photo_without_text_has_no_line(stack: Stack, name: str) -> None:
    """The detection marks some pixels of both, which the recognisers read as "9" with little confidence."""
    reading = read(stack.url(), (ROOT / "patterns/synchronous/samples" / name).read_bytes())
    assert (reading["lines"], reading["uncertain"]) == ([], 1)


def sixteen_bits(page: Image.Image) -> bytes:
    grey = np.asarray(page.convert("L"), np.uint16) * 257
    return encoded(Image.fromarray(grey))


def sideways(page: Image.Image) -> bytes:
    """The pixels lie on their side, and the EXIF note says so."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(page.transpose(Image.Transpose.ROTATE_90), "JPEG", quality=95, exif=exif)


def transparent(page: Image.Image) -> bytes:
    ink = page.convert("L").point(lambda grey: 255 - grey)
    return encoded(Image.merge("LA", (Image.new("L", page.size, 0), ink)))


READ: dict[str, Callable[[Image.Image], bytes]] = {
    "CMYK": lambda page: encoded(page.convert("CMYK"), "JPEG", quality=95),
    "greyscale": lambda page: encoded(page.convert("L"), "JPEG", quality=95),
    "a palette": lambda page: encoded(page.convert("P", palette=Image.Palette.ADAPTIVE)),
    "16 bits": sixteen_bits,
    "turned by its EXIF note": sideways,
    "ink on nothing": transparent,
    "progressive": lambda page: encoded(page, "JPEG", quality=95, progressive=True),
}


@pytest.mark.parametrize("kind", READ)
def test_every_kind_of_jpeg_and_png_is_read_rightly(stack: Stack, kind: str) -> None:
    reading = read(stack.url(), READ[kind](picture("page.jpg")))
    wanted = set(expected("page.json")[:6])
    assert reading["turned"] == 0
    assert (reading["width"], reading["height"]) == picture("page.jpg").size
    assert len(wanted & set(texts(reading))) >= 5
