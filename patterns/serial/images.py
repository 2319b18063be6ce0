"""Image processing between the models: functions without I/O, which run in threads.

Models take images as UINT8 RGB [1, height, width, 3]; their graphs contain the normalisation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from PIL import Image
from PIL.Image import Resampling, Transpose
from scipy import ndimage

from common.protocol.tensors import Array
from patterns.serial.settings import RECOGNITION

Box = tuple[int, int, int, int]

QUARTER_TURNS = {"0": 0, "90": 1, "180": 2, "270": 3}  # by degrees: counterclockwise turns that make a page upright
TRANSPOSES = (None, Transpose.ROTATE_90, Transpose.ROTATE_180, Transpose.ROTATE_270)
MIN_ROTATION_PROBABILITY = 0.8  # the model gives about 0.9 for pages full of text, and less when it is uncertain
DETECTION_SIDE = 960  # pixels of the longer side of the image for the detection
MIN_PIXEL_PROBABILITY, MIN_LINE_PROBABILITY = 0.3, 0.5  # of a pixel in a line; average over the pixels of a line
MIN_LINE_PIXELS = 9
BOX_GROWTH = 1.6  # the detection marks only the core of a line, so boxes are enlarged
LINE_HEIGHT, MAX_LINE_WIDTH = 48, 1600  # pixels of a line for the recognition
WIDTH_STEP, PADDING_GREY = 64, 127  # widths are padded with this grey to a multiple of this step
LINES_PER_CALL = 8


@dataclass
class RecognisedLine:
    """A line of text: its box, its text, the confidence (0 to 1), and the stage that has read it."""

    box: Box
    text: str = ""
    confidence: float = 0.0
    read_by: str = RECOGNITION


def centre_square(picture: Image.Image) -> Array:
    """The square in the centre, [1, 224, 224, 3]; it is enough to find the rotation of a page."""
    side = max(round(224 / 256 * min(picture.size)), 1)
    left, top = ((length - side) // 2 for length in picture.size)
    box = (left, top, left + side, top + side)
    return np.asarray(picture.resize((224, 224), Resampling.BICUBIC, box, reducing_gap=1.0))[None]


def degrees(probabilities: Array) -> str:
    """The rotation of a page, a key of QUARTER_TURNS; "0" when the model is not certain enough."""
    best = int(probabilities.argmax())
    return list(QUARTER_TURNS)[best] if probabilities[best] >= MIN_ROTATION_PROBABILITY else "0"


def reduce(picture: Image.Image) -> Array:
    """The whole image, resized so that its longer side is DETECTION_SIDE, [height, width, 3]."""
    scale = DETECTION_SIDE / max(picture.size)
    width, height = (max(round(scale * length), 1) for length in picture.size)
    return np.asarray(picture.resize((width, height), Resampling.BILINEAR, reducing_gap=2.0))


def rotate(picture: Image.Image, quarter_turns: int) -> Image.Image:
    """The image, rotated counterclockwise by so many quarter turns."""
    transpose = TRANSPOSES[quarter_turns]
    return picture if transpose is None else picture.transpose(transpose)


def find_boxes(probabilities: Array, size: tuple[int, int], limit: int) -> tuple[list[Box], int]:
    """The boxes of the `limit` largest lines in reading order, in an image of this size, and the number of the others.

    `probabilities` [height, width] are those of each pixel to be part of a line.
    """
    scale = max(size) / max(probabilities.shape)
    marked = probabilities > MIN_PIXEL_PROBABILITY
    used = np.asarray(marked.any(axis=1))
    used[0] = True
    rows = np.flatnonzero(used | np.roll(used, 1))  # without empty rows, except one between two lines
    regions, count = ndimage.label(marked[rows])
    inside = np.flatnonzero(regions)
    region_of_pixel = regions.ravel()[inside]
    areas = np.bincount(region_of_pixel, minlength=count + 1)
    sums = np.bincount(region_of_pixel, probabilities[rows].ravel()[inside], count + 1)
    lines = np.flatnonzero((areas >= MIN_LINE_PIXELS) & (sums >= MIN_LINE_PROBABILITY * areas))
    largest = lines[np.argsort(-areas[lines], kind="stable")][:limit]
    slices = ndimage.find_objects(regions)
    bounds = [
        (columns.start, int(rows[lines_of.start]), columns.stop, int(rows[lines_of.stop - 1]) + 1)
        for lines_of, columns in (slices[region - 1] for region in largest)
    ]
    return in_reading_order([_box(one, scale, size) for one in bounds]), len(lines) - len(largest)


def _box(region: Box, scale: float, size: tuple[int, int]) -> Box:
    """The enlarged box of a region, in pixels of an image of this size."""
    left, top, right, bottom = region
    margin = BOX_GROWTH * (bottom - top) * (right - left) / (2 * (bottom - top + right - left))
    edges = ((left - margin, size[0]), (top - margin, size[1]), (right + margin, size[0]), (bottom + margin, size[1]))
    left, top, right, bottom = (round(min(max(edge * scale, 0), end)) for edge, end in edges)
    return left, top, max(right, left + 1), max(bottom, top + 1)


def in_reading_order(boxes: list[Box]) -> list[Box]:
    """Boxes from top to bottom, and from left to right within a row. Rows may be slightly tilted."""
    rows: list[list[Box]] = []
    for box in sorted(boxes, key=_centre):
        if rows and _centre(box) - _centre(rows[-1][-1]) < 0.4 * (box[3] - box[1]):
            rows[-1].append(box)
        else:
            rows.append([box])
    return [box for row in rows for box in sorted(row)]


def _centre(box: Box) -> float:
    return (box[1] + box[3]) / 2


def group_by_width(lines: list[RecognisedLine]) -> list[list[RecognisedLine]]:
    """Groups of lines for one call each. All lines of a group have one padded width, so none affects another."""
    same = [list(group) for _, group in groupby(sorted(lines, key=_padded_width), _padded_width)]
    return [group[start : start + LINES_PER_CALL] for group in same for start in range(0, len(group), LINES_PER_CALL)]


def crop_lines(picture: Image.Image, lines: Sequence[RecognisedLine]) -> Array:
    """The images of the lines of one group, [lines, LINE_HEIGHT, width, 3]."""
    width = max(map(_padded_width, lines), default=0)
    crops = np.full((len(lines), LINE_HEIGHT, width, 3), PADDING_GREY, np.uint8)
    for crop, line in zip(crops, lines, strict=True):
        size = (_width(line), LINE_HEIGHT)
        crop[:, : size[0]] = np.asarray(picture.crop(line.box).resize(size, Resampling.BILINEAR))
    return crops


def _width(line: RecognisedLine) -> int:
    """The width of a line when it is LINE_HEIGHT pixels high."""
    left, top, right, bottom = line.box
    return min(-(-LINE_HEIGHT * (right - left) // (bottom - top)), MAX_LINE_WIDTH)


def _padded_width(line: RecognisedLine) -> int:
    return -(-_width(line) // WIDTH_STEP) * WIDTH_STEP


def decode_texts(characters: Array, confidences: Array, alphabet: Sequence[str]) -> list[tuple[str, float]]:
    """The text of each line, and its confidence from 0 to 1; both inputs have the shape [lines, steps].

    CTC decoding: index 0 is the blank, and a character that is repeated in the next step counts once.
    """
    starts = (characters != 0) & (np.diff(characters, axis=1, prepend=0) != 0)
    return [
        ("".join(alphabet[index] for index in line[start]).strip(), float(sure[start].mean()) if start.any() else 0.0)
        for line, sure, start in zip(characters, confidences, starts, strict=True)
    ]
