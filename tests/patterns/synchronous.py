"""The rows of synchronous."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tests import pictures
from tests.asking import synchronous
from tests.patterns.checks import (
    ESPRESSO,
    FEATURES,
    JPEG,
    classes,
    likeliest,
    prepared,
    wrong_pictures,
)
from tests.rows import Array, Inference, Page, Request, Row, WrongRequest
from tests.support import SETOSA_BY_NAME


def first_label(outputs: dict[str, Array]) -> None:
    assert outputs["labels"][0][0] == "espresso"


DEFAULT = Row(
    pattern="synchronous",
    variant=None,
    services=("api",),
    entry="api",
    predictors=("api",),
    requests=(
        Request("/classify", synchronous.COFFEE, likeliest("espresso"), JPEG),
        Request("/classify", synchronous.CAT, likeliest("tiger cat"), "application/octet-stream"),
        Request("/classify?top=1", synchronous.PHOTOS["rocket.jpg"], likeliest("missile"), JPEG),
    ),
    wrong=(
        *wrong_pictures("/classify", "picture", synchronous.CAT[:5000]),
        WrongRequest("no such number of classes", "/classify?top=0", synchronous.CAT, "top", 400, JPEG),
    ),
    inference=Inference(
        "imagenet_lite0", prepared("imagenet_lite0", lambda: pictures.coffee()), classes("logits", ESPRESSO)
    ),
    page=Page("#answer .verdict", "coffee", "espresso"),
    stages=("decode", "prepare", "queue", "infer", "postprocess"),
    route="/classify",
)

FLOWER = {"sepal_length": 6.3, "sepal_width": 3.3, "petal_length": 6.0, "petal_width": 2.5}

ROWS = (
    DEFAULT,
    replace(
        DEFAULT,
        variant="estimator",
        requests=(
            Request("/classify", SETOSA_BY_NAME, likeliest("setosa")),
            Request("/classify?top=1", FLOWER, likeliest("virginica")),
        ),
        wrong=(
            WrongRequest("text for a number", "/classify", FLOWER | {"petal_width": "wide"}, "petal_width"),
            WrongRequest("a feature is missing", "/classify", {"petal_width": 1}, "sepal_length"),
            WrongRequest("unknown feature", "/classify", FLOWER | {"colour": 1}, "colour"),
            WrongRequest("a picture", "/classify", synchronous.CAT, "Content-Type", 415, JPEG),
            WrongRequest("no such number of classes", "/classify?top=0", FLOWER, "top"),
        ),
        inference=Inference("iris_estimator", lambda: {"features": FEATURES}, classes("label", 0, 2)),
        page=Page("#answer .verdict", "virginica", "virginica"),
    ),
    replace(
        DEFAULT,
        variant="end_to_end",
        inference=Inference(
            "imagenet_lite0_end_to_end",
            lambda: {"pixels": np.asarray(pictures.coffee().resize((240, 160)))[None]},
            first_label,
        ),
        callers=3,
    ),
)
