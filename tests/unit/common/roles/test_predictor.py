"""The stock predictor over HTTP: the protocol's routes, refusals, callers who leave, faults, health and metrics."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from common.inference.manifest import fingerprint
from common.roles.predictor import Settings, create_process
from tests.unit.common.inference import tiny_models as tiny
from tests.unit.common.observability.captured_log import CapturedLog
from tests.unit.common.polling import wait_until
from tests.unit.common.protocol.request_bodies import binary_body, body, tensor
from tests.unit.common.serving import RunningServer, served

JSON = {"Content-Type": "application/json"}
ROW = tensor("FP32", [1, 2], [1.0, 2.0])
INFER = "/v2/models/tiny/infer"
USUAL = body(ROW)


class Predictor:
    """A served predictor of `tiny`, which gives the sum of each row, and a client of it."""

    def __init__(self, running: RunningServer, client: httpx.Client, logged: CapturedLog) -> None:
        self.running, self.client, self.logged = running, client, logged

    def infer(self, content: bytes = USUAL, path: str = INFER, headers: dict[str, str] | None = None) -> httpx.Response:
        return self.client.post(path, content=content, headers=JSON | (headers or {}))

    def faults(self, **faults: Any) -> None:
        assert self.client.post("/faults", json=faults).json() == {
            "latency_seconds": 0.0, "error_share": 0.0, "hang": False, "narrow": False, **faults,
        }  # fmt: skip

    def metric(self, name: str) -> float:
        lines = self.client.get("/metrics").text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


@contextmanager
def predictor(root: Path, **settings: Any) -> Iterator[Predictor]:
    logged = CapturedLog()
    asked = {"model": "tiny", "model_repository": root, "grpc_port": 0, "faults": True, **settings}
    app = create_process(Settings.model_validate(asked), logged.logs).app
    with served(app) as running, httpx.Client(base_url=running.url, timeout=20) as client:
        wait_until(lambda: client.get("/readyz").status_code == 200, "readiness")
        yield Predictor(running, client, logged)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    tiny.write(root, tiny.total())
    return root


@pytest.fixture(scope="module")
def usual(root: Path) -> Iterator[Predictor]:
    with predictor(root, queue_limit=2, prediction_log_share=1.0) as made:
        yield made


STEPS = [{"order": ["a", "b"]}]
STATED = fingerprint(STEPS)


@pytest.fixture(scope="module")
def demanding(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Predictor]:
    """It holds a model with preprocessing and one without, and demands the fingerprint."""
    root = tmp_path_factory.mktemp("prepared")
    tiny.write(root, tiny.total(), preprocessing={"steps": STEPS, "fingerprint": STATED})
    tiny.write(root, tiny.total(), "plain")
    with predictor(root, model="tiny,plain", require_fingerprint=True) as made:
        yield made


def test_a_fingerprint_can_be_demanded(demanding: Predictor) -> None:
    raw, length = binary_body((ROW, np.array([[1, 2]], np.float32).tobytes()))
    for content, headers in ((USUAL, {}), (raw, {"Inference-Header-Content-Length": length})):
        answer = demanding.infer(content, headers=headers)
        assert answer.status_code == 400
        assert f"parameters.preprocessing_fingerprint: is missing; expected '{STATED}'" in answer.json()["error"]
    for stated, status in ((STATED, 200), ("sha256:bb", 409), (None, 400)):
        answer = demanding.infer(body(ROW, parameters={"preprocessing_fingerprint": stated}))
        assert answer.status_code == status, answer.text
    assert demanding.infer(path="/v2/models/plain/infer").status_code == 200


@pytest.mark.parametrize("path", [INFER, f"{INFER}/", "/v2/models/tiny/versions/1/infer"])
def test_a_request_is_answered(usual: Predictor, path: str) -> None:
    answer = usual.infer(body(ROW, id="7"), path)
    assert answer.json() == {
        "model_name": "tiny",
        "model_version": "1",
        "id": "7",
        "outputs": [{"name": "y", "shape": [1], "datatype": "FP32", "data": [3.0]}],
    }
    stages = {stage.partition(";")[0] for stage in answer.headers["server-timing"].split(", ")}
    assert stages == {"decode", "queue", "infer", "encode", "total"}


def test_a_binary_request_is_answered_in_binary(usual: Predictor) -> None:
    row = np.array([[1, 2], [3, 4]], np.float32)
    content, length = binary_body(
        (tensor("FP32", [2, 2], None), row.tobytes()), parameters={"binary_data_output": True}
    )
    answer = usual.infer(content, headers={"Inference-Header-Content-Length": length})
    header = int(answer.headers["inference-header-content-length"])
    assert answer.headers["content-type"] == "application/octet-stream"
    assert np.frombuffer(answer.content[header:], np.float32).tolist() == [3, 7]
    raw = usual.infer(row.tobytes(), headers={"Inference-Header-Content-Length": "0"})
    assert raw.content.endswith(np.array([3, 7], np.float32).tobytes())


def test_a_batch_takes_rows_that_are_not_aligned_in_memory(usual: Predictor) -> None:
    rows = np.arange(512, dtype=np.float32).reshape(256, 2)
    for spaces in range(4):
        content, length = binary_body((tensor("FP32", [256, 2], None), rows.tobytes()), id=" " * spaces)
        answer = usual.infer(content, headers={"Inference-Header-Content-Length": length})
        assert answer.json()["outputs"][0]["data"] == rows.sum(axis=1).tolist()


@pytest.mark.parametrize(
    ("content", "path", "headers", "status", "error"),
    [
        (b"{", INFER, JSON, 400, "body: is not valid JSON"),
        (body(ROW), INFER, {"Content-Type": "text/plain"}, 415, "expected application/json, got text/plain"),
        (body(ROW), "/v2/models/other/infer", JSON, 404, "model 'other' is not served here; the models are: tiny"),
        (body(ROW), "/v2/models/tiny/versions/2/infer", JSON, 404, "'tiny' is not served here; the versions are: 1"),
        (body(ROW), "/v2/models/tiny/versions//infer", JSON, 404, "no path"),
        (body(ROW), "/v2/models/a/b/infer", JSON, 404, "no path"),
        (body(ROW), "/v2/models/tiny%2Fversions%2F1/infer", JSON, 404, "model 'tiny%2Fversions%2F1' is not served"),
        (body(ROW, outputs=[{"name": "z"}]), INFER, JSON, 400, "outputs: model 'tiny' has no output 'z', only y"),
        (body(ROW), INFER, {"Inference-Header-Content-Length": "9999"}, 400, "states 9999 bytes"),
        (body(ROW), INFER, {**JSON, "X-Request-Timeout-Seconds": "0"}, 400, "expected more than 0 seconds"),
    ],
)  # fmt: skip
def test_a_wrong_request_is_refused(
    usual: Predictor, content: bytes, path: str, headers: dict[str, str], status: int, error: str
) -> None:
    answer = usual.client.post(path, content=content, headers=headers)
    assert answer.status_code == status
    assert error in answer.json()["error"]


def test_the_protocol_tells_what_is_there(usual: Predictor) -> None:
    def get(path: str) -> Any:
        return usual.client.get(path).json()

    assert get("/v2") == get("/v2/")
    assert get("/v2")["extensions"] == ["binary_tensor_data"]
    assert get("/v2/health/live") == {"live": True}
    assert get("/v2/health/ready") == {"ready": True}
    assert get("/v2/models") == {"models": ["tiny"]}
    assert get("/v2/models/tiny/ready") == {"name": "tiny", "ready": True}
    assert get("/v2/models/tiny") == get("/v2/models/tiny/versions/1") == {
        "name": "tiny",
        "versions": ["1"],
        "platform": "onnx_onnxv1",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1]}],
        "properties": {"task": "regression"},
    }  # fmt: skip
    assert usual.client.get("/v2/models/tiny/versions/9/ready").status_code == 404
    assert get("/metadata")["model"]["name"] == "tiny"


def test_the_example_in_the_document_works(usual: Predictor) -> None:
    operation = usual.client.get("/openapi.json").json()["paths"]["/v2/models/{model}/infer"]["post"]
    example = operation["requestBody"]["content"]["application/json"]["example"]
    assert usual.infer(json.dumps(example).encode()).status_code == 200


def test_what_was_predicted_is_logged_where_that_is_asked_for(usual: Predictor) -> None:
    usual.infer(headers={"X-Request-ID": "logged"})
    (line,) = [line for line in usual.logged.lines("prediction") if line["request_id"] == "logged"]
    assert line["inputs"] == {"x": {"shape": [1, 2], "data": [1.0, 2.0]}}
    assert line["outputs"] == {"y": {"shape": [1], "data": [3.0]}}


def test_loading_over_the_api_has_to_be_allowed(usual: Predictor, root: Path) -> None:
    for action in ("load", "unload"):
        answer = usual.client.post(f"/v2/repository/models/tiny/{action}")
        assert answer.status_code == 403
        assert "set MODEL_CONTROL=true" in answer.json()["error"]
    with predictor(root, model_control=True) as allowed:
        assert allowed.client.post("/v2/repository/models/tiny/unload").json()["state"] == "UNLOADED"
        assert allowed.infer().status_code == 503
        assert allowed.client.post("/v2/repository/index").json()[0]["state"] == "UNLOADED"
        for path in ("/readyz", "/v2/health/ready", "/v2/models/tiny/ready"):
            assert allowed.client.get(path).status_code == 503, path
        assert "every model has been unloaded" in allowed.client.get("/readyz").text
        assert allowed.client.post("/v2/repository/models/tiny/load").json()["version"] == "1"
        assert allowed.infer().status_code == 200
        assert allowed.client.post("/v2/repository/models/..%2Ftiny/load").status_code == 404


def test_injected_faults_come_and_go(usual: Predictor) -> None:
    usual.faults(error_share=1.0)
    failed = usual.infer()
    assert (failed.status_code, "injected fault" in failed.json()["error"]) == (500, True)
    usual.faults(latency_seconds=60.0)
    assert usual.infer(headers={"X-Request-Timeout-Seconds": "0.05"}).status_code == 504
    usual.faults()
    assert usual.infer().status_code == 200
    assert usual.client.post("/faults", json={"error_share": 2}).status_code == 400
    unknown = usual.client.post("/faults", json={"latency": 1})
    assert (unknown.status_code, unknown.json()["errors"][0]["field"]) == (400, "latency")
    assert usual.client.get("/faults").json()["error_share"] == 0


@contextmanager
def asking(predictor: Predictor) -> Iterator[None]:
    """Sends a request over a connection of its own, and hangs up at the end."""
    with socket.create_connection(("127.0.0.1", predictor.running.port), timeout=20) as caller:
        head = f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body(ROW))}"
        caller.sendall(head.encode() + b"\r\n\r\n" + body(ROW))
        yield


@contextmanager
def hanging(predictor: Predictor) -> Iterator[None]:
    """A request whose run hangs. Its caller stays: if it left before the run began, there would be none."""
    predictor.faults(hang=True)
    with asking(predictor):
        wait_until(lambda: predictor.metric("serving_requests_in_progress") == 2, "it, and the question itself")
        yield


def test_a_disconnected_clients_request_leaves_the_queue(usual: Predictor) -> None:
    runs = usual.metric("serving_inference_duration_seconds_count")
    with hanging(usual):
        for _ in range(3):  # more than there are places: each gives up its own
            with asking(usual):
                wait_until(lambda: usual.metric("serving_queue_depth") == 1, "waiting in the queue")
            wait_until(lambda: usual.metric("serving_queue_depth") == 0, "its leaving the queue")
    usual.faults()
    assert usual.infer().status_code == 200
    assert usual.metric("serving_inference_duration_seconds_count") == runs + 2
    assert usual.metric("serving_cancelled_total") == 3


def test_a_stuck_inference_fails_readiness_first_and_liveness_later(root: Path) -> None:
    with predictor(root, stuck_seconds=0.2) as made, hanging(made):
        wait_until(lambda: made.client.get("/readyz").status_code == 503, "unready")
        assert "an inference has been running for" in made.client.get("/readyz").json()["reasons"][0]
        wait_until(lambda: made.client.get("/livez").status_code == 503, "dead")
        made.faults()
        for path in ("/readyz", "/livez"):
            wait_until(lambda path=path: made.client.get(path).status_code == 200, "health")  # type: ignore[misc]


def test_an_inference_that_never_ends_does_not_hold_up_the_stop(root: Path) -> None:
    with predictor(root, drain_timeout_seconds=1) as made, hanging(made), asking(made):
        wait_until(lambda: made.metric("serving_queue_depth") == 1, "a second one waits, so the first one runs")


def test_a_model_that_cannot_be_loaded_leaves_the_service_unready_and_says_why(tmp_path: Path) -> None:
    logged = CapturedLog()
    settings = Settings.model_validate({"model": "tiny", "model_repository": tmp_path, "grpc_port": 0})
    with served(create_process(settings, logged.logs).app) as running, httpx.Client(base_url=running.url) as client:
        wait_until(lambda: logged.lines("model not loaded"), "the line")
        answer = client.get("/readyz")
        assert answer.status_code == 503
        assert "model 'tiny': " in answer.json()["reasons"][0]
        assert "there is no folder with a version" in answer.json()["reasons"][0]
        assert client.get("/livez").status_code == 200
        assert client.post(INFER, content=body(ROW), headers=JSON).status_code == 503
        assert client.post("/v2/models/tiny/versions/1/infer", content=body(ROW), headers=JSON).status_code == 503
        assert client.get("/v2/models/tiny/ready").json() == {"name": "tiny", "ready": False}


def test_a_model_from_elsewhere_leaves_nothing_behind(
    root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    uri = (root / "tiny" / "1").as_uri()
    with predictor(root / "nowhere", model_uri=uri) as made:
        assert made.infer().status_code == 200
    assert not list(tmp_path.iterdir())


def test_files_of_the_page_are_no_requests_to_the_service(usual: Predictor) -> None:
    for path in ("/", "/page/page.js", "/docs", "/openapi.json"):
        assert usual.client.get(path).status_code == 200
    assert usual.client.get("/page/unknown.js").status_code == 404
    counted = [line for line in usual.client.get("/metrics").text.splitlines() if "requests_total{" in line]
    assert not [line for line in counted if 'route="/page' in line or 'route="/"' in line or 'route="/docs' in line]
    assert [line for line in counted if 'route="unmatched"' in line]
    assert usual.metric("serving_requests_in_progress") == 1
