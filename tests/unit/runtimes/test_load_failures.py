"""A model that cannot be loaded is found in what a service answers to GET /readyz."""

from __future__ import annotations

import json

import pytest

from common.inference.repository import RegisteredModel
from runtimes.errors import ModelNotLoaded
from runtimes.load_failures import LoadFailure, LoadWatch, of_answer

WRONG = "model 'iris': /models/iris/1/model.onnx: sha256 is 12ab…, but model.yaml says 34cd…"
DOWNLOAD = "model 'iris': http://store:8000/iris/1: the download failed: connection refused"


def answer(*reasons: str) -> str:
    return json.dumps({"status": "unavailable", "reasons": list(reasons)})


@pytest.mark.parametrize(
    "body",
    [
        "",
        "no JSON",
        "[]",
        '{"reasons": [1]}',
        answer("draining: this process is stopping"),
        answer(f"model 'iris': {RegisteredModel().reason}"),
        answer("model 'iris': loading; model 'iris_rf': not loaded yet"),
        answer("predictor iris cannot answer: model 'iris' is not ready"),
        answer("model 'iris': an inference has been running for 40 s"),
    ],
)
def test_what_says_nothing_of_a_failure_is_none(body: str) -> None:
    assert of_answer(body) == []


def test_each_model_that_cannot_be_loaded_is_found_with_its_reason() -> None:
    found = of_answer(answer(f"model 'a': loading; {WRONG}; model 'b': the opset 99 is too new; use 21"))
    assert found == [
        LoadFailure("iris", WRONG.removeprefix("model 'iris': "), passing=False),
        LoadFailure("b", "the opset 99 is too new; use 21", passing=False),
    ]


def test_a_failure_that_stays_ends_the_start_at_once() -> None:
    with pytest.raises(ModelNotLoaded, match=r"^api cannot load the model 'iris': /models/iris/1/model.onnx: sha256"):
        LoadWatch(print).check("api", answer(WRONG))


def test_a_failed_download_is_said_at_once_and_ends_the_start_when_it_lasts() -> None:
    said: list[str] = []
    patient, hasty = LoadWatch(said.append), LoadWatch(said.append, passing_seconds=0)
    for _ in range(3):
        patient.check("api", answer(DOWNLOAD))
    assert said == ["api waits for the model 'iris': http://store:8000/iris/1: the download failed: connection refused"]
    hasty.check("api", answer(DOWNLOAD))
    with pytest.raises(ModelNotLoaded, match="the download failed"):
        hasty.check("api", answer(DOWNLOAD))
