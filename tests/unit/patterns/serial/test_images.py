"""What is worked out between the models: boxes, their order, which lines are read together, and what they say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from patterns.serial import images
from patterns.serial.images import Box, RecognisedLine

ALPHABET = ["", "a", "b", "c", " "]
sides = st.integers(1, 3000)


def likely(*parts: tuple[slice, slice], value: float = 0.9) -> np.ndarray:
    """A map of 100 x 200 that is sure of these parts alone."""
    chances = np.zeros((100, 200), np.float32)
    for part in parts:
        chances[part] = value
    return chances


def test_a_box_is_grown_around_what_the_map_marks_and_scaled_to_the_picture() -> None:
    (box,), left_out = images.find_boxes(likely((slice(40, 50), slice(60, 140))), (400, 200), 9)
    grown = 1.6 * 10 * 80 / (2 * 90)
    assert box == tuple(round(2 * end) for end in (60 - grown, 40 - grown, 140 + grown, 50 + grown))
    assert left_out == 0


def test_specks_and_what_is_barely_likely_are_no_lines() -> None:
    speck = likely((slice(10, 12), slice(10, 12)))
    faint = likely((slice(40, 50), slice(60, 140)), value=0.4)
    assert images.find_boxes(speck + faint, (200, 100), 9) == ([], 0)
    assert images.find_boxes(likely(), (200, 100), 9) == ([], 0)


def test_of_too_many_lines_the_largest_are_kept_and_the_rest_is_counted() -> None:
    parts = [(slice(top, top + 4), slice(5, 20 + top)) for top in range(5, 95, 10)]
    boxes, left_out = images.find_boxes(likely(*parts), (200, 100), 3)
    assert (len(boxes), left_out) == (3, 6)
    assert min(top for _, top, _, _ in boxes) > 55


def test_rows_that_rise_towards_one_side_are_read_row_by_row() -> None:
    rows: list[list[Box]] = [
        [(left, top - left // 40, left + 80, top + 20 - left // 40) for left in (0, 200, 400, 600)]
        for top in (100, 150)
    ]
    shuffled = [rows[1][2], rows[0][3], rows[0][0], rows[1][0], rows[1][3], rows[0][2], rows[1][1], rows[0][1]]
    assert images.in_reading_order(shuffled) == rows[0] + rows[1]


def test_lines_of_one_width_are_read_together_but_not_too_many() -> None:
    lines = [RecognisedLine((0, 0, width, 48)) for width in (10, 60, 64, 65, 100, *[120] * 10)]
    groups = images.group_by_width(lines)
    assert [len(group) for group in groups] == [3, 8, 4]
    assert sorted(id(line) for group in groups for line in group) == sorted(map(id, lines))
    for group in groups:
        assert images.crop_lines(Image.new("RGB", (200, 60)), group).shape[0] == len(group)


def test_a_strip_is_padded_with_grey_on_the_right() -> None:
    (strip,) = images.crop_lines(Image.new("RGB", (100, 100), (9, 9, 9)), [RecognisedLine((0, 0, 50, 24))])
    assert strip.shape == (48, 128, 3)
    assert (strip[:, :100] == 9).all()
    assert (strip[:, 100:] == 127).all()


@settings(deadline=None)
@given(sides, sides)
def test_no_line_is_too_narrow_or_too_wide_to_be_read(width: int, height: int) -> None:
    strips = images.crop_lines(Image.new("RGB", (3000, 1)), [RecognisedLine((0, 0, width, height))])
    assert 64 <= strips.shape[2] <= 1600


@settings(deadline=None)
@given(sides, sides)
def test_a_picture_of_any_size_fits_the_models(width: int, height: int) -> None:
    picture = Image.new("L", (width, height))
    assert max(images.reduce(picture).shape) == 960
    assert min(images.reduce(picture).shape) >= 1
    assert images.centre_square(picture).shape[:3] == (1, 224, 224)


def test_a_repeated_character_is_one_unless_something_lies_between() -> None:
    characters = np.array([[0, 1, 1, 0, 1, 2, 2, 4], [0, 0, 0, 0, 0, 0, 0, 0]])
    sure = np.array([[0.1, 0.8, 0.1, 0.1, 0.6, 1.0, 0.2, 0.8], [0.9] * 8])
    (text, confidence), nothing = images.decode_texts(characters, sure, ALPHABET)
    assert text == "aab"  # the blank at the end is none of it
    assert confidence == pytest.approx(0.8)
    assert nothing == ("", 0.0)


@pytest.mark.parametrize(
    ("chances", "turned"),
    [([0.9, 0.1, 0, 0], "0"), ([0.05, 0.9, 0.05, 0], "90"), ([0, 0.1, 0.0, 0.9], "270"), ([0.2, 0.7, 0.1, 0], "0")],
)
def test_a_page_is_turned_only_where_that_is_certain(chances: list[float], turned: str) -> None:
    assert images.degrees(np.array(chances)) == turned
