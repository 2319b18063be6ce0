"""POST /predict of parallel: every predictor's answer, and one made of them as was asked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from common import RELEASE
from runtimes.base import Stack
from tests.asking.parallel import CLASSIFIERS, LABELS, ROWS, instances, own_answer, predicted
from tests.conftest import Start

Shares = dict[str, list[list[float]]]


@pytest.fixture(scope="module")
def stack(start_shared: Start) -> Stack:
    return start_shared("parallel")


@pytest.fixture(scope="module")
def own(stack: Stack) -> Shares:
    """Each classifier's own probabilities for ROWS."""
    return {name: own_answer(stack, name, *ROWS) for name in CLASSIFIERS}


def by_label(shares: Any) -> dict[str, Any]:
    return dict(zip(LABELS, shares, strict=True))


def test_all_gives_every_predictors_own_answer(stack: Stack, own: Shares) -> None:
    answer = predicted(stack, *ROWS, aggregate="all")
    assert list(answer["answers"]) == [*CLASSIFIERS, "petal_width"]
    for name, rows in own.items():
        for said, shares in zip(answer["answers"][name], rows, strict=True):
            assert said["probabilities"] == pytest.approx(by_label(shares), abs=1e-5)
            assert said["label"] == LABELS[int(np.argmax(shares))]
    widths = [[said["value"], said["unit"]] for said in answer["answers"]["petal_width"]]
    assert widths == [[pytest.approx(value, abs=1e-5), "cm"] for (value,) in own_answer(stack, "petal_width", *ROWS)]


@pytest.mark.parametrize("how", ["mean", "all"])
def test_mean_is_that_of_the_probabilities(stack: Stack, own: Shares, how: str) -> None:
    expected = np.mean([own[name] for name in CLASSIFIERS], axis=0)
    for said, shares in zip(predicted(stack, *ROWS, aggregate=how)["predictions"], expected, strict=True):
        assert said["probabilities"] == pytest.approx(by_label(shares), abs=1e-5)
        assert said["label"] == LABELS[int(np.argmax(shares))]


def test_vote_counts_labels(stack: Stack, own: Shares) -> None:
    predictions = predicted(stack, *ROWS, aggregate="vote")["predictions"]
    for row, said in enumerate(predictions):
        chosen = [LABELS[int(np.argmax(own[name][row]))] for name in CLASSIFIERS]
        assert said["votes"] == {label: chosen.count(label) for label in LABELS}
        assert said["votes"][said["label"]] == max(said["votes"].values())
        assert "probabilities" not in said
    assert any(len(set(said["votes"].values()) - {0}) == 2 for said in predictions)  # or nothing was disputed


def test_best_is_the_most_confident_predictors(stack: Stack, own: Shares) -> None:
    predictions = predicted(stack, *ROWS, aggregate="best")["predictions"]
    for row, said in enumerate(predictions):
        most = max(CLASSIFIERS, key=lambda name: max(own[name][row]))
        assert said["by"] == most
        assert said["probabilities"] == pytest.approx(by_label(own[most][row]), abs=1e-5)
        assert said["label"] == LABELS[int(np.argmax(own[most][row]))]


@pytest.mark.parametrize("how", ["all", "vote", "mean", "best"])
def test_the_regressors_value_stands_beside_under_its_name(stack: Stack, how: str) -> None:
    values = [said["petal_width"] for said in predicted(stack, *ROWS, aggregate=how)["predictions"]]
    assert values == pytest.approx([value for (value,) in own_answer(stack, "petal_width", *ROWS)], abs=1e-5)


@pytest.mark.parametrize("count", [1, 7, 500])
def test_rows_are_answered_in_their_order(stack: Stack, count: int) -> None:
    rows = [ROWS[at % 4] for at in range(count)]
    alone = [predicted(stack, row)["predictions"][0]["label"] for row in ROWS]
    together = [said["label"] for said in predicted(stack, *rows)["predictions"]]
    assert together == [alone[at % 4] for at in range(count)]


def test_the_answer_says_who_made_it(stack: Stack) -> None:
    answer = predicted(stack, ROWS[0])
    assert answer["models"] == {name: f"{name}/1" for name in (*CLASSIFIERS, "petal_width")}
    assert (answer["missing"], answer["release"]) == ({}, RELEASE)
    assert "answers" not in answer


GOOD = instances(ROWS[0])[0]
WRONG: dict[str, tuple[Any, str, str]] = {
    "text": ({"instances": [GOOD, GOOD | {"petal_width": "0.2"}]}, "instances[1].petal_width", "expected a number"),
    "null": ({"instances": [GOOD | {"petal_width": None}]}, "instances[0].petal_width", "expected a number"),
    "true": ({"instances": [GOOD | {"petal_width": True}]}, "instances[0].petal_width", "expected a number"),
    "missing": ({"instances": [{k: GOOD[k] for k in list(GOOD)[:3]}]}, "instances[0].petal_width", "is missing"),
    "unknown": ({"instances": [GOOD | {"colour": 1}]}, "instances[0].colour", "is not a feature of this model"),
    "beyond FP32": ({"instances": [GOOD | {"petal_width": 1e39}]}, "instances", "outside the range of FP32"),
    "beyond FP64": (b'{"instances": [{"petal_width": 1e400}]}', "instances[0]", "out of range"),
    "NaN": (b'{"instances": [{"petal_width": NaN}]}', "body", "not valid JSON"),
    "no rows": ({"instances": []}, "instances", "expected either rows here"),
    "nothing": ({}, "instances", "expected either rows here"),
    "empty": (b"", "body", "not valid JSON"),
    "rows and items": ({"instances": [GOOD], "items": ["1"]}, "instances", "got both"),
    "items without a store": ({"items": ["1"]}, "items", "no feature store"),
    "number for an item": ({"items": [1]}, "items[0]", "expected `str`"),
    "unknown field": ({"instances": [GOOD], "agregate": "vote"}, "body", "agregate"),
    "unknown aggregate": ({"instances": [GOOD], "aggregate": "median"}, "aggregate", "all, vote, mean, best"),
    "another aggregate": ({"instances": [GOOD], "aggregate": 3}, "aggregate", "all, vote, mean, best"),
    "too many rows": ({"instances": [GOOD] * 10_001}, "instances", "at most 10000"),
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("path", ["/predict", "/predict/stream"])
def test_a_wrong_request_is_refused_by_field(stack: Stack, http: Any, case: str, path: str) -> None:
    body, field, reason = WRONG[case]
    content = {"content": body} if isinstance(body, bytes) else {"json": body}
    answer = http.post(stack.url() + path, **content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    (error,) = answer.json()["errors"]
    assert error["field"].startswith(field)
    assert reason in error["reason"]


def test_metadata_lists_the_predictors_and_the_samples(stack: Stack, http: Any) -> None:
    told = http.get(f"{stack.url()}/metadata").json()
    assert [one["name"] for one in told["predictors"]] == [*CLASSIFIERS, "petal_width"]
    assert all(one["ready"] for one in told["predictors"])
    assert told["samples"] == ["iris.json"]
    assert http.get(f"{stack.url()}/samples/iris.json").json()["items"]["71"] == ROWS[2]
    for path in ("/livez", "/readyz", "/metrics", "/docs", "/"):
        assert http.get(stack.url() + path).status_code == 200
