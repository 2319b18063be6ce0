"""TorchServe's inference API over a real server: pictures, values and numbers, forms of answers and of errors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from PIL import Image

from common.endpoints.torchserve import TorchServeRoute, torchserve_routes
from common.http.fastapi_app import build_app
from common.inference.executor import BoundedExecutor
from common.preprocessing.items import ItemPreparer
from tests.unit.common.endpoints.fake_backend import FakeBackend, area, broken, captions
from tests.unit.common.endpoints.item_models import colours, lengths, sums
from tests.unit.common.endpoints.test_tfserving_rest import nothing
from tests.unit.common.observability.captured_log import CapturedLog
from tests.unit.common.preprocessing.picture_files import RED, png
from tests.unit.common.serving import RunningServer, served

REDS = png(Image.new("RGB", (8, 8), RED))
ANSWER = {"red": 1.0, "green": 0.0, "blue": 0.0}


@pytest.fixture(scope="module")
def running() -> Iterator[RunningServer]:
    backend, service = (
        FakeBackend(colours(), sums(), lengths(), area(), captions(), broken(), loading="late"),
        CapturedLog().service(),
    )
    with BoundedExecutor(1, 8) as executor:
        routers = [torchserve_routes(backend, service.health)]
        direct = [TorchServeRoute(backend, ItemPreparer(executor, 10_000))]
        with served(build_app(service, routers=routers, direct=direct, resources=nothing)) as running:
            yield running


@pytest.fixture(scope="module")
def client(running: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running.url, timeout=20) as client:
        yield client


@pytest.mark.parametrize("method", ["POST", "PUT"])  # `curl -T` sends PUT
@pytest.mark.parametrize("path", ["/predictions/colours", "/predictions/colours/1", "/predictions/colours/1.0"])
@pytest.mark.parametrize(
    "body",
    [
        {"content": REDS},
        {"content": REDS, "headers": {"Content-Type": "application/x-www-form-urlencoded"}},
        {"files": {"data": ("red.png", REDS, "image/png")}},
        {"files": {"body": ("red.png", REDS)}},
    ],
    ids=["bytes", "curl --data-binary", "form", "form with body"],
)
def test_a_picture_gets_its_most_probable_labels(
    client: httpx.Client, method: str, path: str, body: dict[str, Any]
) -> None:
    answer = client.request(method, path, **body)
    assert answer.status_code == 200, answer.text
    assert answer.json() == pytest.approx(ANSWER, abs=0.02)
    assert next(iter(answer.json())) == "red"


def test_values_and_rows_of_numbers_get_the_first_output(client: httpx.Client) -> None:
    assert client.post("/predictions/sums", json={"a": 1, "b": 2.5}).json() == [3.5]
    assert client.post("/predictions/sums", json=[[1, 2], [3, 4]]).json() == [[3], [7]]
    assert client.post("/predictions/area", json=[[2, 3]]).json() == [[6]]


REFUSED: dict[str, tuple[str, dict[str, Any], int, str, str]] = {
    "unknown model": ("/tulips", {"content": REDS}, 404, "ModelNotFoundException", "no model 'tulips'"),
    "unknown version": ("/colours/7", {"content": REDS}, 404, "ModelNotFoundException", "in version '7'"),
    "longer path": ("/colours/1/2", {"content": REDS}, 404, "ModelNotFoundException", "no path"),
    "loading": ("/late", {"content": REDS}, 503, "ServiceUnavailableException", "loading"),
    "no picture": ("/colours", {"content": b"GIF89a"}, 415, "BadRequestException", "picture: is a GIF"),
    "nothing": ("/colours", {"content": b""}, 400, "BadRequestException", "picture: is empty"),
    "another part": ("/colours", {"files": {"x": REDS}}, 400, "BadRequestException", "data or body, got: x"),
    "parts": ("/colours", {"files": [("x", REDS)] * 65}, 400, "BadRequestException", "at most 64 parts"),
    "values": ("/sums", {"json": {"a": 1, "b": [2] * 40_000}}, 413, "BadRequestException", "at most 65536 bytes"),
    "no boundary": (
        "/colours",
        {"content": REDS, "headers": {"Content-Type": "multipart/form-data"}},
        400,
        "BadRequestException",
        "with a boundary",
    ),
    "wrong value": ("/sums", {"json": {"a": "x", "b": 1}}, 400, "BadRequestException", "a: expected a number"),
    "NaN value": ("/sums", {"content": b'{"a": NaN, "b": 1}'}, 400, "BadRequestException", "body: is not valid JSON"),
    "value not UTF-8": ("/sums", {"content": b'{"a\xff": 1}'}, 400, "BadRequestException", "body: is not valid JSON"),
    "text not UTF-8": ("/lengths", {"content": b"na\xefve"}, 400, "BadRequestException", "got b'\\xefve' at byte 2"),
    "not JSON": ("/area", {"content": b"[[1, 2"}, 400, "BadRequestException", "body: is not valid JSON"),
    "no list": ("/area", {"json": {"x": 1}}, 400, "BadRequestException", "body: expected `array`"),
    "another width": ("/area", {"json": [[1]]}, 400, "BadRequestException", "expected [-1, 2], got [1, 1]"),
    "text model": ("/captions", {"json": [["a"]]}, 400, "BadRequestException", "text (BYTES), times (INT64)"),
    "NaN": ("/broken", {"json": [[1]]}, 500, "InternalServerException", "NaN or infinity"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_error_has_torchserves_form(client: httpx.Client, case: str) -> None:
    path, body, status, kind, reason = REFUSED[case]
    answer = client.post(f"/predictions{path}", **body)
    assert answer.status_code == status, answer.text
    told = answer.json()
    assert (told["code"], told["type"], reason in told["message"]) == (status, kind, True), told


def test_another_method_is_refused(client: httpx.Client) -> None:
    answer = client.delete("/predictions/colours")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST, PUT")
    assert answer.json()["type"] == "MethodNotAllowedException"


def test_ping_and_models_are_those_of_torchserve(client: httpx.Client, running: RunningServer) -> None:
    assert client.get("/ping").json() == {"status": "Healthy"}
    listed = client.get("/models").json()["models"]
    assert {"modelName": "colours", "modelUrl": "colours/1"} in listed
    health = running.app.service.health
    health.add_readiness_check(lambda: "a test")
    answer = client.get("/ping")
    assert (answer.status_code, answer.json()) == (503, {"status": "Unhealthy"})
