"""Sample documents that check the OCR models: a generated photo of an invoice, and a printed page.

`python -m models.documents FOLDER` writes them to a folder, for demos and tests.
"""

import functools
import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from models import photos

JPEG_QUALITY = 82
PAPER = (1000, 1340)
PHOTOGRAPH = (1080, 1440)
# Where the paper's corners lie in the photograph: from the top left one, clockwise.
CORNERS = ((46, 58), (1042, 34), (1062, 1404), (22, 1392))
WHITE, INK, FADED = (250, 249, 245), (38, 38, 46), (168, 166, 163)
MARGIN, QUANTITY, PRICE, AMOUNT = 80, 585, 755, 920
ROW, FIRST_ROW = 60, 512
SEED = 0

ITEMS = (
    ("USB-C cable, 2 m", 12, 790),
    ("Laser printer toner, black", 4, 6850),
    ("Copy paper A4, 500 sheets", 30, 495),
    ("Desk lamp LED, dimmable", 3, 3900),
    ("Whiteboard markers, set of 8", 5, 1120),
    ("Office chair, mesh back", 2, 18900),
)
VAT_PERCENT = 19

PAGE = photos.Photo(
    "page.png", "341a6f0a61557662b02734a9b6e56ec33a915b2c41886b97509dedf2a43b47a3", "BSD-3-Clause", "scikit-image team"
)

# The licence note that is written next to the documents.
NOTE_FILE = "DOCUMENTS.md"
NOTE = """# Documents

- `invoice.jpg`, `invoice_turned.jpg`, `invoice_blurry.jpg`: drawn by `models/documents.py` of this project, Apache-2.0.
  Sender, customer and goods are made up. The typeface is Aileron, which is part of Pillow.
- `page.jpg`: a JPEG copy of `skimage/data/page.png` from the scikit-image 0.26.0 wheel, under its licence:
  BSD-3-Clause, copyright 2009-2022 the scikit-image team. It shows a page of scikit-image's own documentation.
- `invoice.json`, `page.json`: the text that is on them.

## BSD-3-Clause, for `page.jpg`

Redistribution and use in source and binary forms, with or without modification, are permitted provided that the
following conditions are met:

1. Redistributions of source code must retain the above copyright notice, this list of conditions and the following
   disclaimer.
2. Redistributions in binary form must reproduce the above copyright notice, this list of conditions and the following
   disclaimer in the documentation and/or other materials provided with the distribution.
3. Neither the name of the University nor the names of its contributors may be used to endorse or promote products
   derived from this software without specific prior written permission.

THIS SOFTWARE IS PROVIDED BY THE COPYRIGHT HOLDERS AND CONTRIBUTORS "AS IS" AND ANY EXPRESS OR IMPLIED WARRANTIES,
INCLUDING, BUT NOT LIMITED TO, THE IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS FOR A PARTICULAR PURPOSE ARE
DISCLAIMED. IN NO EVENT SHALL THE HOLDERS OR CONTRIBUTORS BE LIABLE FOR ANY DIRECT, INDIRECT, INCIDENTAL, SPECIAL,
EXEMPLARY, OR CONSEQUENTIAL DAMAGES (INCLUDING, BUT NOT LIMITED TO, PROCUREMENT OF SUBSTITUTE GOODS OR SERVICES; LOSS OF
USE, DATA, OR PROFITS; OR BUSINESS INTERRUPTION) HOWEVER CAUSED AND ON ANY THEORY OF LIABILITY, WHETHER IN CONTRACT,
STRICT LIABILITY, OR TORT (INCLUDING NEGLIGENCE OR OTHERWISE) ARISING IN ANY WAY OUT OF THE USE OF THIS SOFTWARE, EVEN
IF ADVISED OF THE POSSIBILITY OF SUCH DAMAGE.
"""

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class TextLine:
    """A line of text and its axis-aligned bounding box in the image: left, top, right, bottom, in pixels."""

    text: str
    box: Box


@dataclass(frozen=True)
class Camera:
    """Camera settings of a generated photo: blur in pixels, contrast of at most 1, noise in grey levels."""

    blur: float
    contrast: float
    noise: float


SHARP = Camera(blur=0.7, contrast=1.0, noise=4.0)
BLURRY = Camera(blur=2.0, contrast=0.6, noise=5.0)


@dataclass(frozen=True)
class _TextBlock:
    """Text on the paper. `x` is its left or right edge, depending on `anchor`; `y` is its top edge."""

    text: str
    x: int
    y: int
    size: int = 25
    anchor: Literal["la", "ra"] = "la"
    colour: tuple[int, int, int] = INK


# The text on scikit-image's page. Only the first HORIZONTAL lines are level enough for axis-aligned boxes.
PAGE_LINES = (
    TextLine("Region-based segmentation", (3, 6, 298, 36)),
    TextLine("Let us first determine markers of the coins and the", (3, 47, 379, 66)),
    TextLine("background. These markers are pixels that we can label", (3, 65, 379, 82)),
    TextLine("unambiguously as either object or background. Here,", (2, 77, 382, 103)),
    TextLine("the markers are found at the two extreme parts of the", (2, 93, 382, 124)),
    TextLine("histogram of grey values:", (2, 110, 180, 143)),
    TextLine(">>> markers = np.zeros_like(coins)", (4, 156, 250, 191)),
)
HORIZONTAL = 3


def files(wheels: Path) -> dict[str, bytes]:
    """The documents as JPEG files, by file name. `wheels` is the folder that caches downloaded wheels."""
    invoice, page = _invoice(SHARP), photos.original(wheels, PAGE).convert("RGB")
    documents = {
        "invoice.jpg": invoice,
        "invoice_turned.jpg": rotated(invoice, 90),
        "invoice_blurry.jpg": _invoice(BLURRY),
        "page.jpg": page,
    }
    return {name: encode_jpeg(picture) for name, picture in documents.items()}


def decode(file: bytes) -> Image.Image:
    """Decode an image file to RGB."""
    return Image.open(io.BytesIO(file)).convert("RGB")


def encode_jpeg(picture: Image.Image) -> bytes:
    """Encode an image as JPEG."""
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=JPEG_QUALITY)
    return stream.getvalue()


def rotated(picture: Image.Image, degrees: int) -> Image.Image:
    """Rotate clockwise by 0, 90, 180 or 270 degrees, without cropping."""
    return picture.rotate(-degrees, expand=True)


def invoice_lines() -> list[TextLine]:
    """The lines of text on the invoice with their boxes in the upright photos, from top to bottom."""
    draw = ImageDraw.Draw(Image.new("L", PAPER))
    boxes = [draw.textbbox((it.x, it.y), it.text, font=_font(it.size), anchor=it.anchor) for it in _text_blocks()]
    return [TextLine(it.text, _photographed_box(box)) for it, box in zip(_text_blocks(), boxes, strict=True)]


@functools.cache
def _invoice(camera: Camera) -> Image.Image:
    """The photo of the invoice, RGB. Deterministic: every call gives the same pixels."""
    shape = (PHOTOGRAPH[1], PHOTOGRAPH[0])
    coefficients = _perspective(from_=CORNERS, to=_corners(PAPER))
    scene = _desk(shape)
    cut = Image.new("L", PAPER, 255).transform(PHOTOGRAPH, Image.Transform.PERSPECTIVE, coefficients)
    laid = _paper().transform(PHOTOGRAPH, Image.Transform.PERSPECTIVE, coefficients, Image.Resampling.BICUBIC)
    scene.paste(laid, mask=cut)
    pixels = np.asarray(scene.filter(ImageFilter.GaussianBlur(camera.blur)), dtype=np.float64)
    lit = _light(shape)[..., None] * (128 + camera.contrast * (pixels - 128))
    grain = np.random.default_rng(SEED).normal(0, camera.noise, (*shape, 1))
    return Image.fromarray(np.clip(lit + grain, 0, 255).astype(np.uint8))


def _text_blocks() -> list[_TextBlock]:
    head = [
        _TextBlock("Hartmann & Lind", MARGIN, 70, 46),
        _TextBlock("Office supplies, Lindenweg 14, 20095 Hamburg", MARGIN, 136),
        _TextBlock("Invoice 2026-0142", MARGIN, 236, 38),
        _TextBlock("Date: 14 March 2026", MARGIN, 306),
        _TextBlock("Customer: Nordlicht Data GmbH, Kiel", MARGIN, 350),
    ]
    rows = [_row(FIRST_ROW - ROW - 12, "Item", "Quantity", "Unit price", "Amount")]
    for number, (item, quantity, cents) in enumerate(ITEMS):
        rows.append(_row(FIRST_ROW + number * ROW, item, str(quantity), _euros(cents), _euros(quantity * cents)))
    net = sum(quantity * cents for _, quantity, cents in ITEMS)
    vat = round(net * VAT_PERCENT / 100)
    top = FIRST_ROW + len(ITEMS) * ROW + 30
    foot = [
        *_total(top, "Net", net, 25),
        *_total(top + 52, f"VAT {VAT_PERCENT} %", vat, 25),
        *_total(top + 112, "Total EUR", net + vat, 32),
        _TextBlock("Payable within 30 days. Thank you for your order!", MARGIN, top + 226),
        _TextBlock("Delivered by courier 4471, received by M. Okafor", MARGIN, top + 296, 23, colour=FADED),
    ]
    return [*head, *(block for row in rows for block in row), *foot]


def _row(y: int, item: str, *numbers: str) -> list[_TextBlock]:
    ends = zip(numbers, (QUANTITY, PRICE, AMOUNT), strict=True)
    return [_TextBlock(item, MARGIN, y), *(_TextBlock(number, x, y, anchor="ra") for number, x in ends)]


def _total(y: int, name: str, cents: int, size: int) -> list[_TextBlock]:
    return [_TextBlock(name, QUANTITY - 40, y, size), _TextBlock(_euros(cents), AMOUNT, y, size, "ra")]


def _euros(cents: int) -> str:
    return f"{cents / 100:,.2f}"


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's built-in font, which is the same on every machine."""
    return ImageFont.load_default(size)


def _paper() -> Image.Image:
    paper = Image.new("RGB", PAPER, WHITE)
    draw = ImageDraw.Draw(paper)
    for block in _text_blocks():
        draw.text((block.x, block.y), block.text, block.colour, _font(block.size), block.anchor)
    for y in (FIRST_ROW - ROW - 34, FIRST_ROW - 24, FIRST_ROW + len(ITEMS) * ROW + 4):
        draw.line((MARGIN, y, AMOUNT, y), fill=INK, width=2)
    return paper


def _desk(shape: tuple[int, int]) -> Image.Image:
    """The background: a brown desk with horizontal wood grain."""
    rows = np.random.default_rng(SEED).normal(0, 9, (shape[0], 1, 1))
    grain = np.cumsum(rows, axis=0) * 0.2 + rows * 0.5
    return Image.fromarray(
        np.clip(np.array([96, 68, 48]) + np.broadcast_to(grain, (*shape, 3)), 0, 255).astype(np.uint8)
    )


def _light(shape: tuple[int, int]) -> NDArray[np.float64]:
    """Brightness of each pixel, 0 to 1: brightest at the upper left, with a soft shadow in the lower right corner."""
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]] / max(shape)
    shadow = 1 / (1 + np.exp(-14 * (x + 0.8 * y - 1.12)))
    light: NDArray[np.float64] = 1.0 - 0.16 * (0.5 * x + y) - 0.26 * shadow
    return light


def _corners(size: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    width, height = size
    return (0, 0), (width, 0), (width, height), (0, height)


def _perspective(from_: tuple[tuple[int, int], ...], to: tuple[tuple[int, int], ...]) -> list[float]:
    """The coefficients a..h of the projection that maps four points to four others.

    x' = (ax + by + c) / (gx + hy + 1), y' = (dx + ey + f) / (gx + hy + 1), as Pillow's Image.transform expects them.
    """
    equations, targets = [], []
    for (x, y), (u, v) in zip(from_, to, strict=True):
        equations += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        targets += [u, v]
    solution: list[float] = np.linalg.solve(np.array(equations, float), np.array(targets, float)).tolist()
    return solution


def _photographed_box(box: tuple[float, float, float, float]) -> Box:
    """The axis-aligned box in the photo that encloses a box on the paper."""
    a, b, c, d, e, f, g, h = _perspective(from_=_corners(PAPER), to=CORNERS)
    left, top, right, bottom = box
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    points = [
        ((a * x + b * y + c) / (g * x + h * y + 1), (d * x + e * y + f) / (g * x + h * y + 1)) for x, y in corners
    ]
    columns, rows = zip(*points, strict=True)
    return int(min(columns)), int(min(rows)), int(max(columns)) + 1, int(max(rows)) + 1


def _write(folder: Path, wheels: Path) -> None:
    """Write the documents, their text as JSON, and the licence note."""
    for name, content in files(wheels).items():
        (folder / name).write_bytes(content)
    for name, lines in {"invoice.json": invoice_lines(), "page.json": PAGE_LINES}.items():
        text = json.dumps({"lines": [line.text for line in lines]}, indent=1)
        (folder / name).write_text(text + "\n", encoding="utf-8")
    (folder / "LICENCE.md").write_text(NOTE, encoding="utf-8")


if __name__ == "__main__":
    _write(Path(sys.argv[1]), Path(__file__).parent / "build" / ".wheels")
