"""Pages are read: the right way up, line for line, unsure lines again, and the answer says how it came about."""

from __future__ import annotations

import pytest
from PIL import Image, ImageDraw, ImageFont

from models import documents
from runtimes.base import Stack
from tests.asking.serial import (
    STAGES,
    all_runs,
    encoded,
    expected,
    picture,
    post,
    read,
    runs,
    sample,
    texts,
)
from tests.conftest import Start
from tests.support import metric

WHITE = (255, 255, 255)
LYING = {90: Image.Transpose.ROTATE_270, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_90}


@pytest.fixture(scope="module")
def stack(start_shared: Start) -> Stack:
    return start_shared("serial")


def page_with(*words: tuple[int, int, str], size: tuple[int, int] = (900, 600), height: int = 34) -> bytes:
    """Black words on white, at left and top."""
    page = Image.new("RGB", size, WHITE)
    draw = ImageDraw.Draw(page)
    for left, top, text in words:
        draw.text((left, top), text, (20, 20, 20), ImageFont.load_default(height))
    return encoded(page)


def overlap(one: list[int], other: list[int]) -> float:
    """Intersection over union of two boxes: left, top, right, bottom."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0) * max(height, 0)
    area = sum((right - left) * (bottom - top) for left, top, right, bottom in (one, other))
    return shared / (area - shared)


def test_the_invoice_is_read_line_for_line_and_where_the_lines_stand(stack: Stack) -> None:
    reading = read(stack.url(), sample("invoice.jpg"))
    drawn = [(line.text, list(line.box)) for line in documents.invoice_lines()]
    assert texts_of(drawn) == expected("invoice.json")
    for text, box in drawn:
        assert len([line for line in reading["lines"] if holds(line["box"], box)]) == 1, text
    right = [one == wanted for one, wanted in zip(texts(reading), texts_of(drawn), strict=True)]
    assert sum(right) >= len(right) - 2  # in their order
    assert reading["left_out"] == 0
    assert reading["missing"] == {}
    assert all(0 < line["confidence"] <= 1 for line in reading["lines"])


def holds(outer: list[int], box: list[int]) -> bool:
    """Whether the centre of a box lies in another one."""
    across, down = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return outer[0] < across < outer[2] and outer[1] < down < outer[3]


def texts_of(drawn: list[tuple[str, list[int]]]) -> list[str]:
    return [text for text, _ in drawn]


def test_lines_come_in_reading_order(stack: Stack) -> None:
    words = [(40, 40, "First"), (500, 44, "Second"), (40, 200, "Third"), (500, 196, "Fourth"), (40, 400, "Fifth")]
    assert texts(read(stack.url(), page_with(*words))) == [text for _, _, text in words]


def test_a_turned_invoice_reads_as_the_upright_one(stack: Stack) -> None:
    upright, turned = (read(stack.url(), sample(name)) for name in ("invoice.jpg", "invoice_turned.jpg"))
    assert (upright["turned"], turned["turned"]) == (0, 90)
    assert (upright["choices"]["turned"], turned["choices"]["turned"]) == ("0", "90")
    assert texts(turned) == texts(upright)
    for one, other in zip(upright["lines"], turned["lines"], strict=True):
        assert overlap(one["box"], other["box"]) > 0.7


@pytest.mark.parametrize("degrees", LYING)
def test_a_page_is_turned_back_from_whatever_side_it_lies_on(stack: Stack, degrees: int) -> None:
    upright = picture("page.jpg")
    reading = read(stack.url(), encoded(upright.transpose(LYING[degrees])))
    assert reading["turned"] == degrees
    assert (reading["width"], reading["height"]) == upright.size
    assert texts(reading)[:6] == expected("page.json")[:6]


def test_words_of_a_real_photographed_page_are_found(stack: Stack) -> None:
    reading = " ".join(texts(read(stack.url(), sample("page.jpg"))))
    for line in expected("page.json")[:6]:
        assert line in reading


def test_lines_that_are_unsure_are_read_again_by_the_heavier_model(stack: Stack) -> None:
    before = runs(stack, "recognition-heavy")
    reading = read(stack.url(), sample("page.jpg"))
    assert reading["choices"]["reading"] == "unsure"
    assert runs(stack, "recognition-heavy") > before
    assert "recognition-heavy" in {line["read_by"] for line in reading["lines"]}


def test_a_page_that_is_sure_bothers_no_heavier_model(stack: Stack) -> None:
    before = all_runs(stack)
    reading = read(stack.url(), page_with((300, 200, "Invoice"), (320, 300, "Total"), height=60))
    assert texts(reading) == ["Invoice", "Total"]
    assert reading["choices"] == {"turned": "0", "reading": "sure"}
    after = all_runs(stack)
    assert after["recognition-heavy"] == before["recognition-heavy"]
    assert after["orientation"] == before["orientation"] + 1
    assert after["detection"] == before["detection"] + 1
    assert after["recognition"] > before["recognition"]


def test_a_page_that_may_lie_either_way_is_left_as_it_is(stack: Stack) -> None:
    reading = read(stack.url(), page_with((60, 60, "Invoice"), (60, 160, "Total"), height=40))  # nothing in its middle
    assert reading["turned"] == 0
    assert texts(reading) == ["Invoice", "Total"]


def test_a_page_without_text_is_an_empty_list_and_bothers_no_recogniser(stack: Stack) -> None:
    before = runs(stack, "recognition")
    reading = read(stack.url(), page_with())
    assert reading["lines"] == []
    assert reading["choices"]["reading"] == "sure"
    assert runs(stack, "recognition") == before


def test_a_page_with_thousands_of_words_is_read_as_far_as_the_limit(stack: Stack) -> None:
    words = [(left, top, "ab") for top in range(10, 1950, 70) for left in range(10, 1900, 90)]
    reading = read(stack.url(), page_with(*words, size=(2000, 2000), height=36))
    assert len(reading["lines"]) == 200
    assert reading["left_out"] == len(words) - 200


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (8, 8)], ids=str)
def test_a_page_of_a_strange_size_has_no_lines(stack: Stack, size: tuple[int, int]) -> None:
    reading = read(stack.url(), encoded(Image.new("RGB", size, WHITE)))
    assert reading["lines"] == []


def test_the_answer_names_the_models_and_the_releases(stack: Stack) -> None:
    reading = read(stack.url(), sample("page.jpg"))
    assert reading["model_release"] == "1"
    assert reading["models"] == {
        "orientation": "page_orientation/1",
        "detection": "text_detection/1",
        "recognition": "text_recognition/1",
        "recognition-heavy": "text_recognition_heavy/1",
    }
    assert reading["release"]


def test_the_time_is_the_sum_of_its_stages(stack: Stack) -> None:
    answer = post(stack.url(), sample("page.jpg"))
    entries = (entry.split(";dur=") for entry in answer.headers["Server-Timing"].split(", "))
    stages = {name: float(milliseconds) for name, milliseconds in entries}
    assert list(stages) == [*STAGES, "own", "total"]
    total = stages.pop("total")
    assert all(milliseconds > 0 for milliseconds in stages.values())
    assert 0 <= total - sum(stages.values()) < 5


def test_the_stages_are_counted(stack: Stack) -> None:
    def now() -> list[float]:
        url = stack.url()
        calls = [metric(url, "serving_upstream_duration_seconds_count", predictor=stage) for stage in STAGES[:2]]
        return [*calls, metric(url, "serving_own_duration_seconds_count")]

    before = now()
    read(stack.url(), sample("page.jpg"))
    assert [after - was for after, was in zip(now(), before, strict=True)] == [1, 1, 1]
