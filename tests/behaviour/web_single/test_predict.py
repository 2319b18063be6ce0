"""POST /predict of web_single: named features in, a label with probabilities out."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from runtimes.base import Stack
from tests.conftest import Start

SETOSA = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}
VIRGINICA = {"sepal_length": 6.3, "sepal_width": 3.3, "petal_length": 6.0, "petal_width": 2.5}


@pytest.fixture
def stack(start_shared: Start) -> Stack:
    return start_shared("web_single")


def predict(http: httpx.Client, stack: Stack, *rows: dict[str, Any]) -> httpx.Response:
    return http.post(f"{stack.url()}/predict", json={"instances": rows})


def test_rows_get_a_label_with_probabilities_each(http: httpx.Client, stack: Stack) -> None:
    answer = predict(http, stack, SETOSA, VIRGINICA).json()
    assert [one["label"] for one in answer["predictions"]] == ["setosa", "virginica"]
    for one in answer["predictions"]:
        assert sum(one["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert one["label"] == max(one["probabilities"], key=one["probabilities"].get)
    assert (answer["model_name"], answer["model_version"]) == ("iris", "1")


def test_a_value_outside_the_training_range_is_answered_with_a_warning(http: httpx.Client, stack: Stack) -> None:
    (prediction,) = predict(http, stack, SETOSA | {"petal_width": 9.0}).json()["predictions"]
    assert [warning["field"] for warning in prediction["warnings"]] == ["petal_width"]


@pytest.mark.parametrize(
    ("row", "field", "reason"),
    [
        (SETOSA | {"sepal_length": "5.1"}, "sepal_length", "expected a number, got '5.1'"),
        (SETOSA | {"sepal_length": None}, "sepal_length", "expected a number, got 'None'"),
        (SETOSA | {"sepal_length": True}, "sepal_length", "expected a number, got 'True'"),
        (SETOSA | {"colour": 1.0}, "colour", "is not a feature of this model"),
        ({name: SETOSA[name] for name in list(SETOSA)[:3]}, "petal_width", "is missing"),
    ],
)
def test_a_wrong_row_is_refused_by_field(
    http: httpx.Client, stack: Stack, row: dict[str, Any], field: str, reason: str
) -> None:
    answer = predict(http, stack, SETOSA, row)
    assert answer.status_code == 400
    (error,) = answer.json()["errors"]
    assert error["field"] == f"instances[1].{field}"
    assert error["reason"].startswith(reason)


def test_no_row_and_too_many_rows_are_refused(http: httpx.Client, stack: Stack) -> None:
    for rows in ([], [SETOSA] * 10_001):
        answer = predict(http, stack, *rows)
        assert answer.status_code == 400
        assert answer.json()["errors"] == [
            {"field": "instances", "reason": f"expected 1 to 10000 rows, got {len(rows)}"}
        ]


def test_another_model_folder_is_served_by_the_same_code(http: httpx.Client, start_shared: Start) -> None:
    stack = start_shared("web_single", MODEL="petal_width")
    row = {name: value for name, value in SETOSA.items() if name != "petal_width"}
    (prediction,) = predict(http, stack, row).json()["predictions"]
    assert prediction["value"] == pytest.approx(0.2, abs=0.15)
    assert prediction["unit"] == "cm"
