"""POST /predict/{model} in every layout: true answers for four kinds of input, the same as without the network."""

from __future__ import annotations

from typing import Any

import httpx
import numpy as np
import pytest

from common import RELEASE
from common.preprocessing.steps import preparer
from common.protocol.oip import HEADER_LENGTH
from common.protocol.oip_caller import decode_response, encode_request
from runtimes.base import Stack
from tests.asking.prep_pred import (
    FINGERPRINT,
    LAYOUTS,
    MODELS,
    PENGUIN,
    items,
    labels,
    manifest,
    predict,
    sample,
    start_layout,
)  # fmt: skip
from tests.conftest import Start


@pytest.fixture(scope="module", params=LAYOUTS, ids=lambda layout: layout or "default")
def layout(request: pytest.FixtureRequest) -> str | None:
    found: str | None = request.param
    return found


@pytest.fixture(scope="module")
def stack(layout: str | None, start_shared: Start) -> Stack:
    return start_layout(start_shared, layout)


@pytest.mark.parametrize("model", ["iris_standardised", "penguins", "text_language"])
def test_real_instances_get_their_true_answers_in_one_call(stack: Stack, model: str) -> None:
    instances, truth = zip(*items(model), strict=True)
    assert labels(predict(stack, model, *instances)) == list(truth)


def test_photos_show_what_they_show(stack: Stack) -> None:
    """Without the mean of `normalise` the first labels stay the same, but their probabilities fall below 0.7."""
    for photo, label in {"coffee.jpg": "espresso", "camera.jpg": "tripod"}.items():
        (prediction,) = predict(stack, "imagenet_lite0", sample(photo)).json()["predictions"]
        assert prediction["label"] == label
        assert prediction["probabilities"][label] > 0.9
    cats = predict(stack, "imagenet_lite0", sample("chelsea.jpg")).json()["predictions"][0]["probabilities"]
    assert "tabby" in cats  # though another cat may come first


@pytest.mark.parametrize("model", MODELS)
def test_the_numbers_are_those_of_one_process(stack: Stack, model: str) -> None:
    """Prepared in this process and inferred by the predictor alone, the instances have the same probabilities."""
    told = manifest(model)
    for instance, _ in items(model):
        scores = inferred(stack, model, preparer(told).prepare(instance))
        (prediction,) = predict(stack, model, instance).json()["predictions"]
        shares = softmax(scores) if told.outputs[0].name == "logits" else scores
        assert prediction["label"] == told.labels[int(shares.argmax())]
        for label, share in prediction["probabilities"].items():
            assert share == pytest.approx(float(shares[told.labels.index(label)]), abs=1e-5)


def inferred(stack: Stack, model: str, tensors: dict[str, Any]) -> Any:
    """The main output's one row, asked of the predictor itself."""
    stated = {FINGERPRINT: manifest(model).preprocessing.fingerprint}
    body, length = encode_request(tensors, (), parameters=stated)
    url = f"{stack.url('predictor')}/v2/models/{model}/infer"
    answer = httpx.post(url, content=body, headers={HEADER_LENGTH: str(length)}, timeout=20)
    assert answer.status_code == 200, answer.text
    _, outputs = decode_response(answer.content, int(answer.headers[HEADER_LENGTH]))
    return outputs[manifest(model).outputs[0].name][0]


def softmax(scores: Any) -> Any:
    powers = np.exp(scores - scores.max())
    return powers / powers.sum()


def test_what_is_missing_counts_as_missing_whether_null_or_left_out(stack: Stack) -> None:
    known = {"island": "Torgersen", "bill_length_mm": 39.1, "flipper_length_mm": 181}
    left_out, null = predict(stack, "penguins", known, dict.fromkeys(PENGUIN) | known).json()["predictions"]
    assert left_out == null
    assert left_out["label"] == "Adelie"


def test_the_likeliest_labels_come_first(stack: Stack) -> None:
    (prediction,) = predict(stack, "imagenet_lite0", sample("coffee.jpg")).json()["predictions"]
    shares = list(prediction["probabilities"].values())
    assert len(shares) == 5
    assert shares == sorted(shares, reverse=True)
    assert next(iter(prediction["probabilities"])) == prediction["label"]


def test_an_answer_names_model_version_and_release(stack: Stack) -> None:
    answer = predict(stack, "penguins", PENGUIN).json()
    assert (answer["model_name"], answer["model_version"], answer["release"]) == ("penguins", "1", RELEASE)


def test_an_unknown_model_is_404_and_says_which_there_are(stack: Stack) -> None:
    answer = predict(stack, "tulips", PENGUIN)
    assert answer.status_code == 404
    assert all(model in answer.json()["detail"] for model in ("tulips", *MODELS))
