"""Whatever is sent as a picture is answered rightly, or refused with a reason: never a 5xx, never a wrong answer."""

from __future__ import annotations

import random

import httpx
import numpy as np
import pytest
from PIL import Image

from runtimes.base import Stack
from tests import pictures
from tests.asking.synchronous import (
    CAT,
    COFFEE,
    jpeg_that_declares,
    names,
    opened,
    png_that_declares,
    post,
    saved,
    shares,
)
from tests.conftest import Start

NEAR = 0.05  # a JPEG or another depth changes pixels a little
ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.fixture(params=[None, "end_to_end"], ids=["separate", "end_to_end"])
def stack(request: pytest.FixtureRequest, start_shared: Start) -> Stack:
    return start_shared("synchronous", request.param)


def turned(orientation: int) -> bytes:
    """The coffee as a camera stores it that was held otherwise: turned pixels, and a note how to turn them back."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return saved(opened("coffee.jpg").transpose(TURNS[orientation]), "PNG", exif=exif)


@pytest.mark.parametrize("orientation", TURNS)
def test_a_turned_photo_is_answered_as_the_upright_one(http: httpx.Client, stack: Stack, orientation: int) -> None:
    upright = post(http, stack.url(), saved(opened("coffee.jpg"), "PNG"))
    assert shares(post(http, stack.url(), turned(orientation))) == shares(upright)


def sixteen_bits() -> bytes:
    grey = np.asarray(opened("camera.jpg").convert("L")).astype(np.uint16)
    return saved(Image.fromarray(grey * 257), "PNG")


@pytest.mark.parametrize(
    ("body", "label"),
    [
        (saved(opened("coffee.jpg").convert("CMYK"), "JPEG", quality=95), "espresso"),
        (sixteen_bits(), "tripod"),
        (saved(opened("camera.jpg").convert("L"), "JPEG", quality=95), "tripod"),
        (saved(opened("coffee.jpg").quantize(256), "PNG"), "espresso"),
        (saved(opened("coffee.jpg").convert("RGBA"), "PNG"), "espresso"),
        (saved(opened("coffee.jpg"), "JPEG", quality=90, progressive=True), "espresso"),
        (saved(opened("coffee.jpg").resize((31, 29)), "PNG"), None),
        (saved(Image.new("RGB", (1, 1)), "PNG"), None),
        (saved(Image.new("RGB", (4000, 3)), "PNG"), None),
    ],
    ids=["CMYK", "16 bits", "grey", "palette", "alpha", "progressive", "smaller than the input", "one pixel", "a line"],
)
def test_an_unusual_picture_is_answered(http: httpx.Client, stack: Stack, body: bytes, label: str | None) -> None:
    found = names(post(http, stack.url(), body))
    assert len(found) == 5
    assert label in (None, found[0])


def test_sixteen_bits_are_read_as_eight(http: httpx.Client, stack: Stack) -> None:
    eight = post(http, stack.url(), saved(opened("camera.jpg").convert("L"), "PNG"))
    assert shares(post(http, stack.url(), sixteen_bits()))["tripod"] == pytest.approx(shares(eight)["tripod"], abs=NEAR)


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b"", 400, "empty"),
        (CAT[:5000], 400, "cut"),
        (CAT[:3], 400, "cut"),
        (saved(opened("coffee.jpg"), "PNG")[:-3000], 400, "cut"),
        (pictures.animated_png(), 400, "animated"),
        (pictures.bomb(), 413, "60000 x 60000"),
        (jpeg_that_declares(65_500, 65_500), 413, "65500 x 65500"),
        (png_that_declares(300, 300), 400, "damaged"),
        (saved(opened("coffee.jpg"), "GIF"), 415, "GIF"),
        (saved(opened("coffee.jpg"), "WEBP"), 415, "WebP"),
        (b"a picture of a cat, in words", 415, "neither"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "markup"),
    ],
    ids=["nothing", "truncated", "a start", "truncated PNG", "animated", "bomb", "JPEG bomb", "no pixels", "GIF",
         "WebP", "text", "SVG"],
)  # fmt: skip
def test_what_is_no_whole_picture_is_refused_with_the_reason(
    http: httpx.Client, stack: Stack, body: bytes, status: int, reason: str
) -> None:
    answer = post(http, stack.url(), body, Content_Type="application/octet-stream")
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    (wrong,) = answer.json()["errors"]
    assert wrong["field"] == "picture"
    assert reason in wrong["reason"]


@pytest.mark.parametrize("media", ["application/json", "text/plain", "image/gif", "multipart/form-data; boundary=x"])
def test_another_kind_of_body_is_refused_by_its_type(http: httpx.Client, stack: Stack, media: str) -> None:
    answer = post(http, stack.url(), CAT, Content_Type=media)
    assert answer.status_code == 415
    assert answer.json()["errors"][0]["field"] == "Content-Type"


def test_a_body_beyond_the_limit_is_refused_before_it_is_read(http: httpx.Client, stack: Stack) -> None:
    answer = post(http, stack.url(), b"\xff\xd8\xff" + bytes(20_000_000))
    assert answer.status_code == 413
    assert "20000000" in answer.json()["detail"]


def test_no_damage_to_a_file_is_a_fault_of_the_service(http: httpx.Client, stack: Stack) -> None:
    dice = random.Random(4)
    files = [CAT, saved(opened("coffee.jpg").resize((120, 80)), "PNG")]
    for number in range(30):
        body = bytearray(files[number % 2])
        for _ in range(dice.choice((1, 5, 50))):
            body[dice.randrange(len(body))] = dice.randrange(256)
        assert post(http, stack.url(), bytes(body)).status_code < 500
    assert names(post(http, stack.url(), COFFEE))[0] == "espresso"
