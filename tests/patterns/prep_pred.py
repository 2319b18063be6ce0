"""The rows of prep_pred."""

from __future__ import annotations

from dataclasses import replace

from tests.asking import prep_pred
from tests.oip import texts
from tests.patterns.checks import (
    FLOWERS,
    JPEG,
    classes,
    labelled,
    wrong_pictures,
)
from tests.rows import Array, Inference, Page, Request, Row, WrongRequest
from tests.support import SETOSA_BY_NAME

DEFAULT = Row(
    pattern="prep_pred",
    variant=None,
    services=("prep", "predictor"),
    entry="prep",
    predictors=("predictor",),
    requests=(
        Request("/predict/penguins", {"instances": [prep_pred.PENGUIN]}, labelled("Gentoo")),
        Request("/predict/imagenet_lite0", prep_pred.sample("coffee.jpg"), labelled("espresso"), JPEG),
        Request("/predict/iris_standardised", FLOWERS, labelled("setosa", "virginica")),
        Request("/predict/text_language", {"instances": ["Das Wetter ist heute besonders schön."]}, labelled("de")),
    ),
    wrong=(
        WrongRequest("text for a number", "/predict/iris_standardised",
                     {"instances": [SETOSA_BY_NAME | {"petal_width": "wide"}]}, "instances[0].petal_width"),
        WrongRequest("unknown name", "/predict/penguins", {"instances": [prep_pred.PENGUIN | {"colour": "black"}]},
                     "instances[0].colour"),
        WrongRequest("empty text", "/predict/text_language", {"instances": ["Guten Tag", " "]}, "instances[1].text"),
        WrongRequest("no instance", "/predict/penguins", {"instances": []}, "instances"),
        *wrong_pictures("/predict/imagenet_lite0", "picture", prep_pred.sample("coffee.jpg")[:20_000]),
    ),
    inference=Inference(
        "penguins", lambda: {"instances": texts(prep_pred.element(prep_pred.PENGUIN))}, classes("label", 2)
    ),
    page=Page("#answer .verdict", "coffee", "espresso"),
    stages=("prepare", "transfer", "predict"),
    route="/predict/{model}",
    behind={"predictor": "predictor predictor.penguins"},
)  # fmt: skip

JAPANESE = "このパスワードは数字しか使われていません。"


def is_distribution(outputs: dict[str, Array]) -> None:
    assert abs(float(outputs["probabilities"].sum()) - 1) < 1e-4


ROWS = (
    DEFAULT,
    replace(
        DEFAULT,
        variant="proxy",
        services=("prep", "predictor", "proxy"),
        entry="proxy",
        behind={half: f"predictor {half}.penguins" for half in ("prep", "predictor")},
    ),
    replace(
        DEFAULT,
        variant="balanced",
        services=("prep", "predictor-1", "predictor-2", "balancer"),
        behind={"balancer": "predictor predictor.penguins"},
    ),
    replace(
        DEFAULT,
        variant="japanese",
        requests=(Request("/predict/message_topic_ja", {"instances": [JAPANESE]}, labelled("auth")),),
        wrong=(
            WrongRequest(
                "empty text", "/predict/message_topic_ja", {"instances": [JAPANESE, " "]}, "instances[1].text"
            ),
        ),
        behind={"predictor": "predictor predictor.message_topic_ja"},
        inference=Inference("message_topic_ja", lambda: {"instances": texts(JAPANESE)}, is_distribution),
        page=Page("#answer .verdict", "", ""),
    ),
)
