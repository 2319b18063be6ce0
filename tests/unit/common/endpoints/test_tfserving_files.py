"""Files of pictures in :predict, as an image model of TensorFlow Serving takes them, over REST and gRPC."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any

import grpc
import grpc.aio
import httpx
import numpy as np
import pytest
import pytest_asyncio
from PIL import Image

from common.endpoints.oip_grpc import serve_grpc
from common.endpoints.tfserving_grpc import add_tfserving
from common.endpoints.tfserving_rest import TfServingRoute, tfserving_routes
from common.http.fastapi_app import build_app
from common.inference.executor import BoundedExecutor
from common.preprocessing.items import ItemPreparer
from common.protocol.grpc import tfserving_pb2 as pb
from common.protocol.grpc import tfserving_pb2_grpc as pb_grpc
from common.protocol.grpc.tfserving_tensors import decode, encode
from tests.unit.common.endpoints.fake_backend import FakeBackend, flowers
from tests.unit.common.endpoints.item_models import colours, sums
from tests.unit.common.endpoints.test_tfserving_rest import nothing
from tests.unit.common.observability.captured_log import CapturedLog
from tests.unit.common.ports import free_port
from tests.unit.common.preprocessing.picture_files import BLUE, RED, jpeg, png
from tests.unit.common.serving import served

REDS, BLUES = png(Image.new("RGB", (8, 8), RED)), jpeg(Image.new("RGB", (9, 4), BLUE))
PREDICT = "/v1/models/colours:predict"
SCORES = np.array([[1, 0, 0], [0, 0, 1]])


def b64(file: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(file).decode()}


@pytest.fixture(scope="module")
def items() -> Iterator[ItemPreparer]:
    with BoundedExecutor(1, 8) as executor:
        yield ItemPreparer(executor, 10_000)


@pytest.fixture(scope="module")
def client(items: ItemPreparer) -> Iterator[httpx.Client]:
    backend = FakeBackend(colours(), sums(), flowers())
    routers, direct = [tfserving_routes(backend, items)], [TfServingRoute(backend, items)]
    app = build_app(CapturedLog().service(), routers=routers, direct=direct, resources=nothing)
    with served(app) as running, httpx.Client(base_url=running.url, timeout=20) as client:
        yield client


BOTH = [b64(REDS), b64(BLUES)]
FORMS: dict[str, Any] = {
    "rows": {"instances": BOTH},
    "rows by the signature's name": {"instances": [{"image_bytes": one} for one in BOTH]},
    "rows by the model's name": {"instances": [{"image": one} for one in BOTH]},
    "signature named": {"instances": BOTH, "signature_name": "serving_bytes"},
    "columns": {"inputs": BOTH},
    "columns by name": {"inputs": {"image_bytes": BOTH}},
}


@pytest.mark.parametrize("form", FORMS)
def test_files_of_both_kinds_give_a_row_each(client: httpx.Client, form: str) -> None:
    answer = client.post(PREDICT, json=FORMS[form])
    assert answer.status_code == 200, answer.text
    (scores,) = answer.json().values()
    assert scores == pytest.approx(SCORES, abs=0.02)


@pytest.mark.parametrize("inputs", [b64(REDS), {"image_bytes": b64(REDS)}])
def test_one_file_may_stand_alone(client: httpx.Client, inputs: Any) -> None:
    assert client.post(PREDICT, json={"inputs": inputs}).json() == {"outputs": [[1, 0, 0]]}


def test_tensors_are_taken_as_before(client: httpx.Client) -> None:
    half = np.full((1, 3, 2, 2), 0.5).tolist()
    for body in ({"instances": half}, {"instances": [{"image": half[0]}]}):
        assert client.post(PREDICT, json=body).json() == {"predictions": [[0.5, 0.5, 0.5]]}
    assert client.post(PREDICT, json={"inputs": {"image": half}}).json() == {"outputs": [[0.5, 0.5, 0.5]]}


REFUSED: dict[str, tuple[Any, int, str]] = {
    "no picture": ([b64(REDS), b64(b"GIF89a")], 415, "instances[1]: picture: is a GIF"),
    "cut short": ([b64(REDS[:60])], 400, "instances[0]: picture: is cut short"),
    "too many pixels": ([b64(png(Image.new("RGB", (200, 200))))], 413, "instances[0]: picture: has 200 x 200"),
    "not base64": ([{"b64": "*"}], 400, "instances[0]: is not valid base64"),
    "another name": ([{"photo": b64(REDS)}], 400, "instances[0]: expected ['image'], got ['photo']"),
    "a file beside a number": ([b64(REDS), {"image": 1}], 400, 'instances[1]: expected {"b64": text}'),
    "too many": ([b64(REDS)] * 65, 400, "instances: expected 1 to 64 files"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_wrong_file_is_named_by_its_row(client: httpx.Client, case: str) -> None:
    instances, status, reason = REFUSED[case]
    answer = client.post(PREDICT, json={"instances": instances})
    assert (answer.status_code, answer.json()["error"][: len(reason)]) == (status, reason)


def test_the_signature_of_files_is_told_and_takes_nothing_else(client: httpx.Client) -> None:
    told = client.get("/v1/models/colours/metadata").json()["metadata"]["signature_def"]["signature_def"]
    assert told["serving_bytes"]["inputs"]["image_bytes"]["dtype"] == "DT_STRING"
    numbers = {"instances": np.zeros((1, 3, 2, 2)).tolist(), "signature_name": "serving_bytes"}
    assert "expected files" in client.post(PREDICT, json=numbers).json()["error"]
    for model in ("flowers", "sums"):  # these do not take pictures
        told = client.get(f"/v1/models/{model}/metadata").json()["metadata"]["signature_def"]["signature_def"]
        assert "serving_bytes" not in told
        answer = client.post(f"/v1/models/{model}:predict", json={"instances": [b64(REDS)]})
        assert answer.status_code == 400


@pytest_asyncio.fixture
async def stub(items: ItemPreparer) -> AsyncIterator[Any]:
    port, services = free_port(), [partial(add_tfserving, items=items)]
    async with (
        serve_grpc(FakeBackend(colours()), CapturedLog().service(), "127.0.0.1", port, services),
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        yield pb_grpc.PredictionServiceStub(channel)


@pytest.mark.parametrize("name", ["image_bytes", "image"])
async def test_files_over_grpc_give_the_same_rows(stub: Any, name: str) -> None:
    files = encode(np.array([REDS, BLUES], object))
    answer = await stub.Predict(pb.PredictRequest(model_spec={"name": "colours"}, inputs={name: files}), timeout=20)
    assert decode(answer.outputs["probabilities"], "", 1000) == pytest.approx(SCORES, abs=0.02)
    wrong = pb.PredictRequest(model_spec={"name": "colours"}, inputs={name: encode(np.array([b"GIF89a"], object))})
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Predict(wrong, timeout=20)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "picture: is a GIF" in str(caught.value.details())
