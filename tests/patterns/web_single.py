"""The rows of web_single."""

from __future__ import annotations

from dataclasses import replace

from tests.patterns.checks import (
    FEATURES,
    FLOWERS,
    VIRGINICA_BY_NAME,
    WRONG_FLOWERS,
    classes,
    labelled,
)
from tests.rows import Inference, Page, Request, Row

DEFAULT = Row(
    pattern="web_single",
    variant=None,
    services=("api",),
    entry="api",
    predictors=("api",),
    requests=(
        Request("/predict", FLOWERS, labelled("setosa", "virginica")),
        Request("/predict", {"instances": [VIRGINICA_BY_NAME]}, labelled("virginica")),
    ),
    wrong=WRONG_FLOWERS,
    inference=Inference("iris", lambda: {"features": FEATURES}, classes("label", 0, 2)),
    page=Page("#answer .verdict", "virginica", "virginica"),
    stages=("decode", "queue", "infer", "encode"),
    route="/predict",
)

ROWS = (
    DEFAULT,
    replace(DEFAULT, variant="replicas", services=("api-1", "api-2", "balancer"), entry="balancer", front="api"),
    replace(DEFAULT, variant="loaded", services=("api", "store")),
)
