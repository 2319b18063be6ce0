"""A predictor that answers wrongly, or is not the model it was, is named and harms only itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.asking.parallel import LABELS, ROWS, instances
from tests.stand_in import StandIn, proxy_over
from tests.support import eventually

ROW = {"instances": instances(ROWS[0])}
REGRESSOR = {"features": json.dumps(["petal_width", "sepal_length"]), "unit": "mm"}


@pytest.fixture(scope="module")
def predictors() -> Iterator[list[StandIn]]:
    made = [StandIn("one"), StandIn("two"), StandIn("odd")]
    yield made
    for one in made:
        one.close()


@pytest.fixture(scope="module")
def partial(predictors: list[StandIn]) -> Iterator[str]:
    with proxy_over(*predictors, STRATEGY="partial", QUORUM="2") as url:
        yield url


@pytest.fixture
def odd(predictors: list[StandIn]) -> Iterator[StandIn]:
    """The one that a test changes; afterwards it is as it was."""
    before = dict(predictors[-1].__dict__)
    yield predictors[-1]
    predictors[-1].__dict__.update(before)


def ask(url: str) -> httpx.Response:
    return httpx.post(f"{url}/predict", json=ROW, timeout=10)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "too few labels": (
        {"shape": [1, 2], "data": [0.5, 0.5]},
        "FP32 [1, 2] as said, expected floating-point numbers of shape [1, 3]",
    ),
    "another row": ({"shape": [2, 3], "data": [0.2] * 6}, "FP32 [2, 3] as said"),
    "whole numbers": ({"datatype": "INT64", "data": [0, 0, 1]}, "INT64 [1, 3] as said"),
    "another count": ({"data": [0.5]}, "predictor odd"),
    "unknown datatype": ({"datatype": "FLOAT"}, "predictor odd"),
    "its own failure": ({"status": 500}, "predictor odd answered 500: it is not well"),
    "model gone": ({"status": 404}, "predictor odd answered 404"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_answer_is_named_and_the_others_stay_whole(partial: str, odd: StandIn, case: str) -> None:
    changes, reason = WRONG[case]
    odd.__dict__.update(changes)
    answer = ask(partial).json()
    assert list(answer["missing"]) == ["odd"]
    assert reason in answer["missing"]["odd"]
    assert set(answer["models"]) == {"one", "two"}
    assert answer["predictions"][0]["probabilities"] == pytest.approx(dict(zip(LABELS, [0.2, 0.3, 0.5], strict=True)))


def test_other_labels_than_those_of_most_are_named_and_not_asked(partial: str, odd: StandIn) -> None:
    odd.properties = odd.properties | {"labels": json.dumps(["rose", "tulip", "lily"])}
    eventually(lambda: "odd" in ask(partial).json()["missing"], 5, "the proxy has noticed")
    before = odd.asked
    assert "labels rose, tulip, lily" in ask(partial).json()["missing"]["odd"]
    assert odd.asked == before


def test_it_is_asked_again_once_it_is_itself(partial: str) -> None:
    eventually(lambda: not ask(partial).json()["missing"], 5, "nobody is missing")


def test_a_new_version_is_taken_over_without_a_failure(partial: str, odd: StandIn) -> None:
    odd.version, odd.data = "2", [0.0, 0.0, 1.0]
    answer = ask(partial).json()
    assert (answer["missing"], answer["models"]["odd"]) == ({}, "odd/2")


def test_a_version_that_means_something_else_is_not_taken_for_the_old_one(partial: str, odd: StandIn) -> None:
    odd.version, odd.properties = "3", odd.properties | {"labels": json.dumps(["rose", "tulip", "lily"])}
    assert "odd" in ask(partial).json()["missing"]


def test_all_or_nothing_names_the_one_that_failed() -> None:
    one, odd = StandIn("one"), StandIn("odd", shape=[1, 2], data=[0.5, 0.5])
    with proxy_over(one, odd) as url:
        answer = ask(url)
        assert answer.status_code == 502
        assert answer.json()["detail"].startswith("predictor odd returned FP32 [1, 2]")
        odd.properties = odd.properties | {"features": "[petal_width"}
        eventually(lambda: not httpx.get(f"{url}/readyz").is_success, 5, "it is unready, since it needs both")
        assert "the metadata of predictor odd are not valid" in ask(url).json()["detail"]
    for stand_in in (one, odd):
        stand_in.close()


def test_regressors_alone_have_values_and_no_labels() -> None:
    width = StandIn("width", properties=REGRESSOR, shape=[1, 1], data=[14.0])
    with proxy_over(width, AGGREGATE="all") as url:
        asked = {"instances": [{"petal_width": 0.2, "sepal_length": 5.1}]}
        answer = httpx.post(f"{url}/predict", json=asked).json()
        assert (answer["predictions"], answer["answers"]) == (
            [{"width": 14.0}],
            {"width": [{"value": 14.0, "unit": "mm"}]},
        )
        assert ask(url).status_code == 400  # more features than are known
        told = httpx.get(f"{url}/v2/models/parallel").json()
        assert [one["name"] for one in told["outputs"]] == ["width"]
    width.close()
