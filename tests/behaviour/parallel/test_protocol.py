"""The proxy of parallel speaks the Open Inference Protocol itself, as a predictor does."""

from __future__ import annotations

import json
from typing import Any

import httpx
import numpy as np
import pytest

from runtimes.base import Stack
from tests.asking.parallel import COLUMNS, LABELS, ROWS, predicted
from tests.conftest import Start

MODEL = "/v2/models/parallel"


@pytest.fixture(scope="module")
def stack(start_shared: Start) -> Stack:
    return start_shared("parallel")


def infer(stack: Stack, http: httpx.Client, **rest: Any) -> httpx.Response:
    data = [value for row in ROWS for value in row]
    features = {"name": "features", "shape": [len(ROWS), 4], "datatype": "FP32", "data": data}
    return http.post(f"{stack.url()}{MODEL}/infer", json={"inputs": [features], **rest})


def test_it_describes_itself_as_a_classifier_does(stack: Stack, http: httpx.Client) -> None:
    told = http.get(stack.url() + MODEL).json()
    assert told["inputs"] == [{"name": "features", "datatype": "FP32", "shape": [-1, 4]}]
    assert [(one["name"], one["shape"]) for one in told["outputs"]] == [
        ("probabilities", [-1, 3]),
        ("label", [-1]),
        ("petal_width", [-1, 1]),
    ]
    assert json.loads(told["properties"]["labels"]) == list(LABELS)
    assert json.loads(told["properties"]["features"]) == list(COLUMNS)
    assert http.get(f"{stack.url()}{MODEL}/ready").json() == {"name": "parallel", "ready": True}


def test_it_infers_what_predict_says(stack: Stack, http: httpx.Client) -> None:
    answer = infer(stack, http, id="seven").json()
    assert (answer["model_name"], answer["model_version"], answer["id"]) == ("parallel", "1", "seven")
    outputs = {one["name"]: np.array(one["data"]).reshape(one["shape"]) for one in answer["outputs"]}
    for row, said in enumerate(predicted(stack, *ROWS)["predictions"]):
        assert outputs["probabilities"][row] == pytest.approx(list(said["probabilities"].values()), abs=1e-6)
        assert LABELS[outputs["label"][row]] == said["label"]
        assert outputs["petal_width"][row, 0] == pytest.approx(said["petal_width"], abs=1e-6)


def test_how_answers_become_one_may_be_said_in_the_request(stack: Stack, http: httpx.Client) -> None:
    answer = infer(stack, http, parameters={"aggregate": "vote"}, outputs=[{"name": "probabilities"}]).json()
    (votes,) = answer["outputs"]
    expected = [list(said["votes"].values()) for said in predicted(stack, *ROWS, aggregate="vote")["predictions"]]
    assert np.array(votes["data"]).reshape(-1, 3) * 3 == pytest.approx(np.array(expected), abs=1e-5)


def test_wrong_requests_are_refused_as_a_predictor_does(stack: Stack, http: httpx.Client) -> None:
    narrow = {"name": "features", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}
    for wrong, says in (({"inputs": [narrow]}, "[-1, 4]"), ({"inputs": []}, "'features'"), ({"x": 1}, "inputs")):
        answer = http.post(f"{stack.url()}{MODEL}/infer", json=wrong)
        assert answer.status_code == 400
        assert says in answer.json()["error"]
    refused = infer(stack, http, parameters={"aggregate": "median"})
    assert (refused.status_code, "median" in refused.json()["error"]) == (400, True)
    assert "aggregate" in infer(stack, http, parameters={"aggregate": ["vote"]}).json()["error"]
    assert infer(stack, http, outputs=[{"name": "colour"}]).status_code == 400
    assert http.get(f"{stack.url()}/v2/models/iris").status_code == 404


@pytest.mark.parametrize(("via", "status"), [("a,b,c,d,e", 508), ("a,b", 200), (5, 200)])
def test_a_circle_of_proxies_ends(stack: Stack, http: httpx.Client, via: Any, status: int) -> None:
    answer = infer(stack, http, parameters={"via": via})
    assert answer.status_code == status
    assert ("circle" in answer.text) is (status == 508)
