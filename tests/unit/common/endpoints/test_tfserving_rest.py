"""TensorFlow Serving's REST surface over a real server: its routes, forms, signatures, statuses, metrics, document."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode

from common.endpoints.tfserving_rest import TfServingRoute, tfserving_routes
from common.http.fastapi_app import build_app
from tests.unit.common.endpoints.fake_backend import FakeBackend, area, broken, captions, flowers
from tests.unit.common.observability.captured_log import CapturedLog
from tests.unit.common.polling import wait_until
from tests.unit.common.serving import served

FLOWERS, AREA, CAPTIONS = "/v1/models/flowers", "/v1/models/area", "/v1/models/captions"
ROW = {"length": 0.25, "width": 2}


class Surface:
    """A served backend and a client of it."""

    def __init__(self, client: httpx.Client, backend: FakeBackend, logged: CapturedLog) -> None:
        self.client, self.backend, self.logged = client, backend, logged

    def ask(self, path: str, body: Any, status: int = 200, **headers: str) -> Any:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = self.client.post(path, json=body, headers=named)
        assert answer.status_code == status, answer.text
        return answer.json()

    def refusal(self, path: str, body: Any, status: int = 400, **headers: str) -> str:
        said = self.ask(path, body, status, **headers)
        assert set(said) == {"error"}
        return str(said["error"])

    def get(self, path: str, status: int = 200) -> Any:
        answer = self.client.get(path)
        assert answer.status_code == status, answer.text
        return answer.json()


@asynccontextmanager
async def nothing() -> AsyncIterator[None]:
    yield


@pytest.fixture(scope="module")
def surface() -> Iterator[Surface]:
    backend = FakeBackend(flowers(), area(), captions("1"), captions("12"), captions("2"), broken(), loading="late")
    logged = CapturedLog()
    app = build_app(
        logged.service(), routers=[tfserving_routes(backend)], direct=[TfServingRoute(backend)], resources=nothing
    )
    with served(app) as running, httpx.Client(base_url=running.url, timeout=20) as client:
        yield Surface(client, backend, logged)


@pytest.mark.parametrize("place", ["", "/versions/3"], ids=["newest", "by version"])
@pytest.mark.parametrize("signature", [{}, {"signature_name": ""}, {"signature_name": "serving_default"}])
def test_rows_give_predictions(surface: Surface, place: str, signature: dict[str, str]) -> None:
    answer = surface.ask(f"{FLOWERS}{place}:predict", {"instances": [[0.25, 1], [1, 0]], **signature})
    assert answer == {"predictions": [{"scores": [0.75, 0.25], "label": 0}, {"scores": [0, 1], "label": 1}]}


def test_columns_give_outputs(surface: Surface) -> None:
    answer = surface.ask(f"{FLOWERS}:predict", {"inputs": {"x": [[0.25, 1], [1, 0]]}})
    assert answer == {"outputs": {"scores": [[0.75, 0.25], [0, 1]], "label": [0, 1]}}


def test_one_output_needs_no_name(surface: Surface) -> None:
    assert surface.ask(f"{AREA}:predict", {"instances": [{"x": [2, 3]}]}) == {"predictions": [[6.0]]}
    assert surface.ask(f"{AREA}:predict", {"inputs": [[2, 3]]}) == {"outputs": [[6.0]]}


def test_several_inputs_come_by_name_and_bytes_as_base64(surface: Surface) -> None:
    rows = [{"text": "ha", "times": 2}, {"text": {"b64": "aG8="}, "times": 1}]
    assert surface.ask(f"{CAPTIONS}:predict", {"instances": rows}) == {
        "predictions": [
            {"caption": "haha", "png_bytes": {"b64": "/2hhaGE="}},
            {"caption": "ho", "png_bytes": {"b64": "/2hv"}},
        ]
    }


@pytest.mark.parametrize("content_type", ["application/json", "application/x-www-form-urlencoded", "text/plain"])
def test_the_content_type_does_not_matter(surface: Surface, content_type: str) -> None:
    content, headers = b'{"instances": [[2, 3]]}', {"Content-Type": content_type}
    assert surface.client.post(f"{AREA}:predict", content=content, headers=headers).json() == {"predictions": [[6.0]]}


@pytest.mark.parametrize("signature", ["", "serving_default", "classification"])
def test_examples_are_classified(surface: Surface, signature: str) -> None:
    body = {"examples": [ROW, {"length": [1], "width": 0}], "signature_name": signature}
    answer = surface.ask(f"{FLOWERS}:classify", body)
    assert answer == {"results": [[["rose", 0.75], ["daisy", 0.25]], [["rose", 0], ["daisy", 1]]]}


def test_examples_are_regressed_with_what_their_context_has(surface: Surface) -> None:
    body = {"examples": [{"length": 3}, {"length": 4, "width": 1}], "context": {"width": 2.5}}
    assert surface.ask(f"{AREA}:regress", body) == {"results": [7.5, 4.0]}


def test_a_score_is_as_short_as_its_type_allows(surface: Surface) -> None:
    content = surface.client.post(f"{FLOWERS}:classify", json={"examples": [{"length": 0.1, "width": 1}]}).content
    assert b'["daisy",0.1]' in content


@pytest.mark.parametrize(
    ("path", "body", "reason"),
    [
        (f"{FLOWERS}:predict", {}, "body: expected either instances"),
        (f"{FLOWERS}:predict", {"instances": [[1]]}, "instances.x.shape: expected [-1, 2], got [1, 1]"),
        (f"{FLOWERS}:predict", {"inputs": {"x": [[]]}}, "inputs.x.shape: expected [-1, 2], got [1, 0]"),
        (f"{CAPTIONS}:predict", {"inputs": {"text": ["a"], "times": [1, 2]}}, "expected 1 rows like the other inputs"),
        (f"{FLOWERS}:predict", {"instances": [[1, 2]], "signature_name": "x"}, "expected one of ['classification', "),
        (f"{FLOWERS}:predict", {"instances": [[1, 2]], "signature_name": "classification"}, "is for :classify"),
        (f"{FLOWERS}:classify", {"examples": [ROW], "signature_name": "regression"}, "signature_name: expected one of"),
        (f"{FLOWERS}:classify", {"examples": []}, "examples: expected at least one"),
        (f"{FLOWERS}:classify", {"examples": [{"length": 1}]}, "examples[0]: expected features length, width; "),
        (f"{FLOWERS}:classify", {"examples": [ROW, {**ROW, "w": 1}]}, "examples[1]: expected features"),
        (f"{FLOWERS}:classify", {"examples": [{}], "context": {**ROW, "w": 1}}, "context: expected features"),
        (f"{FLOWERS}:classify", {"examples": [{}], "context": {**ROW, "width": "1"}}, "context.width: expected a num"),
        (f"{FLOWERS}:classify", {"examples": [{"w": 1}], "context": ROW}, "examples[0]: expected features"),
        (f"{FLOWERS}:classify", {"examples": [{**ROW, "width": "1"}]}, "examples[0].width expected a number, got '1'"),
        (f"{FLOWERS}:classify", {"examples": [{**ROW, "width": True}]}, "examples[0].width expected a number"),
        (f"{FLOWERS}:classify", {"examples": [{**ROW, "width": [1, 2]}]}, "expected one value, got 2"),
        (f"{FLOWERS}:classify", {"examples": [{**ROW, "width": 1e39}]}, "is outside the range of FP32"),
        (f"{FLOWERS}:classify", {"examples": [{**ROW, "width": 10**400}]}, "is outside the range of FP32"),
        (f"{FLOWERS}:regress", {"examples": [ROW]}, "no examples for :regress, since its task is classification"),
        (f"{AREA}:classify", {"examples": [ROW]}, "accepts no examples for :classify, since its task is regression"),
        ("/v1/models/broken:classify", {"examples": [ROW]}, "it has no named features; send tensors to :predict"),
        (f"{FLOWERS}/labels/stable:predict", {"instances": [[1, 2]]}, "unrecognized servable version label: 'stable'"),
    ],
)  # fmt: skip
def test_a_wrong_request_is_refused_and_says_why(surface: Surface, path: str, body: Any, reason: str) -> None:
    before = len(surface.backend.asked)
    assert reason in surface.refusal(path, body)
    assert len(surface.backend.asked) == before


@pytest.mark.parametrize(
    "path", ["/v1/models/tulips:predict", f"{FLOWERS}/versions/7:predict", "/v1/models/a/b:predict"]
)
def test_what_is_not_served_is_not_found(surface: Surface, path: str) -> None:
    assert surface.refusal(path, {"instances": [[1, 2]]}, 404)


def test_a_model_that_is_loading_is_not_ready(surface: Surface) -> None:
    assert "loading" in surface.refusal("/v1/models/late:predict", {"instances": [[1]]}, 503)
    assert "loading" in surface.get("/v1/models/late", 503)["error"]


def test_nan_is_no_answer(surface: Surface) -> None:
    said = surface.refusal("/v1/models/broken:predict", {"instances": [[1]]}, 400)
    assert said == "outputs: 'y' has nan at element 0, which JSON cannot carry; call Predict over gRPC"


def test_a_direct_route_takes_only_post(surface: Surface) -> None:
    answer = surface.client.get(f"{FLOWERS}:predict")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


def test_a_spent_deadline_starts_no_inference(surface: Surface) -> None:
    before = len(surface.backend.asked)
    surface.refusal(f"{AREA}:predict", {"instances": [[2, 3]]}, 504, x_request_timeout_seconds="0.000001")
    assert len(surface.backend.asked) == before


def version(number: str) -> dict[str, Any]:
    return {"version": number, "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}


def test_the_status_lists_the_versions_that_answer_newest_first(surface: Surface) -> None:
    assert surface.get(CAPTIONS) == {"model_version_status": [version("12"), version("2"), version("1")]}
    assert surface.get(f"{CAPTIONS}/versions/2") == {"model_version_status": [version("2")]}


@pytest.mark.parametrize("rest", ["", "/metadata"])
def test_neither_an_unknown_model_nor_a_label_has_a_status(surface: Surface, rest: str) -> None:
    assert surface.get(f"/v1/models/tulips{rest}", 404)["error"]
    assert surface.get(f"{CAPTIONS}/versions/7{rest}", 404)["error"]
    assert "label" in surface.get(f"{CAPTIONS}/labels/stable{rest}", 400)["error"]


def test_the_metadata_tells_the_signatures(surface: Surface) -> None:
    told = surface.get(f"{FLOWERS}/metadata")
    assert told["model_spec"] == {"name": "flowers", "signature_name": "", "version": "3"}
    found = told["metadata"]["signature_def"]["signature_def"]
    assert {name: one["method_name"] for name, one in found.items()} == {
        "serving_default": "tensorflow/serving/predict",
        "classification": "tensorflow/serving/classify",
    }
    sizes = [{"size": "-1", "name": ""}, {"size": "2", "name": ""}]
    assert found["serving_default"]["inputs"] == {
        "x": {"name": "x:0", "dtype": "DT_FLOAT", "tensor_shape": {"dim": sizes, "unknown_rank": False}}
    }
    assert set(found["classification"]["outputs"]) == {"classes", "scores"}
    only = surface.get(f"{CAPTIONS}/metadata")["metadata"]["signature_def"]["signature_def"]
    assert set(only) == {"serving_default"}


def test_requests_are_counted_and_logged_by_route(surface: Surface) -> None:
    surface.ask(f"{CAPTIONS}/versions/2:predict", {"instances": [{"text": "a", "times": 1}]}, x_request_id="order-66")
    route = "/v1/models/{model}/versions/{version}:predict"

    def lines() -> list[dict[str, Any]]:
        return [one for one in surface.logged.lines("request") if one["request_id"] == "order-66"]

    wait_until(lines, "its line, which may come a moment after the answer")
    (line,) = lines()
    assert (line["route"], line["model"], line["status"]) == (route, "captions", "200")
    counted = [one for one in surface.client.get("/metrics").text.splitlines() if f'route="{route}"' in one]
    assert any(one.startswith("serving_requests_total") and one.endswith(" 1.0") for one in counted)


def test_every_example_of_the_document_works(surface: Surface) -> None:
    tried = []
    for path, methods in surface.get("/openapi.json")["paths"].items():
        body = methods.get("post", {}).get("requestBody", {}).get("content", {}).get("application/json", {})
        if path.startswith("/v1") and "example" in body:
            surface.ask(path.format(model="flowers", version="3"), body["example"])
            tried.append(path.rpartition(":")[2])
    assert tried == ["predict", "predict", "classify", "classify"]


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_no_request_gets_a_5xx(surface: Surface, mode: GenerationMode) -> None:
    schema = schemathesis.openapi.from_url(f"{surface.client.base_url}/openapi.json").include(path_regex="^/v1")
    quiet = list(HealthCheck)
    for found in schema.get_all_operations():
        operation = found.ok()

        @settings(max_examples=5, deadline=None, database=None, derandomize=True, suppress_health_check=quiet)
        @given(case=operation.as_strategy(generation_mode=mode))
        def answer_is_no_5xx(case: schemathesis.Case) -> None:
            assert case.call(timeout=10).status_code < 500, case.as_curl_command()

        answer_is_no_5xx()
