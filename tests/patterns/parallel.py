"""The rows of parallel."""

from __future__ import annotations

from dataclasses import replace

from tests.asking import parallel
from tests.patterns.checks import (
    FEATURES,
    FLOWERS,
    WRONG_FLOWERS,
    classes,
    labelled,
)
from tests.rows import Inference, Page, Request, Row, WrongRequest

DEFAULT = Row(
    pattern="parallel",
    variant=None,
    services=("iris", "iris-rf", "iris-mlp", "petal-width", "proxy"),
    entry="proxy",
    predictors=tuple(parallel.SERVICES.values()),
    requests=(
        Request("/predict", FLOWERS, labelled("setosa", "virginica")),
        Request("/predict", FLOWERS | {"aggregate": "vote"}, labelled("setosa", "virginica")),
    ),
    wrong=(
        *WRONG_FLOWERS,
        WrongRequest("unknown aggregate", "/predict", FLOWERS | {"aggregate": "median"}, "aggregate"),
    ),
    inference=Inference("parallel", lambda: {"features": FEATURES}, classes("label", 0, 2)),
    page=Page(".verdict", "virginica", "virginica"),
    stages=("decode", *parallel.SERVICES, "encode"),
    route="/predict",
    behind={"iris-rf": "predictor iris_rf"},
)

ROWS = (
    DEFAULT,
    replace(
        DEFAULT,
        variant="features",
        services=("redis", *DEFAULT.services),
        requests=(
            Request("/predict", {"items": ["1", "101"]}, labelled("setosa", "virginica")),
            *DEFAULT.requests,
        ),
        wrong=(
            *DEFAULT.wrong,
            WrongRequest("unknown item", "/predict", {"items": ["1", "151"]}, "items[1]"),
        ),
        stages=("fetch", *parallel.SERVICES, "encode"),
    ),
    replace(
        DEFAULT,
        variant="hierarchy",
        services=(*DEFAULT.services[:-1], "classifiers", "proxy"),
        stages=("decode", "classifiers", "petal_width", "encode"),
        behind={"classifiers": "predictor classifiers"},
    ),
)
