"""The variant `hierarchy` of parallel: a proxy in another's list is one predictor, and passes on what it misses."""

from __future__ import annotations

import httpx
import pytest

from runtimes.base import Stack
from tests.asking.parallel import CLASSIFIERS, ROWS, instances, predicted
from tests.conftest import Start
from tests.support import eventually


@pytest.fixture(scope="module")
def stack(start_for_module: Start) -> Stack:
    return start_for_module("parallel", "hierarchy", STRATEGY="partial", PREDICTOR_TIMEOUT_SECONDS="3")


def test_it_answers_as_one_proxy_over_all_predictors_does(stack: Stack) -> None:
    answer = predicted(stack, *ROWS, aggregate="all")
    inner = httpx.post(
        f"{stack.url('classifiers')}/predict", json={"instances": instances(*ROWS), "aggregate": "all"}, timeout=10
    ).json()
    assert set(answer["answers"]) == {"classifiers", "petal_width"}
    assert set(inner["answers"]) == set(CLASSIFIERS)
    for outer, own in zip(answer["predictions"], inner["predictions"], strict=True):
        assert outer["probabilities"] == pytest.approx(own["probabilities"], abs=1e-6)
        assert outer["petal_width"] > 0
    assert answer["models"] == {"classifiers": "parallel/1", "petal_width": "petal_width/1"}


def test_who_is_missing_below_is_told_at_the_top(stack: Stack) -> None:
    stack.kill("iris-rf")
    try:
        answer = predicted(stack, *ROWS)
        assert list(answer["missing"]) == ["classifiers/iris_rf"]
        assert "iris_rf" in answer["missing"]["classifiers/iris_rf"]
        assert len(answer["predictions"]) == len(ROWS)
    finally:
        stack.start("iris-rf")
    eventually(lambda: not predicted(stack, *ROWS)["missing"], 10, "it is asked again")
