"""Clients of TensorFlow Serving ask both models unchanged: over REST and gRPC, with pictures, and about their state."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest

from common.inference.manifest import Manifest
from common.preprocessing.steps import preparer
from common.protocol.grpc import tfserving_pb2 as pb
from common.protocol.grpc import tfserving_pb2_grpc as pb_grpc
from common.protocol.grpc import tfserving_tensor_pb2 as tensor_pb
from runtimes.base import Stack
from tests.asking.synchronous import PHOTOS, opened
from tests.conftest import Start
from tests.support import metric

ROOT = Path(__file__).parents[3]
NAMES = {None: "imagenet_lite0", "end_to_end": "imagenet_lite0_end_to_end"}
SMALL = (240, 160)  # as JSON, every pixel costs a dozen bytes


@pytest.fixture(params=NAMES, ids=["separate", "end_to_end"])
def variant(request: pytest.FixtureRequest) -> str | None:
    found: str | None = request.param
    return found


@pytest.fixture
def stack(start_shared: Start, variant: str | None) -> Stack:
    return start_shared("synchronous", variant)


@pytest.fixture
def models(stack: Stack, variant: str | None) -> str:
    return f"{stack.url()}/v1/models/{NAMES[variant]}"


@pytest.fixture
def channel(stack: Stack) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(stack.grpc()) as channel:
        grpc.channel_ready_future(channel).result(10)
        yield channel


def picture(stack: Stack, http: httpx.Client) -> tuple[str, Any]:
    """The name of the model's input and an espresso as it wants it, for one row."""
    model = Manifest.model_validate(http.get(f"{stack.url()}/metadata").json()["model"])
    name = model.inputs[0].name
    if name == "pixels":
        return name, np.asarray(opened("coffee.jpg").resize(SMALL))[None]
    return name, preparer(model).prepare(opened("coffee.jpg"))[name]


def best(stack: Stack, http: httpx.Client, predictions: Any) -> str:
    """The top class of a row: the end-to-end graph outputs its name, the network outputs logits."""
    if isinstance(predictions, dict):
        return str(predictions["labels"][0])
    labels = http.get(f"{stack.url()}/metadata").json()["model"]["labels"]
    return str(labels[int(np.argmax(predictions))])


def test_files_of_photos_over_rest_and_grpc(
    http: httpx.Client, stack: Stack, models: str, channel: grpc.Channel, variant: str | None
) -> None:
    """As an image SavedModel takes them: base64 in JSON, strings over gRPC."""
    photos = [PHOTOS["coffee.jpg"], PHOTOS["rocket.jpg"]]
    instances = [{"b64": base64.b64encode(photo).decode()} for photo in photos]
    rows = http.post(f"{models}:predict", json={"instances": instances}).json()["predictions"]
    assert [best(stack, http, row) for row in rows] == ["espresso", "missile"]
    stub: Any = pb_grpc.PredictionServiceStub(channel)
    files = tensor_pb.TensorProto(dtype=tensor_pb.DT_STRING, string_val=photos[:1])
    files.tensor_shape.dim.add(size=1)
    asked = pb.PredictRequest(model_spec={"name": NAMES[variant]}, inputs={"image_bytes": files})
    outputs = stub.Predict(asked, timeout=20).outputs
    assert all(outputs[name].tensor_shape.dim[0].size == 1 for name in outputs)


def test_a_picture_over_rest(http: httpx.Client, stack: Stack, models: str) -> None:
    name, array = picture(stack, http)
    for instances in (array.tolist(), [{name: row} for row in array.tolist()]):
        answer = http.post(f"{models}:predict", content=json.dumps({"instances": instances}))
        assert answer.status_code == 200, answer.text
        (row,) = answer.json()["predictions"]
        assert best(stack, http, row) == "espresso"


def test_a_picture_over_grpc(http: httpx.Client, stack: Stack, channel: grpc.Channel, variant: str | None) -> None:
    name, array = picture(stack, http)
    stub: Any = pb_grpc.PredictionServiceStub(channel)
    dtype = {"pixels": "DT_UINT8", "image": "DT_FLOAT"}[name]
    sizes = [{"size": size} for size in array.shape]
    tensor = tensor_pb.TensorProto(dtype=dtype, tensor_shape={"dim": sizes}, tensor_content=array.tobytes())
    answer = stub.Predict(pb.PredictRequest(model_spec={"name": NAMES[variant]}, inputs={name: tensor}), timeout=20)
    if name == "pixels":
        assert answer.outputs["labels"].string_val[0] == b"espresso"
        assert best(stack, http, {"labels": [answer.outputs["labels"].string_val[0].decode()]}) == "espresso"
    else:
        assert best(stack, http, list(answer.outputs["logits"].float_val)) == "espresso"
    assert answer.model_spec.version.value == 1


def test_a_client_that_knows_the_model_by_its_signature_alone(stack: Stack, variant: str | None) -> None:
    command = [sys.executable, "-m", "tests.clients.tfserving_client", stack.grpc(), NAMES[variant] or ""]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    assert answers["status"] == [[1, "AVAILABLE", 0]]
    assert answers["methods"] == dict.fromkeys(("serving_default", "serving_bytes"), "tensorflow/serving/predict")
    assert answers["typed"] == answers["content"]
    assert all(one["shape"][0] == 2 for one in answers["typed"]["outputs"].values())
    assert len(answers["filtered"]["outputs"]) == 1
    refused = {name: answers[name] for name in ("nothing", "unknown model", "multi")}
    assert refused == {"nothing": "INVALID_ARGUMENT", "unknown model": "NOT_FOUND", "multi": "UNIMPLEMENTED"}


def test_state_and_signature_over_rest(http: httpx.Client, models: str) -> None:
    (version,) = http.get(models).json()["model_version_status"]
    assert (version["version"], version["state"]) == ("1", "AVAILABLE")
    signatures = http.get(f"{models}/versions/1/metadata").json()["metadata"]["signature_def"]["signature_def"]
    assert set(signatures) == {"serving_default", "serving_bytes"}


def test_an_image_model_has_no_features_to_classify_by(http: httpx.Client, models: str) -> None:
    answer = http.post(f"{models}:classify", json={"examples": [{"image": {"b64": "AAAA"}}]})
    assert answer.status_code == 400
    assert "it has no named features; send tensors to :predict" in answer.json()["error"]


def test_what_is_wrong_is_refused_before_any_inference(http: httpx.Client, stack: Stack, models: str) -> None:
    def runs() -> float:
        return metric(stack.url(), "serving_inference_duration_seconds_count", stage="infer")

    before = runs()
    wrong: list[Any] = [
        {},
        {"instances": []},
        {"instances": [[1, 2]]},
        {"instances": ["cat.jpg"]},
        {"inputs": {"cat": 1}},
    ]
    for body in wrong:
        assert http.post(f"{models}:predict", json=body).status_code == 400
    assert http.post(f"{stack.url()}/v1/models/tulips:predict", json={"instances": [1]}).status_code == 404
    assert runs() == before
