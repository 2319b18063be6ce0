"""Any model folder is served by the same code: classifiers, a regressor, an image network, several at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from models import photos
from runtimes.base import Stack
from tests.conftest import Start
from tests.support import SETOSA, VIRGINICA, metric

PHOTOS = Path(__file__).parents[3] / "models" / "build" / "photos"
HEADER_LENGTH = "Inference-Header-Content-Length"
SMALL = ("iris_rf", "iris_mlp", "petal_width", "iris")
NAMES = ("sepal_length", "sepal_width", "petal_length", "petal_width")


@pytest.fixture(scope="module")
def several(start_shared: Start) -> Stack:
    return start_shared("web_single", MODEL=",".join(SMALL))


@pytest.fixture(scope="module")
def imagenet(start_shared: Start) -> Stack:
    return start_shared("web_single", MODEL="imagenet_lite0_int8")


def infer(stack: Stack, model: str, *rows: list[float]) -> list[Any]:
    """The main output of a model whose input is called features."""
    flat = [value for row in rows for value in row]
    tensor = {"name": "features", "shape": [len(rows), len(rows[0])], "datatype": "FP32", "data": flat}
    answer = httpx.post(f"{stack.url()}/v2/models/{model}/infer", json={"inputs": [tensor]}, timeout=10).json()
    assert answer["model_name"] == model
    return list(answer["outputs"][0]["data"])


@pytest.mark.parametrize("model", ["iris", "iris_rf", "iris_mlp"])
def test_every_classifier_tells_the_species_apart(several: Stack, model: str) -> None:
    probabilities = np.reshape(infer(several, model, SETOSA, VIRGINICA), (2, 3))
    assert probabilities.argmax(axis=1).tolist() == [0, 2]
    assert probabilities.sum(axis=1) == pytest.approx([1, 1], abs=1e-5)


def test_a_regressor_estimates_a_length(several: Stack) -> None:
    assert infer(several, "petal_width", SETOSA[:3], VIRGINICA[:3]) == pytest.approx([0.2, 2.3], abs=0.4)


def test_several_models_are_listed_ready_and_counted_each_by_its_name(http: httpx.Client, several: Stack) -> None:
    assert http.get(f"{several.url()}/v2/models").json() == {"models": list(SMALL)}
    index = http.post(f"{several.url()}/v2/repository/index").json()
    assert [(one["name"], one["version"], one["state"]) for one in index] == [(name, "1", "READY") for name in SMALL]
    for name in SMALL:
        before = metric(several.url(), "serving_inference_duration_seconds_count", model=name)
        infer(several, name, SETOSA[:3] if name == "petal_width" else SETOSA)
        assert metric(several.url(), "serving_inference_duration_seconds_count", model=name) == before + 1
        assert metric(several.url(), "serving_model_info", model=name) == 1


def test_predict_is_for_the_first_model(http: httpx.Client, several: Stack) -> None:
    row = dict(zip(NAMES, VIRGINICA, strict=True))
    answer = http.post(f"{several.url()}/predict", json={"instances": [row]}).json()
    assert answer["model_name"] == "iris_rf"
    assert answer["predictions"][0]["label"] == "virginica"


def test_an_image_network_knows_real_photographs(http: httpx.Client, imagenet: Stack) -> None:
    manifest = http.get(f"{imagenet.url()}/metadata").json()["model"]
    places = [place(http, imagenet, manifest, **example) for example in manifest["examples"]]
    assert len(places) == 4
    assert places.count(0) >= 3  # a cat may be taken for another one
    assert max(places) < 5


def place(http: httpx.Client, stack: Stack, manifest: dict[str, Any], photo: str, answer: str) -> int:
    """At which place, from 0, the model puts the right answer."""
    with Image.open(PHOTOS / photo) as picture:
        pixels = photos.preprocess(picture, manifest["preprocessing"]["steps"])[None]
    order = binary(http, stack, pixels)[0].argsort()[::-1].tolist()
    return int(order.index(manifest["labels"].index(answer)))


def binary(http: httpx.Client, stack: Stack, pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The logits, both ways over the binary tensor extension."""
    data = pixels.astype("<f4").tobytes()
    described = {"name": "image", "shape": pixels.shape, "datatype": "FP32"}
    head = {
        "inputs": [described | {"parameters": {"binary_data_size": len(data)}}],
        "parameters": {"binary_data_output": True},
    }
    content = json.dumps(head).encode()
    answer = http.post(
        f"{stack.url()}/v2/models/imagenet_lite0_int8/infer",
        content=content + data,
        headers={HEADER_LENGTH: str(len(content)), "Content-Type": "application/octet-stream"},
    )
    assert answer.status_code == 200, answer.text
    return np.frombuffer(answer.content[int(answer.headers[HEADER_LENGTH]) :], "<f4").reshape(-1, 1000)


def test_predict_sends_callers_of_an_image_network_elsewhere(http: httpx.Client, imagenet: Stack) -> None:
    answer = http.post(f"{imagenet.url()}/predict", json={"instances": [{"image": 1.0}]})
    assert answer.status_code == 404
    assert "/v2/models/imagenet_lite0_int8/infer" in answer.json()["detail"]
