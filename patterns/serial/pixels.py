"""The work on pixels and numbers between the models: plain functions, which run in threads.

Pictures go to the models as they are, bytes of RGB [1, height, width, 3]; the graphs do the rest.
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

TURNS = {"0": 0, "90": 1, "180": 2, "270": 3}  # quarters by which a page is turned back, counterclockwise
BACK = (None, Transpose.ROTATE_90, Transpose.ROTATE_180, Transpose.ROTATE_270)
CERTAIN = 0.8  # of the way a page lies: the model says 0.9 of pages full of text, and less where it can only guess
LONGEST = 960  # pixels of the longer side in which text is looked for
LIKELY, SURE, SMALLEST = 0.3, 0.5, 9  # of a pixel, of a line on average, pixels of a line
GROWN = 1.6  # the network marks a line thinner than it is
HEIGHT, STEP, WIDEST, GREY = 48, 64, 1600, 127  # of a line as it is read, padded with grey to a multiple of STEP
TOGETHER = 8  # lines of one width that are read in one call


@dataclass
class Line:
    """What was read, how surely (0 to 1), where, and by which stage."""

    box: Box
    text: str = ""
    confidence: float = 0.0
    read_by: str = RECOGNITION


def middle(picture: Image.Image) -> Array:
    """The square in the centre, [1, 224, 224, 3]: enough to see which way up a page lies."""
    side = max(round(224 / 256 * min(picture.size)), 1)
    left, top = ((length - side) // 2 for length in picture.size)
    box = (left, top, left + side, top + side)
    return np.asarray(picture.resize((224, 224), Resampling.BICUBIC, box, reducing_gap=1.0))[None]


def turned(chances: Array) -> str:
    """By how many degrees a page lies turned, a key of TURNS: none, unless that is certain."""
    likeliest = int(chances.argmax())
    return list(TURNS)[likeliest] if chances[likeliest] >= CERTAIN else "0"


def fitted(picture: Image.Image) -> Array:
    """The whole picture, its longer side LONGEST, [height, width, 3]."""
    scale = LONGEST / max(picture.size)
    width, height = (max(round(scale * length), 1) for length in picture.size)
    return np.asarray(picture.resize((width, height), Resampling.BILINEAR, reducing_gap=2.0))


def upright(picture: Image.Image, turned: int) -> Image.Image:
    """The picture, turned back by so many quarters; as it is where there is nothing to turn."""
    return picture if (back := BACK[turned]) is None else picture.transpose(back)


def boxes(likely: Array, size: tuple[int, int], most: int) -> tuple[list[Box], int]:
    """Boxes around the lines in reading order, in a picture of this size, and how many more there were than `most`.

    `likely` [height, width] is the chance of each pixel to lie in a line.
    """
    scale = max(size) / max(likely.shape)
    over = likely > LIKELY
    inked = np.asarray(over.any(axis=1))
    inked[0] = True
    rows = np.flatnonzero(inked | np.roll(inked, 1))  # most are empty; one between two lines keeps them apart
    parts, count = ndimage.label(over[rows])
    inside = np.flatnonzero(parts)
    of_part = parts.ravel()[inside]
    areas = np.bincount(of_part, minlength=count + 1)
    sums = np.bincount(of_part, likely[rows].ravel()[inside], count + 1)
    lines = np.flatnonzero((areas >= SMALLEST) & (sums >= SURE * areas))
    largest = lines[np.argsort(-areas[lines], kind="stable")][:most]
    found = ndimage.find_objects(parts)
    around = [
        (wide.start, int(rows[high.start]), wide.stop, int(rows[high.stop - 1]) + 1)
        for high, wide in (found[part - 1] for part in largest)
    ]
    return in_reading_order([_box(one, scale, size) for one in around]), len(lines) - len(largest)


def _box(part: Box, scale: float, size: tuple[int, int]) -> Box:
    """Around a part of the map, grown, in the picture."""
    left, top, right, bottom = part
    grown = GROWN * (bottom - top) * (right - left) / (2 * (bottom - top + right - left))
    ends = ((left - grown, size[0]), (top - grown, size[1]), (right + grown, size[0]), (bottom + grown, size[1]))
    left, top, right, bottom = (round(min(max(end * scale, 0), most)) for end, most in ends)
    return left, top, max(right, left + 1), max(bottom, top + 1)


def in_reading_order(boxes: list[Box]) -> list[Box]:
    """From top to bottom, and in a row from left to right; a row may rise or fall a little from box to box."""
    rows: list[list[Box]] = []
    for box in sorted(boxes, key=_centre):
        if rows and _centre(box) - _centre(rows[-1][-1]) < 0.4 * (box[3] - box[1]):
            rows[-1].append(box)
        else:
            rows.append([box])
    return [box for row in rows for box in sorted(row)]


def _centre(box: Box) -> float:
    return (box[1] + box[3]) / 2


def groups(lines: list[Line]) -> list[list[Line]]:
    """Lines that are read together: of one width, so that no line's answer hangs on another's."""
    same = [list(group) for _, group in groupby(sorted(lines, key=_padded), _padded)]
    return [group[start : start + TOGETHER] for group in same for start in range(0, len(group), TOGETHER)]


def strips(picture: Image.Image, lines: Sequence[Line]) -> Array:
    """The lines of one group as they are read, [lines, HEIGHT, width, 3]."""
    strips = np.full((len(lines), HEIGHT, max(map(_padded, lines), default=0), 3), GREY, np.uint8)
    for strip, line in zip(strips, lines, strict=True):
        width = _width(line)
        strip[:, :width] = np.asarray(picture.crop(line.box).resize((width, HEIGHT), Resampling.BILINEAR))
    return strips


def _width(line: Line) -> int:
    """Of a line that is HEIGHT high."""
    left, top, right, bottom = line.box
    return min(-(-HEIGHT * (right - left) // (bottom - top)), WIDEST)


def _padded(line: Line) -> int:
    return -(-_width(line) // STEP) * STEP


def texts(characters: Array, sure: Array, alphabet: Sequence[str]) -> list[tuple[str, float]]:
    """What each line says, and how surely, 0 to 1; both inputs are [lines, steps].

    CTC: place 0 of the alphabet is no character, and one that is repeated at the next step is the same one.
    """
    starts = (characters != 0) & (np.diff(characters, axis=1, prepend=0) != 0)
    return [
        ("".join(alphabet[place] for place in line[its]).strip(), float(chance[its].mean()) if its.any() else 0.0)
        for line, chance, its in zip(characters, sure, starts, strict=True)
    ]
