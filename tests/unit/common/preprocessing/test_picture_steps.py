"""The steps of a picture model give what the reference in models/ gives, byte for byte."""

from __future__ import annotations

import sys
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from common.errors import InvalidInput, PayloadTooLarge, UnsupportedMedia
from common.inference.manifest import ModelLoadError
from common.preprocessing.steps import fingerprint, preparer
from models import manifest as models_manifest
from models import photos
from tests.unit.common.preprocessing import picture_files as files
from tests.unit.common.preprocessing.manifests import manifest

STEPS: list[dict[str, Any]] = [
    {"decode": "rgb"},
    {"crop": {"position": "centre", "side": 224, "of": 256}},
    {"resize": {"width": 96, "height": 96, "filter": "bicubic"}},
    {"normalise": {"mean": 127.0, "scale": 128.0}},
    {"layout": "NCHW"},
]


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (96, 96), (640, 427), (427, 641)])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_pixels_are_those_of_the_reference(kind: str, size: tuple[int, int]) -> None:
    file = files.saved(files.noise(*size), kind)
    with Image.open(BytesIO(file)) as plain:
        expected = photos.preprocess(plain.convert("RGB"), STEPS)
    found = preparer(manifest(STEPS)).prepare(file)["image"]
    assert found.shape == (1, 3, 96, 96)
    assert found.tobytes() == expected.tobytes()


def test_each_colour_may_have_its_own_mean_and_scale() -> None:
    own = {"normalise": {"mean": [255.0, 0.0, 0.0], "scale": [1.0, 1.0, 255.0]}}
    found = preparer(manifest([*STEPS[:3], own, STEPS[4]])).prepare(files.png(Image.new("RGB", (9, 9), files.BLUE)))
    assert found["image"][0, :, 0, 0].tolist() == [-255.0, 0.0, 1.0]


def test_colours_may_come_last() -> None:
    steps = [*STEPS[:4], {"layout": "NHWC"}]
    found = preparer(manifest(steps, [-1, 96, 96, 3])).prepare(files.jpeg())["image"]
    other = preparer(manifest(STEPS)).prepare(files.jpeg())["image"]
    assert (found == other.transpose(0, 2, 3, 1)).all()


@pytest.mark.parametrize(
    ("steps", "shape"),
    [
        ([{"resize": {"longest": 64, "filter": "bilinear"}}, {"layout": "NHWC"}], [-1, -1, -1, 3]),
        ([{"resize": {"height": 48, "filter": "bilinear"}}, {"layout": "NHWC"}], [-1, 48, -1, 3]),
        (
            [
                {"resize": {"height": 48, "filter": "bilinear"}},
                {"pad": {"width_multiple": 40, "value": 127}},
                {"layout": "NHWC"},
            ],
            [-1, 48, -1, 3],
        ),
    ],
    ids=["longest side", "height", "padded"],
)
@pytest.mark.parametrize("size", [(301, 45), (45, 301), (1, 1)])
def test_pixels_may_stay_bytes_and_keep_their_proportions(
    steps: list[dict[str, Any]], shape: list[int], size: tuple[int, int]
) -> None:
    picture = files.noise(*size)
    expected = photos.preprocess(picture, steps)
    found = preparer(manifest([{"decode": "rgb"}, *steps], shape, datatype="UINT8")).prepare(files.png(picture))
    assert found["image"].dtype == np.uint8
    assert (found["image"][0] == expected).all()


def test_a_sliver_is_not_blown_up_to_gigabytes() -> None:
    steps = [{"decode": "rgb"}, {"resize": {"height": 4000, "filter": "bilinear"}}, {"layout": "NHWC"}]
    with pytest.raises(PayloadTooLarge, match="has an extreme aspect ratio"):
        preparer(manifest(steps, [-1, 4000, -1, 3], datatype="UINT8")).prepare(files.png(files.noise(5000, 1)))


def test_many_pictures_are_prepared_as_single_ones() -> None:
    ready = preparer(manifest(STEPS))
    pictures = [files.jpeg(), files.png(files.noise())]
    together = ready.prepare_many(pictures)["image"]
    assert (together == np.concatenate([ready.prepare(one)["image"] for one in pictures])).all()


def test_of_many_pictures_the_wrong_one_is_named() -> None:
    with pytest.raises(InvalidInput, match=r"^instances\[1\]\.picture: is cut short"):
        preparer(manifest(STEPS)).prepare_many([files.jpeg(), files.jpeg()[:300]])


def test_no_pictures_at_all_is_an_error() -> None:
    with pytest.raises(InvalidInput, match="instances: is empty"):
        preparer(manifest(STEPS)).prepare_many([])


def test_another_kind_of_file_keeps_its_status() -> None:
    with pytest.raises(UnsupportedMedia, match="is a GIF"):
        preparer(manifest(STEPS)).prepare(files.saved(files.half_red(), "GIF"))


def test_the_fingerprint_is_that_of_the_models() -> None:
    assert preparer(manifest(STEPS)).fingerprint == fingerprint(STEPS) == models_manifest.fingerprint(STEPS)


def test_steps_that_are_not_those_of_the_stated_fingerprint_are_not_followed() -> None:
    assert preparer(manifest(STEPS, stated=fingerprint(STEPS)))
    with pytest.raises(ModelLoadError, match="states the preprocessing fingerprint sha256:1, but"):
        preparer(manifest(STEPS, stated="sha256:1"))


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        ({"sharpen": 2}, "unknown preprocessing step 'sharpen'; the steps are: decode, crop"),
        ("decode", "expected a preprocessing step as one name with its parameter"),
        ({"decode": "rgb", "layout": "NCHW"}, "expected a preprocessing step as one name with its parameter"),
        ({"decode": "bgr"}, "step 'decode': Invalid enum value 'bgr', expected one of rgb"),
        ({"crop": {"position": "centre", "side": 224}}, "step 'crop': Object missing required field `of`"),
        ({"crop": {"position": "centre", "side": 224, "of": 0}}, "step 'crop': Expected `int` >= 1"),
        ({"resize": {"width": 0, "height": 9, "filter": "bicubic"}}, "step 'resize': Expected `int` >= 1"),
        ({"resize": {"filter": "bicubic"}}, "expected a height, a width and a height, or the longest side"),
        ({"resize": {"width": 9, "longest": 9, "filter": "bicubic"}}, "expected a height"),
        ({"normalise": {"mean": 0.0, "scale": 0.0}}, "step 'normalise': expected a scale other than 0"),
        ({"layout": "CHWN"}, "step 'layout': Invalid enum value 'CHWN', expected one of NCHW, NHWC"),
    ],
)
def test_a_wrong_step_is_found_at_load(step: Any, reason: str) -> None:
    with pytest.raises(ModelLoadError, match=reason):
        preparer(manifest([step]))


def test_steps_that_do_not_fit_the_model_are_refused_with_the_reason() -> None:
    with pytest.raises(
        ModelLoadError, match=r"gives FP32 \[1, 3, 96, 96\], but its input 'image' expects FP32 \[-1, 3, 64, 64\]"
    ):
        preparer(manifest(STEPS, [-1, 3, 64, 64])).prepare(files.jpeg())


def test_a_library_that_is_missing_is_an_error_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "common.preprocessing.pictures", None)
    with pytest.raises(ModelLoadError, match=r"common\.preprocessing\.pictures"):
        preparer(manifest(STEPS))
