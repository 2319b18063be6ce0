"""Spans reach a collector over OTLP/HTTP, as children of the caller's, with their stages below them."""

from __future__ import annotations

import http.server
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from common.observability.tracing import Spans
from common.request.trace import continue_trace
from common.roles.predictor import Settings, create_process
from tests.unit.common.inference import tiny_models as tiny
from tests.unit.common.observability.captured_log import CapturedLog
from tests.unit.common.polling import wait_until
from tests.unit.common.ports import free_port
from tests.unit.common.protocol.request_bodies import body, tensor
from tests.unit.common.serving import served
from tests.unit.common.test_serve import predictor

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Collector(http.server.ThreadingHTTPServer):
    """Takes what an exporter sends to /v1/traces."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Take)
        self.services: set[str] = set()
        self.spans: list[Span] = []

    def called(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]


class _Take(http.server.BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        message = ExportTraceServiceRequest()
        message.ParseFromString(self.rfile.read(int(self.headers["Content-Length"])))
        for resource in message.resource_spans:
            attributes = {one.key: one.value.string_value for one in resource.resource.attributes}
            self.server.services.add(attributes["service.name"])
            for scope in resource.scope_spans:
                self.server.spans += scope.spans
        self.send_response(200 if self.path == "/v1/traces" else 404)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the test says what matters."""


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as collector, pytest.MonkeyPatch.context() as monkeypatch:
        thread = threading.Thread(target=collector.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_port}")
        monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_on")
        yield collector
        collector.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def answers(collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> list[httpx.Response]:
    """Of a traced request, a refused one, a failed one and one that is not sampled; all spans have been exported."""
    root = tmp_path_factory.mktemp("models")
    tiny.write(root, tiny.total())
    asked = {"model": "tiny", "model_repository": root, "grpc_port": 0, "faults": True}
    app = create_process(Settings.model_validate(asked), CapturedLog().logs).app
    headers = {"Content-Type": "application/json", "traceparent": f"00-{TRACE}-{PARENT}-01", "X-Request-ID": "mine"}
    row = body(tensor("FP32", [1, 2], [1, 2]))
    with served(app) as running, httpx.Client(base_url=running.url, timeout=20) as client:
        wait_until(lambda: client.get("/readyz").status_code == 200, "readiness")
        infer = "/v2/models/tiny/infer"
        good, wrong = (client.post(infer, content=content, headers=headers) for content in (row, b"{"))
        client.post("/faults", json={"error_share": 1})
        failed = client.post(infer, content=row, headers={"Content-Type": "application/json"})
        unsampled = client.get("/v2/models", headers={"traceparent": f"00-{'ab' * 16}-{PARENT}-00"})
    return [good, wrong, failed, unsampled]


def test_requests_become_spans_below_their_callers(collector: Collector, answers: list[httpx.Response]) -> None:
    good, wrong, failed, unsampled = answers
    assert collector.services == {"web_single-api"}
    by_id = {span.span_id.hex(): span for span in collector.spans}
    for answer, status, code in ((good, "200", Status.STATUS_CODE_UNSET), (wrong, "400", Status.STATUS_CODE_UNSET),
                                 (failed, "500", Status.STATUS_CODE_ERROR)):  # fmt: skip
        _, trace, span_id, flags = answer.headers["traceparent"].split("-")
        span = by_id[span_id]
        attributes = {one.key: one.value.string_value for one in span.attributes}
        assert (span.name, span.kind) == ("POST /v2/models/{model}/infer", Span.SPAN_KIND_SERVER)
        assert (span.trace_id.hex(), int(flags, 16) & 1, attributes["serving.status"]) == (trace, 1, status)
        assert span.status.code == code
        assert attributes["serving.request_id"] == answer.headers["x-request-id"]
        assert span.parent_span_id.hex() == ("" if answer is failed else PARENT)
    assert good.headers["traceparent"].split("-")[1] == TRACE
    assert "injected fault" in by_id[failed.headers["traceparent"].split("-")[2]].status.message
    assert unsampled.headers["traceparent"].split("-")[1::2] == ["ab" * 16, "00"]
    assert not [span for span in collector.spans if span.trace_id.hex() == "ab" * 16]


def test_stages_are_children_within_their_request(collector: Collector, answers: list[httpx.Response]) -> None:
    span_id = answers[0].headers["traceparent"].split("-")[2]
    (parent,) = (span for span in collector.spans if span.span_id.hex() == span_id)
    children = [span for span in collector.spans if span.parent_span_id == parent.span_id]
    assert [child.name for child in sorted(children, key=lambda one: one.start_time_unix_nano)] == [
        "decode", "queue", "infer", "encode",
    ]  # fmt: skip
    for child in children:
        assert child.trace_id == parent.trace_id
        assert child.start_time_unix_nano <= child.end_time_unix_nano <= parent.end_time_unix_nano


def test_without_a_collector_nothing_that_exports_is_imported() -> None:
    code = "import sys, common.roles.predictor; print([name for name in sys.modules if 'opentelemetry.sdk' in name])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"


def test_a_tenth_is_sampled_unless_the_environment_or_the_caller_decides(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sampled(traceparent: str | None = None) -> int:
        spans, traces = Spans("sampled", "1"), [continue_trace(traceparent) for _ in range(1000)]
        started = [spans.start("POST", trace) for trace in traces]
        assert [one.trace_id for one in started] == [one.trace_id for one in traces]
        assert all((one.span is not None) == bool(int(one.flags, 16) & 1) for one in started)
        assert spans.close()
        return sum(one.span is not None for one in started)

    monkeypatch.delenv("OTEL_TRACES_SAMPLER")
    assert 50 < sampled() < 150
    assert sampled(f"00-{TRACE}-{PARENT}-01") == 1000
    assert sampled(f"00-{TRACE}-{PARENT}-00") == 0
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    assert sampled(f"00-{TRACE}-{PARENT}-01") == 0
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.5")
    assert 400 < sampled() < 600


def test_a_collector_that_is_not_there_does_not_hold_up_a_stop(tmp_path: Path) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    with predictor(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=address, OTEL_TRACES_SAMPLER="always_on") as served:
        assert served.client.get("/v2").status_code == 200
        stopped = time.monotonic()
        served.process.send_signal(signal.SIGTERM)
        events = [line["event"] for line in served.end()]  # with exit code 0
    assert time.monotonic() - stopped < 15
    assert "spans lost: the trace collector did not take them in time" in events
