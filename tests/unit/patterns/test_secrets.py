"""Every role with secrets in all its settings: what it answers, logs, counts, traces and shows has none of them.

In one half of the cases what the settings name cannot be reached; in the other it can.
"""

from __future__ import annotations

import importlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from common.protocol.grpc import oip_pb2 as pb
from common.protocol.grpc import oip_pb2_grpc as pb_grpc
from tests.unit.common.inference import tiny_models as tiny
from tests.unit.common.observability.captured_log import CapturedLog
from tests.unit.common.observability.test_trace_export import Collector
from tests.unit.common.polling import wait_until
from tests.unit.common.ports import free_port
from tests.unit.common.protocol.request_bodies import body, tensor
from tests.unit.common.serving import served

PLANTED = "pl4nted"  # in every secret
USER, QUERY = f"ada:{PLANTED}-password@", f"?sig={PLANTED}%2Fsignature&se=2026"
MODEL_ROLES = (
    "common.roles.predictor", "patterns.web_single.api", "patterns.synchronous.api", "patterns.serial.api",
    "patterns.parallel.predictor",
)  # fmt: skip
PROXY_ROLES = "patterns.parallel.proxy", "patterns.serial.proxy", "patterns.prep_pred.entry"
NAMES = {
    "patterns.parallel.proxy": ("tiny",),
    "patterns.serial.proxy": ("orientation", "detection", "recognition", "recognition-heavy"),
    "patterns.prep_pred.entry": ("prep", "predictor"),
}
ROW = body(tensor("FP32", [1, 2], [1, 2]))


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the test says what matters."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a web server with the model `tiny`."""
    root = tmp_path_factory.mktemp("store")
    tiny.write(root, tiny.total())
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(root))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as collector, pytest.MonkeyPatch.context() as monkeypatch:
        thread = threading.Thread(target=collector.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{USER}127.0.0.1:{collector.server_port}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"x-key={PLANTED}-header")
        monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_on")
        yield collector
        collector.shutdown()
        thread.join()


@contextmanager
def running(role: str, settings: Mapping[str, Any]) -> Iterator[tuple[httpx.Client, CapturedLog, int]]:
    module, logged, port = importlib.import_module(role), CapturedLog(), free_port()
    made = module.Settings.model_validate({"grpc_port": port, **settings})
    with served(module.create_process(made, logged.logs).app) as one, httpx.Client(base_url=one.url) as client:
        yield client, logged, port


def settings_of(role: str, address: str, root: Path) -> dict[str, Any]:
    """Settings with a secret wherever one fits."""
    found: dict[str, Any] = {"model_repository": root, "redis_url": f"redis://{USER}127.0.0.1:9/0{QUERY}"}
    found["model"] = "a,b,c,d" if role == "patterns.serial.api" else "tiny"
    found["model_fetch_timeout_seconds"] = 1
    if role in MODEL_ROLES:
        return found | {"model_uri": f"http://{USER}{address}/tiny/1{QUERY}", "faults": True, "model_control": True}
    predictors = ",".join(f"{name}=http://{USER}{address}#tiny" for name in NAMES[role])
    return found | {"predictors": predictors, "fetch": "proxy"}


def everything_told(client: httpx.Client, port: int) -> Iterator[tuple[str, str]]:
    """What each route answers, to requests that are right, wrong and refused, over HTTP and gRPC."""
    document = client.get("/openapi.json")
    yield "/openapi.json", document.text
    page = re.findall(r'"(/(?:page|samples)/[^"]+)"', client.get("/").text)
    for path in ("/", "/nowhere", "/docs", "/page/page.js", "/page/panel.js", *page):
        yield path, _text(client.get(path))
    for path, operations in document.json()["paths"].items():
        for verb, operation in operations.items():
            url = path.replace("{model}", "tiny").replace("{version}", "1").replace("{label}", "x")
            content = operation.get("requestBody", {}).get("content", {})
            example = content.get("application/json", {}).get("example")
            for sent in (ROW, b"{", json.dumps(example).encode()):
                headers = {"Content-Type": "application/json", "Accept": "application/problem+json"}
                yield url, _text(client.request(verb, url, content=sent, headers=headers, timeout=20))
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub: Any = pb_grpc.GRPCInferenceServiceStub(channel)
        for call, request in ((stub.ModelInfer, pb.ModelInferRequest(model_name="tiny")),
                              (stub.ModelMetadata, pb.ModelMetadataRequest(name="tiny"))):  # fmt: skip
            try:
                yield "gRPC", str(call(request, timeout=20, wait_for_ready=True))
            except grpc.RpcError as error:
                yield "gRPC", str(error)


def _text(response: httpx.Response) -> str:
    return f"{response.status_code} {dict(response.headers)} {response.text}"


def assert_nothing_told(role: str, settings: Mapping[str, Any], ready: bool | None, collector: Collector) -> None:
    with running(role, settings) as (client, logged, port):
        if ready is not None:
            wait_until(lambda: (client.get("/readyz").status_code == 200) is ready, "its state")
        wait_until(lambda: "has not answered" not in client.get("/readyz").text, "its reason")
        wait_until(lambda: '"loading"' not in client.get("/readyz").text, "its reason")
        told = dict(everything_told(client, port))
        told["/metrics"] = client.get("/metrics").text
    told["log"] = json.dumps(logged.lines())
    told["traces"] = " ".join(map(str, collector.spans))
    assert len(told) > 15
    assert "POST /v2/models/{model}/infer" in told["traces"]
    assert {where: text for where, text in told.items() if PLANTED in text} == {}


@pytest.mark.parametrize("role", [*MODEL_ROLES, *PROXY_ROLES])
def test_nothing_is_told_while_nothing_can_be_reached(role: str, tmp_path: Path, collector: Collector) -> None:
    settings = settings_of(role, f"127.0.0.1:{free_port()}", tmp_path)
    assert_nothing_told(role, settings, False, collector)


@pytest.mark.parametrize("role", ["common.roles.predictor", "patterns.web_single.api", "patterns.parallel.proxy"])
def test_nothing_is_told_while_all_is_well(role: str, tmp_path: Path, store: str, collector: Collector) -> None:
    if role in MODEL_ROLES:
        assert_nothing_told(role, settings_of(role, store, tmp_path), True, collector)
        return
    holding = settings_of("common.roles.predictor", store, tmp_path)
    with running("common.roles.predictor", holding) as (client, _, _):
        wait_until(lambda: client.get("/readyz").status_code == 200, "the predictor")
        settings = settings_of(role, f"127.0.0.1:{client.base_url.port}", tmp_path) | {"redis_url": ""}
        assert_nothing_told(role, settings, None, collector)  # that model is of no use to it
