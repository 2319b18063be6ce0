"""The variant `features` of parallel: items by their ids, their features fetched by the proxy or by each predictor."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from runtimes.base import Stack
from tests.asking.parallel import CLASSIFIERS, ITEMS, ROWS, SERVICES, ask, events, predicted
from tests.conftest import Start
from tests.support import eventually, metric


@pytest.fixture(scope="module", params=["proxy", "predictors"])
def stack(request: pytest.FixtureRequest, start_shared: Start) -> Stack:
    return start_shared("parallel", "features", FETCH=request.param)


@pytest.mark.parametrize("how", ["all", "vote", "mean", "best"])
def test_items_are_answered_as_their_features_are(stack: Stack, how: str) -> None:
    answer = ask(stack, {"items": ITEMS, "aggregate": how}).json()
    assert answer == approximately(predicted(stack, *ROWS, aggregate=how))


def approximately(tree: Any) -> Any:
    """The same with numbers that may differ a little: rows are computed beside others."""
    if isinstance(tree, dict):
        return {name: approximately(value) for name, value in tree.items()}
    if isinstance(tree, list):
        return [approximately(value) for value in tree]
    return pytest.approx(tree, abs=1e-5) if isinstance(tree, float) else tree


def test_fetching_has_its_time(stack: Stack) -> None:
    timing = ask(stack, {"items": ITEMS}).headers["server-timing"]
    stages = dict(re.findall(r"(\w+);dur=([\d.]+)", timing))
    assert float(stages["fetch"]) > 0
    first = stack.options.variables["FETCH"] == "proxy"  # else it is done while the predictors are asked
    assert list(stages) == ["fetch", *SERVICES, "encode", "total"] if first else [*SERVICES, "fetch", "encode", "total"]


def test_the_stream_takes_items_too(stack: Stack) -> None:
    *each, whole = events(ask(stack, {"items": ITEMS}, "/predict/stream").text)
    assert {one["name"] for one in each} == {*CLASSIFIERS, "petal_width"}
    assert whole["predictions"] == approximately(predicted(stack, *ROWS)["predictions"])


def test_a_dead_store_reads_the_same_whoever_fetches(stack: Stack) -> None:
    stack.kill("redis")
    try:
        answer = ask(stack, {"items": ITEMS}, X_Request_Timeout_Seconds="5")
        assert (answer.status_code, answer.json()["title"]) == (503, "Not ready")
        reasons = r"the feature store \(redis\) (failed: \w+|did not respond in time)"
        assert re.fullmatch(reasons, answer.json()["detail"])
        assert answer.headers["Retry-After"] == "1"
        assert predicted(stack, *ROWS)["missing"] == {}
    finally:
        stack.start("redis")
    eventually(lambda: ask(stack, {"items": ITEMS}).status_code == 200, 15, "items are answered again")


@pytest.mark.parametrize("item", ["151", "", "setosa\r\nFLUSHALL", "é" * 200])
def test_an_unknown_item_is_refused_by_its_place_and_costs_no_inference(stack: Stack, item: str) -> None:
    before = inferences(stack)
    answer = ask(stack, {"items": ["1", item]})
    assert answer.status_code == 400
    assert "items[1]" in answer.json()["detail"]
    assert "is not in the feature store" in answer.json()["detail"]
    assert inferences(stack) == before
    assert ask(stack, {"items": ["1"]}).status_code == 200


def inferences(stack: Stack) -> float:
    return sum(metric(stack.url(service), "serving_batch_size_count") for service in SERVICES.values())


def test_a_predictor_that_fetches_is_asked_by_the_protocol(stack: Stack, http: httpx.Client) -> None:
    base = f"{stack.url('petal-width')}/v2/models"
    assert http.get(base).json() == {"models": ["petal_width", "petal_width_by_item"]}
    told = http.get(f"{base}/petal_width_by_item").json()
    assert told["inputs"] == [{"name": "items", "datatype": "BYTES", "shape": [-1]}]
    items = {"name": "items", "shape": [4], "datatype": "BYTES", "data": ITEMS}
    answer = http.post(f"{base}/petal_width_by_item/infer", json={"inputs": [items]}).json()
    expected = [said["petal_width"] for said in predicted(stack, *ROWS)["predictions"]]
    assert answer["outputs"][0]["data"] == pytest.approx(expected, abs=1e-5)
    assert http.get(f"{base}/iris_by_item").status_code == 404
