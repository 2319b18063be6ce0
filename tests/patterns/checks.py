"""What rows of several patterns share: checks of answers, wrong requests, prepared inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from common.preprocessing.steps import preparer
from tests import pictures
from tests.asking import prep_pred
from tests.rows import Array, WrongRequest
from tests.support import SETOSA, SETOSA_BY_NAME, VIRGINICA

JPEG, PNG, CSV = "image/jpeg", "image/png", "text/csv"
VIRGINICA_BY_NAME = dict(zip(SETOSA_BY_NAME, VIRGINICA, strict=True))
FLOWERS = {"instances": [SETOSA_BY_NAME, VIRGINICA_BY_NAME]}
FEATURES = np.array([SETOSA, VIRGINICA], np.float32)
ESPRESSO = 967  # its place among the labels of ImageNet
Check = Callable[[Any], None]


def labelled(*expected: str) -> Check:
    """The predictions have these labels, in this order."""

    def check(response: Any) -> None:
        assert [one["label"] for one in response["predictions"]] == list(expected)

    return check


def likeliest(expected: str) -> Check:
    """The first of the predictions for one picture has this label."""

    def check(response: Any) -> None:
        assert response["predictions"][0]["label"] == expected

    return check


def classes(name: str, *expected: int) -> Callable[[dict[str, Array]], None]:
    """The output `name` says these classes: by number, or by the greatest of its scores."""

    def check(outputs: dict[str, Array]) -> None:
        found = outputs[name] if outputs[name].ndim == 1 else outputs[name].argmax(axis=-1)
        assert found.tolist() == list(expected)

    return check


def prepared(model: str, picture: Callable[[], Any]) -> Callable[[], dict[str, Array]]:
    """A picture as the model wants it, prepared in this process."""
    return lambda: preparer(prep_pred.manifest(model)).prepare(picture())


WRONG_FLOWERS = (
    WrongRequest("text for a number", "/predict", {"instances": [SETOSA_BY_NAME | {"petal_width": "wide"}]},
                 "instances[0].petal_width"),
    WrongRequest("a feature is missing", "/predict", {"instances": [SETOSA_BY_NAME, {"sepal_length": 5}]},
                 "instances[1]"),
    WrongRequest("unknown feature", "/predict", {"instances": [SETOSA_BY_NAME | {"colour": 1}]},
                 "instances[0].colour"),
    WrongRequest("beyond FP32", "/predict", {"instances": [SETOSA_BY_NAME | {"petal_width": 1e39}]}, "instances"),
    WrongRequest("no rows", "/predict", {"instances": []}, "instances"),
    WrongRequest("another content type", "/predict", b"5.1,3.5", "Content-Type", 415, CSV),
)  # fmt: skip


def wrong_pictures(path: str, field: str, cut: bytes) -> tuple[WrongRequest, ...]:
    """What no pattern takes for a picture."""
    return (
        WrongRequest("no picture", path, b"a cat on a mat", field, 415, JPEG),
        WrongRequest("cut short", path, cut, field, 400, JPEG),
        WrongRequest("a bomb", path, pictures.bomb(), field, 413, PNG),
        WrongRequest("animated", path, pictures.animated_png(), field, 400, PNG),
        WrongRequest("another content type", path, b"a,b", "Content-Type", 415, CSV),
    )
